//! Files into slots: one open, one fstat before and one after, as few preads as the kernel allows.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use rustix::fs::{Mode, OFlags};
use rustix::io::ReadWriteFlags;

use super::direct::{Access, read_some};
use super::errno::{Doing, refusal, refusal_of};
use super::version::{Version, changed, clip};
use super::{Wanted, still_wanted};
use crate::backend::{Body, Opened, ReadRange};
use crate::failure::{Failure, Kind, Result};
use crate::memory::{Region, Slot, View};
use crate::runtime::offload;
use crate::trail::Trail;

/// Up to here a copy from the page cache costs no more than waking another thread to make it.
const AT_ONCE_BYTES: usize = 64 << 10;

/// Between two preads the work sees whether it is still wanted; a multiple of a huge page.
const STEP_BYTES: usize = 8 << 20;

/// A file that is open, and the version that it had then.
pub struct Source {
    pub file: File,
    pub version: Version,
    access: Access,
    /// `None`: through the page cache.
    align: Option<usize>,
}

impl Source {
    pub fn open(path: &str, access: Access) -> Result<Self> {
        // Without NONBLOCK a named pipe would hold the thread until somebody writes to it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| refusal(errno, Doing::Reading))?;
        let version = Version::of_file(&file)?;
        let align = access.begin(&file)?;
        Ok(Source {
            file,
            version,
            access,
            align,
        })
    }

    /// A write in place moves the time of the file before its first byte.
    pub fn check_unchanged(&self) -> Result<()> {
        if Version::of_file(&self.file)? == self.version {
            Ok(())
        } else {
            Err(changed())
        }
    }

    /// Fills the rest of `slot` with the bytes from `position`.
    fn read(
        &self,
        mut position: u64,
        slot: &mut Slot,
        trail: &Trail,
        wanted: &Wanted,
    ) -> Result<()> {
        let mut align = self.align;
        let mut bounce = None;
        while !slot.is_full() {
            wanted.check()?;
            let got = match align {
                Some(align_bytes) => {
                    let (file, step) = (&self.file, STEP_BYTES.max(align_bytes));
                    match read_some(file, position, slot, align_bytes, step, &mut bounce, trail)? {
                        ControlFlow::Continue(got) => got,
                        ControlFlow::Break(()) => {
                            self.access.refused(&self.file)?;
                            align = None;
                            continue;
                        }
                    }
                }
                None => {
                    let rest = slot.rest();
                    let len = rest.len().min(STEP_BYTES);
                    let got = rustix::io::retry_on_intr(|| {
                        rustix::io::pread(&self.file, &mut rest[..len], position)
                    })
                    .map_err(|errno| refusal(errno, Doing::Reading))?;
                    slot.advance(got);
                    got
                }
            };
            if got == 0 {
                return Err(Failure::new(
                    Kind::Integrity,
                    "the file became shorter while it was being read",
                )
                .retryable());
            }
            trail.received(got);
            position += got as u64;
        }
        self.check_unchanged()
    }

    /// What the page cache has of it, without waiting for a disk.
    fn read_cached(&self, mut position: u64, slot: &mut Slot, trail: &Trail) {
        while !slot.is_full() {
            let mut rest = [IoSliceMut::new(slot.rest())];
            let flags = ReadWriteFlags::NOWAIT;
            match rustix::io::preadv2(&self.file, &mut rest, position, flags) {
                Ok(0) | Err(_) => break,
                Ok(got) => {
                    slot.advance(got);
                    trail.received(got);
                    position += got as u64;
                }
            }
        }
    }
}

pub async fn open(
    key: &str,
    range: ReadRange<'_>,
    access: Access,
    trail: &Trail,
) -> Result<Opened> {
    trail.request();
    let path = key.to_owned();
    let source = offload(move || Source::open(&path, access)).await??;
    source.version.check(range.if_match)?;
    let (start, length) = clip(source.version.size, &range)?;
    Ok(Opened {
        meta: source.version.meta(),
        start,
        length,
        body: Box::new(FileBody {
            source: Arc::new(source),
            position: start,
            remaining: length,
            trail: trail.clone(),
        }),
    })
}

pub async fn map(key: &str, range: ReadRange<'_>, trail: &Trail) -> Result<View> {
    trail.request();
    let path = key.to_owned();
    let (offset, length) = (range.offset, range.length);
    let if_match = range.if_match.map(str::to_owned);
    offload(move || {
        let source = Source::open(&path, Access::Buffered)?;
        source.version.check(if_match.as_deref())?;
        let asked = ReadRange {
            offset,
            length,
            if_match: None,
        };
        let (start, length) = clip(source.version.size, &asked)?;
        let length = usize::try_from(length)
            .map_err(|_| Failure::new(Kind::Range, "the file is larger than the address space"))?;
        Region::mapped(&source.file, start, length)
            .map(Region::freeze)
            .map_err(|error| refusal_of(&error, Doing::Reading))
    })
    .await?
}

struct FileBody {
    source: Arc<Source>,
    position: u64,
    remaining: u64,
    trail: Trail,
}

impl FileBody {
    async fn read(&self, mut slot: Slot) -> (Slot, Result<()>) {
        if self.source.align.is_none() && slot.remaining() <= AT_ONCE_BYTES {
            let before = slot.filled();
            self.source
                .read_cached(self.position, &mut slot, &self.trail);
            if slot.is_full() {
                return (slot, self.source.check_unchanged());
            }
            let came = (slot.filled() - before) as u64;
            return self.read_on_a_file_thread(self.position + came, slot).await;
        }
        self.read_on_a_file_thread(self.position, slot).await
    }

    async fn read_on_a_file_thread(&self, position: u64, slot: Slot) -> (Slot, Result<()>) {
        // Both sides hold it: the work when nobody awaits it any longer, we when the work panics.
        let shared = Arc::new(Mutex::new(Some(slot)));
        let (lent, source, trail) = (shared.clone(), self.source.clone(), self.trail.clone());
        let (keep, wanted) = still_wanted();
        let outcome = offload(move || {
            let mut slot = lent.lock().unwrap_or_else(PoisonError::into_inner);
            match slot.as_mut() {
                Some(slot) => source.read(position, slot, &trail, &wanted),
                None => Ok(()),
            }
        })
        .await;
        drop(keep);
        let slot = shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .expect("a slot is put in above and taken out only here");
        (slot, outcome.and_then(|outcome| outcome))
    }
}

impl Body for FileBody {
    fn fill(&mut self, slot: Slot) -> BoxFuture<'_, (Slot, Result<()>)> {
        Box::pin(async move {
            if slot.remaining() as u64 > self.remaining {
                let detail = format!(
                    "{} bytes are wanted, the range has {}",
                    slot.remaining(),
                    self.remaining
                );
                return (slot, Err(Failure::new(Kind::Integrity, detail)));
            }
            let before = slot.filled();
            let (slot, outcome) = self.read(slot).await;
            let came = (slot.filled() - before) as u64;
            self.position += came;
            self.remaining -= came;
            (slot, outcome)
        })
    }
}
