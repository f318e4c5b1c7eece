//! Files that are there already: copied, moved, deleted.

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::Wanted;
use super::direct::Access;
use super::errno::{Doing, refusal};
use super::place::Condition;
use super::read::Source;
use super::version::Version;
use super::write::{Sink, make_folders, split, sync_folder};
use crate::backend::Meta;
use crate::failure::{Kind, Result};
use crate::trail::Trail;

/// Moves `from` to `to`; across file systems by a copy.
pub fn rename(from: &str, to: &str, sync: bool, trail: &Trail, wanted: &Wanted) -> Result<Meta> {
    let version = Version::of_path(from)?;
    let (folder, _) = split(to)?;
    if from == to {
        return Ok(version.meta());
    }
    let is_link = |path: &str| {
        rustix::fs::lstat(path)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    };
    Condition::None.check(to)?;
    // A link means another file at another place, and two names of one file are not moved at all.
    let same = Version::of_path(to).is_ok_and(|there| there == version);
    if !is_link(from) && !same {
        let mut moved = rustix::fs::rename(from, to);
        if moved == Err(Errno::NOENT) {
            make_folders(folder)?;
            moved = rustix::fs::rename(from, to);
        }
        match moved {
            Ok(()) => {
                if sync {
                    sync_folder(from)?;
                    sync_folder(to)?;
                }
                return Version::of_path(to).map(|version| version.meta());
            }
            Err(Errno::XDEV) => {}
            Err(errno) => return Err(refusal(errno, Doing::Writing)),
        }
    }
    let meta = copy(from, to, sync, trail, wanted)?;
    rustix::fs::unlink(from).map_err(|errno| refusal(errno, Doing::Writing))?;
    Ok(meta)
}

/// Through the page cache on `direct://` too: the kernel shares or copies the blocks by itself.
pub fn copy(from: &str, to: &str, sync: bool, trail: &Trail, wanted: &Wanted) -> Result<Meta> {
    trail.request();
    let source = Source::open(from, Access::Buffered)?;
    let mut sink = Sink::create(
        to.to_owned(),
        Condition::None,
        Access::Buffered,
        sync,
        trail.clone(),
    )?;
    sink.copy(&source, wanted)?;
    sink.finish(wanted)
}

/// Only the name is given up; what else it meant is left alone, folders above all.
pub fn delete(key: &str) -> Result<()> {
    match rustix::fs::unlinkat(CWD, key, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => Ok(()),
        Err(Errno::PERM) if Version::of_path(key).is_err_and(|f| f.kind == Kind::NotFound) => {
            Ok(())
        }
        Err(errno) => Err(refusal(errno, Doing::Writing)),
    }
}
