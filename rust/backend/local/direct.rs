//! Past the page cache: memory, offset and length in whole blocks, with a bounce where the caller's are not.

use std::fs::File;
use std::ops::ControlFlow;

use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;

use super::errno::{Doing, refusal};
use crate::failure::{Failure, Kind, Result};
use crate::memory::Slot;
use crate::trail::Trail;

/// Asked for when the kernel does not tell; enough for every disk in use.
const USUAL_ALIGNMENT: usize = 4096;

/// Large enough that a disk works at its full rate, small enough to stay in the processor's cache.
const BOUNCE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Buffered,
    Direct { or_buffered: bool },
}

impl Access {
    /// Turns the page cache off for `file`; the answer is the alignment, `None` where the cache stays.
    pub fn begin(self, file: &File) -> Result<Option<usize>> {
        if self == Access::Buffered {
            return Ok(None);
        }
        // Set on the open file: an `open` that refuses the flag leaves a created file behind.
        match rustix::fs::fcntl_setfl(file, OFlags::DIRECT) {
            Ok(()) => Ok(Some(alignment(file))),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.refused(file)?;
                Ok(None)
            }
            Err(errno) => Err(refusal(errno, Doing::Reading)),
        }
    }

    /// Goes back to the page cache, if the caller allowed it.
    pub fn refused(self, file: &File) -> Result<()> {
        if self == (Access::Direct { or_buffered: false }) {
            return Err(Failure::new(
                Kind::Unsupported,
                "the file system refuses to read and write past the page cache (O_DIRECT)",
            )
            .hint("use file://, or set the option direct_fallback=\"buffered\""));
        }
        end(file)
    }
}

/// Goes back to the page cache.
pub fn end(file: &File) -> Result<()> {
    rustix::fs::fcntl_setfl(file, OFlags::empty()).map_err(|errno| refusal(errno, Doing::Reading))
}

fn alignment(file: &File) -> usize {
    let told = match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        // Kernels before 6.1 leave the fields at zero; so do files that answer from the cache anyway.
        Ok(answer) => answer.stx_dio_mem_align.max(answer.stx_dio_offset_align) as usize,
        Err(_) => 0,
    };
    if told.is_power_of_two() {
        told.max(512)
    } else {
        USUAL_ALIGNMENT
    }
}

/// Memory of our own that starts at a multiple of `align`.
#[derive(Debug)]
pub struct Bounce {
    memory: Vec<u8>,
    start: usize,
    len: usize,
    pub align: usize,
}

impl Bounce {
    pub fn new(align: usize) -> Self {
        let len = BOUNCE_BYTES.max(align);
        let memory = vec![0; len + align];
        let start = memory.as_ptr().addr().wrapping_neg() % align;
        Bounce {
            memory,
            start,
            len,
            align,
        }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// One `pread` of bytes of `file` from `position` into `slot`: how many came, 0 at the end of the file;
/// `Break` when the file system has refused.
pub fn read_some(
    file: &File,
    position: u64,
    slot: &mut Slot,
    align: usize,
    at_most: usize,
    bounce: &mut Option<Bounce>,
    trail: &Trail,
) -> Result<ControlFlow<(), usize>> {
    let left = slot.remaining();
    let in_place =
        position.is_multiple_of(align as u64) && slot.rest().as_ptr().addr().is_multiple_of(align);
    let answer = if in_place && let Some(padded) = slot.padded_rest(align) {
        // The last block comes whole; what it holds past the slot is padding that nobody sees.
        let len = padded.len().min(at_most);
        pread(file, &mut padded[..len], position)
    } else if in_place && left >= align {
        let len = (left - left % align).min(at_most);
        pread(file, &mut slot.rest()[..len], position)
    } else {
        let bounce = bounce.get_or_insert_with(|| Bounce::new(align));
        let head = (position % align as u64) as usize;
        let bytes = bounce.bytes();
        let len = (head + left).next_multiple_of(align).min(bytes.len());
        pread(file, &mut bytes[..len], position - head as u64).map(|got| {
            let got = got.saturating_sub(head).min(left);
            slot.rest()[..got].copy_from_slice(&bytes[head..head + got]);
            trail.copied(got);
            got
        })
    };
    match answer {
        Ok(got) => {
            let got = got.min(left);
            slot.advance(got);
            Ok(ControlFlow::Continue(got))
        }
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(ControlFlow::Break(())),
        Err(errno) => Err(refusal(errno, Doing::Reading)),
    }
}

fn pread(file: &File, into: &mut [u8], position: u64) -> rustix::io::Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *into, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounce_is_aligned() {
        for align in [512, 4096, 65536] {
            let mut bounce = Bounce::new(align);
            assert_eq!(bounce.bytes().as_ptr().addr() % align, 0);
            assert_eq!(bounce.bytes().len() % align, 0);
        }
    }
}
