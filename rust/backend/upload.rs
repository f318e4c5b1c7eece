//! An object on its way up through OpenDAL: in one request, or in parts side by side.

use bytes::Bytes;
use futures::FutureExt;
use opendal::raw::oio::WriteDyn;
use opendal::raw::{OpWrite, ServiceDyn, Servicer};
use opendal::{OperationContext, options};

use super::object::{failed, first_line, meta, renewed};
use super::{Answer, Meta, PartWriter, PutOptions};
use crate::credentials::Credentials;
use crate::failure::{Failure, Kind, Result};
use crate::http::refused_among_others;
use crate::trail::{Ending, Trail};

pub struct Upload {
    writer: Box<dyn WriteDyn>,
    credentials: Credentials,
    trail: Trail,
    if_absent: bool,
    written: u64,
}

impl Upload {
    pub fn new(
        service: &Servicer,
        context: OperationContext,
        credentials: Credentials,
        key: &str,
        options: &PutOptions,
        in_flight: usize,
        trail: &Trail,
    ) -> Result<Self> {
        let refuse = |error: opendal::Error| {
            Failure::new(Kind::InvalidArgument, first_line(&error.to_string()))
        };
        let (arguments, _) = OpWrite::from_options(
            &service.capability_dyn(),
            options::WriteOptions {
                if_not_exists: options.if_absent,
                if_match: options.if_match.clone(),
                content_type: options.content_type.clone(),
                user_metadata: (!options.metadata.is_empty())
                    .then(|| options.metadata.clone().into_iter().collect()),
                concurrent: in_flight,
                ..Default::default()
            },
        )
        .map_err(refuse)?;
        let writer = service
            .write_dyn(&context, key, arguments)
            .map_err(refuse)?;
        Ok(Upload {
            writer,
            credentials,
            trail: trail.clone(),
            if_absent: options.if_absent,
            written: 0,
        })
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
            if outcome.is_err() && self.renewed().await {
                // A writer that failed has not taken the part.
                outcome = self.writer.write_dyn(part).await;
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
            if outcome.is_err() && self.renewed().await {
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
