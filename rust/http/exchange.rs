//! One request and its answer. Requests whose repetition is harmless are retried here; the bodies of
//! reads are not, because only the slot knows how far they came.

use std::collections::VecDeque;
use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response};
use opendal::raw::Operation;
use opendal::{Buffer, HttpBody, HttpTransport};

use super::answer;
use super::client::HttpClient;
use crate::failure::{Failure, Kind, Result};
use crate::retry::Policy;
use crate::trail::{Ending, Head, Trail};

const ERROR_BODY_BYTES: usize = 1 << 20;

/// Sends `request`; the answer comes whole, whatever its status. How it ended is on the trail.
pub async fn send(
    client: &HttpClient,
    request: Request<Bytes>,
    trail: &Trail,
    policy: &Policy,
) -> Result<Response<Bytes>> {
    let (parts, body) = request.into_parts();
    let exchange = Exchange {
        client,
        trail,
        parts: &parts,
        frames: VecDeque::from([body]),
    };
    exchange.whole(policy).await
}

/// The transport under an OpenDAL service, for the length of one call.
pub struct Transport {
    pub client: HttpClient,
    pub trail: Trail,
    pub policy: Policy,
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let reads = parts.method == Method::GET
            && parts.extensions.get::<Operation>() == Some(&Operation::Read);
        let exchange = Exchange {
            client: &self.client,
            trail: &self.trail,
            parts: &parts,
            frames: Iterator::collect(body),
        };
        let answer = if reads {
            exchange.streamed().await
        } else {
            exchange.whole(&self.policy).await.map(|response| {
                response.map(|body| {
                    let size = body.len() as u64;
                    let frame = Ok(Buffer::from(body));
                    HttpBody::new(futures::stream::iter([frame]), Some(size))
                })
            })
        };
        // OpenDAL only has to know that it failed: the trail tells how.
        answer.map_err(|failure| {
            opendal::Error::new(opendal::ErrorKind::Unexpected, failure.detail.into_owned())
        })
    }
}

struct Exchange<'a> {
    client: &'a HttpClient,
    trail: &'a Trail,
    parts: &'a http::request::Parts,
    frames: VecDeque<Bytes>,
}

impl Exchange<'_> {
    /// The head now, the body as it comes; an answer that is no success comes whole.
    async fn streamed(&self) -> Result<Response<HttpBody>> {
        let response = self.once().await.inspect_err(|failure| {
            self.trail.end(Ending::Broken(failure.clone()));
        })?;
        if !response.status().is_success() {
            return Ok(self.take(response).await?.map(|body| {
                let size = body.len() as u64;
                HttpBody::new(futures::stream::iter([Ok(Buffer::from(body))]), Some(size))
            }));
        }
        self.trail.end(Ending::Success(head(&response)));
        let (mut empty, size) = (Response::new(()), response.content_length());
        *empty.status_mut() = response.status();
        *empty.headers_mut() = response.headers().clone();
        let (trail, peer) = (self.trail.clone(), peer(self.parts));
        let body = response.bytes_stream().map(move |frame| {
            frame.map(Buffer::from).map_err(|error| {
                let failure = broken(&error, &peer);
                let text = failure.detail.clone().into_owned();
                trail.end(Ending::Broken(failure));
                opendal::Error::new(opendal::ErrorKind::Unexpected, text)
            })
        });
        Ok(empty.map(|()| HttpBody::new(Box::pin(body), size)))
    }

    async fn whole(&self, policy: &Policy) -> Result<Response<Bytes>> {
        let mut attempt = 1;
        loop {
            let outcome = match self.once().await {
                Ok(response) => self.take(response).await,
                Err(failure) => {
                    self.trail.end(Ending::Broken(failure.clone()));
                    Err(failure)
                }
            };
            let failure = match (&outcome, self.trail.ending()) {
                (Err(failure), _) => failure.clone(),
                (Ok(_), Ending::Refused(answer)) => answer::failure(&answer),
                (Ok(_), _) => return outcome,
            };
            let Some(wait) = policy.wait(&failure, attempt, fastrand::f64()) else {
                return outcome.map_err(|mut failure| {
                    failure.attempts = attempt;
                    failure
                });
            };
            tokio::time::sleep(wait).await;
            self.trail.retry();
            attempt += 1;
        }
    }

    /// The whole body of an answer, and what it means.
    async fn take(&self, response: reqwest::Response) -> Result<Response<Bytes>> {
        let (status, headers) = (response.status(), response.headers().clone());
        let success = Ending::Success(head(&response));
        let limit = if status.is_success() {
            usize::MAX
        } else {
            ERROR_BODY_BYTES
        };
        let body = self
            .collect(response, limit)
            .await
            .inspect_err(|failure| self.trail.end(Ending::Broken(failure.clone())))?;
        let mut whole = Response::new(body);
        *whole.status_mut() = status;
        let ending = if status.is_success() {
            match self.hidden_error(&headers, whole.body()) {
                Some(answer) => {
                    *whole.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                    Ending::Refused(answer)
                }
                None => success,
            }
        } else {
            Ending::Refused(answer::read(status, &headers, whole.body()))
        };
        self.trail.end(ending);
        *whole.headers_mut() = headers;
        Ok(whole)
    }

    fn hidden_error(&self, headers: &HeaderMap, body: &[u8]) -> Option<crate::trail::Answer> {
        let may_hide = self.parts.method == Method::POST || self.parts.method == Method::PUT;
        (may_hide && !body.is_empty())
            .then(|| answer::hidden_error(headers, body))
            .flatten()
    }

    async fn collect(&self, response: reqwest::Response, limit: usize) -> Result<Bytes> {
        let peer = peer(self.parts);
        let mut stream = response.bytes_stream();
        let mut frames: Vec<Bytes> = Vec::new();
        let mut total = 0;
        loop {
            match tokio::time::timeout(self.client.stall_timeout, stream.next()).await {
                Err(_) => return Err(stalled(self.client, &peer)),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(broken(&error, &peer)),
                Ok(Some(Ok(frame))) => {
                    total += frame.len();
                    frames.push(frame);
                    if total >= limit {
                        break;
                    }
                }
            }
        }
        Ok(match frames.len() {
            1 => frames.remove(0),
            _ => frames.concat().into(),
        })
    }

    /// Sends once and waits for the head of the answer, as long as bytes move.
    async fn once(&self) -> Result<reqwest::Response> {
        self.trail.request();
        let peer = peer(self.parts);
        let moved = Arc::new(AtomicU64::new(0));
        let mut request = Request::new(reqwest::Body::wrap(Frames {
            left: self.frames.iter().map(Bytes::len).sum::<usize>() as u64,
            frames: self.frames.clone(),
            moved: moved.clone(),
            trail: self.trail.clone(),
        }));
        if self.frames.iter().all(Bytes::is_empty) {
            *request.body_mut() = reqwest::Body::from(Bytes::new());
        }
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.headers_mut() = self.parts.headers.clone();
        let request = reqwest::Request::try_from(request).map_err(|error| {
            Failure::new(
                Kind::InvalidUri,
                format!("this is not an address that a request can go to: {error}"),
            )
        })?;
        let answer = self.client.plain().execute(request);
        tokio::pin!(answer);
        let mut seen = 0;
        loop {
            match tokio::time::timeout(self.client.stall_timeout, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(broken(&error, &peer)),
                Err(_) if moved.load(Relaxed) > seen => seen = moved.load(Relaxed),
                Err(_) => return Err(stalled(self.client, &peer)),
            }
        }
    }
}

/// A body of known length that tells how much of it was taken.
struct Frames {
    frames: VecDeque<Bytes>,
    left: u64,
    moved: Arc<AtomicU64>,
    trail: Trail,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<http_body::Frame<Bytes>, Self::Error>>> {
        const STEP: usize = 256 << 10;
        let Some(front) = self.frames.front_mut() else {
            return Poll::Ready(None);
        };
        let piece = front.split_to(front.len().min(STEP));
        if front.is_empty() {
            self.frames.pop_front();
        }
        self.left -= piece.len() as u64;
        self.moved.fetch_add(1 + piece.len() as u64, Relaxed);
        self.trail.written(piece.len());
        Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

fn head(response: &reqwest::Response) -> Head {
    let range = response
        .headers()
        .get(http::header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(content_range);
    Head {
        status: response.status().as_u16(),
        content_length: response.content_length(),
        content_range: range,
    }
}

/// `bytes 0-99/1000` -> (0, 100, 1000) (RFC 9110, section 14.4).
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    Some((first.parse().ok()?, end, total.parse().ok()?))
}

fn peer(parts: &http::request::Parts) -> String {
    let host = parts.uri.host().unwrap_or("?");
    let port = parts
        .uri
        .port_u16()
        .unwrap_or(match parts.uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        });
    format!("{host}:{port}")
}

pub fn stalled(client: &HttpClient, peer: &str) -> Box<Failure> {
    let seconds = client.stall_timeout.as_secs_f64();
    Failure::new(
        Kind::Timeout,
        format!("no byte moved between here and {peer} for {seconds} s"),
    )
    .hint("HttpOptions(stall_timeout_seconds=…) sets this limit")
    .retryable()
}

/// What a failure below HTTP means, found in the chain of causes.
fn broken(error: &reqwest::Error, peer: &str) -> Box<Failure> {
    use std::io::ErrorKind as Io;

    let mut cause = error.source();
    let mut texts: Vec<String> = Vec::new();
    let mut io = None;
    let mut tls = None;
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<std::io::Error>() {
            io = Some(found.kind());
            if let Some(found) = found
                .get_ref()
                .and_then(|e| e.downcast_ref::<rustls::Error>())
            {
                tls = Some(found.to_string());
            }
        }
        if let Some(found) = inner.downcast_ref::<rustls::Error>() {
            tls = Some(found.to_string());
        }
        texts.push(inner.to_string());
        cause = inner.source();
    }
    let deepest = texts.last().cloned().unwrap_or_else(|| error.to_string());
    if let Some(tls) = tls {
        let hint = if tls.contains("CaUsedAsEndEntity") {
            "the server shows an authority's certificate as its own: let that authority sign one for it"
        } else {
            "HttpOptions(ca_bundle=…) or AWS_CA_BUNDLE names the authorities to trust"
        };
        return Failure::new(
            Kind::Connection,
            format!("no trusted connection to {peer}: {tls}"),
        )
        .hint(hint);
    }
    if error.is_timeout() && error.is_connect() {
        return Failure::new(Kind::Timeout, format!("no connection to {peer} in time"))
            .hint("HttpOptions(connect_timeout_seconds=…) sets this limit")
            .retryable();
    }
    if texts.iter().any(|text| text.contains("dns error")) {
        return Failure::new(
            Kind::Connection,
            format!("the name of {peer} cannot be resolved: {deepest}"),
        )
        .hint("check the endpoint")
        .retryable();
    }
    let detail = match io {
        Some(Io::ConnectionRefused) => format!("connection refused by {peer}"),
        Some(Io::ConnectionReset | Io::BrokenPipe | Io::ConnectionAborted) => {
            format!("connection reset by {peer}")
        }
        _ if error.is_connect() => format!("no connection to {peer}: {deepest}"),
        _ => format!("the connection to {peer} broke: {deepest}"),
    };
    let failure = Failure::new(Kind::Connection, detail).retryable();
    match io {
        Some(Io::ConnectionRefused) => {
            failure.hint("is the service running, and the endpoint right?")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0, 100, 1000)));
        assert_eq!(content_range("bytes */1000"), None);
        assert_eq!(content_range("bytes 5-18446744073709551615/9"), None);
    }
}
