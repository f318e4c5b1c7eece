//! What one call did on its way: requests, retries and the service's last word; and the sums over a store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::failure::Failure;

/// Sums over the life of one store.
#[derive(Debug, Default)]
pub struct Counters {
    /// HTTP requests sent, or files opened.
    pub requests: AtomicU64,
    /// Requests repeated after a failure.
    pub retries: AtomicU64,
    /// Body bytes received into memory, whether the call succeeded or not.
    pub bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    /// Bytes that were moved once more inside the process on their way to the caller.
    pub bytes_copied: AtomicU64,
}

/// The service's answer to the last request, when it was not a success.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub code: Option<String>,
    pub message: Option<String>,
    pub request_id: Option<String>,
    pub retry_after: Option<Duration>,
    pub region: Option<String>,
}

/// The head of a success that brings a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub content_length: Option<u64>,
    /// First byte, one past the last, and the size of the whole object.
    pub content_range: Option<(u64, u64, u64)>,
}

/// How the last request ended.
#[derive(Clone, Debug, Default)]
pub enum Ending {
    #[default]
    Unknown,
    Success(Head),
    /// The service said no.
    Refused(Answer),
    /// There was no answer, or its body broke.
    Broken(Box<Failure>),
}

/// Requests of one call may run side by side, as the parts of an upload do; the end of one must not
/// hide why another failed.
#[derive(Debug, Default)]
struct Ended {
    last: Ending,
    failed: Option<Ending>,
}

/// One per call of a verb, forked for each request that runs beside others.
#[derive(Clone, Debug)]
pub struct Trail {
    pub counters: Arc<Counters>,
    ended: Arc<Mutex<Ended>>,
    attempts: Arc<AtomicU64>,
}

impl Trail {
    pub fn new(counters: Arc<Counters>) -> Self {
        Trail {
            counters,
            ended: Arc::default(),
            attempts: Arc::default(),
        }
    }

    /// The same call, another request of it: its own ending, the same sums.
    pub fn fork(&self) -> Self {
        Trail::new(self.counters.clone())
    }

    pub fn request(&self) {
        self.counters.requests.fetch_add(1, Relaxed);
        self.end(Ending::Unknown);
    }

    pub fn retry(&self) {
        self.attempts.fetch_add(1, Relaxed);
        self.counters.retries.fetch_add(1, Relaxed);
    }

    /// Tries made on this trail so far, the first included.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Relaxed) as u32 + 1
    }

    pub fn received(&self, bytes: usize) {
        self.counters.bytes_read.fetch_add(bytes as u64, Relaxed);
    }

    pub fn written(&self, bytes: usize) {
        self.counters.bytes_written.fetch_add(bytes as u64, Relaxed);
    }

    pub fn copied(&self, bytes: usize) {
        self.counters.bytes_copied.fetch_add(bytes as u64, Relaxed);
    }

    pub fn end(&self, ending: Ending) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(ending, Ending::Refused(_) | Ending::Broken(_)) {
            ended.failed = Some(ending.clone());
        }
        ended.last = ending;
    }

    /// How the last request ended.
    pub fn ending(&self) -> Ending {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.last.clone()
    }

    /// How the last request that failed ended, whatever others did since.
    pub fn failure(&self) -> Ending {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.failed.clone().unwrap_or_else(|| ended.last.clone())
    }
}
