//! The threads of this process: a tokio runtime for sockets and time, a pool for blocking file work.
//!
//! Both belong to one process id. A forked child finds another id than its own here and builds anew;
//! what it inherited is forgotten, never dropped, because its threads did not survive the fork.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use crate::failure::{Failure, Kind, Result};

static CURRENT: ArcSwapOption<Runtime> = ArcSwapOption::const_empty();

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub struct Runtime {
    pid: u32,
    tokio: tokio::runtime::Runtime,
    files: FileThreads,
}

impl Runtime {
    fn start() -> Result<Self> {
        let cannot = |what: &str, error: std::io::Error| {
            Failure::new(Kind::Unexpected, format!("cannot start {what}: {error}"))
        };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.clamp(2, 8))
            .max_blocking_threads(16)
            .thread_name("s3dlio-io")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| cannot("the network threads", error))?;
        Ok(Runtime {
            pid: std::process::id(),
            tokio,
            files: FileThreads::new(cores.clamp(4, 16)),
        })
    }

    pub fn tokio(&self) -> &tokio::runtime::Runtime {
        &self.tokio
    }
}

/// The runtime of this process, started at its first use.
pub fn current() -> Result<Arc<Runtime>> {
    let pid = std::process::id();
    if let Some(runtime) = CURRENT.load_full() {
        if runtime.pid == pid {
            return Ok(runtime);
        }
        std::mem::forget(runtime);
    }
    let fresh = Arc::new(Runtime::start()?);
    let kept = CURRENT.rcu(|seen| match seen {
        Some(other) if other.pid == pid => Some(other.clone()),
        _ => Some(fresh.clone()),
    });
    // The runtime replaced here came through a fork, or there was none.
    if let Some(old) = kept {
        if old.pid == pid {
            return Ok(old);
        }
        std::mem::forget(old);
    }
    Ok(fresh)
}

/// Runs blocking file work on the file threads. The work runs to its end even if the answer is no
/// longer awaited, so it must own everything that it touches.
pub fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    let (answer, answered) = oneshot::channel();
    let sent = current().map(|runtime| {
        runtime.files.run(Box::new(move || {
            // A receiver that is gone was cancelled; nobody wants the answer.
            let _ = answer.send(work());
        }));
    });
    async move {
        sent?;
        answered.await.map_err(|_| {
            Failure::new(
                Kind::Unexpected,
                "a file thread ended before its work was done",
            )
        })
    }
}

/// Threads that come as work arrives, up to a limit, and stay.
#[derive(Debug)]
struct FileThreads {
    limit: usize,
    started: AtomicUsize,
    idle: Arc<AtomicUsize>,
    queue: Sender<Work>,
    todo: Receiver<Work>,
}

impl FileThreads {
    fn new(limit: usize) -> Self {
        let (queue, todo) = unbounded();
        FileThreads {
            limit,
            started: AtomicUsize::new(0),
            idle: Arc::default(),
            queue,
            todo,
        }
    }

    fn run(&self, work: Work) {
        if self.idle.load(Relaxed) <= self.todo.len() && self.started.load(Relaxed) < self.limit {
            self.start_one();
        }
        if self.started.load(Relaxed) == 0 {
            // No thread can be had: slow is better than never.
            return work();
        }
        if let Err(rejected) = self.queue.send(work) {
            (rejected.0)();
        }
    }

    fn start_one(&self) {
        let number = self.started.fetch_add(1, Relaxed);
        if number >= self.limit {
            self.started.fetch_sub(1, Relaxed);
            return;
        }
        let (todo, idle) = (self.todo.clone(), self.idle.clone());
        let thread = std::thread::Builder::new()
            .name(format!("s3dlio-file-{number}"))
            .spawn(move || {
                loop {
                    idle.fetch_add(1, Relaxed);
                    let work = todo.recv();
                    idle.fetch_sub(1, Relaxed);
                    match work {
                        // A panic ends this piece of work (its answer is dropped), not the thread.
                        Ok(work) => {
                            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)))
                        }
                        Err(_) => return,
                    }
                }
            });
        if thread.is_err() {
            self.started.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_same_runtime_serves_every_caller() {
        let a = current().unwrap();
        let b = std::thread::spawn(|| current().unwrap()).join().unwrap();
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn work_runs_on_a_file_thread_and_answers() {
        let runtime = current().unwrap();
        let name = runtime
            .tokio()
            .block_on(offload(|| std::thread::current().name().map(str::to_owned)));
        assert!(name.unwrap().unwrap().starts_with("s3dlio-file-"));
    }

    #[test]
    fn work_that_panics_is_a_failure_and_the_pool_lives_on() {
        let runtime = current().unwrap();
        let broken = runtime
            .tokio()
            .block_on(offload(|| -> u8 { panic!("as planned") }));
        assert_eq!(broken.unwrap_err().kind, Kind::Unexpected);
        assert_eq!(runtime.tokio().block_on(offload(|| 7)).unwrap(), 7);
    }
}
