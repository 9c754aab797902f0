//! The thread of a sink, and its queue.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    record::SinkTally,
    sink::{Message, Sink, SinkError, SinkStatus, Wants},
};

/// Frames that wait for a sink.
const FRAMES: usize = 8;

/// Other messages that wait for a sink; where it falls further behind, the pipeline waits.
const OTHERS: usize = 4096;

/// How long a sink is left alone when there is nothing for it.
const IDLE: Duration = Duration::from_millis(100);

/// A sink with its thread and its queue.
#[derive(Debug)]
pub(super) struct SinkWorker {
    /// What distinguishes its settings from others.
    pub(super) key: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    wants: Wants,
}

#[derive(Debug)]
struct Shared {
    name: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    frames: usize,
    busy: bool,
    closed: bool,
    taken: u64,
    failed: u64,
    dropped: u64,
    /// For the log: the first of several failures with the same words, and that it works again.
    log: Vec<String>,
    trouble: Option<String>,
    status: Option<SinkStatus>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed
            .wait_timeout(state, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Remembers how a message was taken, or how the sink did where `message` is `None`.
    fn record(
        &self,
        message: Option<&Message>,
        result: Result<(), SinkError>,
        status: Option<SinkStatus>,
    ) {
        let counts = message.is_some_and(|message| !matches!(message, Message::Tally(_)));
        let mut state = self.lock();
        state.status = status;
        match result {
            Ok(()) => {
                state.taken += u64::from(counts);
                let works = status.map_or(counts, |status| !status.failing);
                if works && state.trouble.take().is_some() {
                    let text = format!("{}: works again", self.name);
                    state.log.push(text);
                }
            }
            Err(error) => {
                state.failed += u64::from(counts);
                let text = error.to_string();
                if state.trouble.as_ref() != Some(&text) {
                    state.log.push(text.clone());
                    state.trouble = Some(text);
                }
            }
        }
    }

    fn tally(&self) -> SinkTally {
        let state = self.lock();
        let status = state.status.unwrap_or(SinkStatus {
            lost: state.failed,
            ..SinkStatus::default()
        });
        SinkTally {
            name: self.name.clone(),
            taken: state.taken,
            failed: state.failed,
            dropped: state.dropped,
            waiting: status.waiting,
            lost: status.lost,
            peer: status.peer,
        }
    }
}

impl SinkWorker {
    /// Starts the thread of a sink.
    ///
    /// # Errors
    /// What the system says where it has no thread left.
    pub(super) fn start(key: String, mut sink: Box<dyn Sink>) -> std::io::Result<Self> {
        let wants = sink.wants();
        let shared = Arc::new(Shared {
            name: sink.name().to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = thread::Builder::new().name("sink".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, &mut *sink)
        })?;
        Ok(Self {
            key,
            shared,
            thread: Some(thread),
            wants,
        })
    }

    pub(super) fn wants(&self) -> Wants {
        self.wants
    }

    /// Gives a message to the sink. Waits where the queue is full of what must not be lost.
    pub(super) fn give(&self, message: &Message) {
        let is_frame = matches!(message, Message::Frame(_));
        let is_wanted = match message {
            Message::Frame(_) => self.wants.frames,
            Message::Event { record, .. } => self.wants.events.takes(record.class),
            _ => true,
        };
        if !is_wanted {
            return;
        }
        let mut state = self.shared.lock();
        loop {
            let full = if is_frame {
                state.frames >= FRAMES
            } else {
                state.queue.len() - state.frames >= OTHERS
            };
            if !full || state.closed {
                break;
            }
            if is_frame && !self.wants.every_frame {
                let oldest = state
                    .queue
                    .iter()
                    .position(|message| matches!(message, Message::Frame(_)));
                if let Some(oldest) = oldest {
                    state.queue.remove(oldest);
                    state.frames -= 1;
                    state.dropped += 1;
                }
                break;
            }
            state = self.shared.wait(state, IDLE);
        }
        state.frames += usize::from(is_frame);
        state.queue.push_back(message.clone());
        self.shared.changed.notify_all();
    }

    /// Waits until the sink has taken everything, not longer than `patience`.
    pub(super) fn wait_until_idle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.busy || !state.queue.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.wait(state, left.min(IDLE));
        }
    }

    /// What is to be logged of it since this was called last.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().log)
    }

    pub(super) fn tally(&self) -> SinkTally {
        self.shared.tally()
    }

    /// Lets the sink take what it was given, finishes it, and ends its thread. What is returned is
    /// to be logged, and its last counts.
    pub(super) fn finish(mut self) -> (Vec<String>, SinkTally) {
        self.close();
        (self.take_log(), self.tally())
    }

    fn close(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            let text = format!("{}: it broke off; please report it", self.shared.name);
            self.shared.lock().log.push(text);
        }
    }
}

impl Drop for SinkWorker {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(shared: &Shared, sink: &mut dyn Sink) {
    loop {
        let mut state = shared.lock();
        state.busy = false;
        shared.changed.notify_all();
        if state.queue.is_empty() && !state.closed {
            state = shared.wait(state, IDLE);
        }
        let message = state.queue.pop_front();
        if matches!(message, Some(Message::Frame(_))) {
            state.frames -= 1;
        }
        state.busy = message.is_some();
        let closed = state.closed;
        drop(state);
        if message.is_some() {
            shared.changed.notify_all();
        }
        let ends = message.is_none() && closed;
        let result = match &message {
            Some(message) => sink.take(message),
            None if ends => sink.finish(),
            None => sink.idle(),
        };
        shared.record(message.as_ref(), result, sink.status());
        if ends {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{super::sink::test_messages as messages, *};

    /// Takes a message when it is let, and tells which.
    struct Slow {
        let_go: mpsc::Receiver<bool>,
        took: mpsc::Sender<String>,
    }

    impl Sink for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn wants(&self) -> Wants {
            Wants::default()
        }

        fn take(&mut self, message: &Message) -> Result<(), SinkError> {
            let Message::Event { record, .. } = message else {
                return Ok(());
            };
            let works = self.let_go.recv().unwrap();
            self.took.send(record.event_id.clone()).unwrap();
            match works {
                true => Ok(()),
                false => Err(SinkError::unavailable("slow", "the disk is full")),
            }
        }

        fn finish(&mut self) -> Result<(), SinkError> {
            self.took.send("end".to_owned()).unwrap();
            Ok(())
        }
    }

    #[test]
    fn everything_is_taken_in_order_before_the_end_and_trouble_is_logged_once() {
        let (go, let_go) = mpsc::channel();
        let (took, taken) = mpsc::channel();
        let worker = SinkWorker::start("key".into(), Box::new(Slow { let_go, took })).unwrap();
        for event in ["0", "1", "2", "3", "4"] {
            worker.give(&messages::opened(event, "cam"));
            // Counts are no success, and not counted.
            worker.give(&messages::tally(&["cam"]));
        }
        for works in [true, false, false, true, true] {
            go.send(works).unwrap();
        }
        worker.wait_until_idle(Duration::from_secs(60));
        let (log, counts) = worker.finish();
        assert_eq!((counts.taken, counts.failed, counts.lost), (3, 2, 2));
        assert_eq!(log, ["slow: the disk is full", "slow: works again"]);
        let taken: Vec<String> = taken.iter().collect();
        assert_eq!(taken, ["0", "1", "2", "3", "4", "end"]);
    }
}
