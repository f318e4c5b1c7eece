//! Which version of a file: what its etag is made of, and what may be read of it.

use std::fs::File;

use rustix::fs::{FileType, Stat};

use super::errno::{Doing, is_a_folder, refusal};
use crate::backend::{Entry, Meta, ReadRange};
use crate::failure::{Failure, Kind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    inode: u64,
    modified_ns: i128,
    pub size: u64,
}

impl Version {
    pub fn of(stat: &Stat) -> Self {
        Version {
            inode: stat.st_ino,
            modified_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }

    /// Only regular files are objects; a listing shows nothing else either.
    pub fn of_object(stat: &Stat) -> Result<Self> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Version::of(stat)),
            FileType::Directory => Err(is_a_folder()),
            _ => Err(Failure::new(
                Kind::NotFound,
                "it is a device, a pipe or a socket, not a file",
            )),
        }
    }

    pub fn of_path(path: &str) -> Result<Self> {
        let stat = rustix::fs::stat(path).map_err(|errno| refusal(errno, Doing::Reading))?;
        Version::of_object(&stat)
    }

    pub fn of_file(file: &File) -> Result<Self> {
        let stat = rustix::fs::fstat(file).map_err(|errno| refusal(errno, Doing::Reading))?;
        Version::of_object(&stat)
    }

    pub fn etag(&self) -> String {
        format!(
            "\"{:x}-{:x}-{:x}\"",
            self.inode, self.modified_ns, self.size
        )
    }

    pub fn modified(&self) -> f64 {
        self.modified_ns as f64 / 1e9
    }

    pub fn meta(&self) -> Meta {
        Meta {
            size: self.size,
            etag: Some(self.etag()),
            modified: Some(self.modified()),
            ..Meta::default()
        }
    }

    pub fn entry(&self, key: String) -> Entry {
        Entry {
            key,
            is_prefix: false,
            size: self.size,
            modified: Some(self.modified()),
            etag: Some(self.etag()),
        }
    }

    pub fn check(&self, if_match: Option<&str>) -> Result<()> {
        match if_match {
            Some(etag) if etag != self.etag() => Err(changed()),
            _ => Ok(()),
        }
    }
}

pub fn changed() -> Box<Failure> {
    Failure::new(
        Kind::PreconditionFailed,
        "the object changed while it was being read",
    )
}

/// The start and the length of what `range` asks of an object of `size` bytes.
pub fn clip(size: u64, range: &ReadRange<'_>) -> Result<(u64, u64)> {
    if range.offset > 0 && range.offset >= size {
        return Err(Failure::new(
            Kind::Range,
            format!(
                "offset {} is not inside the object of {size} bytes",
                range.offset
            ),
        ));
    }
    let rest = size - range.offset;
    Ok((range.offset, range.length.map_or(rest, |n| n.min(rest))))
}
