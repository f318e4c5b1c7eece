//! What a listing found: URIs as a sequence, the rest as columns beside it.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PySlice, PyString, PyTuple};

use crate::backend::{Entry, Meta};

/// What is known of one object, as a dict.
pub fn info(py: Python<'_>, meta: &Meta) -> PyResult<Py<PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("size", meta.size)?;
    fields.set_item("etag", &meta.etag)?;
    fields.set_item("version", &meta.version)?;
    fields.set_item("modified", meta.modified)?;
    fields.set_item("content_type", &meta.content_type)?;
    fields.set_item("metadata", &meta.metadata)?;
    Ok(fields.into_any().unbind())
}

/// A sequence of full URIs; sizes, times and etags lie beside it.
#[pyclass(frozen, sequence, module = "s3dlio")]
pub struct Listing {
    /// What stands before a key: `s3://bucket/`, or `file://`.
    base: String,
    rows: Vec<Entry>,
}

impl Listing {
    pub fn new(base: String, rows: Vec<Entry>) -> Self {
        Listing { base, rows }
    }

    fn uri(&self, row: &Entry) -> String {
        format!("{}{}", self.base, row.key)
    }

    fn column<'py, T: IntoPyObject<'py>>(
        &self,
        py: Python<'py>,
        value: impl Fn(&Entry) -> T,
    ) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.rows.iter().map(value).collect::<Vec<_>>())
    }
}

type Row = (String, bool, u64, Option<f64>, Option<String>);

#[pymethods]
impl Listing {
    #[staticmethod]
    fn _from_rows(base: String, rows: Vec<Row>) -> Self {
        let rows = rows
            .into_iter()
            .map(|(key, is_prefix, size, modified, etag)| Entry {
                key,
                is_prefix,
                size,
                modified,
                etag,
            })
            .collect();
        Listing { base, rows }
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let rows: Vec<Row> = self
            .rows
            .iter()
            .map(|row| {
                let row = row.clone();
                (row.key, row.is_prefix, row.size, row.modified, row.etag)
            })
            .collect();
        let make = py.get_type::<Listing>().getattr("_from_rows")?;
        (make, (self.base.clone(), rows)).into_pyobject(py)
    }

    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = index.py();
        if let Ok(slice) = index.cast::<PySlice>() {
            let picked = slice.indices(self.rows.len() as isize)?;
            let rows = (0..picked.slicelength)
                .map(|i| self.rows[(picked.start + i as isize * picked.step) as usize].clone())
                .collect();
            let part = Listing::new(self.base.clone(), rows);
            return Ok(Bound::new(py, part)?.into_any());
        }
        let index: isize = index.extract()?;
        let length = self.rows.len() as isize;
        let place = if index < 0 { index + length } else { index };
        if place < 0 || place >= length {
            return Err(PyIndexError::new_err(format!(
                "index {index} is out of range for a listing of {length}"
            )));
        }
        Ok(PyString::new(py, &self.uri(&self.rows[place as usize])).into_any())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.uris(py)?.try_iter()
    }

    fn __contains__(&self, uri: &Bound<'_, PyAny>) -> bool {
        let Ok(uri) = uri.extract::<String>() else {
            return false;
        };
        uri.strip_prefix(&self.base)
            .is_some_and(|key| self.rows.iter().any(|row| row.key == key))
    }

    fn __eq__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        if let Ok(other) = other.cast::<Listing>() {
            let other = other.get();
            let same = self.base == other.base && self.rows == other.rows;
            return Ok(same.into_pyobject(py)?.to_owned().into_any().unbind());
        }
        if other.is_instance_of::<PyList>() || other.is_instance_of::<PyTuple>() {
            let same = match other.extract::<Vec<String>>() {
                Ok(uris) => {
                    uris.len() == self.rows.len()
                        && uris.iter().zip(&self.rows).all(|(uri, row)| {
                            uri.strip_prefix(&self.base) == Some(row.key.as_str())
                        })
                }
                Err(_) => false,
            };
            return Ok(same.into_pyobject(py)?.to_owned().into_any().unbind());
        }
        Ok(py.NotImplemented())
    }

    fn __repr__(&self) -> String {
        let bytes: u64 = self.rows.iter().map(|row| row.size).sum();
        format!("Listing({} entries, {bytes} bytes)", self.rows.len())
    }

    /// Full URIs.
    #[getter]
    fn uris<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |row| self.uri(row))
    }

    /// Keys inside the bucket.
    #[getter]
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |row| row.key.clone())
    }

    /// Bytes; 0 for a prefix.
    #[getter]
    fn sizes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |row| row.size)
    }

    /// Seconds since the epoch, or None.
    #[getter]
    fn modified<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |row| row.modified)
    }

    #[getter]
    fn etags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |row| row.etag.clone())
    }

    /// True where the URI stands for what lies below it.
    #[getter]
    fn is_prefix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.column(py, |row| row.is_prefix)
    }
}
