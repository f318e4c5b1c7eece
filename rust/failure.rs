//! What went wrong, as a value: built where it happens, turned into an exception in `errors.rs` only.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Box<Failure>>;

/// The stable name of a failure; each is one class of the exception tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    AlreadyExists,
    PermissionDenied,
    Authentication,
    PreconditionFailed,
    Range,
    InvalidUri,
    RateLimited,
    QuotaExceeded,
    Timeout,
    Connection,
    Integrity,
    Unsupported,
    /// The caller's argument or option is impossible; becomes a `ValueError`.
    InvalidArgument,
    Unexpected,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::PermissionDenied,
        Kind::Authentication,
        Kind::PreconditionFailed,
        Kind::Range,
        Kind::InvalidUri,
        Kind::RateLimited,
        Kind::QuotaExceeded,
        Kind::Timeout,
        Kind::Connection,
        Kind::Integrity,
        Kind::Unsupported,
        Kind::InvalidArgument,
        Kind::Unexpected,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::NotFound => "not_found",
            Kind::AlreadyExists => "already_exists",
            Kind::PermissionDenied => "permission_denied",
            Kind::Authentication => "authentication",
            Kind::PreconditionFailed => "precondition_failed",
            Kind::Range => "range",
            Kind::InvalidUri => "invalid_uri",
            Kind::RateLimited => "rate_limited",
            Kind::QuotaExceeded => "quota_exceeded",
            Kind::Timeout => "timeout",
            Kind::Connection => "connection",
            Kind::Integrity => "integrity",
            Kind::Unsupported => "unsupported",
            Kind::InvalidArgument => "invalid_argument",
            Kind::Unexpected => "unexpected",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: Kind,
    /// What was being done: "read", "list", … Set by the verb.
    pub action: &'static str,
    /// What it was done to, as the caller wrote it. Set by the verb.
    pub uri: String,
    /// What the service, the kernel or we ourselves have to say about it.
    pub detail: Cow<'static, str>,
    pub status: Option<u16>,
    /// The service's own code, such as `NoSuchKey`.
    pub code: Option<String>,
    pub request_id: Option<String>,
    pub attempts: u32,
    /// The same call may succeed if it is made again.
    pub retryable: bool,
    pub retry_after: Option<Duration>,
    pub hint: Option<Cow<'static, str>>,
}

impl Failure {
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Box<Self> {
        Box::new(Failure {
            kind,
            action: "",
            uri: String::new(),
            detail: detail.into(),
            status: None,
            code: None,
            request_id: None,
            attempts: 1,
            retryable: false,
            retry_after: None,
            hint: None,
        })
    }

    pub fn retryable(mut self: Box<Self>) -> Box<Self> {
        self.retryable = true;
        self
    }

    pub fn hint(mut self: Box<Self>, hint: impl Into<Cow<'static, str>>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// Names the verb and the object; the innermost name stays.
    pub fn during(mut self: Box<Self>, action: &'static str, uri: &str) -> Box<Self> {
        if self.action.is_empty() {
            self.action = action;
        }
        if self.uri.is_empty() {
            self.uri = uri.to_owned();
        }
        self
    }
}

/// `cannot read s3://b/k: access denied (403 AccessDenied, request 4f2) after 3 attempts`
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.action.is_empty() {
            write!(f, "cannot {} {}: ", self.action, self.uri)?;
        }
        write!(f, "{}", self.detail)?;
        let answer = [
            self.status.map(|s| match &self.code {
                Some(code) => format!("{s} {code}"),
                None => s.to_string(),
            }),
            self.request_id.as_ref().map(|id| format!("request {id}")),
        ];
        let answer: Vec<String> = answer.into_iter().flatten().collect();
        if !answer.is_empty() {
            write!(f, " ({})", answer.join(", "))?;
        }
        if self.attempts > 1 {
            write!(f, " after {} attempts", self.attempts)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_one_form() {
        let mut failure =
            Failure::new(Kind::PermissionDenied, "access denied").during("read", "s3://b/k");
        failure.status = Some(403);
        failure.code = Some("AccessDenied".into());
        failure.request_id = Some("4f2".into());
        failure.attempts = 3;
        assert_eq!(
            failure.to_string(),
            "cannot read s3://b/k: access denied (403 AccessDenied, request 4f2) after 3 attempts"
        );
    }

    #[test]
    fn the_innermost_verb_stays() {
        let failure = Failure::new(Kind::NotFound, "no such object")
            .during("read", "s3://b/a")
            .during("copy", "s3://b/z");
        assert_eq!(failure.to_string(), "cannot read s3://b/a: no such object");
    }
}
