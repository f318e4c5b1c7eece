//! Two doors to one body: `Operation.wait()` blocks and heeds signals, `await operation` suspends.
//!
//! Finished work queues per event loop and wakes it through one pipe: many completions, one wake-up,
//! and no runtime thread ever waits for the interpreter's lock.

use std::cell::RefCell;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::task::AbortHandle;

use crate::errors::exception;
use crate::failure::{Failure, Kind, Result};
use crate::runtime;

/// How long a signal may wait before a blocked call sees it.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Makes the Python value of a result, under the lock.
type Wrap = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Work = BoxFuture<'static, Result<Wrap>>;

/// Work that has not begun; one of the doors begins it.
#[pyclass(frozen, module = "s3dlio._core")]
pub struct Operation {
    work: Mutex<Option<Work>>,
}

impl Operation {
    pub fn new<T: Send + 'static>(
        work: impl Future<Output = Result<T>> + Send + 'static,
        wrap: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        let work = work.map(|outcome| {
            outcome.map(|value| Box::new(move |py: Python<'_>| wrap(py, value)) as Wrap)
        });
        Operation {
            work: Mutex::new(Some(work.boxed())),
        }
    }

    fn take(&self) -> PyResult<Work> {
        self.work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("an operation can be run once"))
    }
}

#[pymethods]
impl Operation {
    /// Runs the operation and gives its result; the interpreter's lock is free meanwhile.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let work = self.take()?;
        let outcome = py.detach(|| drive(work))?;
        finish(py, outcome)
    }

    fn __await__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let work = self.take()?;
        let event_loop = running_loop(py)?;
        let bridge = Bridge::of(&event_loop)?;
        let future = event_loop.call_method0("create_future")?;
        let waiter = future.clone().unbind();
        let runtime = runtime::current().map_err(|failure| exception(py, &failure))?;
        let task = runtime.tokio().spawn(async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| {
                Err(Failure::new(
                    Kind::Unexpected,
                    "a defect in s3dlio ended this call",
                ))
            });
            bridge.complete(waiter, outcome);
        });
        let cancel = Cancel {
            task: task.abort_handle(),
        };
        future.call_method1("add_done_callback", (cancel,))?;
        future.call_method0("__await__")
    }
}

/// Runs many operations as one: a list of results in order; the first failure ends them all.
#[pyfunction]
pub fn join(operations: Vec<PyRef<'_, Operation>>) -> PyResult<Operation> {
    let works: Vec<Work> = operations
        .iter()
        .map(|operation| operation.take())
        .collect::<PyResult<_>>()?;
    let all = futures::future::try_join_all(works);
    Ok(Operation::new(all, |py, wraps: Vec<Wrap>| {
        let values: Vec<Py<PyAny>> = wraps
            .into_iter()
            .map(|wrap| wrap(py))
            .collect::<PyResult<_>>()?;
        Ok(values.into_pyobject(py)?.unbind())
    }))
}

fn finish(py: Python<'_>, outcome: Result<Wrap>) -> PyResult<Py<PyAny>> {
    match outcome {
        Ok(wrap) => wrap(py),
        Err(failure) => Err(exception(py, &failure)),
    }
}

fn drive(mut work: Work) -> PyResult<Result<Wrap>> {
    let runtime = match runtime::current() {
        Ok(runtime) => runtime,
        Err(failure) => return Ok(Err(failure)),
    };
    runtime.tokio().block_on(async {
        loop {
            match tokio::time::timeout(SIGNAL_CHECK, &mut work).await {
                Ok(outcome) => return Ok(outcome),
                // Leaving drops the work, and with it its requests.
                Err(_) => Python::attach(|py| py.check_signals())?,
            }
        }
    })
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET_RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET_RUNNING_LOOP
        .get_or_try_init(py, || {
            let get = py.import("asyncio")?.getattr("get_running_loop")?;
            PyResult::Ok(get.unbind())
        })?
        .bind(py)
        .call0()
}

/// Ends the work when its future is done: a no-op after a result, an end after a cancellation.
#[pyclass(frozen)]
struct Cancel {
    task: AbortHandle,
}

#[pymethods]
impl Cancel {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.task.abort();
    }
}

/// The way back into one event loop.
struct Bridge {
    pid: u32,
    finished: Mutex<Vec<(Py<PyAny>, Result<Wrap>)>>,
    bell: OwnedFd,
    ear: OwnedFd,
}

thread_local! {
    /// The loops that ran in this thread, by weak reference, and their bridges.
    static BRIDGES: RefCell<Vec<(Py<PyAny>, Arc<Bridge>)>> = const { RefCell::new(Vec::new()) };
}

impl Bridge {
    fn of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Bridge>> {
        let py = event_loop.py();
        let (pid, mut found) = (std::process::id(), None);
        let mut bridges = BRIDGES.take();
        bridges.retain(|(weak, bridge)| match weak.call0(py) {
            Ok(living) if bridge.pid == pid && !living.is_none(py) => {
                if living.is(event_loop) {
                    found = Some(bridge.clone());
                }
                true
            }
            _ => false,
        });
        if let Some(bridge) = found {
            BRIDGES.set(bridges);
            return Ok(bridge);
        }
        let (ear, bell) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|error| {
            PyRuntimeError::new_err(format!("cannot make a pipe to the event loop: {error}"))
        })?;
        let bridge = Arc::new(Bridge {
            pid: std::process::id(),
            finished: Mutex::default(),
            bell,
            ear,
        });
        let drain = Drain {
            bridge: bridge.clone(),
        };
        event_loop.call_method1("add_reader", (bridge.ear.as_raw_fd(), drain))?;
        let weak = py.import("weakref")?.call_method1("ref", (event_loop,))?;
        bridges.push((weak.unbind(), bridge.clone()));
        BRIDGES.set(bridges);
        Ok(bridge)
    }

    fn complete(&self, future: Py<PyAny>, outcome: Result<Wrap>) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.push((future, outcome));
        if finished.len() == 1 {
            // A full pipe has a bell in it already.
            let _ = rustix::io::write(self.bell.as_fd(), &[1]);
        }
    }
}

#[pyclass(frozen)]
struct Drain {
    bridge: Arc<Bridge>,
}

#[pymethods]
impl Drain {
    fn __call__(&self, py: Python<'_>) {
        let mut bell = [0u8; 16];
        let _ = rustix::io::read(self.bridge.ear.as_fd(), &mut bell);
        let finished = std::mem::take(
            &mut *self
                .bridge
                .finished
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for (future, outcome) in finished {
            let future = future.bind(py);
            if let Err(error) = settle(future, outcome) {
                // One future that cannot be settled must not hold the others.
                error.write_unraisable(py, Some(future));
            }
        }
    }
}

fn settle(future: &Bound<'_, PyAny>, outcome: Result<Wrap>) -> PyResult<()> {
    let py = future.py();
    if future.call_method0("done")?.is_truthy()? {
        return Ok(());
    }
    match finish(py, outcome) {
        Ok(value) => future.call_method1("set_result", (value,))?,
        Err(error) => future.call_method1("set_exception", (error.into_value(py),))?,
    };
    Ok(())
}
