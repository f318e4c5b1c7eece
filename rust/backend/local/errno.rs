//! What the kernel refused, as a failure. Nothing here is worth a retry unless it says so.

use rustix::io::Errno;

use crate::failure::{Failure, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Reading,
    Writing,
}

pub fn refusal(errno: Errno, doing: Doing) -> Box<Failure> {
    match (errno, doing) {
        (Errno::NOENT, _) => Failure::new(Kind::NotFound, "no such file"),
        (Errno::NOTDIR, Doing::Reading) => Failure::new(
            Kind::NotFound,
            "no such file: a part of its path is a file, not a folder",
        ),
        (Errno::NOTDIR, Doing::Writing) => parent_is_a_file(),
        (Errno::ISDIR, Doing::Reading) => is_a_folder(),
        (Errno::ISDIR, Doing::Writing) => {
            Failure::new(Kind::AlreadyExists, "a folder of that name exists")
        }
        (Errno::EXIST, _) => Failure::new(Kind::AlreadyExists, "it exists already"),
        (Errno::ACCESS | Errno::PERM, _) => {
            Failure::new(Kind::PermissionDenied, "permission denied")
                .hint("check the owner and the mode of the file and of its folders")
        }
        (Errno::ROFS, _) => Failure::new(Kind::PermissionDenied, "the file system is read-only"),
        (Errno::NOSPC, _) => Failure::new(Kind::QuotaExceeded, "no space left on the device"),
        (Errno::DQUOT, _) => Failure::new(Kind::QuotaExceeded, "the disk quota is used up"),
        (Errno::FBIG, _) => Failure::new(
            Kind::QuotaExceeded,
            "the file would be larger than the file system or the process may write",
        ),
        (Errno::NAMETOOLONG, _) => name_too_long(),
        (Errno::MFILE | Errno::NFILE, _) => Failure::new(Kind::Unexpected, "too many open files")
            .hint("raise the limit (`ulimit -n`) or lower max_in_flight")
            .retryable(),
        // A network file system has replaced the file under an open handle: opening it again helps.
        (Errno::STALE, _) => Failure::new(Kind::Unexpected, "the file handle is stale").retryable(),
        (other, _) => Failure::new(
            Kind::Unexpected,
            std::io::Error::from_raw_os_error(other.raw_os_error()).to_string(),
        ),
    }
}

pub fn refusal_of(error: &std::io::Error, doing: Doing) -> Box<Failure> {
    match Errno::from_io_error(error) {
        Some(errno) => refusal(errno, doing),
        None => Failure::new(Kind::Unexpected, error.to_string()),
    }
}

pub fn is_a_folder() -> Box<Failure> {
    Failure::new(Kind::NotFound, "it is a folder, not an object")
        .hint("list it to see the objects below it")
}

pub fn parent_is_a_file() -> Box<Failure> {
    Failure::new(
        Kind::AlreadyExists,
        "a part of its path is a file, so nothing can be below it",
    )
}

pub fn name_too_long() -> Box<Failure> {
    Failure::new(
        Kind::InvalidUri,
        "the name is longer than the file system allows",
    )
    .hint("most file systems take 255 bytes between two slashes and 4095 in all")
}
