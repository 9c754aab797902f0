//! What the two threads of a sink for a network share: the one that takes messages, which never
//! waits for the network, and the one that delivers them.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::super::{backoff::Backoff, record::PeerTally};
use super::{Outbox, OutboxMessage, SinkError, SinkStatus};

/// Time between attempts to write what the disk did not take.
const SAVE: Duration = Duration::from_secs(1);

/// An outbox between two threads, and what is to be logged of its delivery.
pub(super) struct Delivery {
    sink: String,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// Gone once the sink ends, and the folder's lock with it.
    outbox: Option<Outbox>,
    /// Whether the last attempt failed, or was refused.
    failing: bool,
    /// The trouble that was logged last and is not over.
    logged: Option<String>,
    unlogged: Option<String>,
    delivered: u64,
    /// What the outbox counted, once it is closed.
    closed: SinkStatus,
    saved: Instant,
    ending: bool,
}

impl Delivery {
    pub(super) fn new(sink: &str, outbox: Outbox) -> Self {
        Self {
            sink: sink.to_owned(),
            inner: Mutex::new(Inner {
                outbox: Some(outbox),
                failing: false,
                logged: None,
                unlogged: None,
                delivered: 0,
                closed: SinkStatus::default(),
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
            inner.unlogged = Some(problem);
        }
        inner.delivered += 1;
        inner.failing = false;
        inner.logged = None;
        self.changed.notify_all();
    }

    /// The peer will never take it.
    pub(super) fn refused(&self, number: u64, reason: &str) {
        let mut inner = self.lock();
        if let Some(outbox) = &mut inner.outbox {
            outbox.set_aside(number, reason);
        }
        inner.failing = true;
        self.changed.notify_all();
    }

    /// The peer is away: logged once for each sort of trouble.
    pub(super) fn failed(&self, problem: String) {
        let mut inner = self.lock();
        inner.failing = true;
        if inner.logged.as_ref() != Some(&problem) {
            inner.logged = Some(problem.clone());
            inner.unlogged = Some(problem);
        }
    }

    /// The peer is there.
    pub(super) fn recovered(&self) {
        let mut inner = self.lock();
        inner.failing = false;
        inner.logged = None;
    }

    pub(super) fn status(&self) -> SinkStatus {
        let inner = self.lock();
        let mut status = inner.outbox.as_ref().map_or(inner.closed, counted);
        status.failing = inner.failing;
        if let Some(peer) = &mut status.peer {
            peer.delivered = inner.delivered;
        }
        status
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

    /// For [`super::Sink::idle`]: writes what the disk did not take, and reports what was
    /// not logged.
    pub(super) fn report(&self) -> Result<(), SinkError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(problem) = inner.unlogged.take() {
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
        let mut saved = Ok(());
        if let Some(mut outbox) = inner.outbox.take() {
            saved = outbox.save();
            inner.closed = counted(&outbox);
            let unsaved = outbox.unsaved() as u64;
            inner.closed.waiting -= unsaved;
            inner.closed.lost += unsaved;
        }
        self.changed.notify_all();
        saved
    }

    fn unavailable(&self, problem: String) -> SinkError {
        SinkError::unavailable(&self.sink, problem)
    }
}

fn counted(outbox: &Outbox) -> SinkStatus {
    SinkStatus {
        failing: false,
        waiting: outbox.len() as u64,
        lost: outbox.lost(),
        peer: Some(PeerTally {
            delivered: 0,
            refused: outbox.aside(),
        }),
    }
}

/// The longest time between two attempts to reach a peer: an alarm is late by no more once the peer
/// is back.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Times between attempts to reach a peer.
pub(super) fn attempts() -> Backoff {
    Backoff::new(Duration::from_millis(500), LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::{super::OutboxSettings, *};

    fn delivery(folder: &std::path::Path) -> Delivery {
        let outbox = Outbox::open("test", folder, &OutboxSettings::default()).unwrap();
        Delivery::new("test", outbox)
    }

    #[test]
    fn trouble_is_reported_once_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let delivery = delivery(dir.path());
        let reported = || delivery.report().err().map(|error| error.to_string());
        delivery.failed("refused".to_owned());
        delivery.failed("refused".to_owned());
        assert_eq!(reported().as_deref(), Some("test: refused"));
        delivery.failed("refused".to_owned());
        assert_eq!(reported(), None);
        assert!(delivery.status().failing);
        delivery.failed("unknown host".to_owned());
        assert_eq!(reported().as_deref(), Some("test: unknown host"));
        delivery.recovered();
        assert!(!delivery.status().failing);
        delivery.failed("unknown host".to_owned());
        assert!(reported().is_some());
    }

    #[test]
    fn every_message_is_delivered_refused_or_waits() {
        let dir = tempfile::tempdir().unwrap();
        let delivery = delivery(dir.path());
        for _ in 0..5 {
            let (address, body) = ("a".to_owned(), b"b".to_vec());
            delivery.push(OutboxMessage { address, body }).unwrap();
        }
        let next = || delivery.front().unwrap().0;
        delivery.delivered(next());
        delivery.refused(next(), "it is too long");
        assert!(delivery.status().failing);
        delivery.refused(next(), "it is too long");
        let error = delivery.report().unwrap_err().to_string();
        assert!(error.contains("2 messages are set aside"), "{error}");
        delivery.close().unwrap();
        let expected = SinkStatus {
            failing: true,
            waiting: 2,
            lost: 0,
            peer: Some(PeerTally {
                delivered: 1,
                refused: 2,
            }),
        };
        assert_eq!(delivery.status(), expected);
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
