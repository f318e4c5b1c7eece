//! Our HTTP: one client per set of options, and the seam between a request and its answer.
//!
//! `client` makes connections, `exchange` sends one request (retried where that is harmless) and
//! records how it ended, `answer` reads what a service means by an error.

mod answer;
mod client;
mod exchange;

pub use answer::{failure as meaning_of, refused, refused_among_others};
pub use client::{HttpClient, HttpOptions};
pub use exchange::{Transport, send};
