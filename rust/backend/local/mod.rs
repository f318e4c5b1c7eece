//! Files as objects: a key is an absolute path. No user metadata, no content type; the etag is made of
//! the inode, the time of the last write and the size.

mod direct;
mod errno;
mod place;
mod read;
mod relocate;
#[cfg(test)]
mod tests;
mod unfinished;
mod version;
mod walk;
mod write;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Mode, StatxFlags};
use rustix::io::Errno;

use self::direct::Access;
use self::errno::{Doing, refusal};
use self::place::Condition;
use self::version::Version;
use self::walk::FilePages;
use self::write::{FileWriter, Sink};
use super::{
    Answer, Backend, Entry, Meta, Method, Opened, Pages, PartWriter, PutOptions, ReadRange,
};
use crate::failure::{Failure, Kind, Result};
use crate::memory::View;
use crate::runtime::offload;
use crate::trail::Trail;

pub use self::version::clip;

/// Keys that are deleted before the work sees whether it is still wanted.
const DELETE_KEYS: usize = 1000;

#[derive(Clone, Debug, Default)]
pub struct LocalOptions {
    /// The folder that the store is rooted at; what the verbs on buckets mean.
    pub root: String,
    /// Read and write past the page cache (O_DIRECT).
    pub direct: bool,
    /// Use the page cache where the file system refuses O_DIRECT, instead of failing.
    pub direct_fallback_buffered: bool,
    /// A written object is on the disk (fsync) before its put has succeeded.
    pub sync_files: bool,
}

#[derive(Debug)]
pub struct Local {
    root: String,
    access: Access,
    sync: bool,
}

impl Local {
    pub fn new(options: LocalOptions) -> Self {
        let root = match options.root.trim_end_matches('/') {
            "" => "/",
            root => root,
        };
        Local {
            root: root.to_owned(),
            access: if options.direct {
                Access::Direct {
                    or_buffered: options.direct_fallback_buffered,
                }
            } else {
                Access::Buffered
            },
            sync: options.sync_files,
        }
    }
}

/// Tells work on a file thread whether anybody still awaits it.
struct Wanted(Weak<()>);

fn still_wanted() -> (Arc<()>, Wanted) {
    let keep = Arc::new(());
    let wanted = Wanted(Arc::downgrade(&keep));
    (keep, wanted)
}

impl Wanted {
    fn check(&self) -> Result<()> {
        if self.0.strong_count() > 0 {
            Ok(())
        } else {
            Err(Failure::new(Kind::Unexpected, "it was cancelled"))
        }
    }
}

impl Backend for Local {
    fn open<'a>(
        &'a self,
        key: &'a str,
        range: ReadRange<'a>,
        trail: &'a Trail,
    ) -> Answer<'a, Opened> {
        Box::pin(async move { read::open(&object_path(key)?, range, self.access, trail).await })
    }

    fn map<'a>(&'a self, key: &'a str, range: ReadRange<'a>, trail: &'a Trail) -> Answer<'a, View> {
        Box::pin(async move { read::map(&object_path(key)?, range, trail).await })
    }

    fn stat<'a>(&'a self, key: &'a str, _trail: &'a Trail) -> Answer<'a, Meta> {
        let key = object_path(key);
        Box::pin(async move {
            let key = key?;
            offload(move || Version::of_path(&key).map(|version| version.meta())).await?
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        data: Bytes,
        options: &'a PutOptions,
        trail: &'a Trail,
    ) -> Answer<'a, Meta> {
        Box::pin(async move {
            let condition = Condition::of(options)?;
            let (key, trail) = (object_path(key)?, trail.clone());
            let (access, sync) = (self.access, self.sync);
            let (keep, wanted) = still_wanted();
            let meta = offload(move || {
                let mut sink = Sink::create(key, condition, access, sync, trail)?;
                sink.write(&data, &wanted)?;
                sink.finish(&wanted)
            })
            .await?;
            drop(keep);
            meta
        })
    }

    /// Parts go into one file, one after the other: `in_flight` has no meaning here.
    fn writer<'a>(
        &'a self,
        key: &'a str,
        options: &'a PutOptions,
        _in_flight: usize,
        trail: &'a Trail,
    ) -> Answer<'a, Box<dyn PartWriter>> {
        Box::pin(async move {
            let condition = Condition::of(options)?;
            let (key, trail) = (object_path(key)?, trail.clone());
            let (access, sync) = (self.access, self.sync);
            let sink = offload(move || Sink::create(key, condition, access, sync, trail)).await??;
            let writer: Box<dyn PartWriter> = Box::new(FileWriter { sink: Some(sink) });
            Ok(writer)
        })
    }

    fn list(&self, prefix: &str, recursive: bool, trail: &Trail) -> Result<Box<dyn Pages>> {
        Ok(Box::new(FilePages::new(&path(prefix), recursive, trail)))
    }

    /// Folders that become empty stay: whether they are wanted is not known here.
    fn delete<'a>(&'a self, key: &'a str, _trail: &'a Trail) -> Answer<'a, ()> {
        let key = object_path(key);
        Box::pin(async move {
            let key = key?;
            offload(move || relocate::delete(&key)).await?
        })
    }

    fn delete_many<'a>(
        &'a self,
        keys: &'a [String],
        _trail: &'a Trail,
    ) -> Answer<'a, Vec<Result<()>>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(keys.len());
            for some in keys.chunks(DELETE_KEYS) {
                let some: Vec<Result<String>> = some.iter().map(|key| object_path(key)).collect();
                let work = move || {
                    some.into_iter()
                        .map(|key| relocate::delete(&key?))
                        .collect::<Vec<_>>()
                };
                results.extend(offload(work).await?);
            }
            Ok(results)
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str, trail: &'a Trail) -> Answer<'a, Meta> {
        Box::pin(async move {
            let (from, to, trail) = (object_path(from)?, object_path(to)?, trail.clone());
            let sync = self.sync;
            let (keep, wanted) = still_wanted();
            let meta = offload(move || relocate::copy(&from, &to, sync, &trail, &wanted)).await?;
            drop(keep);
            meta
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str, trail: &'a Trail) -> Answer<'a, Meta> {
        Box::pin(async move {
            let (from, to, trail) = (object_path(from)?, object_path(to)?, trail.clone());
            let sync = self.sync;
            let (keep, wanted) = still_wanted();
            let meta = offload(move || relocate::rename(&from, &to, sync, &trail, &wanted)).await?;
            drop(keep);
            meta
        })
    }

    fn presign<'a>(
        &'a self,
        _key: &'a str,
        _method: Method,
        _expires: Duration,
        _trail: &'a Trail,
    ) -> Answer<'a, String> {
        Box::pin(async {
            Err(
                Failure::new(Kind::Unsupported, "a file has no address to sign")
                    .hint("give the path itself to whoever may read it"),
            )
        })
    }

    fn list_buckets<'a>(&'a self, trail: &'a Trail) -> Answer<'a, Vec<Entry>> {
        Box::pin(async move {
            let root = match self.root.as_str() {
                "/" => String::new(),
                root => format!("{}/", &root[1..]),
            };
            let mut pages = self.list(&root, false, trail)?;
            let mut buckets = Vec::new();
            while let Some(page) = pages.next().await? {
                buckets.extend(page.into_iter().filter(|entry| entry.is_prefix));
            }
            offload(move || {
                for bucket in &mut buckets {
                    bucket.modified = born(&path(&bucket.key));
                    bucket.key = bucket.key[root.len()..].trim_end_matches('/').to_owned();
                }
                buckets
            })
            .await
        })
    }

    fn create_bucket<'a>(&'a self, _trail: &'a Trail) -> Answer<'a, ()> {
        let root = self.root.clone();
        Box::pin(async move {
            offload(move || {
                if let Some((above, _)) = root.rsplit_once('/').filter(|(a, _)| !a.is_empty()) {
                    write::make_folders(above)?;
                }
                rustix::fs::mkdir(root.as_str(), Mode::from_raw_mode(0o777))
                    .map_err(|errno| refusal(errno, Doing::Writing))
            })
            .await?
        })
    }

    fn delete_bucket<'a>(&'a self, _trail: &'a Trail) -> Answer<'a, ()> {
        let root = self.root.clone();
        Box::pin(async move {
            offload(move || match rustix::fs::rmdir(root.as_str()) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Failure::new(
                    Kind::PreconditionFailed,
                    "the folder is not empty",
                )),
                Err(Errno::NOENT) => Err(Failure::new(Kind::NotFound, "no such folder")),
                Err(Errno::NOTDIR) => Err(Failure::new(Kind::NotFound, "it is not a folder")),
                other => other.map_err(|errno| refusal(errno, Doing::Writing)),
            })
            .await?
        })
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// Keys stand below the root of the file system, as they stand below a bucket elsewhere.
fn path(key: &str) -> String {
    format!("/{key}")
}

/// A key that the kernel would take for another one names no file.
fn object_path(key: &str) -> Result<String> {
    if key.starts_with('/') || key.ends_with('/') || key.contains("//") {
        return Err(Failure::new(
            Kind::InvalidUri,
            "a file has a name in every part of its path",
        ));
    }
    Ok(path(key))
}

/// When the folder was made, where the file system knows.
fn born(path: &str) -> Option<f64> {
    let answer = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BTIME).ok()?;
    let known = StatxFlags::from_bits_retain(answer.stx_mask).contains(StatxFlags::BTIME);
    known.then(|| answer.stx_btime.tv_sec as f64 + f64::from(answer.stx_btime.tv_nsec) / 1e9)
}
