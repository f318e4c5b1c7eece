//! One store's configuration as a value: what the options said, in the units the core counts in.

use std::collections::HashMap;
use std::sync::Arc;

use crate::credentials::CredentialSource;
use crate::http::HttpOptions;
use crate::plan::Split;
use crate::retry::Policy;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    File,
    Direct,
    Memory,
    S3,
}

impl Scheme {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "file" => Scheme::File,
            "direct" => Scheme::Direct,
            "memory" => Scheme::Memory,
            "s3" => Scheme::S3,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Scheme::File => "file",
            Scheme::Direct => "direct",
            Scheme::Memory => "memory",
            Scheme::S3 => "s3",
        }
    }

    pub fn is_file(self) -> bool {
        matches!(self, Scheme::File | Scheme::Direct)
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    pub scheme: Scheme,
    /// For files, whose keys stand below "/": the path of the store's root folder.
    pub bucket: String,
    pub read: ReadConfig,
    pub write: WriteConfig,
    pub retry: Policy,
    pub http: HttpOptions,
    pub s3: S3Config,
    pub direct_fallback_buffered: bool,
    pub environment: HashMap<String, String>,
}

impl Config {
    /// The full URI of `key`, as a caller would write it.
    pub fn uri(&self, key: &str) -> String {
        match self.scheme {
            Scheme::File | Scheme::Direct => format!("{}:///{key}", self.scheme.name()),
            _ => format!("{}://{}/{key}", self.scheme.name(), self.bucket),
        }
    }

    /// The URI of the bucket, or of the folder that plays its part.
    pub fn bucket_uri(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.bucket)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ReadConfig {
    pub split: Split,
    pub max_in_flight: usize,
    pub join_gap_bytes: Option<u64>,
    pub mmap: bool,
    /// The most that freed memory may amount to before it goes back to the system.
    pub pool_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct WriteConfig {
    /// Objects at least this large go up in parts.
    pub split_bytes: u64,
    pub part_bytes: u64,
    pub in_flight: usize,
    pub sync_files: bool,
}

#[derive(Clone, Debug, Default)]
pub struct S3Config {
    pub endpoint: Option<String>,
    pub region: String,
    /// "auto", "path" or "virtual".
    pub addressing: String,
    pub profile: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub role_arn: Option<String>,
    pub anonymous: bool,
    pub source: Option<Arc<dyn CredentialSource>>,
}
