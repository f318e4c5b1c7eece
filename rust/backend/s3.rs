//! The requests to S3 that OpenDAL cannot make exactly: listings, buckets, and URLs for others.

pub mod bulk;
mod xml;

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use reqsign_aws_core::constants::{AWS_QUERY_ENCODE_SET, AWS_URI_ENCODE_SET};
use reqsign_aws_v4::RequestSigner;
use reqsign_core::{Context, SignRequest};

use super::{Entry, Method, Pages};
use crate::credentials::{Credential, Credentials, dns_suffix};
use crate::failure::{Failure, Kind, Result};
use crate::http::{HttpClient, refused, send};
use crate::retry::Policy;
use crate::trail::{Ending, Trail};

pub use xml::Page;

static KEY: AsciiSet = AWS_URI_ENCODE_SET.remove(b'/');
const PRESIGN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a bucket is asked for: the endpoint, without the bucket, and whether the bucket stands in the path.
///
/// `addressing` is "auto", "path" or "virtual". A custom endpoint has buckets in the path unless it is
/// "virtual"; AWS has them in the host's name, where that is possible.
pub fn endpoint(
    custom: Option<&str>,
    region: &str,
    bucket: &str,
    addressing: &str,
) -> Result<(String, bool)> {
    let custom = custom.filter(|address| !address.is_empty());
    let address = match custom {
        Some(address) => checked(address)?,
        None => {
            let region = if region.is_empty() {
                "us-east-1"
            } else {
                region
            };
            format!("https://s3.{region}.{}", dns_suffix(region))
        }
    };
    let path_style = match addressing {
        "path" => true,
        "auto" => custom.is_some() || !fits_a_host_name(bucket),
        "virtual" if bucket.is_empty() => true,
        "virtual" if fits_a_host_name(bucket) || (custom.is_some() && is_dns_safe(bucket)) => false,
        "virtual" => {
            return Err(invalid(format!(
                "bucket {bucket:?} cannot be part of a host name: use addressing=\"path\""
            )));
        }
        other => {
            return Err(invalid(format!(
                "addressing must be \"auto\", \"path\" or \"virtual\", not {other:?}"
            )));
        }
    };
    Ok((address, path_style))
}

fn checked(address: &str) -> Result<String> {
    let bare = address.trim_end_matches('/');
    let lower = bare.to_ascii_lowercase();
    let Some(rest) = ["http://", "https://"]
        .iter()
        .find_map(|scheme| lower.strip_prefix(scheme))
    else {
        return Err(invalid(format!(
            "endpoint {address:?} has no scheme: write http://… or https://…"
        )));
    };
    if rest.contains('@') {
        return Err(invalid(
            "endpoint must not hold a user name or a password".to_owned(),
        ));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(invalid(format!(
            "endpoint {address:?} must be scheme://host:port, without a path or a query"
        )));
    }
    let usable = bare.parse::<http::Uri>().is_ok_and(|uri| {
        uri.authority().is_some_and(|authority| {
            // `http` lets a port pass that is no number.
            let port = authority.as_str().strip_prefix(authority.host());
            !authority.host().is_empty()
                && port.is_some_and(|port| match port.strip_prefix(':') {
                    Some(number) => number.parse::<u16>().is_ok(),
                    None => port.is_empty(),
                })
        })
    });
    match usable {
        true => Ok(bare.to_owned()),
        false => Err(invalid(format!("endpoint {address:?} is not an address"))),
    }
}

fn invalid(detail: String) -> Box<Failure> {
    Failure::new(Kind::InvalidArgument, detail)
}

/// A dot would leave the wildcard of the service's certificate.
fn fits_a_host_name(bucket: &str) -> bool {
    is_dns_safe(bucket) && !bucket.contains('.')
}

fn is_dns_safe(bucket: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&bucket.len())
        && bucket
            .bytes()
            .all(|byte| inner(byte) || byte == b'-' || byte == b'.')
        && bucket.bytes().next().is_some_and(inner)
        && bucket.bytes().last().is_some_and(inner)
}

/// What every request needs; `endpoint` and `path_style` come from [`endpoint`].
#[derive(Clone, Debug)]
pub struct S3Requests {
    pub client: HttpClient,
    pub credentials: Credentials,
    pub policy: Policy,
    pub endpoint: String,
    pub path_style: bool,
    /// May be empty for requests about the account.
    pub bucket: String,
    /// May be empty where the service has none.
    pub region: String,
}

impl S3Requests {
    /// One page of what lies below `prefix`; with `recursive` unset, its folders as prefixes.
    pub async fn list_page(
        &self,
        prefix: &str,
        recursive: bool,
        token: Option<&str>,
        trail: &Trail,
    ) -> Result<Page> {
        let address = self.list_address(prefix, recursive, token);
        let answer = self
            .call(Request::get(address), Bytes::new(), trail)
            .await?;
        if !answer.status().is_success() {
            return Err(refused(trail));
        }
        let page = xml::page(answer.body(), prefix)?;
        if page.next.is_some() && page.next.as_deref() == token {
            return Err(Failure::new(
                Kind::Integrity,
                "the service gave the same token for the next page of the listing",
            ));
        }
        Ok(page)
    }

    pub fn pages(&self, prefix: &str, recursive: bool, trail: &Trail) -> Box<dyn Pages> {
        Box::new(S3Pages {
            requests: self.clone(),
            prefix: prefix.to_owned(),
            recursive,
            trail: trail.clone(),
            next: Next::First,
        })
    }

    pub async fn list_buckets(&self, trail: &Trail) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let query = token
                .as_deref()
                .map(|token| [("continuation-token", token)]);
            let query = query.as_ref().map_or(&[][..], |pair| pair);
            let address = address(&self.endpoint, "/", query);
            let answer = self
                .call(Request::get(address), Bytes::new(), trail)
                .await?;
            if !answer.status().is_success() {
                return Err(refused(trail));
            }
            let page = xml::buckets(answer.body())?;
            entries.extend(page.entries);
            if page.next.is_none() || page.next == token {
                return Ok(entries);
            }
            token = page.next;
        }
    }

    /// A bucket that exists is a failure on every service, whoever owns it.
    pub async fn create_bucket(&self, trail: &Trail) -> Result<()> {
        // Some services answer the repetition of one's own bucket with a success.
        if self.head_bucket(trail).await?.status().is_success() {
            return Err(Failure::new(
                Kind::AlreadyExists,
                "the bucket exists already",
            ));
        }
        let body = match self.region.as_str() {
            "" | "us-east-1" => Bytes::new(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                quick_xml::escape::escape(region)
            )
            .into(),
        };
        let before = trail.attempts();
        let request = Request::put(self.bucket_address(&[]));
        let answer = self.call(request, body, trail).await?;
        // The answer to a first try may have been lost on the way.
        let made_by_us = trail.attempts() > before && code(trail) == "BucketAlreadyOwnedByYou";
        match answer.status().is_success() || made_by_us {
            true => Ok(()),
            false => Err(refused(trail)),
        }
    }

    pub async fn delete_bucket(&self, trail: &Trail) -> Result<()> {
        let before = trail.attempts();
        let request = Request::delete(self.bucket_address(&[]));
        let answer = self.call(request, Bytes::new(), trail).await?;
        let gone_by_us = trail.attempts() > before && answer.status() == 404;
        if answer.status().is_success() || gone_by_us {
            return Ok(());
        }
        let failure = refused(trail);
        Err(match failure.kind {
            Kind::PreconditionFailed => failure.hint("delete what is in it first: delete_prefix"),
            _ => failure,
        })
    }

    async fn head_bucket(&self, trail: &Trail) -> Result<Response<Bytes>> {
        let request = Request::head(self.bucket_address(&[]));
        self.call(request, Bytes::new(), trail).await
    }

    /// A URL that lets its holder make one kind of request until it expires.
    pub async fn presign(&self, key: &str, method: Method, expires: Duration) -> Result<String> {
        if self.credentials.anonymous() {
            return Err(Failure::new(
                Kind::Unsupported,
                "without credentials there is nothing to sign a URL with",
            ));
        }
        if expires.as_secs() < 1 || expires > PRESIGN_MAX {
            return Err(invalid(format!(
                "a URL can be valid for 1 second to 7 days, not {} s",
                expires.as_secs_f64()
            )));
        }
        let method = match method {
            Method::Get => http::Method::GET,
            Method::Put => http::Method::PUT,
            Method::Head => http::Method::HEAD,
            Method::Delete => http::Method::DELETE,
        };
        let request = Request::builder()
            .method(method)
            .uri(self.object_address(key));
        let (mut parts, ()) = request.body(()).map_err(unusable)?.into_parts();
        let credential = self.credentials.fetch().await?;
        if let Some(end) = credential.expires_in
            && end <= reqsign_core::time::Timestamp::now() + expires
        {
            return Err(Failure::new(
                Kind::Authentication,
                format!("the credentials expire at {end}, before the URL would"),
            )
            .hint("ask for a shorter time, or use credentials that last"));
        }
        self.sign(&mut parts, credential, Some(expires)).await?;
        Ok(parts.uri.to_string())
    }

    /// Signs and sends; once more when the service calls the credentials stale and there are others.
    async fn call(
        &self,
        request: http::request::Builder,
        body: Bytes,
        trail: &Trail,
    ) -> Result<Response<Bytes>> {
        let request = request.body(body).map_err(unusable)?;
        if self.credentials.anonymous() {
            return send(&self.client, request, trail, &self.policy).await;
        }
        let used = self.credentials.fetch().await?;
        let answer = self.signed(request.clone(), used.clone(), trail).await?;
        if !stale(answer.status().as_u16(), &code(trail)) {
            return Ok(answer);
        }
        self.credentials.invalidate();
        match self.credentials.fetch().await {
            Ok(other) if !same(&used, &other) => {
                trail.retry();
                self.signed(request, other, trail).await
            }
            _ => Ok(answer),
        }
    }

    async fn signed(
        &self,
        request: Request<Bytes>,
        mut credential: Credential,
        trail: &Trail,
    ) -> Result<Response<Bytes>> {
        let (mut parts, body) = request.into_parts();
        // It is valid now, and how long it lasts does not matter to one request.
        credential.expires_in = None;
        self.sign(&mut parts, credential, None).await?;
        let request = Request::from_parts(parts, body);
        send(&self.client, request, trail, &self.policy).await
    }

    async fn sign(
        &self,
        parts: &mut http::request::Parts,
        credential: Credential,
        expires: Option<Duration>,
    ) -> Result<()> {
        let region = match self.region.as_str() {
            "" => "us-east-1",
            region => region,
        };
        RequestSigner::new("s3", region)
            .sign_request(&Context::new(), parts, Some(&credential), expires)
            .await
            .map_err(|error| Failure::new(Kind::Authentication, format!("cannot sign: {error}")))
    }

    fn list_address(&self, prefix: &str, recursive: bool, token: Option<&str>) -> String {
        let mut query = vec![("list-type", "2"), ("encoding-type", "url")];
        if !prefix.is_empty() {
            query.push(("prefix", prefix));
        }
        if !recursive {
            query.push(("delimiter", "/"));
        }
        if let Some(token) = token {
            query.push(("continuation-token", token));
        }
        self.bucket_address(&query)
    }

    fn bucket_address(&self, query: &[(&str, &str)]) -> String {
        let (root, path) = self.root();
        address(&root, &path, query)
    }

    fn object_address(&self, key: &str) -> String {
        let (root, path) = self.root();
        let key = utf8_percent_encode(key, &KEY);
        match self.path_style {
            true => format!("{root}{path}/{key}"),
            false => format!("{root}/{key}"),
        }
    }

    /// `https://host` and the path of the bucket there.
    fn root(&self) -> (String, String) {
        let bucket = utf8_percent_encode(&self.bucket, &AWS_URI_ENCODE_SET);
        match self.endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => {
                (format!("{scheme}://{}.{host}", self.bucket), "/".to_owned())
            }
            _ => (self.endpoint.clone(), format!("/{bucket}")),
        }
    }
}

fn address(root: &str, path: &str, query: &[(&str, &str)]) -> String {
    let mut text = format!("{root}{path}");
    for (index, (name, value)) in query.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.extend(utf8_percent_encode(value, &AWS_QUERY_ENCODE_SET));
    }
    text
}

fn unusable(error: http::Error) -> Box<Failure> {
    Failure::new(
        Kind::InvalidUri,
        format!("no address can be made of this: {error}"),
    )
}

fn code(trail: &Trail) -> String {
    match trail.ending() {
        Ending::Refused(answer) => answer.code.unwrap_or_default(),
        _ => String::new(),
    }
}

/// The service may accept newer credentials where it refused these.
pub fn stale(status: u16, code: &str) -> bool {
    status == 401
        || matches!(
            code,
            "ExpiredToken"
                | "ExpiredTokenException"
                | "TokenRefreshRequired"
                | "InvalidToken"
                | "InvalidAccessKeyId"
        )
}

fn same(a: &Credential, b: &Credential) -> bool {
    a.access_key_id == b.access_key_id
        && a.secret_access_key == b.secret_access_key
        && a.session_token == b.session_token
}

enum Next {
    First,
    Token(String),
    Nothing,
}

struct S3Pages {
    requests: S3Requests,
    prefix: String,
    recursive: bool,
    trail: Trail,
    next: Next,
}

impl Pages for S3Pages {
    fn next<'a>(&'a mut self) -> BoxFuture<'a, Result<Option<Vec<Entry>>>> {
        Box::pin(async move {
            let token = match &self.next {
                Next::First => None,
                Next::Token(token) => Some(token.clone()),
                Next::Nothing => return Ok(None),
            };
            let page = self
                .requests
                .list_page(&self.prefix, self.recursive, token.as_deref(), &self.trail)
                .await?;
            self.next = page.next.map_or(Next::Nothing, Next::Token);
            Ok(Some(page.entries))
        })
    }
}

#[cfg(test)]
mod tests;
