//! The values that cross between Python and the verbs, both ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::backend::PutOptions;
use crate::buffer::Buffer;
use crate::memory::View;
use crate::read::Known;

pub fn nothing(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

pub fn buffer(py: Python<'_>, view: View) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Buffer::new(view))?.into_any())
}

pub fn buffers(py: Python<'_>, views: Vec<View>) -> PyResult<Py<PyAny>> {
    let buffers: Vec<Buffer> = views.into_iter().map(Buffer::new).collect();
    Ok(buffers.into_pyobject(py)?.unbind())
}

pub fn value<T>(py: Python<'_>, value: T) -> PyResult<Py<PyAny>>
where
    T: for<'py> IntoPyObjectExt<'py>,
{
    value.into_py_any(py)
}

pub fn known(
    keys: usize,
    sizes: Option<Vec<u64>>,
    etags: Option<Vec<Option<String>>>,
) -> Vec<Known> {
    let (mut sizes, mut etags) = (sizes.map(Vec::into_iter), etags.map(Vec::into_iter));
    (0..keys)
        .map(|_| Known {
            size: sizes.as_mut().and_then(Iterator::next),
            etag: etags.as_mut().and_then(Iterator::next).flatten(),
        })
        .collect()
}

pub fn names(keys: Vec<String>) -> Vec<Arc<str>> {
    keys.into_iter().map(Arc::from).collect()
}

pub type Metadata = Option<BTreeMap<String, String>>;

pub fn put_options(
    if_absent: bool,
    if_match: Option<String>,
    content_type: Option<String>,
    metadata: Metadata,
) -> PutOptions {
    PutOptions {
        if_absent,
        if_match,
        content_type,
        metadata: metadata.unwrap_or_default(),
    }
}
