//! A file beside its place, under a name that listings do not show, until it is moved there whole.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The end of the names of files that are being written.
const UNFINISHED: &str = ".s3dlio-tmp";

pub const NAME_BYTES: usize = 255;

pub fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(UNFINISHED)
}

pub fn unfinished_name(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = format!(
        "{}-{}-{:08x}{UNFINISHED}",
        std::process::id(),
        COUNT.fetch_add(1, Relaxed),
        fastrand::u32(..),
    );
    let kept = name.floor_char_boundary(NAME_BYTES - unique.len() - 2);
    format!(".{}.{unique}", &name[..kept])
}

/// Goes away with its owner unless it has been moved to its place.
pub struct Unfinished {
    pub path: String,
    made_in: u32,
    pub placed: bool,
}

impl Unfinished {
    pub fn new(path: String) -> Self {
        Unfinished {
            path,
            made_in: std::process::id(),
            placed: false,
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A forked child holds a copy of this value, but the file is its parent's.
        if !self.placed && self.made_in == std::process::id() {
            let _ = rustix::fs::unlink(self.path.as_str());
        }
    }
}
