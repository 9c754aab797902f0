//! What the two threads of a sink for a network share: the one that takes messages, which never
//! waits for the network, and the one that delivers them.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::super::backoff::Backoff;
use super::{Outbox, OutboxMessage, SinkError};

/// Time between attempts to write what the disk did not take.
const SAVE: Duration = Duration::from_secs(1);

/// An outbox between two threads, and what is to be said of its delivery.
pub(super) struct Delivery {
    sink: String,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// Gone once the sink ends, and the folder's lock with it.
    outbox: Option<Outbox>,
    /// The trouble that was said last and is not over.
    said: Option<String>,
    unsaid: Option<String>,
    saved: Instant,
    ending: bool,
}

impl Delivery {
    pub(super) fn new(sink: &str, outbox: Outbox) -> Self {
        Self {
            sink: sink.to_owned(),
            inner: Mutex::new(Inner {
                outbox: Some(outbox),
                said: None,
                unsaid: None,
                saved: Instant::now(),
                ending: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here is half done when a thread panics.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a message until it is delivered.
    pub(super) fn push(&self, message: OutboxMessage) -> Result<(), SinkError> {
        let pushed = match &mut self.lock().outbox {
            Some(outbox) => outbox.push(message),
            None => Ok(()),
        };
        self.changed.notify_all();
        pushed
    }

    /// The message to deliver next.
    pub(super) fn front(&self) -> Option<(u64, OutboxMessage)> {
        self.lock().outbox.as_mut()?.front()
    }

    /// The message to deliver next, when there is one; `None` when the sink ends.
    pub(super) fn wait_for_front(&self) -> Option<(u64, OutboxMessage)> {
        let mut inner = self.lock();
        loop {
            if inner.ending {
                return None;
            }
            if let Some(front) = inner.outbox.as_mut()?.front() {
                return Some(front);
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The peer has it.
    pub(super) fn delivered(&self, number: u64) {
        let mut inner = self.lock();
        let removed = match &mut inner.outbox {
            Some(outbox) => outbox.remove(number),
            None => Ok(()),
        };
        if let Err(SinkError::Unavailable { problem, .. }) = removed {
            inner.unsaid = Some(problem);
        }
        self.changed.notify_all();
    }

    /// The peer will never take it.
    pub(super) fn refused(&self, number: u64, reason: &str) {
        if let Some(outbox) = &mut self.lock().outbox {
            outbox.set_aside(number, reason);
        }
        self.changed.notify_all();
    }

    /// The peer is away: said once for each sort of trouble.
    pub(super) fn trouble(&self, problem: String) {
        let mut inner = self.lock();
        if inner.said.as_ref() != Some(&problem) {
            inner.said = Some(problem.clone());
            inner.unsaid = Some(problem);
        }
    }

    /// The peer is there.
    pub(super) fn well(&self) {
        self.lock().said = None;
    }

    /// Waits, unless the sink ends: then `false`.
    pub(super) fn rest(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut inner = self.lock();
        while !inner.ending {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            (inner, _) = self
                .changed
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Whether the sink ends.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// For [`super::Sink::idle`]: writes what the disk did not take, and says what was not said.
    pub(super) fn report(&self) -> Result<(), SinkError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(problem) = inner.unsaid.take() {
            return Err(self.unavailable(problem));
        }
        let Some(outbox) = &mut inner.outbox else {
            return Ok(());
        };
        if let Some(notice) = outbox.take_notice() {
            return Err(self.unavailable(notice));
        }
        if inner.saved.elapsed() < SAVE {
            return Ok(());
        }
        inner.saved = Instant::now();
        outbox.save()
    }

    /// Waits until all is delivered, at most for so long.
    pub(super) fn wait_until_empty(&self, most: Duration) {
        let end = Instant::now() + most;
        let mut inner = self.lock();
        while inner
            .outbox
            .as_ref()
            .is_some_and(|outbox| !outbox.is_empty())
        {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (inner, _) = self
                .changed
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the deliverer, closes the outbox, and tries once more to write what is only in memory.
    pub(super) fn close(&self) -> Result<(), SinkError> {
        let mut inner = self.lock();
        inner.ending = true;
        let saved = inner
            .outbox
            .take()
            .map_or(Ok(()), |mut outbox| outbox.save());
        self.changed.notify_all();
        saved
    }

    fn unavailable(&self, problem: String) -> SinkError {
        SinkError::unavailable(&self.sink, problem)
    }
}

/// Times between attempts to reach a peer.
pub(super) fn attempts() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::{super::OutboxSettings, *};

    fn delivery(folder: &std::path::Path) -> Delivery {
        let outbox = Outbox::open("test", folder, &OutboxSettings::default()).unwrap();
        Delivery::new("test", outbox)
    }

    #[test]
    fn trouble_is_said_once_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let delivery = delivery(dir.path());
        let said = || delivery.report().err().map(|error| error.to_string());
        delivery.trouble("refused".to_owned());
        delivery.trouble("refused".to_owned());
        assert_eq!(said().as_deref(), Some("test: refused"));
        delivery.trouble("refused".to_owned());
        assert_eq!(said(), None);
        delivery.trouble("unknown host".to_owned());
        assert_eq!(said().as_deref(), Some("test: unknown host"));
        delivery.well();
        delivery.trouble("unknown host".to_owned());
        assert!(said().is_some());
    }

    #[test]
    fn a_deliverer_waits_for_messages_and_for_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let delivery = delivery(dir.path());
        let message = OutboxMessage {
            address: "a".to_owned(),
            body: b"b".to_vec(),
        };
        std::thread::scope(|scope| {
            let deliverer = scope.spawn(|| {
                let mut seen = Vec::new();
                while let Some((number, message)) = delivery.wait_for_front() {
                    seen.push(message);
                    delivery.delivered(number);
                }
                assert!(!delivery.rest(Duration::from_secs(60)));
                seen
            });
            delivery.push(message.clone()).unwrap();
            delivery.wait_until_empty(Duration::from_secs(60));
            delivery.close().unwrap();
            assert_eq!(deliverer.join().unwrap(), [message]);
        });
        // The folder is free again.
        Outbox::open("test", dir.path(), &OutboxSettings::default()).unwrap();
    }

    #[test]
    fn attempts_become_rare_but_not_too_rare() {
        let mut back_off = attempts();
        let times: Vec<f64> = (0..8).map(|_| back_off.failed().as_secs_f64()).collect();
        assert_eq!(times, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        back_off.succeeded();
        assert_eq!(back_off.failed().as_secs_f64(), 0.5);
    }
}
