//! The promise that every store keeps: one object at a time, bytes into slots, failures as values.

pub mod local;
pub mod memory;
pub mod object;
pub mod region;
pub mod s3;
pub mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::config::{Config, Scheme};
use crate::credentials::{CredentialOptions, Credentials};
use crate::failure::{Failure, Kind, Result};
use crate::http::HttpClient;
use crate::memory::{Slot, View};
use crate::trail::Trail;

pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// What is known of one version of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    pub size: u64,
    pub etag: Option<String>,
    pub version: Option<String>,
    /// Seconds since the epoch.
    pub modified: Option<f64>,
    pub content_type: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Full key inside the bucket; ends in "/" for a prefix that stands for what lies below it.
    pub key: String,
    pub is_prefix: bool,
    pub size: u64,
    pub modified: Option<f64>,
    pub etag: Option<String>,
}

/// An object opened for reading: its version, and a body that brings `length` bytes from `start`.
pub struct Opened {
    /// `meta.size` is the size of the whole object, never that of the range.
    pub meta: Meta,
    pub start: u64,
    pub length: u64,
    pub body: Box<dyn Body>,
}

pub trait Body: Send {
    /// Fills the rest of `slot` and gives it back; on failure `slot.filled()` says how far it came,
    /// and those bytes stand. More bytes than the slot takes, or fewer, is an `Integrity` failure
    /// (fewer: retryable). The slot travels by value because the work may outlive the future.
    fn fill(&mut self, slot: Slot) -> BoxFuture<'_, (Slot, Result<()>)>;
}

/// Which bytes to read, and of which version.
#[derive(Clone, Debug, Default)]
pub struct ReadRange<'a> {
    pub offset: u64,
    /// At most this many bytes; `None` means to the end.
    pub length: Option<u64>,
    /// Fail with `PreconditionFailed` when the object has another etag by now.
    pub if_match: Option<&'a str>,
}

#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    pub if_absent: bool,
    pub if_match: Option<String>,
    pub content_type: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// Takes an object in parts; the object appears whole at `close`, or not at all.
pub trait PartWriter: Send {
    /// Parts come in order and are not empty; all but the last are at least 5 MiB.
    fn write<'a>(&'a mut self, part: Bytes) -> Answer<'a, ()>;
    fn close<'a>(&'a mut self) -> Answer<'a, Meta>;
    fn abort<'a>(&'a mut self) -> Answer<'a, ()>;
}

pub trait Pages: Send {
    /// The next page, or `None` after the last. A page may be empty.
    fn next<'a>(&'a mut self) -> Answer<'a, Option<Vec<Entry>>>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Head,
    Delete,
}

/// Keys are exact: nothing is decoded, trimmed or joined here.
pub trait Backend: Send + Sync {
    /// `offset` at or past the end of the object, for an object that has bytes, is a `Range` failure;
    /// an empty object opened at 0 is an empty body. A range that ends past the end is cut there.
    fn open<'a>(
        &'a self,
        key: &'a str,
        range: ReadRange<'a>,
        trail: &'a Trail,
    ) -> Answer<'a, Opened>;

    /// A view of the bytes without reading them, where the backend can.
    fn map<'a>(&'a self, key: &'a str, range: ReadRange<'a>, trail: &'a Trail) -> Answer<'a, View>;

    fn stat<'a>(&'a self, key: &'a str, trail: &'a Trail) -> Answer<'a, Meta>;

    /// The whole object in one request.
    fn put<'a>(
        &'a self,
        key: &'a str,
        data: Bytes,
        options: &'a PutOptions,
        trail: &'a Trail,
    ) -> Answer<'a, Meta>;

    /// At most `in_flight` parts travel at once; `write` waits for a place.
    fn writer<'a>(
        &'a self,
        key: &'a str,
        options: &'a PutOptions,
        in_flight: usize,
        trail: &'a Trail,
    ) -> Answer<'a, Box<dyn PartWriter>>;

    /// Everything whose key starts with `prefix` (which is empty or ends in "/"), the prefix itself
    /// excepted; one level, with prefixes, unless `recursive`. In the order of the keys' bytes within a page.
    fn list(&self, prefix: &str, recursive: bool, trail: &Trail) -> Result<Box<dyn Pages>>;

    /// An absent object is no failure; the answer says whether one was known to be there.
    fn delete<'a>(&'a self, key: &'a str, trail: &'a Trail) -> Answer<'a, ()>;

    /// One result for each key, in order.
    fn delete_many<'a>(
        &'a self,
        keys: &'a [String],
        trail: &'a Trail,
    ) -> Answer<'a, Vec<Result<()>>>;

    /// Within the store, without the bytes passing through here.
    fn copy<'a>(&'a self, from: &'a str, to: &'a str, trail: &'a Trail) -> Answer<'a, Meta>;

    fn rename<'a>(&'a self, from: &'a str, to: &'a str, trail: &'a Trail) -> Answer<'a, Meta>;

    fn presign<'a>(
        &'a self,
        key: &'a str,
        method: Method,
        expires: Duration,
        trail: &'a Trail,
    ) -> Answer<'a, String>;

    /// The buckets of the account (names, creation times); on files, the folders below the root.
    fn list_buckets<'a>(&'a self, trail: &'a Trail) -> Answer<'a, Vec<Entry>>;
    fn create_bucket<'a>(&'a self, trail: &'a Trail) -> Answer<'a, ()>;
    fn delete_bucket<'a>(&'a self, trail: &'a Trail) -> Answer<'a, ()>;

    /// Objects above this size are read and written in parts; a local file has no such need below it.
    fn is_local(&self) -> bool {
        false
    }
}

/// The backend that a configuration names. No request is made.
pub fn connect(config: &Config) -> Result<Arc<dyn Backend>> {
    Ok(match config.scheme {
        Scheme::Memory => Arc::new(memory::Memory::new(config.bucket.clone())),
        Scheme::File | Scheme::Direct => Arc::new(local::Local::new(local::LocalOptions {
            root: config.bucket.clone(),
            direct: config.scheme == Scheme::Direct,
            direct_fallback_buffered: config.direct_fallback_buffered,
            sync_files: config.write.sync_files,
        })),
        Scheme::S3 => Arc::new(connect_s3(config)?),
    })
}

fn connect_s3(config: &Config) -> Result<object::ObjectStore> {
    let s3 = &config.s3;
    let client = HttpClient::new(&config.http)?;
    let credentials = Credentials::new(
        CredentialOptions {
            access_key_id: s3.access_key_id.clone(),
            secret_access_key: s3.secret_access_key.clone(),
            session_token: s3.session_token.clone(),
            profile: s3.profile.clone(),
            role_arn: s3.role_arn.clone(),
            anonymous: s3.anonymous,
            source: s3.source.clone(),
            home: config.environment.get("HOME").map(Into::into),
            environment: config.environment.clone(),
            region: s3.region.clone(),
        },
        client.plain().clone(),
    )?;
    let policy = config.retry;
    let (config, theirs) = (config.clone(), (client.clone(), credentials.clone()));
    let first = config.s3.region.clone();
    let make = move |region: &str| s3_region(&config, region, &theirs.0, &theirs.1);
    Ok(object::ObjectStore::new(
        region::Regions::new(&first, Arc::new(make))?,
        client,
        policy,
        credentials,
    ))
}

fn s3_region(
    config: &Config,
    region: &str,
    client: &HttpClient,
    credentials: &Credentials,
) -> Result<region::Region> {
    let s3 = &config.s3;
    let (endpoint, path_style) = s3::endpoint(
        s3.endpoint.as_deref(),
        region,
        &config.bucket,
        &s3.addressing,
    )?;
    let mut builder = opendal::services::S3::default()
        // A request about the account has no bucket, and OpenDAL makes none of those.
        .bucket(if config.bucket.is_empty() {
            "-"
        } else {
            &config.bucket
        })
        .endpoint(&endpoint)
        .region(region)
        .disable_config_load()
        .disable_ec2_metadata()
        .credential_provider_chain(
            reqsign_core::ProvideCredentialChain::new().push(credentials.clone()),
        );
    if s3.anonymous {
        builder = builder.skip_signature();
    }
    if !path_style {
        builder = builder.enable_virtual_host_style();
    }
    let service = opendal::Builder::build(builder).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default().to_owned();
        Failure::new(Kind::InvalidArgument, line)
    })?;
    Ok(region::Region {
        name: region.to_owned(),
        service: Arc::new(service),
        requests: s3::S3Requests {
            client: client.clone(),
            credentials: credentials.clone(),
            policy: config.retry,
            endpoint,
            path_style,
            bucket: config.bucket.clone(),
            region: region.to_owned(),
        },
    })
}
