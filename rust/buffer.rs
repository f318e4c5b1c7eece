//! Bytes across the border: `Buffer` for what Python receives, `source` and `target` for what it lends.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use bytes::Bytes;
use dlpark::ffi::{DLDataType, DLDevice, DLManagedTensor, DLManagedTensorVersioned};
use dlpark::metadata::Fixed;
use dlpark::{DlpackFlags, Managed, ManagedTensorBase};
use pyo3::exceptions::{
    PyBufferError, PyIndexError, PyMemoryError, PyOverflowError, PyTypeError, PyValueError,
};
use pyo3::types::{PyByteArray, PyBytes, PyIterator, PyMemoryView, PySlice, PyString, PyTuple};
use pyo3::{IntoPyObjectExt, ffi, intern, prelude::*};

use crate::memory::{Pool, Region, View};

/// What numpy's and jax's fastest paths ask of an address.
const ALIGNMENT: usize = 64;
const CPU: (u32, i32) = (1, 0);

/// Bytes of an object, in memory that numpy, torch and jax take over without copying.
///
///     >>> info = s3dlio.put("memory://weights/a.bin", bytes(range(16)))
///     >>> data = s3dlio.get("memory://weights/a.bin")
///     >>> len(data), data[:4].tobytes()
///     (16, b'\x00\x01\x02\x03')
#[pyclass(frozen, weakref, module = "s3dlio")]
pub struct Buffer {
    view: View,
}

impl Buffer {
    pub fn new(view: View) -> Buffer {
        Buffer { view }
    }
}

#[pymethods]
impl Buffer {
    /// # Safety
    /// Called by the interpreter with a `view` that it owns.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = &slf.get().view;
        let start = bytes.as_ptr().cast_mut().cast::<c_void>();
        let readonly = c_int::from(!bytes.writable());
        // SAFETY: `view` is the interpreter's to fill. The memory lives as long as `slf`, of which
        // the filled view holds a reference, and is never moved.
        let status = unsafe {
            if let Some(view) = view.as_mut() {
                view.obj = ptr::null_mut();
            }
            let length = bytes.len() as ffi::Py_ssize_t;
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length, readonly, flags)
        };
        match status {
            0 => Ok(()),
            _ => Err(PyErr::fetch(slf.py())),
        }
    }

    fn __len__(&self) -> usize {
        self.view.len()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let len = self.view.len();
        if let Ok(slice) = key.cast::<PySlice>() {
            let part = slice.indices(len as isize)?;
            if part.step != 1 {
                return Err(PyValueError::new_err(format!(
                    "a Buffer takes slices of step 1, got step {}; use .memoryview() for others",
                    part.step
                )));
            }
            let start = part.start as usize;
            let view = self.view.slice(start..start + part.slicelength);
            return Buffer { view }.into_bound_py_any(py);
        }
        let outside = || PyIndexError::new_err(format!("index {key} is outside of {len} bytes"));
        let index = key.extract::<isize>().map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(py) {
                return outside();
            }
            PyTypeError::new_err(format!(
                "Buffer indices must be integers or slices, not {}",
                kind(key)
            ))
        })?;
        let index = if index < 0 {
            index + len as isize
        } else {
            index
        };
        let byte = usize::try_from(index)
            .ok()
            .and_then(|index| self.view.get(index));
        byte.ok_or_else(outside)?.into_bound_py_any(py)
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyIterator>> {
        PyMemoryView::from(slf)?.try_iter()
    }

    fn __eq__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().equals(slf, other)? {
            Some(equal) => equal.into_bound_py_any(py),
            None => Ok(py.NotImplemented().into_bound(py)),
        }
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.view)
    }

    fn __repr__(&self) -> String {
        format!("Buffer({} bytes)", self.view.len())
    }

    /// Length in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.view.len()
    }

    /// True when the bytes are those of a mapped file.
    #[getter]
    fn readonly(&self) -> bool {
        !self.view.writable()
    }

    /// A copy of the bytes.
    fn tobytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.view)
    }

    /// A memoryview of the same memory.
    fn memoryview<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf)
    }

    /// A numpy array of `dtype` and `shape` over the same memory; one dimension without `shape`.
    ///
    /// Raises ValueError when the length is no multiple of the item size, or `shape` asks for
    /// another number of items.
    ///
    ///     >>> info = s3dlio.put("memory://weights/grid.bin", bytes(24))
    ///     >>> s3dlio.get("memory://weights/grid.bin").numpy("float32", (2, 3)).shape
    ///     (2, 3)
    #[pyo3(signature = (dtype=None, shape=None), text_signature = "($self, dtype='uint8', shape=None)")]
    fn numpy<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        shape: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let len = slf.get().view.len();
        let numpy = py.import(intern!(py, "numpy"))?;
        let dtype = dtype.unwrap_or_else(|| intern!(py, "uint8").clone().into_any());
        let dtype = numpy.call_method1(intern!(py, "dtype"), (dtype,))?;
        let item: usize = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
        if item == 0 || !len.is_multiple_of(item) {
            return Err(PyValueError::new_err(format!(
                "{len} bytes are not a whole number of {dtype} items of {item} bytes"
            )));
        }
        let array = numpy.call_method1(intern!(py, "frombuffer"), (slf, &dtype))?;
        let Some(shape) = shape else { return Ok(array) };
        array
            .call_method1(intern!(py, "reshape"), (&shape,))
            .map_err(|error| {
                if !error.is_instance_of::<PyValueError>(py) {
                    return error;
                }
                let count = len / item;
                PyValueError::new_err(format!(
                    "shape {shape} does not hold {count} items of {dtype}, which {len} bytes are"
                ))
            })
    }

    /// A DLPack capsule of the bytes as one dimension of uint8.
    ///
    /// It shares the memory, with two exceptions: `copy=True`, and a read-only Buffer for a
    /// consumer that names no `max_version` and so could not be told that it must not write.
    /// Raises BufferError for any device but the CPU, or where `copy=False` cannot be kept.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(u32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(stream) = stream.filter(|stream| !stream.eq(-1).unwrap_or(false)) {
            return Err(PyBufferError::new_err(format!(
                "stream must be None for memory of the CPU, got {stream}"
            )));
        }
        if let Some((kind, id)) = dl_device.filter(|device| *device != CPU) {
            return Err(PyBufferError::new_err(format!(
                "a Buffer lies on the CPU (1, 0) and cannot be exported to device ({kind}, {id})"
            )));
        }
        let versioned = max_version.is_some_and(|(major, _)| major >= 1);
        let readonly = !self.view.writable();
        let copied = match copy {
            Some(copy) => copy,
            None => readonly && !versioned,
        };
        if readonly && !versioned && !copied {
            return Err(PyBufferError::new_err(
                "a read-only Buffer cannot be exported without a copy to a consumer of DLPack \
                 before version 1.0",
            ));
        }
        let (view, flags) = if copied {
            (copy_of(py, &self.view)?, DlpackFlags::IS_COPIED)
        } else if readonly {
            (self.view.clone(), DlpackFlags::READ_ONLY)
        } else {
            (self.view.clone(), DlpackFlags::empty())
        };
        if versioned {
            tensor::<DLManagedTensorVersioned>(view, flags)?.into_bound_py_any(py)
        } else {
            tensor::<DLManagedTensor>(view, flags)?.into_bound_py_any(py)
        }
    }

    /// The CPU: (1, 0).
    fn __dlpack_device__(&self) -> (u32, i32) {
        CPU
    }

    fn __reduce_ex__<'py>(
        slf: &Bound<'py, Self>,
        protocol: i32,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let data = if protocol >= 5 {
            let pickle = py.import(intern!(py, "pickle"))?;
            pickle.call_method1(intern!(py, "PickleBuffer"), (slf,))?
        } else {
            slf.get().tobytes(py).into_any()
        };
        let core = py.import(intern!(py, "s3dlio._core"))?;
        let make = core.getattr(intern!(py, "_buffer_from"))?;
        Ok((make, PyTuple::new(py, [data])?))
    }
}

impl Buffer {
    /// `None` for what is not bytes-like; arrays answer for themselves, item by item.
    fn equals(&self, slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        if let Ok(other) = other.cast::<Buffer>() {
            return Ok(Some(*self.view == *other.get().view));
        }
        if let Ok(other) = other.cast::<PyBytes>() {
            return Ok(Some(*self.view == *other.as_bytes()));
        }
        if other.is_instance_of::<PyByteArray>() {
            let export = Export::of(other, ffi::PyBUF_SIMPLE)?;
            return Ok(Some(*self.view == *export.freeze()));
        }
        if other.is_instance_of::<PyMemoryView>() {
            let format = other.getattr(intern!(slf.py(), "format"))?;
            return match Export::of(other, ffi::PyBUF_SIMPLE) {
                Ok(export) if format.eq("B")? && export.flat() => {
                    Ok(Some(*self.view == *export.freeze()))
                }
                // Items of other types and strides are the interpreter's own business.
                _ => PyMemoryView::from(slf)?.eq(other).map(Some),
            };
        }
        Ok(None)
    }
}

/// A Buffer of `data`, for pickle: over the same memory when that is writable and aligned, as
/// buffers that travelled out of band are, and a copy otherwise.
#[pyfunction]
#[pyo3(name = "_buffer_from")]
pub fn buffer_from(data: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    if let Ok(export) = Export::of(data, ffi::PyBUF_WRITABLE)
        && export.start().addr().is_multiple_of(ALIGNMENT)
    {
        return Ok(Buffer::new(export.region().freeze()));
    }
    let view = Export::of(data, ffi::PyBUF_SIMPLE)?.freeze();
    Ok(Buffer::new(copy_of(data.py(), &view)?))
}

fn copy_of(py: Python<'_>, view: &View) -> PyResult<View> {
    py.detach(|| {
        let mut region = Pool::new(0)
            .try_allocate(view.len())
            .map_err(|_| PyMemoryError::new_err(format!("no memory for {} bytes", view.len())))?;
        region.bytes_mut().copy_from_slice(view);
        Ok(region.freeze())
    })
}

fn tensor<M: ManagedTensorBase>(view: View, flags: DlpackFlags) -> PyResult<Managed<M>> {
    let failed = |error| PyBufferError::new_err(format!("no DLPack tensor: {error}"));
    let (start, len) = (view.as_ptr().cast_mut().cast(), view.len());
    let shape = Fixed::new([len], [1]).prepare_as::<M>().map_err(failed)?;
    let mut tensor = shape.initialize(Box::new(view));
    tensor.set_dtype(DLDataType::U8).set_device(DLDevice::CPU);
    // DLPack wants null where there are no bytes.
    tensor.set_data(if len > 0 { start } else { ptr::null_mut() });
    // SAFETY: the view keeps `len` bytes at `start` in place until the tensor is dropped. The
    // caller says READ_ONLY of a mapped file, and IS_COPIED only of a view that nobody else has.
    unsafe {
        tensor.set_flags_unchecked(flags);
        Ok(tensor.finish())
    }
}

/// A buffer that a Python object has lent us as contiguous bytes, until this is dropped.
struct Export(NonNull<ffi::Py_buffer>);

// SAFETY: the struct behind the pointer belongs to this value alone, and only `drop` calls into
// the interpreter, attached to it.
unsafe impl Send for Export {}
// SAFETY: shared access reads fields that do not change.
unsafe impl Sync for Export {}

impl Export {
    /// `flags`: PyBUF_SIMPLE or PyBUF_WRITABLE, which ask for contiguous bytes of any item type;
    /// also where the type has no name in the buffer protocol, such as bfloat16 and datetime64.
    fn of(object: &Bound<'_, PyAny>, flags: c_int) -> PyResult<Export> {
        // On the heap, because exporters point into the struct itself.
        let raw = Box::into_raw(Box::new(ffi::Py_buffer::new()));
        // SAFETY: `raw` is a fresh Py_buffer and the interpreter is attached.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), raw, flags) } != 0 {
            // SAFETY: it came from the box above; a failed request leaves nothing to release.
            drop(unsafe { Box::from_raw(raw) });
            return Err(PyErr::fetch(object.py()));
        }
        // SAFETY: a box is never null.
        Ok(Export(unsafe { NonNull::new_unchecked(raw) }))
    }

    fn raw(&self) -> &ffi::Py_buffer {
        // SAFETY: alive until `drop`, and never changed in between.
        unsafe { self.0.as_ref() }
    }

    fn start(&self) -> *mut u8 {
        self.raw().buf.cast()
    }

    /// The bytes are a single row.
    fn flat(&self) -> bool {
        self.raw().ndim == 1 && self.raw().itemsize == 1
    }

    fn region(self) -> Region {
        let (start, len) = (self.start(), self.raw().len.unsigned_abs());
        // SAFETY: the exporter keeps the bytes where they are until the buffer is released, which
        // happens when the region drops this value.
        unsafe { Region::borrowed(Box::new(self), start, len) }
    }

    fn freeze(self) -> View {
        self.region().freeze()
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        // While the interpreter shuts down there is no attaching: the buffer is left to it.
        Python::try_attach(|_| {
            // SAFETY: it was filled by PyObject_GetBuffer, is released once, and came from a box.
            unsafe {
                ffi::PyBuffer_Release(self.0.as_ptr());
                drop(Box::from_raw(self.0.as_ptr()));
            }
        });
    }
}

fn kind(object: &Bound<'_, PyAny>) -> String {
    match object.get_type().fully_qualified_name() {
        Ok(name) => name.to_string(),
        Err(_) => "an object without a type name".to_owned(),
    }
}

/// Torch tensors have no buffer of their own, but `numpy()` shares their memory.
fn array_of<'py>(
    object: &Bound<'py, PyAny>,
    refuse: impl Fn(String) -> PyErr,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the object is alive and the interpreter attached.
    if unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) } != 0 {
        return Ok(object.clone());
    }
    let py = object.py();
    let Ok(numpy) = object.getattr(intern!(py, "numpy")) else {
        let hint = if object.is_instance_of::<PyString>() {
            "; encode it first"
        } else {
            ""
        };
        return Err(refuse(format!("got {}{hint}", kind(object))));
    };
    numpy.call0().map_err(|error| {
        let refused = refuse(format!(
            "got {} whose numpy() failed: {error}",
            kind(object)
        ));
        refused.set_cause(py, Some(error));
        refused
    })
}

/// The bytes of `object`, borrowed: the object cannot resize or free them until the last clone dies,
/// which may happen on any thread.
pub fn source(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(buffer) = object.cast::<Buffer>() {
        return Ok(Bytes::from_owner(buffer.get().view.clone()));
    }
    let array = array_of(object, |got| {
        PyTypeError::new_err(format!(
            "data must be bytes-like (bytes, bytearray, memoryview, Buffer, numpy array, \
             torch tensor on the CPU), {got}"
        ))
    })?;
    match Export::of(&array, ffi::PyBUF_SIMPLE) {
        Ok(export) => Ok(Bytes::from_owner(export.freeze())),
        Err(error) => Err(match Export::of(&array, ffi::PyBUF_FULL_RO) {
            Ok(_) => PyValueError::new_err(format!(
                "data is not contiguous, got {}; copy it first, as numpy.ascontiguousarray does",
                described(object)
            )),
            Err(_) => error,
        }),
    }
}

/// The writable bytes of `object`, borrowed until the last handle of the region dies; `argument`
/// names it in errors.
pub fn target(object: &Bound<'_, PyAny>, argument: &str) -> PyResult<Region> {
    let array = array_of(object, |got| {
        PyTypeError::new_err(format!(
            "{argument} must be a writable contiguous buffer (bytearray, memoryview, numpy array, \
             torch tensor on the CPU), {got}"
        ))
    })?;
    Export::of(&array, ffi::PyBUF_WRITABLE)
        .map(Export::region)
        .map_err(|error| {
            let expected = "expected a writable contiguous buffer";
            let got = described(object);
            // Ask again for less, to learn which of the two demands it failed.
            if Export::of(&array, ffi::PyBUF_SIMPLE).is_ok() {
                PyValueError::new_err(format!("{argument} is read-only; {expected}, got {got}"))
            } else if Export::of(&array, ffi::PyBUF_FULL_RO).is_ok() {
                PyValueError::new_err(format!(
                    "{argument} is not contiguous; {expected}, got {got}"
                ))
            } else {
                error
            }
        })
}

/// The type, with the shape of an array.
fn described(object: &Bound<'_, PyAny>) -> String {
    match object.getattr(intern!(object.py(), "shape")) {
        Ok(shape) => format!("{} of shape {shape}", kind(object)),
        Err(_) => kind(object),
    }
}
