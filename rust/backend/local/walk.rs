//! Folders as listings: one level or all, in the order of the keys' bytes, a page at a time.
//!
//! A symbolic link to a file is that file. One to a folder is a prefix in the listing of one level and can be
//! listed by its own name, but `recursive` does not go through it: it may lead back here, or to files
//! that `delete_prefix` must never reach. Broken links, devices, pipes and sockets are no objects.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::errno::{Doing, refusal};
use super::unfinished::is_unfinished;
use super::version::Version;
use crate::backend::{Answer, Entry, Pages};
use crate::failure::{Failure, Kind, Result};
use crate::runtime::offload;
use crate::trail::Trail;

const PAGE_ENTRIES: usize = 4096;

/// Names that come with one system call.
const NAMES_BYTES: usize = 64 << 10;

struct Item {
    /// Ends in "/" for a folder, because that is how its keys compare with those beside it.
    name: String,
    /// Known where it had to be asked for to tell what the name means.
    version: Option<Version>,
}

struct Level {
    folder: OwnedFd,
    /// Full key, ends in "/".
    prefix: String,
    items: std::vec::IntoIter<Item>,
}

impl Level {
    /// `None` where there is no such folder (any more).
    fn open(
        parent: Option<&Level>,
        name: &str,
        prefix: String,
        recursive: bool,
        trail: &Trail,
    ) -> Result<Option<Level>> {
        trail.request();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match parent {
            Some(parent) => {
                let flags = flags | OFlags::NOFOLLOW;
                rustix::fs::openat(&parent.folder, name, flags, Mode::empty())
            }
            None => rustix::fs::openat(CWD, name, flags, Mode::empty()),
        };
        let folder = match opened {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(at(refusal(errno, Doing::Reading), &prefix)),
        };
        let mut items = read_names(&folder, &prefix, recursive)?;
        items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(Level {
            folder,
            prefix,
            items: items.into_iter(),
        }))
    }
}

fn read_names(folder: &OwnedFd, prefix: &str, recursive: bool) -> Result<Vec<Item>> {
    let mut memory = Vec::with_capacity(NAMES_BYTES);
    let mut names = RawDir::new(folder, memory.spare_capacity_mut());
    let mut items = Vec::new();
    while let Some(entry) = names.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Removed while it was read.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(at(refusal(errno, Doing::Reading), prefix)),
        };
        let Ok(name) = entry.file_name().to_str() else {
            return Err(Failure::new(
                Kind::Unsupported,
                format!(
                    "the name {:?} in {prefix} is not UTF-8, and keys are text",
                    entry.file_name()
                ),
            )
            .hint("rename that file"));
        };
        if name == "." || name == ".." || is_unfinished(name) {
            continue;
        }
        let mut version = None;
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            kind = match look(folder, name, AtFlags::SYMLINK_NOFOLLOW, prefix)? {
                Some((kind, _)) => kind,
                None => continue,
            };
        }
        if kind == FileType::Symlink {
            match look(folder, name, AtFlags::empty(), prefix)? {
                Some((FileType::RegularFile, found)) => {
                    kind = FileType::RegularFile;
                    version = Some(found);
                }
                Some((FileType::Directory, _)) if !recursive => kind = FileType::Directory,
                _ => continue,
            }
        }
        let name = match kind {
            FileType::RegularFile => name.to_owned(),
            FileType::Directory => format!("{name}/"),
            _ => continue,
        };
        items.push(Item { name, version });
    }
    Ok(items)
}

/// `None` where the name means nothing (any more).
fn look(
    folder: &OwnedFd,
    name: &str,
    flags: AtFlags,
    prefix: &str,
) -> Result<Option<(FileType, Version)>> {
    match rustix::fs::statat(folder, name, flags) {
        Ok(stat) => Ok(Some((
            FileType::from_raw_mode(stat.st_mode),
            Version::of(&stat),
        ))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(at(
            refusal(errno, Doing::Reading),
            &format!("{prefix}{name}"),
        )),
    }
}

fn at(mut failure: Box<Failure>, key: &str) -> Box<Failure> {
    failure.detail = format!("{} at {key}", failure.detail).into();
    failure
}

struct Walk {
    levels: Vec<Level>,
    recursive: bool,
    trail: Trail,
}

impl Walk {
    fn page(&mut self) -> Result<Vec<Entry>> {
        let mut page = Vec::new();
        while page.len() < PAGE_ENTRIES
            && let Some(level) = self.levels.last_mut()
        {
            let Some(item) = level.items.next() else {
                self.levels.pop();
                continue;
            };
            let key = format!("{}{}", level.prefix, item.name);
            match item.name.strip_suffix('/') {
                Some(name) if self.recursive => {
                    let below = Level::open(Some(level), name, key, true, &self.trail)?;
                    self.levels.extend(below);
                }
                Some(_) => page.push(Entry {
                    key,
                    is_prefix: true,
                    size: 0,
                    modified: None,
                    etag: None,
                }),
                None => {
                    let found = match item.version {
                        Some(version) => Some(version),
                        None => look(&level.folder, &item.name, AtFlags::empty(), &level.prefix)?
                            .map(|(_, version)| version),
                    };
                    page.extend(found.map(|version| version.entry(key)));
                }
            }
        }
        Ok(page)
    }
}

enum State {
    Start(String),
    Walking(Walk),
    Done,
    /// The walk is gone with a failure or with a question that nobody awaited.
    Broken,
}

pub struct FilePages {
    state: State,
    recursive: bool,
    trail: Trail,
}

impl FilePages {
    pub fn new(prefix: &str, recursive: bool, trail: &Trail) -> Self {
        FilePages {
            state: State::Start(prefix.to_owned()),
            recursive,
            trail: trail.clone(),
        }
    }
}

impl Pages for FilePages {
    fn next<'a>(&'a mut self) -> Answer<'a, Option<Vec<Entry>>> {
        Box::pin(async move {
            let (recursive, trail) = (self.recursive, self.trail.clone());
            let work = match std::mem::replace(&mut self.state, State::Broken) {
                State::Start(prefix) => {
                    offload(move || {
                        let root = Level::open(None, &prefix, prefix.clone(), recursive, &trail)?;
                        turn(Walk {
                            levels: root.into_iter().collect(),
                            recursive,
                            trail,
                        })
                    })
                    .await?
                }
                State::Walking(walk) => offload(move || turn(walk)).await?,
                State::Done => {
                    self.state = State::Done;
                    return Ok(None);
                }
                State::Broken => {
                    return Err(Failure::new(
                        Kind::Unexpected,
                        "the listing was broken off before and cannot go on",
                    ));
                }
            };
            let (walk, mut page) = work?;
            for entry in &mut page {
                // A key has no slash before it.
                entry.key.remove(0);
            }
            self.state = if walk.levels.is_empty() {
                State::Done
            } else {
                State::Walking(walk)
            };
            Ok((!page.is_empty()).then_some(page))
        })
    }
}

fn turn(mut walk: Walk) -> Result<(Walk, Vec<Entry>)> {
    let page = walk.page()?;
    Ok((walk, page))
}
