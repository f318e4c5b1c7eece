//! The capped pool of idle blocks that regions are made of.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Block, HUGE, Home, LINE, Memory, PAGE, Region};

const IDLE: Duration = Duration::from_secs(60);

/// At most a quarter more than `len`, from 64 bytes up; whole 4 KiB pages from 4 KiB, whole
/// 2 MiB pages from 2 MiB. `None` when no address space holds it.
fn capacity_for(len: usize) -> Option<usize> {
    let step = match len {
        0..=PAGE => return Some(len.next_power_of_two().max(LINE)),
        HUGE.. => HUGE,
        _ => (len.next_power_of_two() / 8).max(PAGE),
    };
    len.checked_next_multiple_of(step)
        .filter(|capacity| *capacity <= isize::MAX as usize - HUGE)
}

/// A tenth of the machine's memory.
pub fn default_cap() -> usize {
    #[cfg(target_os = "linux")]
    {
        let machine = rustix::system::sysinfo();
        (machine.totalram as usize).saturating_mul(machine.mem_unit as usize) / 10
    }
    #[cfg(not(target_os = "linux"))]
    {
        1 << 30
    }
}

/// Keeps blocks for the next read: their pages are there already, which is most of a read's cost.
pub struct Pool {
    cap: usize,
    idle: Duration,
    /// In a forked child the lock may be held by a thread that is not there; it is never touched then.
    pid: u32,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    held: usize,
    /// By capacity; in each the one that came last is at the end.
    blocks: BTreeMap<usize, Vec<(Instant, Block)>>,
    swept: Option<Instant>,
}

impl Shelf {
    fn take(&mut self, capacity: usize) -> Option<Block> {
        let (&found, blocks) = self
            .blocks
            .range_mut(capacity..=capacity + capacity / 4)
            .next()?;
        let (_, block) = blocks.pop()?;
        if blocks.is_empty() {
            self.blocks.remove(&found);
        }
        self.held -= found;
        Some(block)
    }

    /// What has lain here for longer than `idle`; looks at most eight times in that while.
    fn sweep(&mut self, now: Instant, idle: Duration) -> Vec<(Instant, Block)> {
        let mut old = Vec::new();
        if now.duration_since(*self.swept.get_or_insert(now)) < idle / 8 {
            return old;
        }
        self.swept = Some(now);
        self.blocks.retain(|_, blocks| {
            let stale = blocks.partition_point(|(since, _)| now.duration_since(*since) >= idle);
            old.extend(blocks.drain(..stale));
            !blocks.is_empty()
        });
        self.held -= old.iter().map(|(_, block)| block.capacity).sum::<usize>();
        old
    }
}

impl Pool {
    /// Holds at most `cap_bytes` of memory that nobody uses; 0 holds none.
    pub fn new(cap_bytes: usize) -> Arc<Pool> {
        Pool::made_in(std::process::id(), cap_bytes, IDLE)
    }

    fn made_in(pid: u32, cap: usize, idle: Duration) -> Arc<Pool> {
        let shelf = Mutex::default();
        Arc::new(Pool {
            cap,
            idle,
            pid,
            shelf,
        })
    }

    /// Panics when the machine has no such memory; see `try_allocate`.
    pub fn allocate(self: &Arc<Self>, len: usize) -> Region {
        match self.try_allocate(len) {
            Ok(region) => region,
            Err(error) => panic!("no memory for {len} bytes: {error}"),
        }
    }

    /// A region of `len` bytes; what they hold is not defined, but they are initialised.
    pub fn try_allocate(self: &Arc<Self>, len: usize) -> io::Result<Region> {
        if len == 0 {
            return Ok(Region::empty(true));
        }
        let capacity = capacity_for(len).ok_or(io::ErrorKind::OutOfMemory)?;
        let block = match self.reuse(capacity) {
            Some(block) => block,
            None => Block::new(capacity)?,
        };
        Ok(Region {
            len,
            memory: Arc::new(Memory {
                ptr: block.ptr,
                capacity: block.capacity,
                writable: true,
                home: Home::Pool(Some(block), self.clone()),
            }),
        })
    }

    /// Bytes that lie here unused.
    pub fn held_bytes(&self) -> usize {
        self.lock().map_or(0, |shelf| shelf.held)
    }

    fn lock(&self) -> Option<MutexGuard<'_, Shelf>> {
        (self.pid == std::process::id())
            .then(|| self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reuse(&self, capacity: usize) -> Option<Block> {
        if self.cap == 0 {
            return None;
        }
        let mut shelf = self.lock()?;
        let old = shelf.sweep(Instant::now(), self.idle);
        let block = shelf.take(capacity);
        drop(shelf);
        // Unmapping takes long; nobody waits for the lock meanwhile.
        drop(old);
        block
    }

    pub(super) fn release(&self, block: Block) {
        if block.capacity > self.cap {
            return;
        }
        let Some(mut shelf) = self.lock() else { return };
        let now = Instant::now();
        let old = shelf.sweep(now, self.idle);
        let surplus = if shelf.held + block.capacity <= self.cap {
            shelf.held += block.capacity;
            let blocks = shelf.blocks.entry(block.capacity).or_default();
            blocks.push((now, block));
            None
        } else {
            Some(block)
        };
        drop(shelf);
        drop((old, surplus));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            // The fork may have come while another thread was changing the shelf.
            let shelf = self.shelf.get_mut().unwrap_or_else(PoisonError::into_inner);
            mem::forget(mem::take(shelf));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_capacity_wastes_little_and_keeps_whole_pages() {
        for len in [
            1,
            63,
            64,
            65,
            4095,
            4096,
            4097,
            70_000,
            MIB + 1,
            2 * MIB - 1,
            2 * MIB,
            100 * MIB + 1,
        ] {
            let capacity = capacity_for(len).unwrap();
            assert!(capacity >= len);
            assert!(
                capacity <= len + (len / 4).max(if len < PAGE { len.max(LINE) } else { PAGE })
                    || len >= HUGE
            );
            assert!(len >= HUGE || capacity <= HUGE);
            assert!(len < PAGE || capacity.is_multiple_of(PAGE));
            assert!(len < HUGE || capacity.is_multiple_of(HUGE) && capacity - len < HUGE);
        }
        assert_eq!(capacity_for(usize::MAX), None);
        assert_eq!(capacity_for(isize::MAX as usize), None);
    }

    #[test]
    fn the_default_cap_is_some_memory() {
        assert!(default_cap() > 16 * MIB);
    }

    #[test]
    fn memory_is_used_again_after_its_last_handle_and_not_before() {
        for len in [100, 10_000, 3 * MIB] {
            let pool = Pool::new(64 * MIB);
            let region = pool.allocate(len);
            let address = region.address();
            let view = region.freeze();
            let part = view.slice(10..20);
            drop(view);
            assert_ne!(pool.allocate(len).address(), address);
            drop(part);
            assert_eq!(pool.allocate(len).address(), address);
        }
    }

    #[test]
    fn a_block_serves_a_region_up_to_a_fifth_smaller() {
        let pool = Pool::new(64 * MIB);
        let address = pool.allocate(10 * MIB).address();
        assert_ne!(pool.allocate(6 * MIB).address(), address);
        assert_eq!(pool.allocate(8 * MIB).address(), address);
    }

    #[test]
    fn a_pool_holds_no_more_than_its_cap() {
        let pool = Pool::new(5 * MIB);
        let regions: Vec<Region> = (0..4).map(|_| pool.allocate(2 * MIB)).collect();
        assert_eq!(pool.held_bytes(), 0);
        drop(regions);
        assert_eq!(pool.held_bytes(), 4 * MIB);
        drop(pool.allocate(6 * MIB));
        assert_eq!(pool.held_bytes(), 4 * MIB);
        drop(pool.allocate(2 * MIB));
        assert_eq!(pool.held_bytes(), 4 * MIB);

        let none = Pool::new(0);
        drop(none.allocate(100));
        assert_eq!(none.held_bytes(), 0);
    }

    #[test]
    fn what_lies_idle_is_freed_at_the_next_call() {
        let pool = Pool::made_in(std::process::id(), 64 * MIB, Duration::from_millis(1));
        drop(pool.allocate(4 * MIB));
        drop(pool.allocate(100));
        assert!(pool.held_bytes() > 4 * MIB);
        std::thread::sleep(Duration::from_millis(5));
        drop(pool.allocate(1000));
        assert_eq!(pool.held_bytes(), 1024);
    }

    #[test]
    fn a_forked_child_never_waits_for_the_lock_of_its_parent() {
        let pool = Pool::made_in(std::process::id() ^ 1, 64 * MIB, IDLE);
        let held = pool.shelf.lock().unwrap();
        drop(pool.allocate(100));
        drop(pool.allocate(4 * MIB));
        assert_eq!(pool.held_bytes(), 0);
        drop(held);
        drop(pool);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let pool = Pool::new(0);
        for len in [usize::MAX, isize::MAX as usize, 1 << 50] {
            let error = pool.try_allocate(len).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        }
    }

    #[test]
    fn threads_share_a_pool() {
        let pool = Pool::new(MIB);
        std::thread::scope(|scope| {
            for seed in 0..4usize {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..500 {
                        let len = 1 + (seed * 7919 + round * 104_729) % 50_000;
                        let mark = (seed + round) as u8;
                        let view = Region::from_slice(pool, &vec![mark; len]).freeze();
                        assert!(view.iter().all(|byte| *byte == mark));
                    }
                });
            }
        });
        assert!(pool.held_bytes() <= MIB);
    }
}
