//! Listing: pages of entries below a prefix, filtered by a glob on what follows it.

use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use crate::backend::{Backend, Entry, Pages};
use crate::failure::{Failure, Kind, Result};
use crate::trail::{Counters, Trail};

pub struct Walk {
    pages: Box<dyn Pages>,
    prefix: usize,
    pattern: Option<GlobMatcher>,
}

/// `*` stays within one name, `**` crosses "/" (the syntax of the globset crate, literal separators).
pub fn glob(pattern: &str) -> Result<GlobMatcher> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| {
            Failure::new(
                Kind::InvalidArgument,
                format!("`pattern` must be a glob such as \"*.npy\", got {pattern:?}: {error}"),
            )
        })
}

impl Walk {
    pub fn new(
        backend: &Arc<dyn Backend>,
        prefix: &str,
        recursive: bool,
        pattern: Option<&str>,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        let pattern = pattern.map(glob).transpose()?;
        let trail = Trail::new(counters.clone());
        Ok(Walk {
            pages: backend.list(prefix, recursive, &trail)?,
            prefix: prefix.len(),
            pattern,
        })
    }

    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        let Some(mut page) = self.pages.next().await? else {
            return Ok(None);
        };
        if let Some(pattern) = &self.pattern {
            page.retain(|entry| {
                let below = entry.key.get(self.prefix..).unwrap_or_default();
                pattern.is_match(below.trim_end_matches('/'))
            });
        }
        Ok(Some(page))
    }

    pub async fn all(mut self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        while let Some(page) = self.next().await? {
            entries.extend(page);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_star_stays_within_one_name() {
        let one = glob("*.npy").unwrap();
        assert!(one.is_match("a.npy") && !one.is_match("x/a.npy"));
        assert!(glob("**/*.npy").unwrap().is_match("x/y/a.npy"));
        assert_eq!(glob("[").unwrap_err().kind, Kind::InvalidArgument);
    }
}
