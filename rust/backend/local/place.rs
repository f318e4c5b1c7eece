//! The moment in which a finished file takes its place: always at once, under a condition if there is one.

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::errno::{Doing, refusal};
use super::unfinished::Unfinished;
use super::version::Version;
use crate::backend::PutOptions;
use crate::failure::{Failure, Kind, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    None,
    Absent,
    /// The etag of the file that is replaced. Holds against every writer that asks in this way on this
    /// machine; another program that writes between the check and the move is not seen.
    Etag(String),
}

impl Condition {
    pub fn of(options: &PutOptions) -> Result<Self> {
        if !options.metadata.is_empty() {
            return Err(
                Failure::new(Kind::Unsupported, "files keep no user metadata")
                    .hint("leave `metadata` out, or put it into an object of its own"),
            );
        }
        match (options.if_absent, &options.if_match) {
            (false, None) => Ok(Condition::None),
            (true, None) => Ok(Condition::Absent),
            (false, Some(etag)) => Ok(Condition::Etag(etag.clone())),
            (true, Some(_)) => Err(Failure::new(
                Kind::InvalidArgument,
                "if_absent and if_match exclude each other",
            )),
        }
    }

    /// What can be seen of it now. The last word is spoken when the file takes its place.
    pub fn check(&self, target: &str) -> Result<()> {
        let stat = match rustix::fs::lstat(target) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if matches!(self, Condition::Etag(_)) => return Err(vanished()),
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(refusal(errno, Doing::Writing)),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(refusal(Errno::ISDIR, Doing::Writing));
        }
        match self {
            Condition::None => Ok(()),
            Condition::Absent => Err(refusal(Errno::EXIST, Doing::Writing)),
            Condition::Etag(etag) => compare(target, etag),
        }
    }
}

fn vanished() -> Box<Failure> {
    Failure::new(
        Kind::PreconditionFailed,
        "there is no object with that etag: it does not exist",
    )
}

fn compare(target: &str, etag: &str) -> Result<()> {
    let there = Version::of_path(target)?.etag();
    if there == etag {
        return Ok(());
    }
    Err(Failure::new(
        Kind::PreconditionFailed,
        format!("its etag is {there} by now, not {etag}"),
    ))
}

/// A symbolic link at `target` is replaced itself; the file that it points to stays as it is.
pub fn into(file: &mut Unfinished, target: &str, condition: &Condition) -> Result<()> {
    let from = file.path.as_str();
    match condition {
        Condition::None => rustix::fs::rename(from, target),
        Condition::Absent => match no_replace(from, target) {
            // Not every file system knows the flag; every one that has hard links has this.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(CWD, from, CWD, target, AtFlags::empty())
                    .map_err(|errno| refusal(errno, Doing::Writing))?;
                return Ok(());
            }
            other => other,
        },
        Condition::Etag(etag) => return replace(file, target, etag),
    }
    .map_err(|errno| refusal(errno, Doing::Writing))?;
    file.placed = true;
    Ok(())
}

fn no_replace(from: &str, target: &str) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, target, RenameFlags::NOREPLACE)
}

/// The lock belongs to the version that is replaced, so of many that would replace it one succeeds.
fn replace(file: &mut Unfinished, target: &str, etag: &str) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let replaced = match rustix::fs::open(target, flags, Mode::empty()) {
        Ok(replaced) => replaced,
        Err(Errno::NOENT) => return Err(vanished()),
        Err(errno) => return Err(refusal(errno, Doing::Writing)),
    };
    // Nobody waits here, so nobody can hang here; a file system without locks leaves the check alone.
    if rustix::fs::flock(&replaced, FlockOperation::NonBlockingLockExclusive)
        == Err(Errno::WOULDBLOCK)
    {
        return Err(Failure::new(
            Kind::PreconditionFailed,
            "another writer is replacing it now",
        ));
    }
    compare(target, etag)?;
    rustix::fs::rename(file.path.as_str(), target)
        .map_err(|errno| refusal(errno, Doing::Writing))?;
    file.placed = true;
    Ok(())
}
