//! The thread of a sink, and its queue.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    record::SinkTally,
    sink::{Message, Sink, SinkError, Wants},
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

    /// Remembers how a message was taken.
    fn record(&self, result: Result<(), SinkError>, counts: bool) {
        let mut state = self.lock();
        match result {
            Ok(()) => {
                state.taken += u64::from(counts);
                if counts && state.trouble.take().is_some() {
                    let text = format!("{}: works again", self.name);
                    state.log.push(text);
                }
            }
            Err(error) => {
                state.failed += 1;
                let text = error.to_string();
                if state.trouble.as_ref() != Some(&text) {
                    state.log.push(text.clone());
                    state.trouble = Some(text);
                }
            }
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
        if is_frame && !self.wants.frames {
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
        let state = self.shared.lock();
        SinkTally {
            name: self.shared.name.clone(),
            taken: state.taken,
            failed: state.failed,
            dropped: state.dropped,
        }
    }

    /// Lets the sink take what it was given, finishes it, and ends its thread.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.close();
        self.take_log()
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
        match message {
            Some(message) => {
                shared.changed.notify_all();
                shared.record(sink.take(&message), true);
            }
            None if closed => {
                shared.record(sink.finish(), false);
                return;
            }
            None => shared.record(sink.idle(), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::record::Tally;
    use super::*;

    /// Takes a message when it is let, and tells which.
    struct Slow {
        let_go: mpsc::Receiver<bool>,
        took: mpsc::Sender<f64>,
    }

    impl Sink for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn wants(&self) -> Wants {
            Wants::default()
        }

        fn take(&mut self, message: &Message) -> Result<(), SinkError> {
            let Message::Tally(tally) = message else {
                panic!("only tallies are given");
            };
            let works = self.let_go.recv().unwrap();
            self.took.send(tally.seconds).unwrap();
            if works {
                return Ok(());
            }
            Err(SinkError::Unavailable {
                sink: "slow".into(),
                problem: "the disk is full".into(),
            })
        }

        fn finish(&mut self) -> Result<(), SinkError> {
            self.took.send(-1.0).unwrap();
            Ok(())
        }
    }

    fn tally(seconds: f64) -> Message {
        Message::Tally(Arc::new(Tally {
            seconds,
            ..Tally::default()
        }))
    }

    #[test]
    fn everything_is_taken_in_order_before_the_end_and_trouble_is_logged_once() {
        let (go, let_go) = mpsc::channel();
        let (took, taken) = mpsc::channel();
        let worker = SinkWorker::start("key".into(), Box::new(Slow { let_go, took })).unwrap();
        for second in 0..5 {
            worker.give(&tally(f64::from(second)));
        }
        for works in [true, false, false, true, true] {
            go.send(works).unwrap();
        }
        worker.wait_until_idle(Duration::from_secs(60));
        let counts = worker.tally();
        assert_eq!((counts.taken, counts.failed), (3, 2));
        let logged = worker.finish();
        assert_eq!(logged, ["slow: the disk is full", "slow: works again"]);
        let taken: Vec<f64> = taken.iter().collect();
        assert_eq!(taken, [0.0, 1.0, 2.0, 3.0, 4.0, -1.0]);
    }
}
