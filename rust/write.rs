//! Writing: whole objects in one request, large ones in parts of bounded memory, and what moves or removes.

use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{Backend, Meta, PartWriter, PutOptions};
use crate::failure::{Failure, Kind, Result};
use crate::many::each;
use crate::plan;
use crate::read::{Reader, overwritten_during};
use crate::runtime;
use crate::trail::{Counters, Trail};

/// What it takes to write to one store.
#[derive(Clone)]
pub struct Writer {
    pub backend: Arc<dyn Backend>,
    pub split_bytes: u64,
    pub part_bytes: u64,
    pub in_flight: usize,
    pub counters: Arc<Counters>,
}

impl Writer {
    fn trail(&self) -> Trail {
        Trail::new(self.counters.clone())
    }

    pub async fn put(&self, key: &str, data: Bytes, options: &PutOptions) -> Result<Meta> {
        let size = data.len() as u64;
        if self.backend.is_local() || size < self.split_bytes {
            return self.backend.put(key, data, options, &self.trail()).await;
        }
        let part = plan::upload_part(Some(size), self.part_bytes) as usize;
        let mut upload = Started::begin(self, key, options).await?;
        let mut start = 0;
        while start < data.len() {
            let end = data.len().min(start + part);
            upload.write(data.slice(start..end)).await?;
            start = end;
        }
        upload.close().await
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        self.backend.delete(key, &self.trail()).await
    }

    pub async fn copy(&self, from: &str, to: &str) -> Result<Meta> {
        self.backend.copy(from, to, &self.trail()).await
    }

    pub async fn rename(&self, from: &str, to: &str) -> Result<Meta> {
        self.backend.rename(from, to, &self.trail()).await
    }

    pub async fn put_many(
        &self,
        items: Vec<(Arc<str>, Bytes)>,
        max_in_flight: usize,
    ) -> std::result::Result<Vec<Meta>, (usize, Box<Failure>)> {
        let (writer, items) = (self.clone(), Arc::new(items));
        let todo = items.clone();
        let done = each(items.len(), max_in_flight, false, move |index| {
            let (writer, (key, data)) = (writer.clone(), todo[index].clone());
            async move { writer.put(&key, data, &PutOptions::default()).await }
        })
        .await?;
        done.into_iter()
            .enumerate()
            .map(|(index, outcome)| outcome.map_err(|failure| (index, failure)))
            .collect()
    }

    /// One result for each key; an absent object is no failure.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<Vec<Result<()>>> {
        const BATCH: usize = 1000;
        let mut results = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let trail = self.trail();
            results.extend(self.backend.delete_many(batch, &trail).await?);
        }
        Ok(results)
    }

    /// Removes everything below `prefix` and counts it. Memory holds one page.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        let trail = self.trail();
        let mut pages = self.backend.list(prefix, true, &trail)?;
        let mut count = 0;
        while let Some(page) = pages.next().await? {
            let keys: Vec<String> = page.into_iter().map(|entry| entry.key).collect();
            count += keys.len() as u64;
            for outcome in self.delete_many(keys).await? {
                outcome?;
            }
        }
        Ok(count)
    }

    /// From another store, in parts: the object never lies in memory whole.
    pub async fn copy_from(&self, source: &Reader, from: &str, to: &str) -> Result<Meta> {
        let trail = Trail::new(source.counters.clone());
        let found = source.backend.stat(from, &trail).await?;
        let options = PutOptions {
            content_type: found.content_type.clone(),
            metadata: if self.backend.is_local() {
                Default::default()
            } else {
                found.metadata.clone()
            },
            ..PutOptions::default()
        };
        let part = plan::upload_part(Some(found.size), self.part_bytes);
        let whole = Version {
            key: from.into(),
            size: found.size,
            etag: found.etag,
        };
        if found.size <= part {
            let data = source.exactly(&whole, 0, found.size).await?;
            return self.put(to, Bytes::from_owner(data), &options).await;
        }
        let mut upload = Started::begin(self, to, &options).await?;
        let mut offset = 0;
        while offset < found.size {
            let length = part.min(found.size - offset);
            let data = source.exactly(&whole, offset, length).await?;
            upload.write(Bytes::from_owner(data)).await?;
            offset += length;
        }
        upload.close().await
    }
}

/// One version of an object that is read piece by piece.
struct Version {
    key: Arc<str>,
    size: u64,
    etag: Option<String>,
}

impl Reader {
    async fn exactly(
        &self,
        version: &Version,
        offset: u64,
        length: u64,
    ) -> Result<crate::memory::View> {
        let (data, etag) = self
            .get_part(version.key.clone(), offset, length, version.etag.clone())
            .await?;
        if data.len() as u64 != length || etag != version.etag {
            return Err(overwritten_during("copy"));
        }
        debug_assert!(offset + length <= version.size);
        Ok(data)
    }
}

/// An upload in parts that has begun: it ends by `close`, or it leaves nothing behind.
struct Started {
    parts: Option<Box<dyn PartWriter>>,
}

impl Started {
    async fn begin(writer: &Writer, key: &str, options: &PutOptions) -> Result<Self> {
        let trail = writer.trail();
        let parts = writer
            .backend
            .writer(key, options, writer.in_flight, &trail)
            .await?;
        Ok(Started { parts: Some(parts) })
    }

    fn parts(&mut self) -> Result<&mut Box<dyn PartWriter>> {
        self.parts
            .as_mut()
            .ok_or_else(|| Failure::new(Kind::InvalidArgument, "the upload has ended already"))
    }

    async fn write(&mut self, part: Bytes) -> Result<()> {
        self.parts()?.write(part).await
    }

    async fn close(&mut self) -> Result<Meta> {
        let written = self.parts()?.close().await?;
        self.parts = None;
        Ok(written)
    }

    async fn abort(&mut self) -> Result<()> {
        match self.parts.take() {
            Some(mut parts) => parts.abort().await,
            None => Ok(()),
        }
    }
}

impl Drop for Started {
    /// Failed or cancelled half-way: the parts that arrived would cost their owner money.
    fn drop(&mut self) {
        if let (Some(mut parts), Ok(runtime)) = (self.parts.take(), runtime::current()) {
            runtime.tokio().spawn(async move {
                // Nobody is left to tell; the service's own clean-up is what remains.
                let _ = parts.abort().await;
            });
        }
    }
}

/// An object written piece by piece by someone who does not know its length yet.
pub struct Upload {
    writer: Writer,
    key: Arc<str>,
    options: PutOptions,
    buffer: Vec<u8>,
    part: u64,
    started: Option<Started>,
    ended: bool,
    /// A write began and has not succeeded: it failed, or was cancelled with its bytes half taken.
    midway: bool,
    total: u64,
}

impl Upload {
    pub fn new(writer: Writer, key: Arc<str>, options: PutOptions) -> Self {
        Upload {
            writer,
            key,
            options,
            buffer: Vec::new(),
            part: 0,
            started: None,
            ended: false,
            midway: false,
            total: 0,
        }
    }

    fn open(&self) -> Result<()> {
        if self.ended {
            return Err(Failure::new(
                Kind::InvalidArgument,
                "the writer is closed already",
            ));
        }
        if self.midway {
            return Err(Failure::new(
                Kind::Integrity,
                "an earlier write did not succeed, so the object would have a gap",
            ));
        }
        Ok(())
    }

    /// Takes a copy of `data`, so that the caller may use its memory again at once.
    pub async fn write(&mut self, data: Bytes) -> Result<u64> {
        self.open()?;
        self.midway = true;
        let mut rest = &data[..];
        while !rest.is_empty() {
            let size = plan::growing_part(self.part, self.writer.part_bytes) as usize;
            let take = rest.len().min(size - self.buffer.len());
            self.buffer.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            if self.buffer.len() == size {
                self.flush().await?;
            }
        }
        let trail = self.writer.trail();
        trail.copied(data.len());
        self.total += data.len() as u64;
        self.midway = false;
        Ok(data.len() as u64)
    }

    async fn flush(&mut self) -> Result<()> {
        if self.started.is_none() {
            self.started = Some(Started::begin(&self.writer, &self.key, &self.options).await?);
        }
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        self.part += 1;
        match &mut self.started {
            Some(started) => started.write(part).await,
            None => Ok(()),
        }
    }

    pub async fn close(&mut self) -> Result<Meta> {
        self.open()?;
        let outcome = if self.started.is_none() {
            let data = Bytes::from(std::mem::take(&mut self.buffer));
            self.writer.put(&self.key, data, &self.options).await
        } else {
            self.finish().await
        };
        self.ended = true;
        self.started = None;
        outcome.map(|written| Meta {
            size: self.total,
            ..written
        })
    }

    async fn finish(&mut self) -> Result<Meta> {
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        match &mut self.started {
            Some(started) => started.close().await,
            None => Err(Failure::new(Kind::Unexpected, "the upload was lost")),
        }
    }

    pub async fn abort(&mut self) -> Result<()> {
        self.ended = true;
        self.buffer = Vec::new();
        match self.started.take() {
            Some(mut started) => started.abort().await,
            None => Ok(()),
        }
    }
}
