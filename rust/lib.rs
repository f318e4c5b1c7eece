//! s3dlio's core: it moves bytes between object stores and memory, and knows no sample.
//!
//! This file is the table of names that Python may see.

mod backend;
mod bridge;
mod buffer;
mod config;
mod credentials;
mod errors;
mod failure;
mod http;
mod list;
mod listing;
mod live;
mod many;
mod memory;
mod plan;
mod read;
mod retry;
mod runtime;
mod settings;
mod store;
mod streams;
mod trail;
mod values;
mod write;

#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::bridge::{Operation, join};
    #[pymodule_export]
    use super::buffer::{Buffer, buffer_from};
    #[pymodule_export]
    use super::listing::Listing;
    #[pymodule_export]
    use super::store::Store;
    #[pymodule_export]
    use super::streams::{ObjectWriter, Pages, Stream};

    /// Adds what is not a class or a function.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let kinds: Vec<&str> = super::failure::Kind::ALL.iter().map(|k| k.name()).collect();
        module.add("KINDS", kinds)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
