#![allow(clippy::unwrap_used)]

use futures::executor::block_on;

use super::*;
use crate::memory::Pool;
use crate::trail::Counters;

fn trail() -> Trail {
    Trail::new(Arc::new(Counters::default()))
}

/// Tests run side by side in one process, so each has a bucket of its own.
fn memory(name: &str) -> Memory {
    Memory::new(name.to_owned())
}

fn put(store: &Memory, key: &str, data: &[u8], options: &PutOptions) -> Result<Meta> {
    block_on(store.put(key, Bytes::copy_from_slice(data), options, &trail()))
}

fn read(store: &Memory, key: &str, range: ReadRange<'_>) -> Result<Vec<u8>> {
    let mut opened = block_on(store.open(key, range, &trail()))?;
    let len = opened.length as usize;
    let (mut slots, pending) = Pool::new(0).allocate(len).cut(&[len]);
    let (slot, outcome) = block_on(opened.body.fill(slots.remove(0)));
    outcome?;
    Ok(pending.join(vec![slot]).unwrap().to_vec())
}

fn listed(store: &Memory, prefix: &str, recursive: bool) -> Vec<String> {
    let mut pages = store.list(prefix, recursive, &trail()).unwrap();
    let mut keys = Vec::new();
    while let Some(page) = block_on(pages.next()).unwrap() {
        keys.extend(page.into_iter().map(|entry| entry.key));
    }
    keys
}

#[test]
fn what_was_put_is_read_back_with_what_was_said_of_it() {
    let store = memory("read-back");
    let mut options = PutOptions {
        content_type: Some("text/plain".into()),
        ..PutOptions::default()
    };
    options.metadata.insert("a".into(), "b".into());
    for len in [0, 1, 3 << 20] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let meta = put(&store, "k", &data, &options).unwrap();
        assert_eq!(meta, block_on(store.stat("k", &trail())).unwrap());
        assert_eq!(meta.metadata, options.metadata);
        assert_eq!(read(&store, "k", ReadRange::default()).unwrap(), data);
    }
    let range = ReadRange {
        offset: (3 << 20) - 1,
        length: Some(10),
        if_match: None,
    };
    assert_eq!(read(&store, "k", range).unwrap(), [255]);
    let range = ReadRange {
        offset: 3 << 20,
        ..ReadRange::default()
    };
    assert_eq!(read(&store, "k", range).unwrap_err().kind, Kind::Range);
    let absent = read(&store, "absent", ReadRange::default());
    assert_eq!(absent.unwrap_err().kind, Kind::NotFound);
}

#[test]
fn conditions_hold() {
    let store = memory("conditions");
    let absent = PutOptions {
        if_absent: true,
        ..PutOptions::default()
    };
    let first = put(&store, "k", b"1", &absent).unwrap();
    let again = put(&store, "k", b"2", &absent).unwrap_err();
    assert_eq!(again.kind, Kind::AlreadyExists);
    let same = PutOptions {
        if_match: first.etag.clone(),
        ..PutOptions::default()
    };
    put(&store, "k", b"3", &same).unwrap();
    let late = put(&store, "k", b"4", &same).unwrap_err();
    assert_eq!(late.kind, Kind::PreconditionFailed);
    let range = ReadRange {
        if_match: first.etag.as_deref(),
        ..ReadRange::default()
    };
    let stale = read(&store, "k", range).unwrap_err();
    assert_eq!(stale.kind, Kind::PreconditionFailed);
    assert_eq!(read(&store, "k", ReadRange::default()).unwrap(), b"3");
}

#[test]
fn a_listing_has_one_level_or_all_in_the_order_of_keys() {
    let store = memory("listing");
    for key in ["p/a/b", "p/a.b", "p/a0", "p/", "q", "p/a/c", "p//x"] {
        put(&store, key, b"", &PutOptions::default()).unwrap();
    }
    let all = ["p//x", "p/a.b", "p/a/b", "p/a/c", "p/a0"];
    assert_eq!(listed(&store, "p/", true), all);
    assert_eq!(
        listed(&store, "p/", false),
        ["p//", "p/a.b", "p/a/", "p/a0"]
    );
    assert_eq!(listed(&store, "", false), ["p/", "q"]);
    assert_eq!(listed(&memory("no-such-bucket"), "", true), [""; 0]);
    for i in 0..2500 {
        put(&store, &format!("many/{i:04}"), b"", &PutOptions::default()).unwrap();
    }
    assert_eq!(listed(&store, "many/", true).len(), 2500);
}

#[test]
fn a_writer_shows_the_object_at_close() {
    let store = memory("writer");
    let (options, trail) = (PutOptions::default(), trail());
    let mut writer = block_on(store.writer("k", &options, 4, &trail)).unwrap();
    for part in ["ab", "cd", "e"] {
        block_on(writer.write(part.into())).unwrap();
    }
    assert!(block_on(store.stat("k", &trail)).is_err());
    assert_eq!(block_on(writer.close()).unwrap().size, 5);
    assert_eq!(read(&store, "k", ReadRange::default()).unwrap(), b"abcde");
    assert!(block_on(writer.write("f".into())).is_err());
}

#[test]
fn buckets_come_with_their_first_object_and_go_when_empty() {
    let store = memory("buckets");
    let trail = trail();
    put(&store, "k", b"1", &PutOptions::default()).unwrap();
    let again = block_on(store.create_bucket(&trail)).unwrap_err();
    assert_eq!(again.kind, Kind::AlreadyExists);
    let full = block_on(store.delete_bucket(&trail)).unwrap_err();
    assert_eq!(full.kind, Kind::PreconditionFailed);
    block_on(store.rename("k", "j", &trail)).unwrap();
    block_on(store.copy("j", "k", &trail)).unwrap();
    let keys = ["j", "k", "absent"].map(str::to_owned);
    assert_eq!(block_on(store.delete_many(&keys, &trail)).unwrap().len(), 3);
    block_on(store.delete_bucket(&trail)).unwrap();
    let gone = block_on(store.delete_bucket(&trail)).unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
}
