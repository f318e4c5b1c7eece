//! Object stores through OpenDAL's services: it signs, names and parses; bytes go straight to slots.
//!
//! The raw service interface is used, not `Operator`: an `Operator` trims spaces and joins slashes,
//! so that some keys could never be reached (docs/decisions/0001).

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use opendal::raw::oio::{CopyDyn, DeleteDyn, ReadStreamDyn};
use opendal::raw::{OpCopy, OpDelete, OpRead, OpReader, OpStat, ServiceDyn, Servicer};
use opendal::{BytesRange, Executor, HttpTransporter, Metadata, OperationContext, options};

use super::ReadRange;
use super::region::Regions;
use super::s3::{S3Requests, bulk::fits_xml, stale};
use super::upload::{Place, Upload};
use super::{Answer, Backend, Body, Entry, Meta, Method, Opened, Pages, PartWriter, PutOptions};
use crate::credentials::Credentials;
use crate::failure::{Failure, Kind, Result};
use crate::http::{HttpClient, Transport, refused};
use crate::memory::{Slot, View};
use crate::retry::Policy;
use crate::trail::{Ending, Head, Trail};

pub struct ObjectStore {
    regions: Regions,
    client: HttpClient,
    policy: Policy,
    credentials: Credentials,
}

impl ObjectStore {
    pub fn new(
        regions: Regions,
        client: HttpClient,
        policy: Policy,
        credentials: Credentials,
    ) -> Self {
        ObjectStore {
            regions,
            client,
            policy,
            credentials,
        }
    }

    fn context(&self, trail: &Trail) -> OperationContext {
        let transport = Transport {
            client: self.client.clone(),
            trail: trail.clone(),
            policy: self.policy,
        };
        OperationContext::from_parts(HttpTransporter::new(transport), Executor::default())
    }

    /// Makes a call of the service; once more where the bucket turns out to lie in another region, or
    /// the credentials are called stale and there are others.
    async fn call<'a, T>(
        &'a self,
        trail: &'a Trail,
        attempt: impl Fn(&Servicer, OperationContext) -> BoxFuture<'a, opendal::Result<T>> + Send,
    ) -> Result<T> {
        let mut tries = 1;
        loop {
            let here = self.regions.here();
            let error = match attempt(&here.service, self.context(trail)).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let again = tries <= 2
                && (self.regions.moved(&here.name, trail)
                    || renewed(&self.credentials, trail.ending(), trail).await);
            if !again {
                return Err(failed(&self.credentials, error, trail).await);
            }
            tries += 1;
        }
    }

    /// The same for one of our own requests, which look after their credentials themselves.
    async fn ask<'a, T>(
        &'a self,
        trail: &'a Trail,
        attempt: impl Fn(S3Requests) -> BoxFuture<'a, Result<T>> + Send,
    ) -> Result<T> {
        let here = self.regions.here();
        match attempt(here.requests.clone()).await {
            Err(_) if self.regions.moved(&here.name, trail) => {
                attempt(self.regions.here().requests.clone()).await
            }
            outcome => outcome,
        }
    }

    fn upload(
        &self,
        key: &str,
        options: &PutOptions,
        in_flight: usize,
        trail: &Trail,
    ) -> Result<Upload> {
        let place = Place {
            regions: self.regions.clone(),
            context: self.context(trail),
            key: key.to_owned(),
            in_flight,
        };
        Upload::new(place, self.credentials.clone(), options, trail)
    }
}

/// Whether the service refused credentials that could be replaced.
pub async fn renewed(credentials: &Credentials, ending: Ending, trail: &Trail) -> bool {
    let Ending::Refused(answer) = ending else {
        return false;
    };
    if !stale(answer.status, answer.code.as_deref().unwrap_or_default()) {
        return false;
    }
    let renewed = credentials.renew().await;
    if renewed {
        trail.retry();
    }
    renewed
}

/// What a failed OpenDAL call means: the trail saw the answer; without one it was the signing.
pub async fn failed(
    credentials: &Credentials,
    error: opendal::Error,
    trail: &Trail,
) -> Box<Failure> {
    match trail.ending() {
        Ending::Unknown if credentials.anonymous() => {
            Failure::new(Kind::Unexpected, first_line(&error.to_string()))
        }
        Ending::Unknown => match credentials.fetch().await {
            Err(failure) => failure,
            Ok(_) => Failure::new(Kind::Unexpected, first_line(&error.to_string())),
        },
        _ => refused(trail),
    }
}

pub fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

pub fn meta(metadata: &Metadata, size: u64) -> Meta {
    Meta {
        size,
        etag: metadata.etag().map(str::to_owned),
        version: metadata.version().map(str::to_owned),
        modified: metadata.last_modified().map(|time| {
            let time: std::time::SystemTime = time.into();
            time.duration_since(std::time::UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64())
        }),
        content_type: metadata.content_type().map(str::to_owned),
        metadata: metadata
            .user_metadata()
            .map(|all| {
                all.into_iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            })
            .unwrap_or_default(),
    }
}

impl Backend for ObjectStore {
    fn open<'a>(
        &'a self,
        key: &'a str,
        range: ReadRange<'a>,
        trail: &'a Trail,
    ) -> Answer<'a, Opened> {
        async move {
            let (arguments, _): (OpRead, OpReader) = options::ReaderOptions {
                if_match: range.if_match.map(str::to_owned),
                ..Default::default()
            }
            .into();
            let wanted = BytesRange::new(range.offset, range.length);
            let opened = self.call(trail, |service, context| {
                let reader = service.read_dyn(&context, key, arguments.clone());
                async move { reader?.open_dyn(wanted).await }.boxed()
            });
            let (answer, stream) = match opened.await {
                // Only an object without bytes has none at its start.
                Err(failure) if failure.kind == Kind::Range && range.offset == 0 => {
                    return Ok(empty());
                }
                opened => opened?,
            };
            let Ending::Success(head) = trail.ending() else {
                return Err(refused(trail));
            };
            let (start, end, size) = delivered(&range, &head)?;
            let metadata = answer.into_metadata();
            Ok(Opened {
                meta: metadata.map_or_else(Meta::default, |found| meta(&found, size)),
                start,
                length: end - start,
                body: Box::new(Frames {
                    stream,
                    client: self.client.clone(),
                    trail: trail.clone(),
                }),
            })
        }
        .boxed()
    }

    fn map<'a>(&'a self, _: &'a str, _: ReadRange<'a>, _: &'a Trail) -> Answer<'a, View> {
        async {
            Err(Failure::new(
                Kind::Unsupported,
                "objects of a service cannot be mapped into memory",
            )
            .hint("ReadOptions(mmap=True) is for file:// only"))
        }
        .boxed()
    }

    fn stat<'a>(&'a self, key: &'a str, trail: &'a Trail) -> Answer<'a, Meta> {
        async move {
            let answer = self.call(trail, |service, context| {
                let service = service.clone();
                async move { service.stat_dyn(&context, key, OpStat::new()).await }.boxed()
            });
            let metadata = answer.await?.into_metadata();
            let size = metadata.content_length();
            Ok(meta(&metadata, size))
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        data: Bytes,
        options: &'a PutOptions,
        trail: &'a Trail,
    ) -> Answer<'a, Meta> {
        async move {
            let size = data.len() as u64;
            let mut writer = self.upload(key, options, 1, trail)?;
            // A writer that sees one piece before its close sends it as one request.
            writer.write(data).await?;
            let written = writer.close().await?;
            Ok(Meta { size, ..written })
        }
        .boxed()
    }

    fn writer<'a>(
        &'a self,
        key: &'a str,
        options: &'a PutOptions,
        in_flight: usize,
        trail: &'a Trail,
    ) -> Answer<'a, Box<dyn PartWriter>> {
        async move {
            let writer = self.upload(key, options, in_flight, trail)?;
            Ok(Box::new(writer) as Box<dyn PartWriter>)
        }
        .boxed()
    }

    fn list(&self, prefix: &str, recursive: bool, trail: &Trail) -> Result<Box<dyn Pages>> {
        Ok(Box::new(self.regions.pages(prefix, recursive, trail)))
    }

    fn delete<'a>(&'a self, key: &'a str, trail: &'a Trail) -> Answer<'a, ()> {
        async move {
            self.call(trail, |service, context| {
                let deleter = service.delete_dyn(&context);
                async move {
                    let mut deleter = deleter?;
                    deleter.delete_dyn(key, OpDelete::new()).await?;
                    deleter.close_dyn().await
                }
                .boxed()
            })
            .await
        }
        .boxed()
    }

    fn delete_many<'a>(
        &'a self,
        keys: &'a [String],
        trail: &'a Trail,
    ) -> Answer<'a, Vec<Result<()>>> {
        async move {
            if keys.iter().all(|key| fits_xml(key)) {
                return self
                    .ask(trail, |requests| {
                        async move { requests.delete_objects(keys, trail).await }.boxed()
                    })
                    .await;
            }
            let mut outcomes = Vec::with_capacity(keys.len());
            for key in keys {
                outcomes.push(self.delete(key, trail).await);
            }
            Ok(outcomes)
        }
        .boxed()
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str, trail: &'a Trail) -> Answer<'a, Meta> {
        async move {
            self.call(trail, |service, context| {
                let copier = service.copy_dyn(&context, from, to, OpCopy::new());
                async move {
                    let mut copier = copier?;
                    while copier.next_dyn().await?.is_some() {}
                    copier.close_dyn().await
                }
                .boxed()
            })
            .await?;
            self.stat(to, trail).await
        }
        .boxed()
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str, trail: &'a Trail) -> Answer<'a, Meta> {
        async move {
            let copied = self.copy(from, to, trail).await?;
            self.delete(from, trail).await?;
            Ok(copied)
        }
        .boxed()
    }

    fn presign<'a>(
        &'a self,
        key: &'a str,
        method: Method,
        expires: Duration,
        trail: &'a Trail,
    ) -> Answer<'a, String> {
        self.ask(trail, move |requests| {
            async move { requests.presign(key, method, expires).await }.boxed()
        })
        .boxed()
    }

    fn list_buckets<'a>(&'a self, trail: &'a Trail) -> Answer<'a, Vec<Entry>> {
        self.ask(trail, move |requests| {
            async move { requests.list_buckets(trail).await }.boxed()
        })
        .boxed()
    }

    fn create_bucket<'a>(&'a self, trail: &'a Trail) -> Answer<'a, ()> {
        self.ask(trail, move |requests| {
            async move { requests.create_bucket(trail).await }.boxed()
        })
        .boxed()
    }

    fn delete_bucket<'a>(&'a self, trail: &'a Trail) -> Answer<'a, ()> {
        self.ask(trail, move |requests| {
            async move { requests.delete_bucket(trail).await }.boxed()
        })
        .boxed()
    }
}

/// Which bytes the body brings, and how large the whole object is: (start, end, size).
fn delivered(range: &ReadRange<'_>, head: &Head) -> Result<(u64, u64, u64)> {
    match (head.content_range, head.content_length) {
        (Some((start, end, size)), length) => {
            let fits = start == range.offset
                && end > start
                && end <= size
                && length.is_none_or(|length| length == end - start)
                && range.length.is_none_or(|most| end - start <= most);
            if fits {
                return Ok((start, end, size));
            }
            let asked = range.length.map_or("all".to_owned(), |n| n.to_string());
            let came = length.map_or("some".to_owned(), |n| n.to_string());
            Err(Failure::new(
                Kind::Integrity,
                format!(
                    "the service announced bytes {start} to {end} of {size} and sent {came} \
                     where {asked} were asked for from {}",
                    range.offset
                ),
            )
            .retryable())
        }
        // The whole object: what was asked for, or all that a service without ranges can do.
        (None, Some(size)) if range.offset == 0 => Ok((0, size, size)),
        (None, Some(_)) => Err(Failure::new(
            Kind::Unsupported,
            "the service ignored the range and sent the object from its start",
        )),
        (None, None) => Err(Failure::new(
            Kind::Unsupported,
            "the service did not say how large the object is",
        )),
    }
}

fn empty() -> Opened {
    Opened {
        meta: Meta::default(),
        start: 0,
        length: 0,
        body: Box::new(Nothing),
    }
}

struct Nothing;

impl Body for Nothing {
    fn fill(&mut self, slot: Slot) -> BoxFuture<'_, (Slot, Result<()>)> {
        async move { (slot, Ok(())) }.boxed()
    }
}

struct Frames {
    stream: Box<dyn ReadStreamDyn>,
    client: HttpClient,
    trail: Trail,
}

impl Frames {
    fn broken(&self, slot: &Slot) -> Box<Failure> {
        if let Ending::Broken(failure) = self.trail.ending() {
            return failure.retryable();
        }
        let (filled, all) = (slot.filled(), slot.len());
        let text = format!("the body ended after {filled} of {all} bytes");
        Failure::new(Kind::Integrity, text).retryable()
    }

    async fn pour(&mut self, slot: &mut Slot) -> Result<()> {
        while !slot.is_full() {
            let next = self.stream.read_dyn();
            let frame = match tokio::time::timeout(self.client.stall_timeout, next).await {
                Ok(Ok(frame)) => frame,
                Ok(Err(_)) => return Err(self.broken(slot)),
                Err(_) => {
                    let seconds = self.client.stall_timeout.as_secs_f64();
                    let text = format!("no byte of the body came for {seconds} s");
                    return Err(Failure::new(Kind::Timeout, text).retryable());
                }
            };
            if frame.is_empty() {
                return Err(self.broken(slot));
            }
            for piece in frame {
                self.trail.received(piece.len());
                if slot.push(&piece).is_err() {
                    let text =
                        format!("the body is longer than the {} bytes announced", slot.len());
                    return Err(Failure::new(Kind::Integrity, text));
                }
            }
        }
        Ok(())
    }
}

impl Body for Frames {
    fn fill(&mut self, mut slot: Slot) -> BoxFuture<'_, (Slot, Result<()>)> {
        async move {
            let outcome = self.pour(&mut slot).await;
            (slot, outcome)
        }
        .boxed()
    }
}
