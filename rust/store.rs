//! `Store` as Python sees it: take the arguments, name the verb, wrap the answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::backend::{self, Method};
use crate::bridge::Operation;
use crate::buffer::{source, target};
use crate::errors::exception;
use crate::failure::{Failure, Result};
use crate::list::Walk;
use crate::listing::{Listing, info};
use crate::live::Link;
use crate::memory::{Region, View};
use crate::plan::overlapping;
use crate::read::{Known, Wanted};
use crate::settings;
use crate::streams::{Course, ObjectWriter, Pages, Stream};
use crate::trail::Trail;
use crate::values::{Metadata, buffer, buffers, known, names, nothing, put_options, value};
use crate::write::Upload;

/// One bucket, or the files of this machine, as one process reaches it.
#[pyclass(frozen, module = "s3dlio._core")]
pub struct Store {
    link: Link,
}

#[pymethods]
impl Store {
    #[new]
    fn new(
        py: Python<'_>,
        scheme: &str,
        bucket: String,
        options: &Bound<'_, PyDict>,
        environment: HashMap<String, String>,
    ) -> PyResult<Self> {
        let store = Store {
            link: Link::new(settings::config(scheme, bucket, options, environment)?),
        };
        // What cannot work is said now, not at the first request.
        store
            .link
            .live()
            .map_err(|failure| exception(py, &failure))?;
        Ok(store)
    }

    #[pyo3(signature = (key, size=None, etag=None))]
    fn get(&self, key: &str, size: Option<u64>, etag: Option<String>) -> Operation {
        let known = Known { size, etag };
        self.link.on(
            "read",
            key,
            move |reader, _, key| async move { reader.get(key, known, false).await },
            buffer,
        )
    }

    #[pyo3(signature = (key, offset, length=None, etag=None))]
    fn get_range(
        &self,
        key: &str,
        offset: u64,
        length: Option<u64>,
        etag: Option<String>,
    ) -> Operation {
        let wanted = Wanted {
            offset,
            length,
            etag,
        };
        self.link.on(
            "read",
            key,
            move |reader, _, key| async move { reader.get_range(key, &wanted).await },
            buffer,
        )
    }

    #[pyo3(signature = (key, ranges, join_gap_bytes=None))]
    fn get_ranges(
        &self,
        key: &str,
        ranges: Vec<(u64, Option<u64>)>,
        join_gap_bytes: Option<u64>,
    ) -> Operation {
        let gap = join_gap_bytes.or(self.link.config.read.join_gap_bytes);
        let most = self.link.config.read.max_in_flight;
        self.link.on(
            "read",
            key,
            move |reader, _, key| async move {
                reader
                    .get_ranges(key, ranges, gap.filter(|gap| *gap > 0), most)
                    .await
            },
            buffers,
        )
    }

    #[pyo3(signature = (keys, sizes=None, etags=None, max_in_flight=64, on_error="raise"))]
    fn get_many(
        &self,
        keys: Vec<String>,
        sizes: Option<Vec<u64>>,
        etags: Option<Vec<Option<String>>>,
        max_in_flight: usize,
        on_error: &str,
    ) -> Operation {
        let known = known(keys.len(), sizes, etags);
        let (reader, config) = (self.link.reader(), self.link.config.clone());
        let (keys, keep_going) = (names(keys), on_error == "return");
        let work = async move {
            let named = |index: usize, failure: Box<Failure>| {
                failure.during("read", &config.uri(&keys[index]))
            };
            let results = reader?
                .get_many(keys.clone(), known, max_in_flight, keep_going)
                .await
                .map_err(|(index, failure)| named(index, failure))?;
            let results = results.into_iter().enumerate();
            Ok(results
                .map(|(index, result)| result.map_err(|failure| named(index, failure)))
                .collect())
        };
        Operation::new(work, |py, results: Vec<Result<View>>| {
            let values: Vec<Py<PyAny>> = results
                .into_iter()
                .map(|result| match result {
                    Ok(view) => buffer(py, view),
                    Err(failure) => Ok(exception(py, &failure).into_value(py).into_any()),
                })
                .collect::<PyResult<_>>()?;
            value(py, values)
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn iter_many(
        &self,
        keys: Vec<String>,
        sizes: Option<Vec<u64>>,
        etags: Option<Vec<Option<String>>>,
        memory_limit: u64,
        max_in_flight: usize,
        ordered: bool,
    ) -> Stream {
        Stream::new(Course {
            reader: self.link.reader(),
            config: self.link.config.clone(),
            known: known(keys.len(), sizes, etags),
            keys: names(keys),
            memory_limit,
            max_in_flight,
            ordered,
        })
    }

    #[pyo3(signature = (key, out, offset=0, length=None, etag=None))]
    fn get_into(
        &self,
        key: &str,
        out: &Bound<'_, PyAny>,
        offset: u64,
        length: Option<u64>,
        etag: Option<String>,
    ) -> PyResult<Operation> {
        let out = target(out, "out")?;
        let wanted = Wanted {
            offset,
            length,
            etag,
        };
        Ok(self.link.on(
            "read",
            key,
            move |reader, _, key| async move { reader.get_into(key, &wanted, out, false).await },
            value::<u64>,
        ))
    }

    #[pyo3(signature = (keys, outs, max_in_flight=64))]
    fn get_many_into(
        &self,
        keys: Vec<String>,
        outs: Vec<Bound<'_, PyAny>>,
        max_in_flight: usize,
    ) -> PyResult<Operation> {
        if keys.len() != outs.len() {
            return Err(PyValueError::new_err(format!(
                "there must be one of `outs` for each of `uris`, got {} for {}",
                outs.len(),
                keys.len()
            )));
        }
        let regions: Vec<Region> = outs
            .iter()
            .enumerate()
            .map(|(index, out)| target(out, &format!("outs[{index}]")))
            .collect::<PyResult<_>>()?;
        let places: Vec<(usize, usize)> = regions
            .iter()
            .map(|region| (region.address(), region.len()))
            .collect();
        if let Some((one, other)) = overlapping(&places) {
            return Err(PyValueError::new_err(format!(
                "`outs` must not overlap: outs[{one}] and outs[{other}] share memory"
            )));
        }
        let (reader, config, keys) = (self.link.reader(), self.link.config.clone(), names(keys));
        let work = async move {
            reader?
                .get_many_into(keys.clone(), regions, max_in_flight)
                .await
                .map_err(|(index, failure)| failure.during("read", &config.uri(&keys[index])))
        };
        Ok(Operation::new(work, value::<Vec<u64>>))
    }

    #[pyo3(signature = (key, data, if_absent=false, if_match=None, content_type=None, metadata=None))]
    fn put(
        &self,
        key: &str,
        data: &Bound<'_, PyAny>,
        if_absent: bool,
        if_match: Option<String>,
        content_type: Option<String>,
        metadata: Metadata,
    ) -> PyResult<Operation> {
        let data = source(data)?;
        let options = put_options(if_absent, if_match, content_type, metadata);
        Ok(self.link.on(
            "write",
            key,
            move |_, writer, key| async move { writer.put(&key, data, &options).await },
            |py, meta| info(py, &meta),
        ))
    }

    #[pyo3(signature = (items, max_in_flight=64))]
    fn put_many(
        &self,
        items: Vec<(String, Bound<'_, PyAny>)>,
        max_in_flight: usize,
    ) -> PyResult<Operation> {
        let items: Vec<(Arc<str>, Bytes)> = items
            .into_iter()
            .map(|(key, data)| Ok((key.into(), source(&data)?)))
            .collect::<PyResult<_>>()?;
        let (writer, config) = (self.link.writer(), self.link.config.clone());
        let keys: Vec<Arc<str>> = items.iter().map(|(key, _)| key.clone()).collect();
        let work = async move {
            writer?
                .put_many(items, max_in_flight)
                .await
                .map_err(|(index, failure)| failure.during("write", &config.uri(&keys[index])))
        };
        Ok(Operation::new(work, |py, metas: Vec<backend::Meta>| {
            let infos: Vec<Py<PyAny>> = metas
                .iter()
                .map(|meta| info(py, meta))
                .collect::<PyResult<_>>()?;
            value(py, infos)
        }))
    }

    #[pyo3(signature = (key, if_absent=false, if_match=None, content_type=None, metadata=None))]
    fn writer(
        &self,
        py: Python<'_>,
        key: &str,
        if_absent: bool,
        if_match: Option<String>,
        content_type: Option<String>,
        metadata: Metadata,
    ) -> PyResult<ObjectWriter> {
        let options = put_options(if_absent, if_match, content_type, metadata);
        let writer = self
            .link
            .writer()
            .map_err(|failure| exception(py, &failure))?;
        let upload = Upload::new(writer, key.into(), options);
        Ok(ObjectWriter::new(upload, self.link.config.uri(key)))
    }

    fn stat(&self, key: &str) -> Operation {
        self.link.on(
            "stat",
            key,
            |reader, _, key| async move { reader.stat(&key).await },
            |py, meta| info(py, &meta),
        )
    }

    fn exists(&self, key: &str) -> Operation {
        self.link.on(
            "stat",
            key,
            |reader, _, key| async move { reader.exists(&key).await },
            value::<bool>,
        )
    }

    #[pyo3(signature = (prefix, recursive=false, pattern=None))]
    fn list(&self, prefix: &str, recursive: bool, pattern: Option<String>) -> Operation {
        let (base, counters) = (self.link.base(), self.link.counters.clone());
        self.link.on(
            "list",
            prefix,
            move |reader, _, prefix| async move {
                Walk::new(
                    &reader.backend,
                    &prefix,
                    recursive,
                    pattern.as_deref(),
                    &counters,
                )?
                .all()
                .await
            },
            move |py, rows| Ok(Py::new(py, Listing::new(base, rows))?.into_any()),
        )
    }

    #[pyo3(signature = (prefix, recursive=false, pattern=None))]
    fn pages(
        &self,
        py: Python<'_>,
        prefix: &str,
        recursive: bool,
        pattern: Option<&str>,
    ) -> PyResult<Pages> {
        let uri = self.link.config.uri(prefix);
        let walk = self
            .link
            .live()
            .and_then(|live| {
                Walk::new(
                    &live.backend,
                    prefix,
                    recursive,
                    pattern,
                    &self.link.counters,
                )
            })
            .map_err(|failure| exception(py, &failure.during("list", &uri)))?;
        Ok(Pages::new(walk, self.link.base(), uri))
    }

    fn delete(&self, key: &str) -> Operation {
        self.link.on(
            "delete",
            key,
            |_, writer, key| async move { writer.delete(&key).await },
            nothing,
        )
    }

    fn delete_many(&self, keys: Vec<String>) -> Operation {
        let (writer, config) = (self.link.writer(), self.link.config.clone());
        let uris: Vec<String> = keys.iter().map(|key| config.uri(key)).collect();
        let all = config.bucket_uri();
        let work = async move {
            let outcomes = async { writer?.delete_many(keys).await }.await;
            let outcomes = outcomes.map_err(|failure| failure.during("delete objects of", &all))?;
            let named = outcomes.into_iter().zip(&uris);
            Ok(named
                .map(|(outcome, uri)| outcome.map_err(|failure| failure.during("delete", uri)))
                .collect())
        };
        Operation::new(work, |py, outcomes: Vec<Result<()>>| {
            let values: Vec<Option<Py<PyAny>>> = outcomes
                .into_iter()
                .map(|outcome| {
                    let failure = outcome.err()?;
                    Some(exception(py, &failure).into_value(py).into_any())
                })
                .collect();
            value(py, values)
        })
    }

    #[pyo3(signature = (prefix, dry_run=false))]
    fn delete_prefix(&self, prefix: &str, dry_run: bool) -> Operation {
        if !dry_run {
            return self.link.on(
                "delete",
                prefix,
                |_, writer, prefix| async move { writer.delete_prefix(&prefix).await },
                value::<u64>,
            );
        }
        let (config, counters) = (self.link.config.clone(), self.link.counters.clone());
        self.link.on(
            "list",
            prefix,
            move |reader, _, prefix| async move {
                Walk::new(&reader.backend, &prefix, true, None, &counters)?
                    .all()
                    .await
            },
            move |py, rows| {
                let uris: Vec<String> = rows.iter().map(|row| config.uri(&row.key)).collect();
                value(py, uris)
            },
        )
    }

    fn copy(&self, src: &str, dst: &str) -> Operation {
        let dst = dst.to_owned();
        self.link.on(
            "copy",
            src,
            move |_, writer, src| async move { writer.copy(&src, &dst).await },
            |py, meta| info(py, &meta),
        )
    }

    fn r#move(&self, src: &str, dst: &str) -> Operation {
        let dst = dst.to_owned();
        self.link.on(
            "move",
            src,
            move |_, writer, src| async move { writer.rename(&src, &dst).await },
            |py, meta| info(py, &meta),
        )
    }

    fn copy_from(&self, other: PyRef<'_, Store>, src: &str, dst: &str) -> Operation {
        let (reader, writer) = (other.link.reader(), self.link.writer());
        let (src, dst) = (src.to_owned(), dst.to_owned());
        let (from, to) = (other.link.config.uri(&src), self.link.config.uri(&dst));
        let work = async move {
            let copied = async { writer?.copy_from(&reader?, &src, &dst).await }.await;
            copied.map_err(|failure| {
                let mut failure = failure.during("copy", &from);
                failure.uri = format!("{from} to {to}");
                failure
            })
        };
        Operation::new(work, |py, meta| info(py, &meta))
    }

    fn presign(&self, key: &str, method: &str, expires_seconds: f64) -> PyResult<Operation> {
        let method = match method {
            "GET" => Method::Get,
            "PUT" => Method::Put,
            "HEAD" => Method::Head,
            "DELETE" => Method::Delete,
            other => {
                return Err(PyValueError::new_err(format!(
                    "`method` must be GET, PUT, HEAD or DELETE, got {other:?}"
                )));
            }
        };
        let expires = Duration::try_from_secs_f64(expires_seconds).map_err(|_| {
            PyValueError::new_err(format!(
                "`expires` must be a time in seconds, got {expires_seconds}"
            ))
        })?;
        let trail = Trail::new(self.link.counters.clone());
        Ok(self.link.on(
            "sign a URL for",
            key,
            move |reader, _, key| async move {
                reader.backend.presign(&key, method, expires, &trail).await
            },
            value::<String>,
        ))
    }

    fn list_buckets(&self) -> Operation {
        self.link.on_bucket(
            "list the buckets of",
            |backend, trail| async move { backend.list_buckets(&trail).await },
            |py, entries| {
                let rows: Vec<(String, Option<f64>)> = entries
                    .into_iter()
                    .map(|entry| (entry.key, entry.modified))
                    .collect();
                value(py, rows)
            },
        )
    }

    fn create_bucket(&self) -> Operation {
        self.link.on_bucket(
            "create",
            |backend, trail| async move { backend.create_bucket(&trail).await },
            nothing,
        )
    }

    fn delete_bucket(&self) -> Operation {
        self.link.on_bucket(
            "delete",
            |backend, trail| async move { backend.delete_bucket(&trail).await },
            nothing,
        )
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        let counters = &self.link.counters;
        BTreeMap::from([
            ("requests", counters.requests.load(Relaxed)),
            ("retries", counters.retries.load(Relaxed)),
            ("bytes_read", counters.bytes_read.load(Relaxed)),
            ("bytes_written", counters.bytes_written.load(Relaxed)),
            ("bytes_copied", counters.bytes_copied.load(Relaxed)),
        ])
    }
}
