#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering::Relaxed;

use futures::executor::block_on;

use super::*;
use crate::memory::{Pool, Region};
use crate::trail::Counters;

/// A folder of its own for one test, gone afterwards.
struct Folder(String);

impl Folder {
    fn new() -> Self {
        let name = format!("s3dlio-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path.to_str().unwrap().to_owned())
    }

    fn key(&self, name: &str) -> String {
        self.path(name)[1..].to_owned()
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    fn write(&self, name: &str, data: &[u8]) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.rsplit_once('/').unwrap().0).unwrap();
        std::fs::write(&path, data).unwrap();
        self.key(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn local(&self) -> Local {
        Local::new(LocalOptions {
            root: self.0.clone(),
            ..LocalOptions::default()
        })
    }

    fn direct(&self) -> Local {
        Local::new(LocalOptions {
            root: self.0.clone(),
            direct: true,
            direct_fallback_buffered: true,
            sync_files: true,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn trail() -> Trail {
    Trail::new(Arc::new(Counters::default()))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn kind<T>(answer: impl Future<Output = Result<T>>) -> Kind {
    block_on(answer).map(|_| ()).unwrap_err().kind
}

fn from(offset: u64, length: Option<u64>) -> ReadRange<'static> {
    ReadRange {
        offset,
        length,
        if_match: None,
    }
}

async fn read(store: &Local, key: &str, range: ReadRange<'_>, trail: &Trail) -> Result<Vec<u8>> {
    let mut opened = store.open(key, range, trail).await?;
    let len = opened.length as usize;
    let region: Region = Pool::new(0).allocate(len);
    let (mut slots, pending) = region.cut(&[len]);
    let (slot, outcome) = opened.body.fill(slots.remove(0)).await;
    outcome?;
    Ok(pending.join(vec![slot]).unwrap().to_vec())
}

fn put(store: &Local, key: &str, data: &[u8], options: &PutOptions) -> Result<Meta> {
    block_on(store.put(key, Bytes::copy_from_slice(data), options, &trail()))
}

fn listed(store: &Local, prefix: &str, recursive: bool) -> Vec<String> {
    let mut pages = store.list(prefix, recursive, &trail()).unwrap();
    let mut keys = Vec::new();
    while let Some(page) = block_on(pages.next()).unwrap() {
        keys.extend(page.into_iter().map(|entry| entry.key));
    }
    keys.iter()
        .map(|key| key.strip_prefix(prefix).unwrap().to_owned())
        .collect()
}

const LENGTHS: [usize; 9] = [0, 1, 511, 512, 4095, 4096, 4097, 70_000, 3_000_001];

#[test]
fn what_was_put_is_read_back_at_every_length_and_offset() {
    let folder = Folder::new();
    for store in [folder.local(), folder.direct()] {
        for len in LENGTHS {
            let (key, data) = (folder.key("a/b"), pattern(len));
            let meta = put(&store, &key, &data, &PutOptions::default()).unwrap();
            assert_eq!(meta.size, len as u64);
            assert_eq!(block_on(store.stat(&key, &trail())).unwrap(), meta);
            let whole = block_on(read(&store, &key, from(0, None), &trail())).unwrap();
            assert_eq!(whole, data);
            for (offset, length) in [(1, 7), (4096, 5000), (513, 1 << 21), (len / 2, len)] {
                if offset < len {
                    let range = from(offset as u64, Some(length as u64));
                    let part = block_on(read(&store, &key, range, &trail())).unwrap();
                    assert_eq!(part, data[offset..len.min(offset + length)]);
                }
            }
        }
    }
    assert_eq!(listed(&folder.local(), &folder.key(""), true), ["a/b"]);
}

#[test]
fn a_read_costs_one_open_and_copies_nothing() {
    let folder = Folder::new();
    let key = folder.write("x", &pattern(5_000_000));
    for store in [folder.local(), folder.direct()] {
        let trail = trail();
        block_on(read(&store, &key, from(0, None), &trail)).unwrap();
        assert_eq!(trail.counters.requests.load(Relaxed), 1);
        assert_eq!(trail.counters.bytes_read.load(Relaxed), 5_000_000);
        assert_eq!(trail.counters.bytes_copied.load(Relaxed), 0);
    }
}

#[test]
fn a_range_must_begin_inside_the_object() {
    let folder = Folder::new();
    let (store, key) = (folder.local(), folder.write("x", b"0123"));
    let read = |offset, length| block_on(read(&store, &key, from(offset, length), &trail()));
    assert_eq!(read(3, Some(9)).unwrap(), b"3");
    assert_eq!(read(4, Some(1)).unwrap_err().kind, Kind::Range);
    assert_eq!(read(5, None).unwrap_err().kind, Kind::Range);
}

#[test]
fn an_object_overwritten_under_an_open_body_is_never_spliced() {
    let folder = Folder::new();
    let (store, key) = (folder.local(), folder.write("x", &pattern(200_000)));
    let mut opened = block_on(store.open(&key, from(0, None), &trail())).unwrap();
    let slots = || Pool::new(0).allocate(200_000).cut(&[200_000]).0.remove(0);

    // By a put: the body keeps to the version that it opened.
    put(&store, &key, b"new", &PutOptions::default()).unwrap();
    let (slot, outcome) = block_on(opened.body.fill(slots()));
    outcome.unwrap();
    assert!(slot.is_full());
    let etag = opened.meta.etag.clone().unwrap();
    let again = ReadRange {
        if_match: Some(&etag),
        ..ReadRange::default()
    };
    assert_eq!(
        kind(store.open(&key, again, &trail())),
        Kind::PreconditionFailed
    );

    // In place, by a program of another kind: an error.
    let key = folder.write("y", &pattern(200_000));
    let mut opened = block_on(store.open(&key, from(0, None), &trail())).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(path(&key), vec![0; 200_000]).unwrap();
    let (_, outcome) = block_on(opened.body.fill(slots()));
    assert_eq!(outcome.unwrap_err().kind, Kind::PreconditionFailed);

    let mut opened = block_on(store.open(&key, from(0, None), &trail())).unwrap();
    std::fs::write(path(&key), b"short").unwrap();
    let (slot, outcome) = block_on(opened.body.fill(slots()));
    let failure = outcome.unwrap_err();
    assert_eq!(failure.kind, Kind::Integrity);
    assert!(failure.retryable);
    assert_eq!(slot.filled(), 5);
}

#[test]
fn a_map_shows_the_bytes_from_any_offset() {
    let folder = Folder::new();
    let (store, data) = (folder.local(), pattern(10_000));
    let key = folder.write("x", &data);
    let view = block_on(store.map(&key, from(4097, Some(100)), &trail())).unwrap();
    assert_eq!(view.as_slice(), &data[4097..4197]);
}

#[test]
fn one_of_many_conditional_puts_wins() {
    let folder = Folder::new();
    let (store, key) = (folder.local(), folder.key("x"));
    let race = |options: &PutOptions| -> Vec<Result<Meta>> {
        std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8u8)
                .map(|i| {
                    let (store, key) = (&store, &key);
                    scope.spawn(move || put(store, key, &[i; 1000], options))
                })
                .collect();
            racers.into_iter().map(|r| r.join().unwrap()).collect()
        })
    };
    let absent = PutOptions {
        if_absent: true,
        ..PutOptions::default()
    };
    let first = race(&absent);
    let winners: Vec<_> = first.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert!(
        first
            .iter()
            .flat_map(|r| r.as_ref().err())
            .all(|f| f.kind == Kind::AlreadyExists)
    );

    let same = PutOptions {
        if_match: winners[0].etag.clone(),
        ..PutOptions::default()
    };
    let second = race(&same);
    assert_eq!(second.iter().flatten().count(), 1);
    let mut losers = second.iter().flat_map(|r| r.as_ref().err());
    assert!(losers.all(|f| f.kind == Kind::PreconditionFailed));
    assert_eq!(folder.names(), ["x"]);
}

#[test]
fn what_cannot_be_written_says_why_and_leaves_nothing() {
    let folder = Folder::new();
    let store = folder.local();
    folder.write("file", b"x");
    folder.write("folder/x", b"x");
    let why = |name: &str, options: &PutOptions| {
        put(&store, &folder.key(name), b"data", options)
            .unwrap_err()
            .kind
    };
    let plain = PutOptions::default();
    assert_eq!(why("file/below", &plain), Kind::AlreadyExists);
    assert_eq!(why("file/further/below", &plain), Kind::AlreadyExists);
    assert_eq!(why("folder", &plain), Kind::AlreadyExists);
    assert_eq!(why("folder/", &plain), Kind::InvalidUri);
    assert_eq!(why(&"n".repeat(256), &plain), Kind::InvalidUri);
    let mut named = PutOptions::default();
    named.metadata.insert("a".into(), "b".into());
    assert_eq!(why("new", &named), Kind::Unsupported);
    let other = PutOptions {
        if_match: Some("\"other\"".into()),
        ..PutOptions::default()
    };
    assert_eq!(why("new", &other), Kind::PreconditionFailed);
    assert_eq!(why("file", &other), Kind::PreconditionFailed);
    assert_eq!(folder.names(), ["file", "folder"]);
    // The longest name that the file system takes works, although its temporary name is longer.
    put(&store, &folder.key(&"é".repeat(127)), b"data", &plain).unwrap();
}

#[test]
fn what_cannot_be_read_says_why() {
    let folder = Folder::new();
    let store = folder.local();
    folder.write("file", b"x");
    let why = |key: &str| kind(store.open(key, from(0, None), &trail()));
    assert_eq!(why(&folder.key("absent")), Kind::NotFound);
    assert_eq!(why(&folder.key("file/below")), Kind::NotFound);
    assert_eq!(why(&folder.0[1..]), Kind::NotFound);
    assert_eq!(why(&folder.key(&"n".repeat(256))), Kind::InvalidUri);
    assert_eq!(why("dev/null"), Kind::NotFound);
    if !rustix::process::geteuid().is_root() {
        let key = folder.write("closed", b"x");
        rustix::fs::chmod(path(&key).as_str(), Mode::empty()).unwrap();
        assert_eq!(why(&key), Kind::PermissionDenied);
    }
}

#[test]
fn a_full_disk_is_a_quota_and_leaves_nothing() {
    // Every write to this device fails so; on a machine without it there is nothing to see.
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    let errno = rustix::io::write(&full, b"x").unwrap_err();
    let failure = refusal(errno, Doing::Writing);
    assert_eq!(failure.kind, Kind::QuotaExceeded);
    assert!(!failure.retryable);
}

#[test]
fn a_writer_shows_the_object_whole_or_not_at_all() {
    let folder = Folder::new();
    for store in [folder.local(), folder.direct()] {
        let (key, data) = (folder.key("x"), pattern(3_333_333));
        let open = || block_on(store.writer(&key, &PutOptions::default(), 4, &trail())).unwrap();
        let mut writer = open();
        for part in data.chunks(1_000_001) {
            block_on(writer.write(Bytes::copy_from_slice(part))).unwrap();
        }
        assert_eq!(kind(store.stat(&key, &trail())), Kind::NotFound);
        assert_eq!(listed(&store, &folder.key(""), true), [""; 0]);
        assert_eq!(block_on(writer.close()).unwrap().size, 3_333_333);
        let read = block_on(read(&store, &key, from(0, None), &trail())).unwrap();
        assert_eq!(read, data);
        assert_eq!(kind(writer.close()), Kind::InvalidArgument);

        let mut aborted = open();
        block_on(aborted.write(Bytes::from_static(b"lost"))).unwrap();
        block_on(aborted.abort()).unwrap();
        drop(open());
        assert_eq!(folder.names(), ["x"]);
        block_on(store.delete(&key, &trail())).unwrap();
    }
}

#[test]
fn a_put_that_nobody_awaits_leaves_nothing_unfinished() {
    let folder = Folder::new();
    let (store, key) = (folder.local(), folder.key("x"));
    let (trail, options) = (trail(), PutOptions::default());
    let data = Bytes::from(vec![1; 64 << 20]);
    let mut put = store.put(&key, data, &options, &trail);
    assert!(futures::FutureExt::now_or_never(&mut put).is_none());
    drop(put);
    // The work holds the other handle to the counters for as long as it runs.
    while Arc::strong_count(&trail.counters) > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_file_system_without_direct_access_is_an_error_unless_the_cache_is_allowed() {
    let folder = Folder::new();
    let strict = Local::new(LocalOptions {
        direct: true,
        ..LocalOptions::default()
    });
    let read = |store: &Local| block_on(read(store, "proc/version", from(0, None), &trail()));
    let failure = read(&strict).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported);
    assert!(failure.hint.unwrap().contains("direct_fallback"));
    read(&folder.direct()).unwrap();
}

#[test]
fn a_listing_has_the_order_of_full_keys_and_only_objects() {
    let folder = Folder::new();
    let store = folder.local();
    for name in ["a/b", "a.b", "a0", "a/c/d", "z", "a-b"] {
        folder.write(name, b"12");
    }
    std::fs::create_dir(folder.path("empty")).unwrap();
    folder.write(".a.1-2-3.s3dlio-tmp", b"");
    symlink(folder.path("z"), folder.path("link")).unwrap();
    symlink(folder.path("nowhere"), folder.path("broken")).unwrap();
    symlink(folder.path("a"), folder.path("loop")).unwrap();
    symlink(&folder.0, folder.path("a/up")).unwrap();
    let root = folder.key("");
    assert_eq!(
        listed(&store, &root, true),
        ["a-b", "a.b", "a/b", "a/c/d", "a0", "link", "z"]
    );
    assert_eq!(
        listed(&store, &root, false),
        ["a-b", "a.b", "a/", "a0", "empty/", "link", "loop/", "z"]
    );
    assert_eq!(listed(&store, &folder.key("loop/"), true), ["b", "c/d"]);
    assert_eq!(listed(&store, &folder.key("absent/"), true), [""; 0]);
    assert_eq!(listed(&store, &folder.key("z/"), false), [""; 0]);

    let mut pages = store.list(&root, true, &trail()).unwrap();
    let page = block_on(pages.next()).unwrap().unwrap();
    let z = page.last().unwrap();
    let meta = block_on(store.stat(&z.key, &trail())).unwrap();
    assert_eq!(
        (z.size, z.modified, &z.etag),
        (2, meta.modified, &meta.etag)
    );
}

#[test]
fn a_long_listing_comes_in_pages_without_loss() {
    let folder = Folder::new();
    for i in 0..9000 {
        std::fs::write(folder.path(&format!("{i:05}")), b"").unwrap();
    }
    let store = folder.local();
    let keys = listed(&store, &folder.key(""), true);
    assert_eq!(
        keys,
        (0..9000).map(|i| format!("{i:05}")).collect::<Vec<_>>()
    );
}

#[test]
fn delete_takes_objects_only_and_forgives_absence() {
    let folder = Folder::new();
    let store = folder.local();
    let keys = vec![
        folder.write("a/x", b"1"),
        folder.key("absent"),
        folder.key("a"),
        folder.write("*", b"1"),
        folder.key("*/x"),
        folder.key("a/"),
    ];
    let results = block_on(store.delete_many(&keys, &trail())).unwrap();
    let (folder_key, objects) = results.split_last().unwrap();
    assert_eq!(objects.len(), 5);
    assert!(objects.iter().all(Result::is_ok));
    assert_eq!(folder_key.as_ref().unwrap_err().kind, Kind::InvalidUri);
    assert_eq!(folder.names(), ["a"]);
}

#[test]
fn copy_and_rename_replace_the_target_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.direct();
    let data = pattern(100_000);
    let (a, b, c) = (
        folder.write("a", &data),
        folder.write("b", b"old"),
        folder.key("new/c"),
    );
    let copied = block_on(store.copy(&a, &b, &trail())).unwrap();
    assert_eq!(copied, block_on(store.stat(&b, &trail())).unwrap());
    assert_eq!(std::fs::read(path(&b)).unwrap(), data);
    block_on(store.rename(&b, &c, &trail())).unwrap();
    assert_eq!(std::fs::read(path(&c)).unwrap(), data);
    assert_eq!(folder.names(), ["a", "new"]);
    block_on(store.rename(&a, &a, &trail())).unwrap();

    std::fs::hard_link(path(&a), path(&b)).unwrap();
    block_on(store.rename(&a, &b, &trail())).unwrap();
    symlink("b", path(&a)).unwrap();
    block_on(store.rename(&a, &c, &trail())).unwrap();
    assert_eq!(folder.names(), ["b", "new"]);
    assert_eq!(std::fs::read(path(&c)).unwrap(), data);

    assert_eq!(kind(store.copy(&a, &b, &trail())), Kind::NotFound);
    assert_eq!(
        kind(store.rename(&folder.key("new"), &b, &trail())),
        Kind::NotFound
    );
    assert_eq!(
        kind(store.rename(&b, &folder.key("new"), &trail())),
        Kind::AlreadyExists
    );
}

#[test]
fn buckets_are_the_folders_below_the_root() {
    let folder = Folder::new();
    let root = folder.path("root/deep");
    let store = Local::new(LocalOptions {
        root: format!("{root}/"),
        ..LocalOptions::default()
    });
    block_on(store.create_bucket(&trail())).unwrap();
    assert_eq!(kind(store.create_bucket(&trail())), Kind::AlreadyExists);
    folder.write("root/deep/b/x", b"1");
    folder.write("root/deep/a", b"1");
    let buckets = block_on(store.list_buckets(&trail())).unwrap();
    let names: Vec<_> = buckets.iter().map(|bucket| bucket.key.as_str()).collect();
    assert_eq!(names, ["b"]);
    assert_eq!(
        kind(store.delete_bucket(&trail())),
        Kind::PreconditionFailed
    );
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::create_dir(&root).unwrap();
    block_on(store.delete_bucket(&trail())).unwrap();
    assert_eq!(kind(store.delete_bucket(&trail())), Kind::NotFound);
}
