//! What a store holds in one process, and how an operation on it is made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use pyo3::prelude::*;

use crate::backend::{self, Backend};
use crate::bridge::Operation;
use crate::config::Config;
use crate::failure::Result;
use crate::memory::Pool;
use crate::read::Reader;
use crate::trail::{Counters, Trail};
use crate::write::Writer;

/// A configuration, and what was made of it in the process that asks.
pub struct Link {
    pub config: Arc<Config>,
    pub counters: Arc<Counters>,
    live: ArcSwapOption<Live>,
}

/// What holds sockets and threads, and so belongs to one process.
pub struct Live {
    pid: u32,
    pub backend: Arc<dyn Backend>,
    pool: Arc<Pool>,
}

impl Link {
    pub fn new(config: Config) -> Self {
        Link {
            config: Arc::new(config),
            counters: Arc::default(),
            live: ArcSwapOption::empty(),
        }
    }

    pub fn live(&self) -> Result<Arc<Live>> {
        let pid = std::process::id();
        if let Some(live) = self.live.load_full() {
            if live.pid == pid {
                return Ok(live);
            }
            // Inherited through a fork: its sockets are the parent's.
            std::mem::forget(live);
        }
        let fresh = Arc::new(Live {
            pid,
            backend: backend::connect(&self.config)?,
            pool: pool(pid, self.config.read.pool_bytes),
        });
        std::mem::forget(self.live.swap(Some(fresh.clone())));
        Ok(fresh)
    }

    pub fn reader(&self) -> Result<Reader> {
        let live = self.live()?;
        Ok(Reader {
            backend: live.backend.clone(),
            pool: live.pool.clone(),
            split: self.config.read.split,
            policy: self.config.retry,
            max_in_flight: self.config.read.max_in_flight,
            mmap: self.config.read.mmap,
            counters: self.counters.clone(),
        })
    }

    pub fn writer(&self) -> Result<Writer> {
        Ok(Writer {
            backend: self.live()?.backend.clone(),
            split_bytes: self.config.write.split_bytes,
            part_bytes: self.config.write.part_bytes,
            in_flight: self.config.write.in_flight,
            counters: self.counters.clone(),
        })
    }

    /// The base of a listing's URIs, before the keys.
    pub fn base(&self) -> String {
        self.config.uri("")
    }

    /// An operation on one object, with its name in every failure.
    pub fn on<T, F>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(Reader, Writer, Arc<str>) -> F + Send + 'static,
        wrap: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Operation
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        let (uri, key): (String, Arc<str>) = (self.config.uri(key), key.into());
        let (reader, writer) = (self.reader(), self.writer());
        let work = async move {
            let outcome = async { work(reader?, writer?, key).await }.await;
            outcome.map_err(|failure| failure.during(action, &uri))
        };
        Operation::new(work, wrap)
    }

    /// An operation on the bucket, or on the account.
    pub fn on_bucket<T, F>(
        &self,
        action: &'static str,
        work: impl FnOnce(Arc<dyn Backend>, Trail) -> F + Send + 'static,
        wrap: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Operation
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        let (uri, live) = (self.config.bucket_uri(), self.live());
        let trail = Trail::new(self.counters.clone());
        let work = async move {
            let outcome = async { work(live?.backend.clone(), trail).await }.await;
            outcome.map_err(|failure| failure.during(action, &uri))
        };
        Operation::new(work, wrap)
    }
}

/// Stores with the same cap share one pool, for as long as the process lives.
fn pool(pid: u32, cap_bytes: usize) -> Arc<Pool> {
    static POOLS: Mutex<BTreeMap<(u32, usize), Arc<Pool>>> = Mutex::new(BTreeMap::new());
    // Held only while the interpreter's lock is, and so by no other thread during a fork.
    POOLS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry((pid, cap_bytes))
        .or_insert_with(|| Pool::new(cap_bytes))
        .clone()
}
