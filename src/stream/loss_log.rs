//! Which losses of a source are logged.

use std::time::{Duration, Instant};

/// What was logged of a source that is lost, so that one that comes and goes is not told each time.
#[derive(Debug, Default)]
pub(super) struct LossLog {
    last: Option<(String, Instant)>,
    suppressed: bool,
}

impl LossLog {
    /// For so long the same loss is not logged again.
    const SAME: Duration = Duration::from_secs(60);

    /// Whether the reason is to be logged; if so, it is taken for logged.
    pub(super) fn should_log(&mut self, reason: &str) -> bool {
        self.suppressed = self
            .last
            .as_ref()
            .is_some_and(|(last, when)| last == reason && when.elapsed() < Self::SAME);
        if !self.suppressed {
            self.last = Some((reason.to_owned(), Instant::now()));
        }
        !self.suppressed
    }

    /// Whether the last was not logged.
    pub(super) fn is_suppressed(&self) -> bool {
        self.suppressed
    }
}
