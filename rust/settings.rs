//! The options that Python hands over, as a `Config`. Python has checked them; a name that is not
//! known here is a defect between the two, and is refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::config::{Config, ReadConfig, S3Config, Scheme, WriteConfig};
use crate::credentials::{CredentialSource, Keys};
use crate::http::HttpOptions;
use crate::memory;
use crate::plan::Split;
use crate::retry::Policy;
use crate::runtime::offload;

/// Takes options out of the dict one by one; what is left at the end was never known.
struct Given<'py> {
    left: Bound<'py, PyDict>,
}

impl<'py> Given<'py> {
    fn take<T>(&self, name: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        let Some(value) = self.left.get_item(name)? else {
            return Ok(None);
        };
        self.left.del_item(name)?;
        if value.is_none() {
            return Ok(None);
        }
        value.extract::<T>().map(Some).map_err(|error| {
            let error: PyErr = error.into();
            PyTypeError::new_err(format!("`{name}` cannot be {value}: {error}"))
        })
    }

    fn or<T>(&self, name: &str, default: T) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        Ok(self.take(name)?.unwrap_or(default))
    }

    fn seconds(&self, name: &str, default: f64) -> PyResult<Duration> {
        let value: f64 = self.or(name, default)?;
        Duration::try_from_secs_f64(value).map_err(|_| {
            PyValueError::new_err(format!("`{name}` must be a time in seconds, got {value}"))
        })
    }
}

const MIB: u64 = 1 << 20;

pub fn config(
    scheme: &str,
    bucket: String,
    options: &Bound<'_, PyDict>,
    environment: HashMap<String, String>,
) -> PyResult<Config> {
    let scheme = Scheme::parse(scheme).ok_or_else(|| {
        PyValueError::new_err(format!("{scheme}:// is not a scheme of this core"))
    })?;
    let given = Given {
        left: options.copy()?,
    };
    let config = Config {
        scheme,
        bucket,
        read: ReadConfig {
            split: Split {
                split_bytes: given.or("split_bytes", 16 * MIB)?,
                part_bytes: given.or("part_bytes", 8 * MIB)?,
            },
            max_in_flight: given.or("max_in_flight", 64)?,
            join_gap_bytes: given.take("join_gap_bytes")?,
            mmap: given.or("mmap", false)?,
            pool_bytes: given
                .take("pool_bytes")?
                .unwrap_or_else(memory::default_cap),
        },
        write: WriteConfig {
            split_bytes: given.or("put_split_bytes", 64 * MIB)?,
            part_bytes: given.or("put_part_bytes", 16 * MIB)?,
            in_flight: given.or("put_in_flight", 4)?,
            sync_files: given.or("sync_files", false)?,
        },
        retry: Policy {
            max_attempts: given.or("max_attempts", 5)?,
            connect_attempts: given.or("connect_attempts", 3)?,
            backoff: given.seconds("backoff_seconds", 0.1)?,
            backoff_max: given.seconds("backoff_max_seconds", 20.0)?,
        },
        http: http(&given, &environment)?,
        s3: s3(&given)?,
        direct_fallback_buffered: given.or("direct_fallback", "error".to_owned())? == "buffered",
        environment,
    };
    if !given.left.is_empty() {
        let names: Vec<String> = given.left.keys().extract()?;
        return Err(PyTypeError::new_err(format!(
            "unknown options: {}",
            names.join(", ")
        )));
    }
    Ok(config)
}

fn http(given: &Given<'_>, environment: &HashMap<String, String>) -> PyResult<HttpOptions> {
    let variable = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| environment.get(*name).filter(|value| !value.is_empty()))
            .cloned()
    };
    let all = variable(&["ALL_PROXY", "all_proxy"]);
    let proxy: Option<String> = given.take("proxy")?;
    let named = proxy.is_some();
    Ok(HttpOptions {
        connect_timeout: given.seconds("connect_timeout_seconds", 5.0)?,
        stall_timeout: given.seconds("stall_timeout_seconds", 30.0)?,
        ca_bundle: given
            .take("ca_bundle")?
            .or_else(|| variable(&["AWS_CA_BUNDLE", "SSL_CERT_FILE"])),
        verify_tls: given.or("verify_tls", true)?,
        // HTTP_PROXY in capitals can be set by a web request to a CGI program; the field ignores it there.
        proxy_http: proxy
            .clone()
            .or_else(|| variable(&["http_proxy", "HTTP_PROXY"]))
            .or_else(|| all.clone()),
        proxy_https: proxy
            .or_else(|| variable(&["https_proxy", "HTTPS_PROXY"]))
            .or(all),
        no_proxy: if named {
            None
        } else {
            variable(&["no_proxy", "NO_PROXY"])
        },
    })
}

fn s3(given: &Given<'_>) -> PyResult<S3Config> {
    let source: Option<Py<PyAny>> = given.take("credentials")?;
    Ok(S3Config {
        endpoint: given.take("endpoint")?,
        region: given.or("region", "us-east-1".to_owned())?,
        addressing: given.or("addressing", "auto".to_owned())?,
        profile: given.take("profile")?,
        access_key_id: given.take("access_key_id")?,
        secret_access_key: given.take("secret_access_key")?,
        session_token: given.take("session_token")?,
        role_arn: given.take("role_arn")?,
        anonymous: given.or("anonymous", false)?,
        source: source.map(|call| Arc::new(Callable { call }) as Arc<dyn CredentialSource>),
    })
}

/// A Python callable that supplies credentials, called on a thread that may block.
struct Callable {
    call: Py<PyAny>,
}

impl std::fmt::Debug for Callable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callable")
    }
}

impl CredentialSource for Callable {
    fn fetch(&self) -> BoxFuture<'_, Result<Keys, String>> {
        let call = Python::attach(|py| self.call.clone_ref(py));
        async move {
            let asked = offload(move || {
                Python::attach(|py| {
                    keys(call.bind(py)).map_err(|error| format!("{}", error.value(py)))
                })
            });
            asked.await.map_err(|failure| failure.to_string())?
        }
        .boxed()
    }

    fn name(&self) -> String {
        Python::attach(|py| {
            let call = self.call.bind(py);
            call.getattr("__qualname__")
                .and_then(|name| name.extract())
                .unwrap_or_else(|_| "a callable".to_owned())
        })
    }
}

fn keys(call: &Bound<'_, PyAny>) -> PyResult<Keys> {
    let answer = call.call0()?;
    let field = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
        let value = match answer.cast::<PyDict>() {
            Ok(dict) => dict.get_item(name)?,
            Err(_) if answer.hasattr("__getitem__")? => answer.get_item(name).ok(),
            Err(_) => answer.getattr(name).ok(),
        };
        Ok(value.filter(|value| !value.is_none()))
    };
    let text = |name: &str| -> PyResult<Option<String>> {
        match field(name)? {
            None => Ok(None),
            Some(value) => value.extract().map(Some).map_err(|_| {
                let kind = value.get_type();
                PyTypeError::new_err(format!("`{name}` must be a text, got {kind}"))
            }),
        }
    };
    let required = |name: &str| -> PyResult<String> {
        text(name)?.ok_or_else(|| PyValueError::new_err(format!("it gave no `{name}`")))
    };
    let expires_at = match field("expires_at")? {
        None => None,
        Some(moment) if moment.hasattr("timestamp")? => {
            if moment.getattr("tzinfo").is_ok_and(|zone| zone.is_none()) {
                return Err(PyValueError::new_err(
                    "`expires_at` must have a time zone, got a naive datetime",
                ));
            }
            Some(moment.call_method0("timestamp")?.extract()?)
        }
        Some(moment) => Some(moment.extract()?),
    };
    Ok(Keys {
        access_key_id: required("access_key_id")?,
        secret_access_key: required("secret_access_key")?,
        session_token: text("session_token")?,
        expires_at,
    })
}
