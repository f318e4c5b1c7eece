//! What takes more than one call: objects as they arrive, pages of a listing, an object being written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use pyo3::prelude::*;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;

use crate::bridge::Operation;
use crate::buffer::{Buffer, source};
use crate::config::Config;
use crate::errors::exception;
use crate::failure::Result;
use crate::list::Walk;
use crate::listing::Listing;
use crate::many::crowded;
use crate::memory::View;
use crate::read::{Gate, Known, Reader};
use crate::write::Upload;

/// Objects one after the other, with a bound on the bytes that wait.
#[pyclass(frozen, module = "s3dlio._core")]
pub struct Stream {
    state: Arc<Mutex<State>>,
}

pub struct Course {
    pub reader: Result<Reader>,
    pub config: Arc<Config>,
    pub keys: Vec<Arc<str>>,
    pub known: Vec<Known>,
    pub memory_limit: u64,
    pub max_in_flight: usize,
    pub ordered: bool,
}

enum State {
    Waiting(Box<Course>),
    Flowing(Flow),
    Ended,
}

struct Flow {
    config: Arc<Config>,
    keys: Arc<Vec<Arc<str>>>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    window: Arc<Window>,
    /// Come before their turn, when order matters.
    early: BTreeMap<usize, Arrival>,
    ordered: bool,
    given: usize,
    /// Ends with the flow.
    _tasks: JoinSet<()>,
}

struct Arrival {
    index: usize,
    outcome: Result<View>,
    /// Given back when the object leaves the window.
    ticket: Ticket,
}

/// How many objects may be asked for while nothing is known of their sizes.
const UNKNOWN_AT_ONCE: u64 = 16;

/// Bytes that are on their way or wait to be taken: at most `limit`, or one object.
struct Window {
    limit: u64,
    held: std::sync::Mutex<Held>,
    changed: Notify,
}

struct Held {
    bytes: u64,
    objects: usize,
    /// The object that the consumer waits for is let in whatever its size.
    turn: usize,
}

impl Window {
    /// What an object of unknown size is expected to hold: as much as those before it.
    fn usual_size(&self) -> u64 {
        let held = self.held();
        match held.bytes.checked_div(held.objects as u64) {
            Some(mean) if mean > 0 => mean,
            _ => (self.limit / UNKNOWN_AT_ONCE).max(1),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ticket {
    window: Arc<Window>,
    index: usize,
    bytes: Option<u64>,
}

impl Ticket {
    fn give_back(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            let mut held = self.window.held();
            held.bytes -= bytes;
            held.objects -= 1;
            drop(held);
            self.window.changed.notify_waiters();
        }
    }
}

impl Gate for Ticket {
    fn enter(&mut self, bytes: u64) -> BoxFuture<'_, ()> {
        async move {
            if self.bytes == Some(bytes) {
                return;
            }
            // It was let in for what was expected, or the read starts over.
            self.give_back();
            let window = self.window.clone();
            loop {
                let changed = window.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                {
                    let mut held = window.held();
                    let fits = held.bytes.saturating_add(bytes) <= window.limit;
                    if fits || held.objects == 0 || self.index == held.turn {
                        held.bytes += bytes;
                        held.objects += 1;
                        self.bytes = Some(bytes);
                        return;
                    }
                }
                changed.await;
            }
        }
        .boxed()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Stream {
    pub fn new(course: Course) -> Self {
        Stream {
            state: Arc::new(Mutex::new(State::Waiting(Box::new(course)))),
        }
    }
}

impl Flow {
    fn begin(course: Course) -> Result<Self> {
        let reader = course.reader?;
        let (send, arrivals) = mpsc::unbounded_channel();
        let window = Arc::new(Window {
            limit: course.memory_limit,
            held: std::sync::Mutex::new(Held {
                bytes: 0,
                objects: 0,
                turn: if course.ordered { 0 } else { usize::MAX },
            }),
            changed: Notify::new(),
        });
        let crowded = crowded(course.keys.len(), course.max_in_flight);
        let (keys, known) = (Arc::new(course.keys), Arc::new(course.known));
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..keys.len().min(course.max_in_flight.max(1)) {
            let (send, window, next) = (send.clone(), window.clone(), next.clone());
            let (reader, known, keys) = (reader.clone(), known.clone(), keys.clone());
            tasks.spawn(async move {
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    let Some(key) = keys.get(index).cloned() else {
                        return;
                    };
                    let known = known.get(index).cloned().unwrap_or_default();
                    let mut ticket = Ticket {
                        window: window.clone(),
                        index,
                        bytes: None,
                    };
                    // No request is made whose answer there would be no room for.
                    let expected = known.size.unwrap_or_else(|| window.usual_size());
                    ticket.enter(expected).await;
                    let outcome = reader.get_gated(key, known, crowded, &mut ticket).await;
                    if outcome.is_err() {
                        ticket.give_back();
                    }
                    let arrival = Arrival {
                        index,
                        outcome,
                        ticket,
                    };
                    if send.send(arrival).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Flow {
            config: course.config,
            keys,
            arrivals,
            window,
            early: BTreeMap::new(),
            ordered: course.ordered,
            given: 0,
            _tasks: tasks,
        })
    }

    async fn next(&mut self) -> Option<(usize, Result<View>)> {
        if self.given == self.keys.len() {
            return None;
        }
        let arrival = loop {
            if let Some(arrival) = self.early.remove(&self.given) {
                break arrival;
            }
            let arrival = self.arrivals.recv().await?;
            if !self.ordered || arrival.index == self.given {
                break arrival;
            }
            self.early.insert(arrival.index, arrival);
        };
        self.given += 1;
        if self.ordered {
            self.window.held().turn = self.given;
        }
        drop(arrival.ticket);
        // A change of turn lets someone in even where no bytes were given back.
        self.window.changed.notify_waiters();
        let uri = self.config.uri(&self.keys[arrival.index]);
        let outcome = arrival.outcome;
        Some((
            arrival.index,
            outcome.map_err(|failure| failure.during("read", &uri)),
        ))
    }
}

#[pymethods]
impl Stream {
    /// (index, Buffer), or (index, error), or None after the last.
    fn next(&self) -> Operation {
        let state = self.state.clone();
        let work = async move {
            let mut state = state.lock().await;
            if let State::Waiting(_) = &*state
                && let State::Waiting(course) = std::mem::replace(&mut *state, State::Ended)
            {
                *state = State::Flowing(Flow::begin(*course)?);
            }
            match &mut *state {
                State::Flowing(flow) => Ok(flow.next().await),
                _ => Ok(None),
            }
        };
        Operation::new(work, |py, next| {
            let Some((index, outcome)) = next else {
                return Ok(py.None());
            };
            let value = match outcome {
                Ok(view) => Py::new(py, Buffer::new(view))?.into_any(),
                Err(failure) => exception(py, &failure).into_value(py).into_any(),
            };
            Ok((index, value).into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Ends what is under way.
    fn close(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            *state = State::Ended;
            return;
        }
        // A step is under way in another thread; the end comes right behind it.
        let state = self.state.clone();
        if let Ok(runtime) = crate::runtime::current() {
            runtime
                .tokio()
                .spawn(async move { *state.lock().await = State::Ended });
        }
    }
}

/// A listing page by page.
#[pyclass(frozen, module = "s3dlio._core")]
pub struct Pages {
    walk: Arc<Mutex<Walk>>,
    base: String,
    uri: String,
}

impl Pages {
    pub fn new(walk: Walk, base: String, uri: String) -> Self {
        Pages {
            walk: Arc::new(Mutex::new(walk)),
            base,
            uri,
        }
    }
}

#[pymethods]
impl Pages {
    /// A Listing, or None after the last page.
    fn next(&self) -> Operation {
        let (walk, base, uri) = (self.walk.clone(), self.base.clone(), self.uri.clone());
        let work = async move {
            let page = walk.lock().await.next().await;
            page.map_err(|failure| failure.during("list", &uri))
        };
        Operation::new(work, move |py, page| match page {
            Some(rows) => Ok(Py::new(py, Listing::new(base, rows))?.into_any()),
            None => Ok(py.None()),
        })
    }
}

/// An object being written.
#[pyclass(frozen, name = "Writer", module = "s3dlio._core")]
pub struct ObjectWriter {
    upload: Arc<Mutex<Upload>>,
    uri: String,
}

impl ObjectWriter {
    pub fn new(upload: Upload, uri: String) -> Self {
        ObjectWriter {
            upload: Arc::new(Mutex::new(upload)),
            uri,
        }
    }
}

#[pymethods]
impl ObjectWriter {
    /// Takes a copy of `data`; gives the number of bytes.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let data: Bytes = source(data)?;
        let (upload, uri) = (self.upload.clone(), self.uri.clone());
        let work = async move {
            let mut upload = upload.lock().await;
            let written = upload.write(data).await;
            written.map_err(|failure| failure.during("write", &uri))
        };
        Ok(Operation::new(work, |py, count: u64| {
            Ok(count.into_pyobject(py)?.into_any().unbind())
        }))
    }

    /// Makes the object appear; gives what is known of it.
    fn close(&self) -> Operation {
        let (upload, uri) = (self.upload.clone(), self.uri.clone());
        let work = async move {
            let written = upload.lock().await.close().await;
            written.map_err(|failure| failure.during("write", &uri))
        };
        Operation::new(work, |py, meta| crate::listing::info(py, &meta))
    }

    /// Leaves no object and no parts behind.
    fn abort(&self) -> Operation {
        let (upload, uri) = (self.upload.clone(), self.uri.clone());
        let work = async move {
            let ended = upload.lock().await.abort().await;
            ended.map_err(|failure| failure.during("abort writing", &uri))
        };
        Operation::new(work, |py, ()| Ok(py.None()))
    }
}
