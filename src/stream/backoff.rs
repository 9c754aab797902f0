//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Waits that double from a first one up to a longest.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// Counts a failure, and says how long to wait before the next attempt.
    pub(super) fn failed(&mut self) -> Duration {
        let wait = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        wait.min(self.longest)
    }

    /// Forgets the failures: it worked.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures since it last worked.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_start_anew() {
        let longest = Duration::from_secs(3);
        let mut backoff = Backoff::new(Duration::from_millis(250), longest);
        let waits: Vec<u128> = (0..6).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 3000, 3000]);
        assert_eq!(backoff.failures(), 6);
        backoff.succeeded();
        assert_eq!(backoff.failed().as_millis(), 250);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.failed(), longest);
    }
}
