#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

const MIB: usize = 1 << 20;

fn pool() -> Arc<Pool> {
    Pool::new(64 * MIB)
}

/// A file that is gone when the test is.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn holding(bytes: &[u8]) -> (Scratch, File) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "s3dlio-memory-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, SeqCst)
        );
        let path = std::env::temp_dir().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        let file = File::open(&path).unwrap();
        (Scratch(path), file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn regions_are_aligned_by_their_size() {
    let pool = pool();
    for (len, align) in [
        (0, LINE),
        (1, LINE),
        (4095, LINE),
        (4096, PAGE),
        (2 * MIB - 1, PAGE),
        (2 * MIB, HUGE),
        (9 * MIB + 1, HUGE),
    ] {
        let region = pool.allocate(len);
        assert_eq!(region.len(), len);
        assert!(region.address().is_multiple_of(align), "{len}");
    }
}

#[test]
fn every_byte_of_a_region_can_be_written_and_read() {
    for len in [1, 100, 5000, 3 * MIB + 5] {
        let (mut slots, pending) = pool().allocate(len).cut(&[len]);
        slots[0].rest().fill(7);
        slots[0].advance(len);
        let view = pending.join(slots).unwrap();
        assert_eq!(view.len(), len);
        assert!(view.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn slots_are_consecutive_and_do_not_overlap() {
    let (mut slots, pending) = pool().allocate(10).cut(&[3, 0, 5, 2]);
    for (index, slot) in slots.iter_mut().enumerate() {
        let len = slot.len();
        slot.push(&vec![index as u8; len]).unwrap();
        assert!(slot.is_full());
    }
    slots.reverse();
    assert_eq!(
        *pending.join(slots).unwrap(),
        [0, 0, 0, 2, 2, 2, 2, 2, 3, 3]
    );
}

#[test]
fn slots_are_filled_from_several_threads() {
    let part = MIB + 3;
    let (slots, pending) = pool().allocate(4 * part).cut(&[part; 4]);
    let slots: Vec<Slot> = std::thread::scope(|scope| {
        let fill = |(index, mut slot): (usize, Slot)| {
            scope.spawn(move || {
                while !slot.is_full() {
                    let n = slot.remaining().min(65_536);
                    slot.rest()[..n].fill(index as u8);
                    slot.advance(n);
                }
                slot
            })
        };
        let workers: Vec<_> = slots.into_iter().enumerate().map(fill).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let view = pending.join(slots).unwrap();
    assert!(
        view.chunks(part)
            .enumerate()
            .all(|(i, c)| c.iter().all(|b| *b == i as u8))
    );
}

#[test]
fn a_slot_refuses_a_frame_that_does_not_fit() {
    let (mut slots, _pending) = pool().allocate(5).cut(&[5]);
    slots[0].push(b"abc").unwrap();
    let error = slots[0].push(b"def").unwrap_err();
    assert_eq!(error.to_string(), "3 bytes came where 2 were missing");
    assert_eq!((slots[0].filled(), slots[0].remaining()), (3, 2));
}

#[test]
#[should_panic(expected = "past the end")]
fn a_slot_does_not_advance_past_its_end() {
    let (mut slots, _pending) = pool().allocate(5).cut(&[2, 3]);
    slots[0].advance(3);
}

#[test]
#[should_panic(expected = "add up")]
fn slots_must_cover_the_region() {
    let _ = pool().allocate(5).cut(&[2, 2]);
}

#[test]
fn a_region_with_a_missing_byte_is_not_shown() {
    let pool = pool();
    let (mut slots, pending) = pool.allocate(10).cut(&[4, 6]);
    slots[0].advance(4);
    slots[1].advance(5);
    assert_eq!(pending.join(slots).unwrap_err(), 1);

    let (mut slots, pending) = pool.allocate(10).cut(&[4, 6]);
    slots.iter_mut().for_each(|slot| slot.advance(slot.len()));
    let kept = slots.pop();
    assert_eq!(pending.join(slots).unwrap_err(), 6);
    drop(kept);

    let (mut others, _pending) = pool.allocate(10).cut(&[10]);
    others[0].advance(10);
    let (_slots, pending) = pool.allocate(10).cut(&[10]);
    assert_eq!(pending.join(others).unwrap_err(), 10);
}

#[test]
fn a_slot_keeps_its_memory_when_the_caller_has_given_up() {
    let pool = pool();
    let region = pool.allocate(5000);
    let address = region.address();
    let (mut slots, pending) = region.cut(&[5000]);
    drop(pending);
    assert_ne!(pool.allocate(5000).address(), address);
    slots[0].rest().fill(1);
    drop(slots);
    assert_eq!(pool.allocate(5000).address(), address);
}

#[test]
fn nothing_is_a_region_too() {
    let pool = pool();
    let (mut slots, pending) = pool.allocate(0).cut(&[0]);
    assert!(slots[0].is_full() && slots[0].rest().is_empty());
    assert!(
        slots[0]
            .padded_rest(PAGE)
            .is_none_or(|rest| rest.is_empty())
    );
    let view = pending.join(slots).unwrap();
    assert!(view.is_empty() && view.slice(..).is_empty());
    let (slots, pending) = pool.allocate(0).cut(&[]);
    assert!(pending.join(slots).unwrap().is_empty());
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn the_last_slot_may_be_padded() {
    let (mut slots, pending) = pool().allocate(3 * PAGE + 10).cut(&[2 * PAGE, PAGE + 10]);
    assert_eq!(slots[0].padded_rest(PAGE).unwrap().len(), 2 * PAGE);
    let tail = slots[1].padded_rest(PAGE).unwrap();
    assert_eq!(tail.len(), 2 * PAGE);
    tail.fill(1);
    slots[1].advance(10);
    assert!(
        slots[1].padded_rest(PAGE).is_none(),
        "it starts in the middle of a page"
    );
    slots[1].advance(PAGE);
    slots[0].rest().fill(2);
    slots[0].advance(2 * PAGE);
    let view = pending.join(slots).unwrap();
    assert_eq!(view.len(), 3 * PAGE + 10);
    assert_eq!((view[2 * PAGE - 1], view[2 * PAGE]), (2, 1));

    let (mut slots, _pending) = pool().allocate(2 * PAGE).cut(&[PAGE - 10, PAGE + 10]);
    assert!(
        slots[0].padded_rest(PAGE).is_none(),
        "the next byte is another slot's"
    );
}

#[test]
fn a_mapped_file_is_its_bytes_from_any_offset() {
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    let (_scratch, file) = Scratch::holding(&bytes);
    for (offset, len) in [
        (0, 200_000),
        (1, 10),
        (65_536, 100),
        (70_001, 129_999),
        (200_000, 0),
    ] {
        let view = Region::mapped(&file, offset as u64, len).unwrap().freeze();
        assert_eq!(*view, bytes[offset..offset + len]);
        assert!(!view.writable());
    }
    for (offset, len) in [(0, 200_001), (200_001, 0), (u64::MAX, 2)] {
        let error = Region::mapped(&file, offset, len).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
#[should_panic(expected = "cannot be written")]
fn a_mapped_file_is_not_cut_into_slots() {
    let (_scratch, file) = Scratch::holding(b"abc");
    let _ = Region::mapped(&file, 0, 3).unwrap().cut(&[3]);
}

#[test]
fn the_owner_of_borrowed_memory_is_dropped_last() {
    struct Owner(Vec<u8>, Arc<AtomicUsize>);
    impl Drop for Owner {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let mut owner = Owner(vec![0; 9], drops.clone());
    let (start, len) = (owner.0.as_mut_ptr(), owner.0.len());
    let (mut slots, pending) = Region::of(owner, start, len).cut(&[4, 5]);
    slots[0].push(b"abcd").unwrap();
    assert!(slots[1].padded_rest(64).is_none());
    slots[1].push(b"efghi").unwrap();
    let view = pending.join(slots).unwrap();
    let part = view.slice(3..=4);
    assert!(view.writable() && *view == *b"abcdefghi");
    assert_eq!(part.as_ptr(), start.wrapping_add(3).cast_const());
    drop(view);
    assert_eq!(part.as_slice(), b"de");
    assert_eq!(drops.load(SeqCst), 0);
    std::thread::spawn(move || drop(part)).join().unwrap();
    assert_eq!(drops.load(SeqCst), 1);

    let nothing = Region::of(Owner(Vec::new(), drops.clone()), ptr::null_mut(), 0);
    assert!(nothing.freeze().is_empty());
    assert_eq!(drops.load(SeqCst), 2);
}

#[test]
fn a_view_is_the_owner_of_shared_bytes() {
    let pool = pool();
    let region = Region::from_slice(&pool, &[5; 10_000]);
    let address = region.address();
    let bytes = bytes::Bytes::from_owner(region.freeze());
    let part = bytes.slice(100..200);
    drop(bytes);
    assert_eq!(part.as_ptr().addr(), address + 100);
    assert_ne!(pool.allocate(10_000).address(), address);
    drop(part);
    assert_eq!(pool.allocate(10_000).address(), address);
}

#[test]
#[should_panic(expected = "2..11 of 10 bytes")]
fn a_view_is_not_sliced_past_its_end() {
    Region::from_slice(&pool(), &[0; 10]).freeze().slice(2..11);
}
