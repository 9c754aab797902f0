//! What a supervisor such as systemd is told: that the service is ready, alive, and how it does.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The socket of the supervisor, where it gave one; else nothing happens.
#[derive(Debug)]
pub(super) struct Service {
    /// How often a sign of life is due: half of what the supervisor allows.
    watchdog: Option<Duration>,
    signed: Instant,
    ready: bool,
}

impl Service {
    pub(super) fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            signed: Instant::now(),
            ready: false,
        }
    }

    /// Called when the pipeline runs, and again and again while it does.
    pub(super) fn alive(&mut self) {
        if !self.ready {
            self.ready = true;
            notify(&[NotifyState::Ready]);
        }
        if self
            .watchdog
            .is_some_and(|due| self.signed.elapsed() >= due)
        {
            self.signed = Instant::now();
            notify(&[NotifyState::Watchdog]);
        }
    }

    pub(super) fn status(&self, text: &str) {
        notify(&[NotifyState::Status(text)]);
    }

    pub(super) fn reloading(&mut self) {
        // Ready again once frames go on, with the new configuration or the old one.
        self.ready = false;
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            notify(&[NotifyState::Reloading, now]);
        }
    }

    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // A supervisor that does not listen any more is no reason to stop watching.
    let _ = sd_notify::notify(states);
}
