//! The thread of a source: opens it, reads it, and opens it again when it is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::Frame;

use super::{
    backoff::Backoff,
    frame_queue::{FrameQueue, Policy, Put},
    pool::Pool,
    source::{Arrival, Opener, Source, SourceError},
};

/// Wait before a lost source is opened again.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest such wait. Trying again costs little, and what came back should be noticed soon.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// A source that has given frames for so long has not failed any more: one that gives a few and
/// dies is waited for ever longer.
const GOOD: Duration = Duration::from_secs(5);

/// A frame on its way to the model.
#[derive(Debug)]
pub(super) struct CapturedFrame {
    pub(super) source: usize,
    pub(super) number: u64,
    pub(super) frame: Arc<Frame>,
    pub(super) arrived: Instant,
    /// When it was captured, by the clock that durations are measured with: since the source's
    /// thread began, or since 1970 where pictures have times of their own.
    pub(super) at: Duration,
    /// Whether its source is live.
    pub(super) live: bool,
    /// Why there is nothing to judge, where its picture could not be decoded.
    pub(super) damage: Option<String>,
}

/// What the thread of a source reports.
#[derive(Debug)]
pub(super) struct SourceEvent {
    pub(super) source: usize,
    pub(super) change: SourceChange,
}

#[derive(Debug)]
pub(super) enum SourceChange {
    /// Frames come, from a source that is or is not live.
    Up { live: bool },
    /// It was lost, or could not be opened; it is tried again.
    Down(SourceError),
    /// A frame could not be read.
    Unreadable(SourceError),
    /// It gives no more frames: it ended, it was asked to end, or it was abandoned.
    Ended(Option<SourceError>),
}

/// Counters that the thread writes and the pipeline reads.
#[derive(Debug, Default)]
pub(super) struct CaptureCounters {
    pub(super) captured: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) reconnects: AtomicU64,
}

/// What the thread needs.
pub(super) struct Capture {
    pub(super) source: usize,
    pub(super) name: String,
    pub(super) open: Opener,
    /// `None`: the latest of a live source, all of another.
    pub(super) policy: Option<Policy>,
    /// Attempts after which a source is abandoned that does not come back; `None` for never.
    pub(super) retries: Option<u32>,
    pub(super) queue: Arc<FrameQueue<CapturedFrame>>,
    pub(super) events: mpsc::Sender<SourceEvent>,
    pub(super) counters: Arc<CaptureCounters>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) began: Instant,
}

/// How reading came to an end.
enum ReadEnd {
    Finished,
    Stopped,
    Lost(SourceError),
}

impl Capture {
    /// Runs until the source ends, is abandoned, or `stop` is set.
    pub(super) fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut pool = Pool::default();
        let mut number = 0;
        let mut opened_before = false;
        let abandoned = loop {
            if self.stopped() {
                break None;
            }
            if opened_before {
                self.counters.reconnects.fetch_add(1, Ordering::Relaxed);
            }
            let outcome = match (self.open)() {
                Ok(source) => {
                    opened_before = true;
                    self.read(source, &mut pool, &mut number, &mut backoff)
                }
                Err(error) => ReadEnd::Lost(error),
            };
            let error = match outcome {
                ReadEnd::Finished | ReadEnd::Stopped => break None,
                ReadEnd::Lost(error) => error,
            };
            let hopeless =
                error.is_permanent() || self.retries.is_some_and(|most| backoff.failures() >= most);
            if hopeless {
                break Some(error);
            }
            self.report(SourceChange::Down(error));
            self.wait(backoff.failed());
        };
        self.report(SourceChange::Ended(abandoned));
    }

    fn read(
        &self,
        mut source: Box<dyn Source>,
        pool: &mut Pool,
        number: &mut u64,
        backoff: &mut Backoff,
    ) -> ReadEnd {
        let (live, own_times) = (source.is_live(), source.has_own_times());
        let policy = self.policy.unwrap_or(Policy::default_for(live));
        let opened = Instant::now();
        let mut up = false;
        while !self.stopped() {
            let buffer = pool.free(&self.name);
            let Some(frame) = Arc::get_mut(buffer) else {
                continue;
            };
            let damage = match source.read(frame) {
                Ok(Arrival::Frame) => None,
                Ok(Arrival::Nothing) => continue,
                Ok(Arrival::End) => return ReadEnd::Finished,
                Err(SourceError::Frame(error)) if error.is_of_a_picture() => {
                    Some(error.to_string())
                }
                Err(error) if error.is_of_one_frame() => {
                    self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                    self.report(SourceChange::Unreadable(error));
                    continue;
                }
                Err(error) => return ReadEnd::Lost(error),
            };
            let arrived = Instant::now();
            let frame_time = frame.captured();
            if !up {
                up = true;
                self.report(SourceChange::Up { live });
            }
            if opened.elapsed() > GOOD {
                backoff.succeeded();
            }
            self.counters.captured.fetch_add(1, Ordering::Relaxed);
            let captured = CapturedFrame {
                source: self.source,
                number: *number,
                frame: Arc::clone(buffer),
                arrived,
                at: if own_times {
                    since_1970(frame_time)
                } else {
                    self.began.elapsed()
                },
                live,
                damage,
            };
            *number += 1;
            let put = self
                .queue
                .put(self.source, captured, policy, &|| self.stopped());
            match put {
                Put::Waits => {}
                Put::Lost(_) => {
                    self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Put::Closed => return ReadEnd::Stopped,
            }
        }
        ReadEnd::Stopped
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn report(&self, change: SourceChange) {
        // Where the pipeline has ended, nobody is left to hear it.
        let _ = self.events.send(SourceEvent {
            source: self.source,
            change,
        });
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Gives what it is told to.
    struct Script(VecDeque<Result<Arrival, SourceError>>);

    impl Source for Script {
        fn read(&mut self, _frame: &mut Frame) -> Result<Arrival, SourceError> {
            self.0.pop_front().unwrap_or(Ok(Arrival::End))
        }

        fn is_live(&self) -> bool {
            false
        }
    }

    fn lost() -> SourceError {
        SourceError::Lost {
            source_name: "camera".into(),
            problem: "unplugged".into(),
        }
    }

    /// Runs a source that is opened to each of the scripts in turn, and then not any more.
    fn run(
        scripts: Vec<Option<Vec<Result<Arrival, SourceError>>>>,
        retries: Option<u32>,
    ) -> (Vec<u64>, Vec<String>, u64) {
        let queue = Arc::new(FrameQueue::new(100));
        let (sender, received) = mpsc::channel();
        let counters = Arc::new(CaptureCounters::default());
        let mut scripts = VecDeque::from(scripts);
        Capture {
            source: 0,
            name: "camera".into(),
            open: Box::new(move || match scripts.pop_front().flatten() {
                Some(script) => Ok(Box::new(Script(script.into())) as Box<dyn Source>),
                None => Err(lost()),
            }),
            policy: None,
            retries,
            queue: Arc::clone(&queue),
            events: sender,
            counters: Arc::clone(&counters),
            stop: Arc::default(),
            began: Instant::now(),
        }
        .run();
        let mut numbers = Vec::new();
        while let Some(captured) = queue.take(Duration::ZERO, &|_| true) {
            numbers.push(captured.number);
        }
        let events = received.iter().map(|event| match event.change {
            SourceChange::Up { .. } => "up".to_owned(),
            SourceChange::Down(error) => format!("down: {error}"),
            SourceChange::Unreadable(error) => format!("unreadable: {error}"),
            SourceChange::Ended(None) => "ended".to_owned(),
            SourceChange::Ended(Some(error)) => format!("abandoned: {error}"),
        });
        (
            numbers,
            events.collect(),
            counters.reconnects.load(Ordering::Relaxed),
        )
    }

    #[test]
    fn a_lost_source_is_opened_again_and_its_frames_go_on_counting() {
        let frame = || Ok(Arrival::Frame);
        let (numbers, events, reconnects) = run(
            vec![
                Some(vec![frame(), frame(), Err(lost())]),
                None,
                Some(vec![Ok(Arrival::Nothing), frame(), Ok(Arrival::End)]),
            ],
            None,
        );
        assert_eq!(numbers, [0, 1, 2]);
        let down = "down: camera: unplugged";
        assert_eq!(events, ["up", down, down, "up", "ended"]);
        assert_eq!(reconnects, 2);
    }

    #[test]
    fn a_frame_that_can_not_be_read_loses_nothing_else() {
        let bad = || {
            let frame = Frame::from_u8(0, 0, crate::frame::PixelFormat::Gray8, vec![], "x.png");
            Err(SourceError::Frame(frame.unwrap_err()))
        };
        let (numbers, events, reconnects) =
            run(vec![Some(vec![bad(), Ok(Arrival::Frame), bad()])], None);
        assert_eq!(numbers, [0]);
        assert_eq!((events.len(), reconnects), (4, 0), "{events:?}");
        assert!(events[0].starts_with("unreadable: x.png"), "{events:?}");
        assert_eq!(events[3], "ended");
    }

    #[test]
    fn a_source_is_abandoned_after_the_attempts_that_were_allowed() {
        let (numbers, events, _) = run(vec![], Some(2));
        assert!(numbers.is_empty());
        let down = "down: camera: unplugged";
        assert_eq!(events, [down, down, "abandoned: camera: unplugged"]);
    }

    #[test]
    fn an_impossible_source_is_not_tried_again() {
        let (sender, received) = mpsc::channel();
        let mut attempts = 0;
        Capture {
            source: 0,
            name: "x".into(),
            open: Box::new(move || {
                attempts += 1;
                assert_eq!(attempts, 1);
                Err(SourceError::Impossible {
                    source_name: "x".into(),
                    problem: "no ffmpeg".into(),
                })
            }),
            policy: None,
            retries: None,
            queue: Arc::new(FrameQueue::new(1)),
            events: sender,
            counters: Arc::default(),
            stop: Arc::default(),
            began: Instant::now(),
        }
        .run();
        let events: Vec<SourceEvent> = received.iter().collect();
        assert!(matches!(
            events[..],
            [SourceEvent {
                change: SourceChange::Ended(Some(SourceError::Impossible { .. })),
                ..
            }]
        ));
    }
}
