//! What a service means: (status, code) -> kind of failure, whether to try again, and what to do.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::failure::{Failure, Kind};
use crate::trail::{Answer, Ending, Trail};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ErrorDocument {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    region: Option<String>,
}

/// Reads an error answer of S3 and its kin ("Error responses", Amazon S3 API Reference).
pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let document: ErrorDocument = std::str::from_utf8(body)
        .ok()
        .filter(|body| body.trim_start().starts_with('<') && body.contains("<Error"))
        .and_then(|body| quick_xml::de::from_str(body).ok())
        .unwrap_or_default();
    Answer {
        status: status.as_u16(),
        code: document.code.filter(|code| !code.is_empty()),
        message: document.message.filter(|message| !message.is_empty()),
        request_id: text("x-amz-request-id").or(document.request_id),
        retry_after: text("retry-after").and_then(|value| retry_after(&value, SystemTime::now())),
        region: text("x-amz-bucket-region").or(document.region),
    }
}

/// Seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// An error document that came under a success: CompleteMultipartUpload and CopyObject may do that.
pub fn hidden_error(headers: &HeaderMap, body: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(body).ok()?;
    let root = text.trim_start().trim_start_matches('\u{feff}');
    let root = match root.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>")?.1.trim_start(),
        None => root,
    };
    root.starts_with("<Error").then(|| {
        let mut answer = read(StatusCode::OK, headers, body);
        // Its own status would read as a success.
        answer.status = 500;
        answer
    })
}

/// The failure that the last answer on this trail stands for.
pub fn refused(trail: &Trail) -> Box<Failure> {
    told(trail.ending(), trail)
}

/// The same where other requests of the call may have ended since.
pub fn refused_among_others(trail: &Trail) -> Box<Failure> {
    told(trail.failure(), trail)
}

fn told(ending: Ending, trail: &Trail) -> Box<Failure> {
    let mut failure = match ending {
        Ending::Refused(answer) => failure(&answer),
        Ending::Broken(failure) => failure,
        Ending::Success(head) => {
            let mut failure = Failure::new(
                Kind::Unexpected,
                "the service's answer cannot be understood",
            );
            failure.status = Some(head.status);
            failure
        }
        Ending::Unknown => Failure::new(Kind::Unexpected, "no answer"),
    };
    failure.attempts = failure.attempts.max(trail.attempts());
    failure
}

pub fn failure(answer: &Answer) -> Box<Failure> {
    let code = answer.code.as_deref().unwrap_or_default();
    let (kind, retryable) = meaning(answer.status, code);
    let mut failure = Failure::new(kind, detail(kind, answer));
    failure.retryable = retryable;
    failure.status = Some(answer.status);
    failure.code = answer.code.clone();
    failure.request_id = answer.request_id.clone();
    failure.retry_after = answer.retry_after;
    failure.hint = hint(kind, answer).map(Into::into);
    failure
}

/// Amazon S3 API Reference, "List of error codes"; MinIO and Ceph add some of their own.
pub fn meaning(status: u16, code: &str) -> (Kind, bool) {
    match code {
        "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "AuthorizationHeaderMalformed"
        | "NotSignedUp"
        | "InvalidSecurity"
        | "MissingSecurityHeader"
        | "ExpiredTokenException" => (Kind::Authentication, false),
        "QuotaExceeded"
        | "QuotaExceededException"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "StorageFull"
        | "TooManyBuckets"
        | "ServiceQuotaExceeded" => (Kind::QuotaExceeded, false),
        "SlowDown"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "SlowDownRead"
        | "SlowDownWrite" => (Kind::RateLimited, true),
        "RequestTimeout" | "RequestTimeoutException" => (Kind::Timeout, true),
        "InternalError"
        | "ServiceUnavailable"
        | "OperationAborted"
        | "ConditionalRequestConflict"
        | "XMinioServerNotInitialized" => (Kind::Unexpected, true),
        "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" => (Kind::AlreadyExists, false),
        "BucketNotEmpty" => (Kind::PreconditionFailed, false),
        "KeyTooLongError"
        | "KeyTooLong"
        | "InvalidBucketName"
        | "InvalidURI"
        | "InvalidObjectName"
        | "XMinioInvalidObjectName" => (Kind::InvalidUri, false),
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "InvalidPart"
        | "IncompleteBody" => (Kind::Integrity, true),
        "NotImplemented" => (Kind::Unsupported, false),
        "InvalidRange" => (Kind::Range, false),
        "NoSuchKey" | "NoSuchBucket" | "NoSuchUpload" | "NoSuchVersion" => (Kind::NotFound, false),
        "PreconditionFailed" => (Kind::PreconditionFailed, false),
        _ => match status {
            401 => (Kind::Authentication, false),
            403 => (Kind::PermissionDenied, false),
            404 => (Kind::NotFound, false),
            408 => (Kind::Timeout, true),
            409 => (Kind::Unexpected, false),
            412 | 304 => (Kind::PreconditionFailed, false),
            416 => (Kind::Range, false),
            429 => (Kind::RateLimited, true),
            499 | 500 | 502 | 503 | 504 => (Kind::Unexpected, true),
            501 | 405 => (Kind::Unsupported, false),
            507 => (Kind::QuotaExceeded, false),
            _ => (Kind::Unexpected, false),
        },
    }
}

fn detail(kind: Kind, answer: &Answer) -> String {
    let code = answer.code.as_deref().unwrap_or_default();
    let fact = match kind {
        Kind::NotFound if code == "NoSuchBucket" => "no such bucket",
        Kind::NotFound if code == "NoSuchUpload" => "no such multipart upload",
        Kind::NotFound => "no such object",
        Kind::AlreadyExists => "it exists already",
        Kind::PermissionDenied => "access denied",
        Kind::Authentication => "the credentials were not accepted",
        Kind::PreconditionFailed if code == "BucketNotEmpty" => "the bucket is not empty",
        Kind::PreconditionFailed => "the object is not the version that was asked for",
        Kind::Range => "the range starts past the end of the object",
        Kind::InvalidUri => "the service does not accept this name",
        Kind::RateLimited => "the service asks to slow down",
        Kind::QuotaExceeded => "a quota is used up",
        Kind::Timeout => "the service gave up waiting for the request",
        Kind::Integrity => "the data did not arrive as it was sent",
        Kind::Unsupported => "the service does not offer this",
        _ if answer.status / 100 == 3 => "the service answers for this bucket elsewhere",
        _ if answer.status / 100 == 5 => "the service failed",
        _ => "the service refused the request",
    };
    // NotFound and its like are said fully by the fact; elsewhere the service's words may help.
    match (&answer.message, kind) {
        (Some(message), _)
            if !matches!(kind, Kind::NotFound | Kind::Range | Kind::AlreadyExists) =>
        {
            let message: String = message.chars().take(300).collect();
            format!("{fact}: {}", message.trim_end_matches('.'))
        }
        _ => fact.to_owned(),
    }
}

fn hint(kind: Kind, answer: &Answer) -> Option<String> {
    let code = answer.code.as_deref().unwrap_or_default();
    if let Some(region) = &answer.region
        && (answer.status / 100 == 3 || code == "AuthorizationHeaderMalformed")
    {
        return Some(format!(
            "the bucket is in region {region}: pass S3Options(region=\"{region}\") or set AWS_REGION"
        ));
    }
    let hint = match (kind, code) {
        (Kind::Authentication, "ExpiredToken" | "TokenRefreshRequired") => {
            "the session token has expired: renew it, or pass credentials that renew themselves"
        }
        (Kind::Authentication, "RequestTimeTooSkewed") => "set the clock of this machine",
        (Kind::Authentication, "InvalidAccessKeyId") => {
            "the service does not know this access key: check the endpoint and the profile"
        }
        (Kind::Authentication, "SignatureDoesNotMatch") => {
            "check the secret key, and that the endpoint is the one the key belongs to"
        }
        (Kind::PermissionDenied, _) => {
            "check what the credentials may do here, and that they are the ones you mean"
        }
        (Kind::RateLimited, _) => "lower max_in_flight, or raise RetryOptions(max_attempts=…)",
        (Kind::NotFound, "NoSuchBucket") => "check the bucket's name, the endpoint and the region",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DENIED: &[u8] = b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code>\
        <Message>Access Denied.</Message><RequestId>R1</RequestId></Error>";

    #[test]
    fn an_error_document_is_read() {
        let answer = read(StatusCode::FORBIDDEN, &HeaderMap::new(), DENIED);
        let failure = failure(&answer);
        assert_eq!(failure.kind, Kind::PermissionDenied);
        assert_eq!(
            failure.to_string(),
            "access denied: Access Denied (403 AccessDenied, request R1)"
        );
    }

    #[test]
    fn an_answer_that_is_no_document_still_has_its_status() {
        let answer = read(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>oops");
        assert!(failure(&answer).retryable);
        assert_eq!(answer.code, None);
    }

    #[test]
    fn quota_is_not_permission() {
        assert_eq!(meaning(403, "QuotaExceeded"), (Kind::QuotaExceeded, false));
        assert_eq!(meaning(400, "ExpiredToken"), (Kind::Authentication, false));
        assert_eq!(meaning(408, ""), (Kind::Timeout, true));
    }

    #[test]
    fn an_error_under_a_success_is_seen() {
        let headers = HeaderMap::new();
        let body = b"<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>";
        assert_eq!(
            hidden_error(&headers, body).unwrap().code.unwrap(),
            "InternalError"
        );
        assert!(hidden_error(&headers, b"<CopyObjectResult/>").is_none());
    }

    #[test]
    fn retry_after_comes_in_two_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now),
            Some(Duration::from_secs(10))
        );
        assert_eq!(retry_after("soon", now), None);
    }
}
