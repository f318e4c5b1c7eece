//! Many reads at once: spread over the cores, results in the order of the questions.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::failure::{Failure, Kind, Result};
use crate::memory::{Region, View};
use crate::plan;
use crate::read::{Known, Reader, Wanted, past_the_end};

impl Reader {
    /// Result i is of key i. `keep_going` leaves failures in their places; else the first one ends it.
    pub async fn get_many(
        &self,
        keys: Vec<Arc<str>>,
        known: Vec<Known>,
        max_in_flight: usize,
        keep_going: bool,
    ) -> std::result::Result<Vec<Result<View>>, (usize, Box<Failure>)> {
        let crowded = crowded(keys.len(), max_in_flight);
        let (reader, keys) = (self.clone(), Arc::new(keys));
        let (names, known) = (keys.clone(), Arc::new(known));
        each(keys.len(), max_in_flight, keep_going, move |index| {
            let (reader, key) = (reader.clone(), names[index].clone());
            let known = known.get(index).cloned().unwrap_or_default();
            async move { reader.get(key, known, crowded).await }
        })
        .await
    }

    /// Each object into its own region; a region is taken once, by the task that fills it.
    pub async fn get_many_into(
        &self,
        keys: Vec<Arc<str>>,
        regions: Vec<Region>,
        max_in_flight: usize,
    ) -> std::result::Result<Vec<u64>, (usize, Box<Failure>)> {
        let crowded = crowded(keys.len(), max_in_flight);
        let regions: Vec<Mutex<Option<Region>>> = regions
            .into_iter()
            .map(|region| Mutex::new(Some(region)))
            .collect();
        let (reader, count) = (self.clone(), keys.len());
        let done = each(count, max_in_flight, false, move |index| {
            let (reader, key) = (reader.clone(), keys[index].clone());
            let region = regions[index]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            async move {
                match region {
                    Some(out) => reader.get_into(key, &Wanted::default(), out, crowded).await,
                    None => Ok(0),
                }
            }
        })
        .await?;
        done.into_iter()
            .enumerate()
            .map(|(index, outcome)| outcome.map_err(|failure| (index, failure)))
            .collect()
    }

    pub async fn get_ranges(
        &self,
        key: Arc<str>,
        asked: Vec<(u64, Option<u64>)>,
        gap: Option<u64>,
        max_in_flight: usize,
    ) -> Result<Vec<View>> {
        // Open-ended and empty ranges have no end to plan with; they go alone.
        let bounded: Vec<usize> = (0..asked.len())
            .filter(|i| asked[*i].1.is_some_and(|length| length > 0))
            .collect();
        let ranges: Vec<Range<u64>> = bounded
            .iter()
            .map(|i| asked[*i].0..asked[*i].0.saturating_add(asked[*i].1.unwrap_or(0)))
            .collect();
        let mut requests: Vec<(u64, Option<u64>, Vec<usize>)> = plan::join(&ranges, gap)
            .into_iter()
            .map(|joined| {
                let members = joined.asked.iter().map(|i| bounded[*i]).collect();
                let length = joined.range.end - joined.range.start;
                (joined.range.start, Some(length), members)
            })
            .collect();
        for (index, (offset, length)) in asked.iter().enumerate() {
            if length.is_none_or(|length| length == 0) {
                requests.push((*offset, *length, vec![index]));
            }
        }
        let requests = Arc::new(requests);
        let (reader, todo) = (self.clone(), requests.clone());
        let views = each(requests.len(), max_in_flight, false, move |index| {
            let (reader, key) = (reader.clone(), key.clone());
            let (offset, length, _) = todo[index];
            let wanted = Wanted {
                offset,
                length,
                etag: None,
            };
            async move { reader.get_range(key, &wanted).await }
        })
        .await
        .map_err(|(_, failure)| failure)?;
        let mut answers: Vec<Option<View>> = asked.iter().map(|_| None).collect();
        for ((start, _, members), view) in requests.iter().zip(views) {
            let view = view?;
            for member in members {
                let (offset, length) = asked[*member];
                let from = (offset - start) as usize;
                if from > view.len() || (from == view.len() && length != Some(0)) {
                    return Err(past_the_end(offset, start + view.len() as u64));
                }
                let to = length.map_or(view.len(), |n| view.len().min(from + n as usize));
                answers[*member] = Some(view.slice(from..to));
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// With this many objects under way, splitting one of them gains nothing.
pub fn crowded(objects: usize, max_in_flight: usize) -> bool {
    objects.min(max_in_flight) >= 4
}

/// Runs `work` for 0..count, at most `max_in_flight` at once, spread over the cores.
/// Results come in order; without `keep_going` the first failure ends it and names its index.
pub async fn each<T, F>(
    count: usize,
    max_in_flight: usize,
    keep_going: bool,
    work: impl Fn(usize) -> F + Send + Sync + 'static,
) -> std::result::Result<Vec<Result<T>>, (usize, Box<Failure>)>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send,
{
    let (next, work) = (Arc::new(AtomicUsize::new(0)), Arc::new(work));
    let mut tasks = JoinSet::new();
    for _ in 0..count.min(max_in_flight.max(1)) {
        let (next, work) = (next.clone(), work.clone());
        tasks.spawn(async move {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Relaxed);
                if index >= count {
                    return Ok(done);
                }
                match work(index).await {
                    Err(failure) if !keep_going => return Err((index, failure)),
                    outcome => done.push((index, outcome)),
                }
            }
        });
    }
    let mut results: Vec<Option<Result<T>>> = (0..count).map(|_| None).collect();
    while let Some(finished) = tasks.join_next().await {
        let done = finished.map_err(|_| {
            (
                0,
                Failure::new(Kind::Unexpected, "one of many tasks was lost"),
            )
        })??;
        for (index, outcome) in done {
            results[index] = Some(outcome);
        }
    }
    Ok(results
        .into_iter()
        .map(|result| {
            result.unwrap_or_else(|| Err(Failure::new(Kind::Unexpected, "it was never done")))
        })
        .collect())
}
