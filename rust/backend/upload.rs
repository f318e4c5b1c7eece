//! An object on its way up through OpenDAL: in one request, or in parts side by side.

use bytes::Bytes;
use futures::FutureExt;
use opendal::raw::oio::WriteDyn;
use opendal::raw::{OpWrite, ServiceDyn};
use opendal::{OperationContext, options};

use super::object::{failed, first_line, meta, renewed};
use super::region::Regions;
use super::{Answer, Meta, PartWriter, PutOptions};
use crate::credentials::Credentials;
use crate::failure::{Failure, Kind, Result};
use crate::http::refused_among_others;
use crate::trail::{Ending, Trail};

pub struct Upload {
    writer: Box<dyn WriteDyn>,
    place: Place,
    arguments: OpWrite,
    /// The region that the writer was opened in.
    asked: String,
    /// The piece that waits in the writer: until the next one, no request has been made.
    first: Option<opendal::Buffer>,
    begun: bool,
    credentials: Credentials,
    trail: Trail,
    if_absent: bool,
    written: u64,
}

/// Where the object goes, and how.
pub struct Place {
    pub regions: Regions,
    pub context: OperationContext,
    pub key: String,
    pub in_flight: usize,
}

impl Place {
    fn writer(&self, options: &PutOptions) -> Result<(OpWrite, Box<dyn WriteDyn>)> {
        let here = self.regions.here();
        let (arguments, _) = OpWrite::from_options(
            &here.service.capability_dyn(),
            options::WriteOptions {
                if_not_exists: options.if_absent,
                if_match: options.if_match.clone(),
                content_type: options.content_type.clone(),
                user_metadata: (!options.metadata.is_empty())
                    .then(|| options.metadata.clone().into_iter().collect()),
                concurrent: self.in_flight,
                ..Default::default()
            },
        )
        .map_err(refuse)?;
        let writer = self.open(&arguments)?;
        Ok((arguments, writer))
    }

    fn open(&self, arguments: &OpWrite) -> Result<Box<dyn WriteDyn>> {
        let here = self.regions.here();
        here.service
            .write_dyn(&self.context, &self.key, arguments.clone())
            .map_err(refuse)
    }
}

fn refuse(error: opendal::Error) -> Box<Failure> {
    Failure::new(Kind::InvalidArgument, first_line(&error.to_string()))
}

impl Upload {
    pub fn new(
        place: Place,
        credentials: Credentials,
        options: &PutOptions,
        trail: &Trail,
    ) -> Result<Self> {
        let (arguments, writer) = place.writer(options)?;
        Ok(Upload {
            writer,
            asked: place.regions.here().name.clone(),
            place,
            arguments,
            first: None,
            begun: false,
            credentials,
            trail: trail.clone(),
            if_absent: options.if_absent,
            written: 0,
        })
    }

    /// Begins anew in the region that the first request was sent to, before anything was taken there.
    async fn moved(&mut self) -> Result<bool> {
        if self.begun || !self.place.regions.moved(&self.asked, &self.trail) {
            return Ok(false);
        }
        self.asked = self.place.regions.here().name.clone();
        self.writer = self.place.open(&self.arguments)?;
        if let Some(first) = self.first.clone() {
            self.writer.write_dyn(first).await.map_err(refuse)?;
        }
        Ok(true)
    }

    async fn renewed(&self) -> bool {
        renewed(&self.credentials, self.trail.failure(), &self.trail).await
    }

    async fn failed(&self, error: opendal::Error) -> Box<Failure> {
        let mut failure = match self.trail.failure() {
            Ending::Refused(_) | Ending::Broken(_) => refused_among_others(&self.trail),
            _ => failed(&self.credentials, error, &self.trail).await,
        };
        if failure.kind == Kind::PreconditionFailed && self.if_absent {
            failure.kind = Kind::AlreadyExists;
            failure.detail = "an object of this name exists already".into();
            if failure.attempts > 1 {
                failure.hint = Some("an earlier try of this very call may have written it".into());
            }
        }
        failure
    }
}

impl PartWriter for Upload {
    fn write(&mut self, part: Bytes) -> Answer<'_, ()> {
        async move {
            self.written += part.len() as u64;
            let part = opendal::Buffer::from(part);
            let mut outcome = self.writer.write_dyn(part.clone()).await;
            // A writer that failed has not taken the part.
            if outcome.is_err() && (self.moved().await? || self.renewed().await) {
                outcome = self.writer.write_dyn(part.clone()).await;
            }
            if outcome.is_ok() {
                self.begun |= self.first.is_some();
                self.first = (!self.begun).then_some(part);
            }
            match outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(self.failed(error).await),
            }
        }
        .boxed()
    }

    fn close(&mut self) -> Answer<'_, Meta> {
        async move {
            let mut outcome = self.writer.close_dyn().await;
            if outcome.is_err() && (self.moved().await? || self.renewed().await) {
                outcome = self.writer.close_dyn().await;
            }
            match outcome {
                Ok(metadata) => Ok(meta(&metadata, self.written)),
                Err(error) => Err(self.failed(error).await),
            }
        }
        .boxed()
    }

    fn abort(&mut self) -> Answer<'_, ()> {
        async move {
            match self.writer.abort_dyn().await {
                Ok(()) => Ok(()),
                Err(error) => Err(self.failed(error).await),
            }
        }
        .boxed()
    }
}
