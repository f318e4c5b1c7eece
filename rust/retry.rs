//! Pure policy: what went wrong, how often, and what the service asked for -> wait how long, or give up.

use std::time::Duration;

use crate::failure::{Failure, Kind};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Tries in all, the first included.
    pub max_attempts: u32,
    /// Tries in all when no connection could be made: a dead endpoint is news that should come soon.
    pub connect_attempts: u32,
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            max_attempts: 5,
            connect_attempts: 3,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(20),
        }
    }
}

impl Policy {
    pub const NEVER: Policy = Policy {
        max_attempts: 1,
        connect_attempts: 1,
        backoff: Duration::ZERO,
        backoff_max: Duration::ZERO,
    };

    /// How long to wait before try number `attempt + 1`, or `None` to give up.
    ///
    /// Exponential backoff with full jitter: uniform between 0 and `backoff * 2^(attempt-1)`, capped
    /// (AWS Architecture Blog, "Exponential Backoff And Jitter"). `chance` is uniform in [0, 1).
    /// `Retry-After` is a floor; one that is longer than `backoff_max` ends the call, which then says so.
    pub fn wait(&self, failure: &Failure, attempt: u32, chance: f64) -> Option<Duration> {
        let tries = match failure.kind {
            Kind::Connection if failure.status.is_none() && failure.retry_after.is_none() => {
                self.connect_attempts.min(self.max_attempts)
            }
            _ => self.max_attempts,
        };
        if !failure.retryable || attempt >= tries {
            return None;
        }
        let ceiling = self
            .backoff
            .saturating_mul(1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX))
            .min(self.backoff_max);
        let wait = ceiling.mul_f64(chance.clamp(0.0, 1.0));
        match failure.retry_after {
            Some(asked) if asked > self.backoff_max => None,
            Some(asked) => Some(asked.max(wait)),
            None => Some(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttled() -> Box<Failure> {
        Failure::new(Kind::RateLimited, "slow down").retryable()
    }

    #[test]
    fn what_cannot_succeed_is_not_tried_again() {
        let failure = Failure::new(Kind::PermissionDenied, "access denied");
        assert_eq!(Policy::default().wait(&failure, 1, 0.5), None);
    }

    #[test]
    fn waits_double_and_are_capped() {
        let policy = Policy {
            max_attempts: 99,
            ..Policy::default()
        };
        let ceilings: Vec<u128> = [1, 2, 3, 20, 40]
            .iter()
            .map(|n| {
                policy
                    .wait(&throttled(), *n, 1.0)
                    .map_or(0, |w| w.as_millis())
            })
            .collect();
        assert_eq!(ceilings, [100, 200, 400, 20_000, 20_000]);
        assert_eq!(policy.wait(&throttled(), 3, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        assert!(Policy::default().wait(&throttled(), 4, 0.5).is_some());
        assert_eq!(Policy::default().wait(&throttled(), 5, 0.5), None);
        assert_eq!(Policy::NEVER.wait(&throttled(), 1, 0.5), None);
    }

    #[test]
    fn a_dead_endpoint_is_given_up_sooner_and_within_a_second() {
        let policy = Policy::default();
        let refused = Failure::new(Kind::Connection, "refused").retryable();
        let longest: Duration = (1..9).map_while(|n| policy.wait(&refused, n, 1.0)).sum();
        assert!(longest < Duration::from_millis(500));
        assert_eq!(policy.wait(&refused, 3, 0.5), None);
    }

    #[test]
    fn retry_after_is_a_floor_and_an_unreasonable_one_gives_up() {
        let mut failure = throttled();
        failure.retry_after = Some(Duration::from_secs(3));
        assert_eq!(
            Policy::default().wait(&failure, 1, 0.5),
            Some(Duration::from_secs(3))
        );
        failure.retry_after = Some(Duration::from_secs(3600));
        assert_eq!(Policy::default().wait(&failure, 1, 0.5), None);
    }
}
