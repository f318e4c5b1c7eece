//! Objects into files: written beside their place under a name of their own, then moved there whole.

use std::fs::File;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::direct::{self, Access, Bounce};
use super::errno::{Doing, name_too_long, parent_is_a_file, refusal, refusal_of};
use super::place::{self, Condition};
use super::read::Source;
use super::unfinished::{NAME_BYTES, Unfinished, unfinished_name};
use super::version::Version;
use super::{Wanted, still_wanted};
use crate::backend::{Answer, Meta, PartWriter};
use crate::failure::{Failure, Kind, Result};
use crate::runtime::offload;
use crate::trail::Trail;

/// Between two writes the work sees whether it is still wanted.
const STEP_BYTES: usize = 8 << 20;

/// The folder of `key` and its name in there.
pub fn split(key: &str) -> Result<(&str, &str)> {
    match key.rsplit_once('/') {
        Some((_, "")) | None => Err(Failure::new(
            Kind::InvalidUri,
            "a key that ends in \"/\" names a folder, and a folder holds no bytes",
        )),
        Some((_, name)) if name.len() > NAME_BYTES => Err(name_too_long()),
        Some(("", name)) => Ok(("/", name)),
        Some((folder, name)) => Ok((folder, name)),
    }
}

pub fn make_folders(folder: &str) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| match Errno::from_io_error(&error) {
        // Anything but a folder is in the way.
        Some(Errno::EXIST | Errno::NOTDIR) => parent_is_a_file(),
        _ => refusal_of(&error, Doing::Writing),
    })
}

/// Whole blocks past the page cache; `held` bytes wait for their block to become whole.
struct Blocks {
    bounce: Bounce,
    held: usize,
}

pub struct Sink {
    file: File,
    unfinished: Unfinished,
    target: String,
    condition: Condition,
    sync: bool,
    access: Access,
    blocks: Option<Blocks>,
    size: u64,
    trail: Trail,
}

impl Sink {
    pub fn create(
        target: String,
        condition: Condition,
        access: Access,
        sync: bool,
        trail: Trail,
    ) -> Result<Self> {
        let (folder, name) = split(&target)?;
        // What is sure to fail shall fail before the first byte is written.
        condition.check(&target)?;
        let path = format!("{}/{}", folder.trim_end_matches('/'), unfinished_name(name));
        trail.request();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || rustix::fs::open(path.as_str(), flags, Mode::from_raw_mode(0o666));
        let file = match create() {
            Err(Errno::NOENT) => {
                make_folders(folder)?;
                create()
            }
            other => other,
        };
        let file = File::from(file.map_err(|errno| refusal(errno, Doing::Writing))?);
        let unfinished = Unfinished::new(path);
        let blocks = access.begin(&file)?.map(|align| Blocks {
            bounce: Bounce::new(align),
            held: 0,
        });
        Ok(Sink {
            file,
            unfinished,
            target,
            condition,
            sync,
            access,
            blocks,
            size: 0,
            trail,
        })
    }

    pub fn write(&mut self, data: &[u8], wanted: &Wanted) -> Result<()> {
        for step in data.chunks(STEP_BYTES) {
            wanted.check()?;
            match self.blocks {
                Some(_) => self.write_blocks(step)?,
                None => write_all(&self.file, step)?,
            }
            self.size += step.len() as u64;
            self.trail.written(step.len());
        }
        Ok(())
    }

    fn write_blocks(&mut self, mut data: &[u8]) -> Result<()> {
        while let Some(Blocks { bounce, held }) = &mut self.blocks
            && !data.is_empty()
        {
            let bytes = bounce.bytes();
            let taken = data.len().min(bytes.len() - *held);
            bytes[*held..*held + taken].copy_from_slice(&data[..taken]);
            self.trail.copied(taken);
            *held += taken;
            data = &data[taken..];
            if *held == bytes.len() {
                self.flush_block()?;
            }
        }
        if self.blocks.is_none() {
            write_all(&self.file, data)?;
        }
        Ok(())
    }

    /// Writes what is held, padded to whole blocks.
    fn flush_block(&mut self) -> Result<()> {
        let Some(Blocks { bounce, held }) = &mut self.blocks else {
            return Ok(());
        };
        let len = held.next_multiple_of(bounce.align);
        bounce.bytes()[*held..len].fill(0);
        let mut block = &bounce.bytes()[..len];
        while !block.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.file, block)) {
                Ok(0) => return Err(nothing_taken()),
                Ok(written) => block = &block[written..],
                // Some file systems take the flag and refuse the write. A block of which a part was taken
                // stands before an end, such as that of the disk: the page cache says which.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    if block.len() == len {
                        self.access.refused(&self.file)?;
                    } else {
                        direct::end(&self.file)?;
                    }
                    write_all(&self.file, block)?;
                    self.blocks = None;
                    return Ok(());
                }
                Err(errno) => return Err(refusal(errno, Doing::Writing)),
            }
        }
        *held = 0;
        Ok(())
    }

    /// The rest of `source`, copied by the kernel where it can.
    pub fn copy(&mut self, source: &Source, wanted: &Wanted) -> Result<()> {
        let step = 64 << 20;
        let mut from = 0;
        while from < source.version.size {
            wanted.check()?;
            match rustix::fs::copy_file_range(&source.file, Some(&mut from), &self.file, None, step)
            {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                    break;
                }
                Err(errno) => return Err(refusal(errno, Doing::Writing)),
            }
        }
        let mut bytes = vec![
            0;
            if from < source.version.size {
                1 << 20
            } else {
                0
            }
        ];
        while from < source.version.size {
            wanted.check()?;
            let got =
                rustix::io::retry_on_intr(|| rustix::io::pread(&source.file, &mut bytes[..], from))
                    .map_err(|errno| refusal(errno, Doing::Reading))?;
            if got == 0 {
                break;
            }
            write_all(&self.file, &bytes[..got])?;
            from += got as u64;
        }
        self.size = source.version.size;
        source.check_unchanged()
    }

    /// Makes the file appear at its place, or leaves the place as it was.
    pub fn finish(mut self, wanted: &Wanted) -> Result<Meta> {
        if self.blocks.as_ref().is_some_and(|blocks| blocks.held > 0) {
            self.flush_block()?;
            rustix::fs::ftruncate(&self.file, self.size)
                .map_err(|errno| refusal(errno, Doing::Writing))?;
        }
        stamp(&self.file);
        if self.sync {
            rustix::fs::fsync(&self.file).map_err(|errno| refusal(errno, Doing::Writing))?;
        }
        let version = Version::of_file(&self.file)?;
        if version.size != self.size {
            return Err(Failure::new(
                Kind::Integrity,
                format!(
                    "{} bytes were written, the file has {}",
                    self.size, version.size
                ),
            ));
        }
        wanted.check()?;
        place::into(&mut self.unfinished, &self.target, &self.condition)?;
        if self.sync {
            sync_folder(&self.target)?;
        }
        Ok(version.meta())
    }
}

/// The kernel's own time of a write moves in steps of milliseconds, and a freed inode is used again at
/// once: two versions of one size could then have the same etag.
fn stamp(file: &File) {
    let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else {
        return;
    };
    let omitted = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    };
    let times = Timestamps {
        last_access: omitted,
        last_modification: Timespec {
            tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: now.subsec_nanos().into(),
        },
    };
    // A file system that keeps no such times gives its own, which is what there is then.
    let _ = rustix::fs::futimens(file, &times);
}

fn write_all(file: &File, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, data))
            .map_err(|errno| refusal(errno, Doing::Writing))?;
        if written == 0 {
            return Err(nothing_taken());
        }
        data = &data[written..];
    }
    Ok(())
}

fn nothing_taken() -> Box<Failure> {
    Failure::new(Kind::Unexpected, "the file system took none of the bytes")
}

pub fn sync_folder(key: &str) -> Result<()> {
    let (folder, _) = split(key)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, folder, flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(|errno| refusal(errno, Doing::Writing))
}

/// A file in parts. Dropped, it takes the unfinished file with it.
pub struct FileWriter {
    pub sink: Option<Sink>,
}

impl FileWriter {
    fn take(&mut self) -> Result<Sink> {
        self.sink.take().ok_or_else(|| {
            Failure::new(
                Kind::InvalidArgument,
                "the writer was closed, aborted or broken before",
            )
        })
    }
}

impl PartWriter for FileWriter {
    fn write<'a>(&'a mut self, part: Bytes) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut sink = self.take()?;
            let (keep, wanted) = still_wanted();
            let sink = offload(move || sink.write(&part, &wanted).map(|()| sink)).await??;
            drop(keep);
            self.sink = Some(sink);
            Ok(())
        })
    }

    fn close<'a>(&'a mut self) -> Answer<'a, Meta> {
        Box::pin(async move {
            let sink = self.take()?;
            let (keep, wanted) = still_wanted();
            let meta = offload(move || sink.finish(&wanted)).await?;
            drop(keep);
            meta
        })
    }

    fn abort<'a>(&'a mut self) -> Answer<'a, ()> {
        Box::pin(async move {
            match self.sink.take() {
                Some(sink) => offload(move || drop(sink)).await,
                None => Ok(()),
            }
        })
    }
}
