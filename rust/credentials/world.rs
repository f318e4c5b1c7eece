//! The machine as the sources see it: files, a snapshot of the environment, and HTTP within limits.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqsign_core::{Context, Env, Error, FileRead, HttpSend, Result};

use crate::runtime::offload;

/// The environment as it was when the store was made.
#[derive(Clone)]
pub struct Snapshot {
    pub variables: Arc<HashMap<String, String>>,
    pub home: Option<PathBuf>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Snapshot {
    /// An empty variable counts as one that is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        variable(&self.variables, name)
    }

    /// Where a service is, if not where AWS has it (AWS SDKs Reference Guide, "Service-specific endpoints").
    pub fn service_endpoint(&self, service: &str) -> Option<&str> {
        let ignored = self
            .get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if ignored {
            return None;
        }
        self.get(&format!("AWS_ENDPOINT_URL_{service}"))
            .or_else(|| self.get("AWS_ENDPOINT_URL"))
            .map(|address| address.trim_end_matches('/'))
    }
}

pub fn variable<'a>(variables: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    variables
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

impl Env for Snapshot {
    fn var(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_owned)
    }

    fn vars(&self) -> HashMap<String, String> {
        self.variables.as_ref().clone()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.home.clone()
    }
}

#[derive(Debug)]
pub struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        let path = PathBuf::from(path);
        read(path)
            .await
            .map_err(Error::unexpected)?
            .ok_or_else(|| Error::config_invalid("no such file"))
    }
}

/// The file's bytes, or `None` where there is no such file.
pub async fn read(path: PathBuf) -> std::result::Result<Option<Vec<u8>>, String> {
    offload(move || read_now(&path))
        .await
        .map_err(|failure| failure.to_string())?
}

pub fn read_now(path: &Path) -> std::result::Result<Option<Vec<u8>>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// Sends within a time limit, and again when nothing or a server's failure came back.
#[derive(Clone)]
pub struct Sender {
    pub client: reqwest::Client,
    pub limit: Duration,
    pub tries: u32,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("limit", &self.limit)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub fn context(&self, snapshot: &Snapshot) -> Context {
        Context::new()
            .with_file_read(Files)
            .with_http_send(self.clone())
            .with_env(snapshot.clone())
    }

    async fn once(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let server = server(request.uri());
        let request = reqwest::Request::try_from(request)
            .map_err(|_| Error::request_invalid(format!("{server} is not a usable address")))?;
        let exchange = async {
            let response = self.client.execute(request).await?;
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.body_mut() = response.bytes().await?;
            Ok(answer)
        };
        match tokio::time::timeout(self.limit, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::unexpected(format!(
                "no answer from {server}: {}",
                cause(error)
            ))),
            Err(_) => Err(Error::unexpected(format!(
                "no answer from {server} within {} s",
                self.limit.as_secs_f64()
            ))),
        }
    }
}

impl HttpSend for Sender {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let mut left = self.tries;
        loop {
            left -= 1;
            let outcome = self.once(request.clone()).await;
            let again = match &outcome {
                Ok(answer) => answer.status().is_server_error() || answer.status() == 429,
                Err(_) => true,
            };
            if !again || left == 0 {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(100 + fastrand::u64(..200))).await;
        }
    }
}

/// `http://host:port`, without path and query, which may hold what must not be told.
fn server(address: &http::Uri) -> String {
    let scheme = address.scheme_str().unwrap_or("http");
    let host = address.host().unwrap_or("?");
    match address.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string()
}

/// A client for link-local addresses: no proxy, no redirects, plain HTTP only.
pub fn direct_client() -> std::result::Result<reqwest::Client, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(1))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| error.to_string())
}

/// The part of a provider's error that can be told: its own words, or ours below it; never what a
/// parser quotes from an answer.
pub fn tell(error: &Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .and_then(|source| source.downcast_ref::<Error>())
        .map_or_else(|| error.to_string(), Error::to_string)
}

/// The domain of a region's partition (AWS General Reference, "Service endpoints").
pub fn dns_suffix(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 6] = [
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-iso-", "c2s.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    PARTITIONS
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or("amazonaws.com", |(_, suffix)| suffix)
}
