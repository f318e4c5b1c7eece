//! Objects of one process, for documentation and tests. A bucket comes into being with its first object;
//! a forked child starts with what its parent had and shares nothing from then on.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::future::{BoxFuture, ready};

use super::local::clip;
use super::{
    Answer, Backend, Body, Entry, Meta, Method, Opened, Pages, PartWriter, PutOptions, ReadRange,
};
use crate::failure::{Failure, Kind, Result};
use crate::memory::{Slot, View};
use crate::runtime::offload;
use crate::trail::Trail;

const PAGE_ENTRIES: usize = 1000;

/// A longer copy would hold up the other tasks of its thread.
const AT_ONCE_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Object {
    data: Bytes,
    meta: Meta,
}

#[derive(Debug, Default)]
struct Bucket {
    created: f64,
    objects: BTreeMap<String, Arc<Object>>,
}

type Buckets = BTreeMap<String, Bucket>;

/// Held for the time of a look or a change, never while bytes are copied.
fn buckets() -> Result<MutexGuard<'static, Buckets>> {
    static BUCKETS: Mutex<Buckets> = Mutex::new(BTreeMap::new());
    static USED_IN: AtomicU32 = AtomicU32::new(0);
    let here = std::process::id();
    let first = USED_IN.compare_exchange(0, here, Relaxed, Relaxed);
    if first.is_ok() || first == Err(here) {
        return Ok(BUCKETS.lock().unwrap_or_else(PoisonError::into_inner));
    }
    // Forked: the lock may be held by a thread that does not exist here, and then it is never free.
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        match BUCKETS.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(guard)) => return Ok(guard.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_micros(50));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(
                    Kind::Timeout,
                    "the process was forked while its memory:// objects were being changed",
                )
                .hint("fork before the first use of memory://, or use spawn"));
            }
        }
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn new_etag() -> String {
    static VERSIONS: AtomicU64 = AtomicU64::new(1);
    format!("\"{:016x}\"", VERSIONS.fetch_add(1, Relaxed))
}

fn absent() -> Box<Failure> {
    Failure::new(Kind::NotFound, "no such object")
}

#[derive(Debug)]
pub struct Memory {
    bucket: String,
}

impl Memory {
    pub fn new(bucket: String) -> Self {
        Memory { bucket }
    }

    fn find(&self, key: &str) -> Result<Arc<Object>> {
        buckets()?
            .get(&self.bucket)
            .and_then(|bucket| bucket.objects.get(key))
            .cloned()
            .ok_or_else(absent)
    }

    fn open_now(&self, key: &str, range: &ReadRange<'_>, trail: &Trail) -> Result<Opened> {
        trail.request();
        let object = self.find(key)?;
        if range.if_match.is_some() && range.if_match != object.meta.etag.as_deref() {
            return Err(Failure::new(
                Kind::PreconditionFailed,
                "the object changed while it was being read",
            ));
        }
        let (start, length) = clip(object.meta.size, range)?;
        let end = start + length;
        Ok(Opened {
            meta: object.meta.clone(),
            start,
            length,
            body: Box::new(MemoryBody {
                // An object that is in memory has a size that fits.
                rest: object.data.slice(start as usize..end as usize),
                trail: trail.clone(),
            }),
        })
    }

    fn copy_now(&self, from: &str, to: &str) -> Result<Meta> {
        let object = self.find(from)?;
        let options = PutOptions {
            content_type: object.meta.content_type.clone(),
            metadata: object.meta.metadata.clone(),
            ..PutOptions::default()
        };
        store(&self.bucket, to, object.data.clone(), &options)
    }

    fn rename_now(&self, from: &str, to: &str) -> Result<Meta> {
        if from == to {
            return self.find(from).map(|object| object.meta.clone());
        }
        let meta = self.copy_now(from, to)?;
        self.delete_now(from)?;
        Ok(meta)
    }

    fn delete_now(&self, key: &str) -> Result<()> {
        if let Some(bucket) = buckets()?.get_mut(&self.bucket) {
            bucket.objects.remove(key);
        }
        Ok(())
    }
}

fn store(bucket: &str, key: &str, data: Bytes, options: &PutOptions) -> Result<Meta> {
    let mut buckets = buckets()?;
    let there = buckets.get(bucket).and_then(|b| b.objects.get(key));
    if options.if_absent && there.is_some() {
        return Err(Failure::new(Kind::AlreadyExists, "it exists already"));
    }
    if let Some(etag) = &options.if_match {
        let found = there.and_then(|object| object.meta.etag.clone());
        if found.as_ref() != Some(etag) {
            return Err(Failure::new(
                Kind::PreconditionFailed,
                match found {
                    Some(found) => format!("its etag is {found} by now, not {etag}"),
                    None => "there is no object with that etag: it does not exist".to_owned(),
                },
            ));
        }
    }
    let meta = Meta {
        size: data.len() as u64,
        etag: Some(new_etag()),
        version: None,
        modified: Some(now()),
        content_type: options.content_type.clone(),
        metadata: options.metadata.clone(),
    };
    let object = Arc::new(Object {
        data,
        meta: meta.clone(),
    });
    let bucket = buckets.entry(bucket.to_owned()).or_insert_with(|| Bucket {
        created: now(),
        ..Bucket::default()
    });
    bucket.objects.insert(key.to_owned(), object);
    Ok(meta)
}

/// The copy into the slot is to this store what a socket is to another.
struct MemoryBody {
    rest: Bytes,
    trail: Trail,
}

impl Body for MemoryBody {
    fn fill(&mut self, slot: Slot) -> BoxFuture<'_, (Slot, Result<()>)> {
        Box::pin(async move {
            let wanted = slot.remaining();
            if wanted > self.rest.len() {
                let detail = format!(
                    "{wanted} bytes are wanted, the range has {}",
                    self.rest.len()
                );
                return (slot, Err(Failure::new(Kind::Integrity, detail)));
            }
            let bytes = self.rest.split_to(wanted);
            self.trail.received(wanted);
            if wanted <= AT_ONCE_BYTES {
                return (copied(slot, &bytes), Ok(()));
            }
            let shared = Arc::new(Mutex::new(Some(slot)));
            let lent = shared.clone();
            let outcome = offload(move || {
                let mut place = lent.lock().unwrap_or_else(PoisonError::into_inner);
                *place = place.take().map(|slot| copied(slot, &bytes));
            })
            .await;
            let slot = shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .expect("a slot is put in above and taken out only here");
            (slot, outcome)
        })
    }
}

fn copied(mut slot: Slot, bytes: &[u8]) -> Slot {
    slot.rest().copy_from_slice(bytes);
    slot.advance(bytes.len());
    slot
}

struct MemoryWriter {
    bucket: String,
    key: String,
    options: PutOptions,
    /// `None` after close or abort.
    data: Option<Vec<u8>>,
    trail: Trail,
}

fn is_closed() -> Box<Failure> {
    Failure::new(
        Kind::InvalidArgument,
        "the writer was closed, aborted or broken before",
    )
}

impl PartWriter for MemoryWriter {
    fn write<'a>(&'a mut self, part: Bytes) -> Answer<'a, ()> {
        Box::pin(ready(match &mut self.data {
            Some(data) => {
                data.extend_from_slice(&part);
                self.trail.written(part.len());
                Ok(())
            }
            None => Err(is_closed()),
        }))
    }

    fn close<'a>(&'a mut self) -> Answer<'a, Meta> {
        Box::pin(ready(match self.data.take() {
            Some(data) => store(&self.bucket, &self.key, data.into(), &self.options),
            None => Err(is_closed()),
        }))
    }

    fn abort<'a>(&'a mut self) -> Answer<'a, ()> {
        self.data = None;
        Box::pin(ready(Ok(())))
    }
}

struct MemoryPages {
    bucket: String,
    prefix: String,
    recursive: bool,
    /// The next page starts here; `None` after the last.
    from: Option<Bound<String>>,
}

impl MemoryPages {
    fn page(&mut self) -> Result<Option<Vec<Entry>>> {
        let Some(mut from) = self.from.take() else {
            return Ok(None);
        };
        let buckets = buckets()?;
        let Some(bucket) = buckets.get(&self.bucket) else {
            return Ok(None);
        };
        let mut page = Vec::new();
        while page.len() < PAGE_ENTRIES {
            let next = bucket
                .objects
                .range((from, Bound::Unbounded))
                .next()
                .filter(|(key, _)| key.starts_with(&self.prefix));
            let Some((key, object)) = next else {
                return Ok((!page.is_empty()).then_some(page));
            };
            let below = key[self.prefix.len()..].find('/');
            from = match below {
                Some(slash) if !self.recursive => {
                    let folder = &key[..=self.prefix.len() + slash];
                    page.push(Entry {
                        key: folder.to_owned(),
                        is_prefix: true,
                        size: 0,
                        modified: None,
                        etag: None,
                    });
                    // '0' follows '/': the first key that cannot be below this folder.
                    Bound::Included(format!("{}0", &folder[..folder.len() - 1]))
                }
                _ => {
                    page.push(Entry {
                        key: key.clone(),
                        is_prefix: false,
                        size: object.meta.size,
                        modified: object.meta.modified,
                        etag: object.meta.etag.clone(),
                    });
                    Bound::Excluded(key.clone())
                }
            };
        }
        self.from = Some(from);
        Ok(Some(page))
    }
}

impl Pages for MemoryPages {
    fn next<'a>(&'a mut self) -> Answer<'a, Option<Vec<Entry>>> {
        Box::pin(ready(self.page()))
    }
}

impl Backend for Memory {
    fn open<'a>(
        &'a self,
        key: &'a str,
        range: ReadRange<'a>,
        trail: &'a Trail,
    ) -> Answer<'a, Opened> {
        Box::pin(ready(self.open_now(key, &range, trail)))
    }

    fn map<'a>(
        &'a self,
        _key: &'a str,
        _range: ReadRange<'a>,
        _trail: &'a Trail,
    ) -> Answer<'a, View> {
        Box::pin(ready(Err(Failure::new(
            Kind::Unsupported,
            "an object in memory has no file to map",
        ))))
    }

    fn stat<'a>(&'a self, key: &'a str, _trail: &'a Trail) -> Answer<'a, Meta> {
        Box::pin(ready(self.find(key).map(|object| object.meta.clone())))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        data: Bytes,
        options: &'a PutOptions,
        trail: &'a Trail,
    ) -> Answer<'a, Meta> {
        trail.request();
        trail.written(data.len());
        // `data` may be the caller's own memory, which changes after the call.
        let data = Bytes::copy_from_slice(&data);
        Box::pin(ready(store(&self.bucket, key, data, options)))
    }

    fn writer<'a>(
        &'a self,
        key: &'a str,
        options: &'a PutOptions,
        _in_flight: usize,
        trail: &'a Trail,
    ) -> Answer<'a, Box<dyn PartWriter>> {
        trail.request();
        let writer: Box<dyn PartWriter> = Box::new(MemoryWriter {
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            options: options.clone(),
            data: Some(Vec::new()),
            trail: trail.clone(),
        });
        Box::pin(ready(Ok(writer)))
    }

    fn list(&self, prefix: &str, recursive: bool, _trail: &Trail) -> Result<Box<dyn Pages>> {
        Ok(Box::new(MemoryPages {
            bucket: self.bucket.clone(),
            prefix: prefix.to_owned(),
            recursive,
            from: Some(Bound::Excluded(prefix.to_owned())),
        }))
    }

    fn delete<'a>(&'a self, key: &'a str, _trail: &'a Trail) -> Answer<'a, ()> {
        Box::pin(ready(self.delete_now(key)))
    }

    fn delete_many<'a>(
        &'a self,
        keys: &'a [String],
        _trail: &'a Trail,
    ) -> Answer<'a, Vec<Result<()>>> {
        let results = keys.iter().map(|key| self.delete_now(key)).collect();
        Box::pin(ready(Ok(results)))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str, _trail: &'a Trail) -> Answer<'a, Meta> {
        Box::pin(ready(self.copy_now(from, to)))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str, _trail: &'a Trail) -> Answer<'a, Meta> {
        Box::pin(ready(self.rename_now(from, to)))
    }

    fn presign<'a>(
        &'a self,
        _key: &'a str,
        _method: Method,
        _expires: Duration,
        _trail: &'a Trail,
    ) -> Answer<'a, String> {
        Box::pin(ready(Err(Failure::new(
            Kind::Unsupported,
            "an object in memory has no address to sign",
        ))))
    }

    fn list_buckets<'a>(&'a self, _trail: &'a Trail) -> Answer<'a, Vec<Entry>> {
        Box::pin(ready(buckets().map(|buckets| {
            let entry = |(name, bucket): (&String, &Bucket)| Entry {
                key: name.clone(),
                is_prefix: true,
                size: 0,
                modified: Some(bucket.created),
                etag: None,
            };
            buckets.iter().map(entry).collect()
        })))
    }

    fn create_bucket<'a>(&'a self, _trail: &'a Trail) -> Answer<'a, ()> {
        Box::pin(ready(buckets().and_then(|mut buckets| {
            if buckets.contains_key(&self.bucket) {
                return Err(Failure::new(Kind::AlreadyExists, "it exists already"));
            }
            let bucket = Bucket {
                created: now(),
                ..Bucket::default()
            };
            buckets.insert(self.bucket.clone(), bucket);
            Ok(())
        })))
    }

    fn delete_bucket<'a>(&'a self, _trail: &'a Trail) -> Answer<'a, ()> {
        Box::pin(ready(buckets().and_then(
            |mut buckets| match buckets.get(&self.bucket) {
                None => Err(Failure::new(Kind::NotFound, "no such bucket")),
                Some(bucket) if !bucket.objects.is_empty() => Err(Failure::new(
                    Kind::PreconditionFailed,
                    "the bucket is not empty",
                )),
                Some(_) => {
                    buckets.remove(&self.bucket);
                    Ok(())
                }
            },
        )))
    }
}
