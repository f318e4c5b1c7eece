//! Reading: ranges into the slots of one region, retried inside the slot, pinned to one version.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use crate::backend::{Backend, Meta, Opened, ReadRange};
use crate::failure::{Failure, Kind, Result};
use crate::memory::{Pool, Region, Slot, View};
use crate::plan::Split;
use crate::retry::Policy;
use crate::trail::{Counters, Trail};

/// What it takes to read from one store.
#[derive(Clone)]
pub struct Reader {
    pub backend: Arc<dyn Backend>,
    pub pool: Arc<Pool>,
    pub split: Split,
    pub policy: Policy,
    pub max_in_flight: usize,
    pub mmap: bool,
    pub counters: Arc<Counters>,
}

/// What a listing said of an object; a hint that saves a round trip, never a promise.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub size: Option<u64>,
    pub etag: Option<String>,
}

/// Where the bytes of a read shall lie.
pub enum Place<'a> {
    /// In memory of the pool.
    Fresh,
    /// There too, once the gate lets so many bytes in.
    Gated(&'a mut dyn Gate),
    /// In the caller's memory, which must take all of it.
    Given(Option<Region>),
}

pub trait Gate: Send {
    fn enter(&mut self, bytes: u64) -> BoxFuture<'_, ()>;
}

impl Place<'_> {
    async fn region(&mut self, pool: &Arc<Pool>, size: u64) -> Result<Region> {
        match self {
            Place::Fresh => {}
            Place::Gated(gate) => gate.enter(size).await,
            Place::Given(region) => {
                let region = region.take().ok_or_else(|| overwritten_during("read"))?;
                if size > region.len() as u64 {
                    return Err(Failure::new(
                        Kind::InvalidArgument,
                        format!(
                            "`out` holds {} bytes, but there are {size} to read",
                            region.len()
                        ),
                    ));
                }
                return Ok(region.front(size as usize));
            }
        }
        usize::try_from(size)
            .ok()
            .and_then(|length| pool.try_allocate(length).ok())
            .ok_or_else(|| {
                Failure::new(
                    Kind::QuotaExceeded,
                    format!("there is no memory for the {size} bytes of the object"),
                )
                .hint("read it in ranges, or with iter_many(memory_limit=…)")
            })
    }
}

/// Which bytes of which version are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub offset: u64,
    /// `None`: to the end.
    pub length: Option<u64>,
    /// The version that the caller insists on.
    pub etag: Option<String>,
}

/// This many bytes since the last failure show a connection that is worth another try; fewer would
/// let a service that drips hold a read for ever.
const PROGRESS: usize = 64 << 10;

/// How often a read starts over because the object was overwritten under it.
const FRESH_STARTS: u32 = 3;

impl Reader {
    pub async fn get(&self, key: Arc<str>, known: Known, crowded: bool) -> Result<View> {
        self.read(key, &Wanted::default(), known, crowded, Place::Fresh)
            .await
    }

    pub async fn get_gated(
        &self,
        key: Arc<str>,
        known: Known,
        crowded: bool,
        gate: &mut dyn Gate,
    ) -> Result<View> {
        let place = Place::Gated(gate);
        self.read(key, &Wanted::default(), known, crowded, place)
            .await
    }

    pub async fn get_range(&self, key: Arc<str>, wanted: &Wanted) -> Result<View> {
        if wanted.length == Some(0) {
            return self.nothing(&key, wanted.offset).await;
        }
        self.read(key, wanted, Known::default(), false, Place::Fresh)
            .await
    }

    /// A range of the version named by `if_match`, and the etag it came with.
    pub async fn get_part(
        &self,
        key: Arc<str>,
        offset: u64,
        length: u64,
        if_match: Option<String>,
    ) -> Result<(View, Option<String>)> {
        let most = Some(length).filter(|length| *length > 0);
        let (opened, trail) = self.open(&key, offset, most, if_match.as_deref()).await?;
        let Opened {
            meta,
            length: brought,
            body,
            ..
        } = opened;
        let length = length.min(brought);
        let etag = meta.etag.clone();
        let (mut slots, whole) = self.pool.allocate(length as usize).cut(&[length as usize]);
        let (part, slot) = (offset..offset + length, slots.remove(0));
        let slot = self
            .fill(key, meta, part, slot, Some((body, trail)))
            .await?;
        Ok((join(whole, vec![slot])?, etag))
    }

    /// A range without bytes is still a question: is the object there, and that long?
    async fn nothing(&self, key: &str, offset: u64) -> Result<View> {
        let trail = Trail::new(self.counters.clone());
        let meta = self.backend.stat(key, &trail).await?;
        if offset > meta.size {
            return Err(past_the_end(offset, meta.size));
        }
        Ok(self.pool.allocate(0).freeze())
    }

    /// Reads the wanted bytes into the front of `out`; says how many there were.
    pub async fn get_into(
        &self,
        key: Arc<str>,
        wanted: &Wanted,
        out: Region,
        crowded: bool,
    ) -> Result<u64> {
        if wanted.length == Some(0) {
            return self.nothing(&key, wanted.offset).await.map(|_| 0);
        }
        let place = Place::Given(Some(out));
        let view = self
            .read(key, wanted, Known::default(), crowded, place)
            .await?;
        Ok(view.len() as u64)
    }

    async fn read(
        &self,
        key: Arc<str>,
        wanted: &Wanted,
        known: Known,
        crowded: bool,
        mut place: Place<'_>,
    ) -> Result<View> {
        if self.mmap && self.backend.is_local() && matches!(place, Place::Fresh) {
            let range = ReadRange {
                offset: wanted.offset,
                length: wanted.length,
                if_match: wanted.etag.as_deref(),
            };
            let trail = Trail::new(self.counters.clone());
            return self.backend.map(&key, range, &trail).await;
        }
        let mut starts = 1;
        loop {
            let hint = if starts == 1 {
                &known
            } else {
                &Known::default()
            };
            match self
                .read_once(&key, wanted, hint, crowded, &mut place)
                .await
            {
                Err(failure)
                    if failure.kind == Kind::PreconditionFailed
                        && wanted.etag.is_none()
                        && !matches!(place, Place::Given(None))
                        && starts < FRESH_STARTS =>
                {
                    starts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn read_once(
        &self,
        key: &Arc<str>,
        wanted: &Wanted,
        known: &Known,
        crowded: bool,
        place: &mut Place<'_>,
    ) -> Result<View> {
        let (offset, length) = (wanted.offset, wanted.length);
        if let (Some(size), Some(etag), 0, None) = (known.size, &known.etag, offset, length) {
            let parts = self.split.parts(0..size, crowded);
            if parts.len() > 1 {
                let version = Meta {
                    size,
                    etag: Some(etag.clone()),
                    ..Meta::default()
                };
                let region = place.region(&self.pool, size).await?;
                let (slots, whole) = region.cut(&lengths(&parts));
                let work = parts.into_iter().zip(slots);
                let work = work.map(|(part, slot)| (part, slot, None)).collect();
                return join(whole, self.fill_all(key, version, work).await?);
            }
        }
        let most = self.first_question(wanted, known, crowded);
        let (opened, trail) = self.open(key, offset, most, wanted.etag.as_deref()).await?;
        let Opened {
            meta,
            length: first,
            body,
            ..
        } = opened;
        let end = length.map_or(meta.size, |length| {
            meta.size.min(offset.saturating_add(length))
        });
        let region = place.region(&self.pool, end.saturating_sub(offset)).await?;
        let parts = self.parts_after(offset, first, end, crowded);
        let (slots, whole) = region.cut(&lengths(&parts));
        let mut first = Some((body, trail));
        let mut work: Vec<_> = parts
            .into_iter()
            .zip(slots)
            .map(|(part, slot)| (part, slot, first.take()))
            .collect();
        if work.len() == 1 {
            let (part, slot, started) = work.remove(0);
            let slot = self.fill(key.clone(), meta, part, slot, started).await?;
            return join(whole, vec![slot]);
        }
        join(whole, self.fill_all(key, meta, work).await?)
    }

    /// How many bytes the first request asks for; `None`: all that are wanted.
    fn first_question(&self, wanted: &Wanted, known: &Known, crowded: bool) -> Option<u64> {
        if self.backend.is_local() {
            // The answer to the first question is an open file; it costs the same for any length.
            return wanted.length;
        }
        match (known.size, wanted.length, self.split.probe(crowded)) {
            (Some(size), None, _) if size < self.split.split_bytes => None,
            (_, Some(length), Some(probe)) => Some(length.min(probe)),
            (_, length, probe) => length.or(probe),
        }
    }

    /// The first body brings `first` bytes; what is left is split. Threads share the work on files.
    fn parts_after(&self, offset: u64, first: u64, end: u64, crowded: bool) -> Vec<Range<u64>> {
        if self.backend.is_local() {
            return self.split.parts(offset..end, crowded);
        }
        let brought = end.min(offset + first);
        std::iter::once(offset..brought)
            .chain(self.split.cut(brought..end))
            .collect()
    }

    /// Fills many slots at once, each in a task of its own, so that all cores take part.
    async fn fill_all(
        &self,
        key: &Arc<str>,
        version: Meta,
        work: Vec<(Range<u64>, Slot, Option<Started>)>,
    ) -> Result<Vec<Slot>> {
        let mut tasks = JoinSet::new();
        let mut done: Vec<Option<Slot>> = work.iter().map(|_| None).collect();
        let mut waiting = work.into_iter().enumerate();
        loop {
            while tasks.len() < self.max_in_flight {
                let Some((index, (part, slot, started))) = waiting.next() else {
                    break;
                };
                let (reader, key, version) = (self.clone(), key.clone(), version.clone());
                tasks.spawn(async move {
                    let slot = reader.fill(key, version, part, slot, started).await;
                    (index, slot)
                });
            }
            match tasks.join_next().await {
                None => return Ok(done.into_iter().flatten().collect()),
                Some(Ok((index, slot))) => done[index] = Some(slot?),
                Some(Err(_)) => {
                    return Err(Failure::new(Kind::Unexpected, "a reading task was lost"));
                }
            }
        }
    }

    /// Opens with retries; a failure that may pass is asked again.
    async fn open(
        &self,
        key: &str,
        offset: u64,
        length: Option<u64>,
        if_match: Option<&str>,
    ) -> Result<(Opened, Trail)> {
        let mut attempt = 1;
        loop {
            let trail = Trail::new(self.counters.clone());
            let range = ReadRange {
                offset,
                length,
                if_match,
            };
            match self.backend.open(key, range, &trail).await {
                Ok(opened) => return Ok((opened, trail)),
                Err(failure) => self.pause(failure, attempt).await?,
            }
            trail.retry();
            attempt += 1;
        }
    }

    async fn pause(&self, mut failure: Box<Failure>, attempt: u32) -> Result<()> {
        failure.attempts = failure.attempts.max(attempt);
        match self.policy.wait(&failure, attempt, fastrand::f64()) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(failure),
        }
        Ok(())
    }

    /// Fills one slot with `range` of `version`, going on where a broken body stopped.
    async fn fill(
        &self,
        key: Arc<str>,
        version: Meta,
        range: Range<u64>,
        mut slot: Slot,
        mut started: Option<Started>,
    ) -> Result<Slot> {
        let mut attempt = 1;
        let mut filled = slot.filled();
        loop {
            let outcome = match started.take() {
                Some((mut body, _)) => {
                    let (back, outcome) = body.fill(slot).await;
                    slot = back;
                    outcome
                }
                None => {
                    let trail = Trail::new(self.counters.clone());
                    let from = range.start + slot.filled() as u64;
                    let wanted = ReadRange {
                        offset: from,
                        length: Some(range.end - from),
                        if_match: version.etag.as_deref(),
                    };
                    match self.backend.open(&key, wanted, &trail).await {
                        Ok(mut opened) => match same(&version, &opened, from, range.end) {
                            Ok(()) => {
                                let (back, outcome) = opened.body.fill(slot).await;
                                slot = back;
                                outcome
                            }
                            Err(failure) => Err(failure),
                        },
                        Err(failure) => Err(overwritten(failure)),
                    }
                }
            };
            let failure = match outcome {
                Ok(()) => return Ok(slot),
                Err(failure) => failure,
            };
            if slot.filled() >= filled + PROGRESS {
                // It moved on: patience starts anew, and no byte is asked for twice.
                filled = slot.filled();
                attempt = 1;
            }
            self.pause(failure, attempt).await?;
            self.counters.retries.fetch_add(1, Relaxed);
            attempt += 1;
        }
    }

    pub async fn stat(&self, key: &str) -> Result<Meta> {
        self.backend
            .stat(key, &Trail::new(self.counters.clone()))
            .await
    }

    /// False means that the object is not there; whatever else goes wrong is a failure.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        match self.stat(key).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.kind == Kind::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

type Started = (Box<dyn crate::backend::Body>, Trail);

fn lengths(parts: &[Range<u64>]) -> Vec<usize> {
    parts
        .iter()
        .map(|part| (part.end - part.start) as usize)
        .collect()
}

fn join(whole: crate::memory::Pending, slots: Vec<Slot>) -> Result<View> {
    whole.join(slots).map_err(|missing| {
        Failure::new(
            Kind::Integrity,
            format!("{missing} bytes of the object never came"),
        )
    })
}

/// A later body must be of the version that the first one was of, and bring what is missing.
fn same(version: &Meta, opened: &Opened, from: u64, end: u64) -> Result<()> {
    let found = &opened.meta;
    let changed = found.size != version.size
        || (version.etag.is_some() && found.etag.is_some() && found.etag != version.etag)
        || (version.etag.is_none()
            && version.modified.is_some()
            && found.modified != version.modified);
    if changed {
        return Err(overwritten_during("read"));
    }
    if opened.start != from || opened.length != end - from {
        return Err(Failure::new(
            Kind::Integrity,
            format!(
                "{} bytes from {} came where {} from {from} were asked for",
                opened.length,
                opened.start,
                end - from
            ),
        )
        .retryable());
    }
    Ok(())
}

/// Whatever a later part is refused for, the first one was there: the object changed in between.
fn overwritten(failure: Box<Failure>) -> Box<Failure> {
    match failure.kind {
        Kind::PreconditionFailed | Kind::Range => overwritten_during("read"),
        _ => failure,
    }
}

pub fn overwritten_during(action: &'static str) -> Box<Failure> {
    let done = if action == "read" { "read" } else { "copied" };
    Failure::new(
        Kind::PreconditionFailed,
        format!("the object was overwritten while it was being {done}"),
    )
}

pub fn past_the_end(offset: u64, size: u64) -> Box<Failure> {
    Failure::new(
        Kind::Range,
        format!("the range starts at {offset}, but the object has {size} bytes"),
    )
}
