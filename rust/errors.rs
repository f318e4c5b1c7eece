//! A failure becomes an exception here and nowhere else.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::{Failure, Kind};

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "NotFoundError",
        Kind::AlreadyExists => "AlreadyExistsError",
        Kind::PermissionDenied => "PermissionDeniedError",
        Kind::Authentication => "AuthenticationError",
        Kind::PreconditionFailed => "PreconditionFailedError",
        Kind::Range => "RangeError",
        Kind::InvalidUri => "InvalidUriError",
        Kind::RateLimited => "RateLimitedError",
        Kind::QuotaExceeded => "QuotaExceededError",
        Kind::Timeout => "TimeoutError",
        Kind::Connection => "ConnectionError",
        Kind::Integrity => "IntegrityError",
        Kind::Unsupported => "UnsupportedError",
        Kind::InvalidArgument | Kind::Unexpected => "S3dlioError",
    }
}

pub fn exception(py: Python<'_>, failure: &Failure) -> PyErr {
    if failure.kind == Kind::InvalidArgument {
        return PyValueError::new_err(match &failure.hint {
            Some(hint) => format!("{failure}\nhint: {hint}"),
            None => failure.to_string(),
        });
    }
    build(py, failure).unwrap_or_else(|error| error)
}

fn build(py: Python<'_>, failure: &Failure) -> PyResult<PyErr> {
    let class = py.import("s3dlio.errors")?.getattr(class(failure.kind))?;
    let details = PyDict::new(py);
    details.set_item("kind", failure.kind.name())?;
    details.set_item("uri", &failure.uri)?;
    details.set_item("status", failure.status)?;
    details.set_item("code", &failure.code)?;
    details.set_item("request_id", &failure.request_id)?;
    details.set_item("attempts", failure.attempts)?;
    details.set_item("retryable", failure.retryable)?;
    details.set_item("hint", failure.hint.as_deref())?;
    let instance = class.call((failure.to_string(),), Some(&details))?;
    Ok(PyErr::from_value(instance))
}
