//! Memory that bytes are read into: regions out of a capped pool, cut into slots, joined into views.
//!
//! `Region` is the only handle to its bytes; `cut` hands them to `Slot`s that do not overlap; `join`
//! makes them a `View` when every byte has come. The block goes home when the last handle dies.
#![allow(unsafe_code)]

mod pending;
mod pool;
#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Bound, Deref, RangeBounds};
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

pub use pending::Pending;
pub use pool::{Pool, default_cap};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A cache line, and what jax asks for before it takes memory without copying it.
const LINE: usize = 64;
/// What O_DIRECT asks for.
const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;
/// From here on fresh pages, which come zeroed, cost less than the heap and zeroing it.
const MAPPED: usize = 128 << 10;
/// A multiple of every page size in use, so that the real one need not be known.
const MAP_STEP: u64 = 64 << 10;

/// Raw memory of the process, initialised, owned by this value.
struct Block {
    ptr: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a block is the only owner of its memory, which belongs to no thread.
unsafe impl Send for Block {}

impl Block {
    /// `capacity` comes from `capacity_for`: never zero, a multiple of its alignment.
    fn new(capacity: usize) -> io::Result<Block> {
        let ptr = match Block::heap_layout(capacity) {
            Some(layout) => {
                // SAFETY: the layout's size is not zero.
                NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(io::ErrorKind::OutOfMemory)?
            }
            None if capacity < HUGE => anonymous(capacity)?,
            None => huge_pages(capacity)?,
        };
        Ok(Block { ptr, capacity })
    }

    fn heap_layout(capacity: usize) -> Option<Layout> {
        let align = match capacity {
            MAPPED.. => return None,
            PAGE.. => PAGE,
            _ => LINE,
        };
        Layout::from_size_align(capacity, align).ok()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match Block::heap_layout(self.capacity) {
            // SAFETY: it was allocated with the same layout, and nothing refers to it any more.
            Some(layout) => unsafe { dealloc(self.ptr.as_ptr(), layout) },
            // SAFETY: the mapping is ours, of this length, and nothing refers to it any more.
            None => unsafe { unmap(self.ptr.as_ptr(), self.capacity) },
        }
    }
}

/// A private mapping of zero pages.
fn anonymous(span: usize) -> io::Result<NonNull<u8>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let base = unsafe { mmap_anonymous(ptr::null_mut(), span, access, MapFlags::PRIVATE)? };
    NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory.into())
}

/// Zero pages that start at a multiple of 2 MiB; the kernel is asked to back them by huge pages.
fn huge_pages(capacity: usize) -> io::Result<NonNull<u8>> {
    let base = anonymous(capacity + HUGE)?.as_ptr();
    let head = base.align_offset(HUGE);
    // SAFETY: `head` is less than HUGE, so all three parts lie inside the new mapping; only the
    // parts before and after the aligned one are given back.
    let start = unsafe {
        let start = base.add(head);
        unmap(base, head);
        unmap(start.add(capacity), HUGE - head);
        #[cfg(target_os = "linux")]
        {
            // A kernel without huge pages refuses; ordinary pages serve as well, only slower.
            let advice = rustix::mm::Advice::LinuxHugepage;
            let _ = rustix::mm::madvise(start.cast(), capacity, advice);
        }
        start
    };
    NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory.into())
}

/// # Safety
/// The caller owns the mapped pages and nobody uses them any more.
unsafe fn unmap(start: *mut u8, len: usize) {
    if len > 0 {
        // SAFETY: by this function's own contract.
        let gone = unsafe { munmap(start.cast(), len) };
        debug_assert!(gone.is_ok(), "munmap: {gone:?}");
    }
}

/// The bytes behind all handles of one region. Holds no reference to them, only where they are.
struct Memory {
    ptr: NonNull<u8>,
    /// From `ptr` on; what lies past the region's length may be written, and is never shown.
    capacity: usize,
    writable: bool,
    home: Home,
}

enum Home {
    Nowhere,
    /// `None` only while it is being dropped.
    Pool(Option<Block>, Arc<Pool>),
    /// Kept for its drop alone.
    Owner {
        _owner: Box<dyn Any + Send + Sync>,
    },
    /// The mapping starts this far before `ptr` and is this long.
    File {
        before: usize,
        span: usize,
    },
}

// SAFETY: `Memory` itself never reads or writes the bytes; its handles see to it that a byte has
// one writer or only readers. Owners are Send and Sync by their bound.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        match &mut self.home {
            Home::Pool(block, pool) => {
                if let Some(block) = block.take() {
                    pool.release(block);
                }
            }
            // SAFETY: these are the bounds of the mapping made in `mapped`; no handle is left.
            Home::File { before, span } => unsafe {
                unmap(self.ptr.as_ptr().sub(*before), *span);
            },
            Home::Nowhere | Home::Owner { .. } => {}
        }
    }
}

/// The exclusive handle to a stretch of memory: at 64 bytes, from 4 KiB at 4 KiB, from 2 MiB at 2 MiB.
pub struct Region {
    memory: Arc<Memory>,
    len: usize,
}

impl Region {
    fn empty(writable: bool) -> Region {
        #[repr(align(64))]
        struct Line;
        let memory = Memory {
            ptr: NonNull::<Line>::dangling().cast(),
            capacity: 0,
            writable,
            home: Home::Nowhere,
        };
        Region {
            memory: Arc::new(memory),
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the bytes are.
    pub fn address(&self) -> usize {
        self.memory.ptr.as_ptr().addr()
    }

    /// A copy of `bytes`.
    pub fn from_slice(pool: &Arc<Pool>, bytes: &[u8]) -> Region {
        let mut region = pool.allocate(bytes.len());
        region.bytes_mut().copy_from_slice(bytes);
        region
    }

    /// All bytes of the region, before it is cut. Panics if it is mapped.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.memory.writable, "a mapped file cannot be written");
        // SAFETY: these bytes are initialised, a region is the only handle to them, and the
        // mutable borrow keeps it so.
        unsafe { slice::from_raw_parts_mut(self.memory.ptr.as_ptr(), self.len) }
    }

    /// Memory of the caller's. `owner` is dropped when the last handle dies, on any thread.
    ///
    /// # Safety
    /// `ptr` gives `len` initialised bytes (it may be null for none) for as long as `owner` lives,
    /// and Rust code reaches them by no other way. They are writable, unless the region is frozen
    /// without being cut and nobody acts on `View::writable`.
    pub unsafe fn borrowed(owner: Box<dyn Any + Send + Sync>, ptr: *mut u8, len: usize) -> Region {
        let Some(ptr) = NonNull::new(ptr).filter(|_| len > 0) else {
            return Region::empty(true);
        };
        let home = Home::Owner { _owner: owner };
        let memory = Memory {
            ptr,
            capacity: len,
            writable: true,
            home,
        };
        Region {
            memory: Arc::new(memory),
            len,
        }
    }

    #[cfg(test)]
    fn of(owner: impl Any + Send + Sync, ptr: *mut u8, len: usize) -> Region {
        // SAFETY: tests hand over the bytes together with their owner.
        unsafe { Region::borrowed(Box::new(owner), ptr, len) }
    }

    /// The file's bytes themselves, read-only. Cutting the file short later makes reads of the lost
    /// pages kill the process (SIGBUS).
    pub fn mapped(file: &File, offset: u64, len: usize) -> io::Result<Region> {
        let size = file.metadata()?.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > size) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{len} bytes from {offset} on do not lie in a file of {size} bytes"),
            ));
        }
        if len == 0 {
            return Ok(Region::empty(false));
        }
        let before = (offset % MAP_STEP) as usize;
        let span = before + len;
        let start = offset - before as u64;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            mmap(
                ptr::null_mut(),
                span,
                ProtFlags::READ,
                MapFlags::SHARED,
                file.as_fd(),
                start,
            )?
        };
        // SAFETY: `before` is less than the length of the mapping.
        let ptr = NonNull::new(unsafe { base.cast::<u8>().add(before) })
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let home = Home::File { before, span };
        let memory = Memory {
            ptr,
            capacity: len,
            writable: false,
            home,
        };
        Ok(Region {
            memory: Arc::new(memory),
            len,
        })
    }

    /// The first `len` bytes of it; the rest is left alone. Panics if there are not as many.
    pub fn front(mut self, len: usize) -> Region {
        assert!(len <= self.len, "the front of a region lies inside it");
        self.len = len;
        self
    }

    /// Consecutive slots of these lengths. Panics unless they add up to the region, or if it is mapped.
    pub fn cut(self, lens: &[usize]) -> (Vec<Slot>, Pending) {
        let sum = lens
            .iter()
            .try_fold(0usize, |sum, len| sum.checked_add(*len));
        assert_eq!(sum, Some(self.len), "slots must add up to the region");
        assert!(self.memory.writable, "a mapped file cannot be written");
        let padding = match self.memory.home {
            Home::Pool(..) => self.memory.capacity - self.len,
            _ => 0,
        };
        let mut start = 0;
        let mut slots = Vec::with_capacity(lens.len());
        for (index, &len) in lens.iter().enumerate() {
            slots.push(Slot {
                // SAFETY: `start` is at most the sum of all lengths, which is the region's.
                ptr: unsafe { self.memory.ptr.add(start) },
                memory: self.memory.clone(),
                len,
                filled: 0,
                padding: if index + 1 == lens.len() { padding } else { 0 },
            });
            start += len;
        }
        (slots, Pending { region: self })
    }

    /// The whole region as it is.
    pub fn freeze(self) -> View {
        View {
            ptr: self.memory.ptr,
            len: self.len,
            memory: self.memory,
        }
    }
}

/// The only writer of one part of a region.
pub struct Slot {
    memory: Arc<Memory>,
    ptr: NonNull<u8>,
    len: usize,
    filled: usize,
    /// Bytes behind the slot that belong to nobody else.
    padding: usize,
}

// SAFETY: a slot is the only handle to its bytes, and they belong to no thread.
unsafe impl Send for Slot {}
// SAFETY: a shared slot gives no access to its bytes.
unsafe impl Sync for Slot {}

impl Slot {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn filled(&self) -> usize {
        self.filled
    }

    pub fn remaining(&self) -> usize {
        self.len - self.filled
    }

    pub fn is_full(&self) -> bool {
        self.filled == self.len
    }

    /// Where the next bytes belong; `advance` says how many came.
    pub fn rest(&mut self) -> &mut [u8] {
        let remaining = self.remaining();
        // SAFETY: these bytes are initialised, no other handle reaches them, and the mutable
        // borrow of the slot keeps it so.
        unsafe { slice::from_raw_parts_mut(self.ptr.add(self.filled).as_ptr(), remaining) }
    }

    /// Panics when `n` bytes do not fit.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.remaining(), "advanced past the end of a slot");
        self.filled += n;
    }

    /// Copies `frame` to the rest. A frame that does not fit changes nothing.
    pub fn push(&mut self, frame: &[u8]) -> io::Result<()> {
        let (came, left) = (frame.len(), self.remaining());
        let Some(place) = self.rest().get_mut(..came) else {
            let detail = format!("{came} bytes came where {left} were missing");
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        };
        place.copy_from_slice(frame);
        self.advance(came);
        Ok(())
    }

    /// The rest with its length rounded up to `align`, for O_DIRECT. `None` when it does not start
    /// at a multiple of `align`, or when the bytes behind it belong to others.
    pub fn padded_rest(&mut self, align: usize) -> Option<&mut [u8]> {
        let start = self.ptr.addr().get() + self.filled;
        let padded = self.remaining().checked_next_multiple_of(align)?;
        if !start.is_multiple_of(align) || padded > self.remaining() + self.padding {
            return None;
        }
        // SAFETY: as in `rest`; the padding lies inside the block and only the last slot has it.
        Some(unsafe { slice::from_raw_parts_mut(self.ptr.add(self.filled).as_ptr(), padded) })
    }
}

/// Bytes that Rust only reads, shared by all clones. Python may write to them through its own
/// buffers, as it may to any memory it shares; whoever reads meanwhile sees old bytes or new ones.
#[derive(Clone)]
pub struct View {
    memory: Arc<Memory>,
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: a view only reads, and the memory is shared by `Arc`.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the bytes are initialised, live as long as `memory`, and no slot is left.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }

    /// False for a mapped file.
    pub fn writable(&self) -> bool {
        self.memory.writable
    }

    /// A part of the same memory. Panics outside the view, as slices do.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> View {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len,
        };
        assert!(
            start <= end && end <= self.len,
            "{start}..{end} of {} bytes",
            self.len
        );
        View {
            memory: self.memory.clone(),
            // SAFETY: `start` is at most the view's length.
            ptr: unsafe { self.ptr.add(start) },
            len: end - start,
        }
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} bytes)", self.len)
    }
}
