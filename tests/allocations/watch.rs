//! The same of `watch`: what the threads of source and model allocate for a frame.
//!
//! By numbers, since optimised code does not name every function of ours.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use edge_vae::{
    Detector, Frame,
    frame::Samples,
    stream::{
        Host, MonitorSettings, PipelineOptions, Plan, SourceConfig,
        record::Tally,
        source::{Arrival, Source, SourceError},
    },
};

use super::{NOTED, WATCHED, engine, noted, tiny};

/// Frames from memory; while the middle ones are read, its thread is watched.
struct Steady {
    drawn: Frame,
    next: u64,
    /// Set while the frames that count are on their way.
    steady: Arc<AtomicBool>,
    found: Arc<Mutex<Vec<String>>>,
}

const WARM_UP: u64 = 20;
const FRAMES: u64 = 60;
/// Names of source and model, the time (twice: the last verdict is kept), and the memory that the
/// sinks share.
const OF_A_RECORD: usize = 5;

impl Source for Steady {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        if self.next == WARM_UP {
            self.steady.store(true, Ordering::Relaxed);
            WATCHED.set(true);
        }
        if self.next == FRAMES {
            self.steady.store(false, Ordering::Relaxed);
            *self.found.lock().unwrap() = noted().1;
            return Ok(Arrival::End);
        }
        self.next += 1;
        let (width, height) = (self.drawn.width(), self.drawn.height());
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(40 * self.next);
        let copied = frame.refill(width, height, self.drawn.format(), at, |samples| {
            if let (Samples::U8(to), Samples::U8(from)) = (samples, self.drawn.samples()) {
                to.copy_from_slice(from);
            }
            Ok(())
        });
        copied.map_err(SourceError::Frame)?;
        Ok(Arrival::Frame)
    }

    fn is_live(&self) -> bool {
        false
    }

    fn has_own_times(&self) -> bool {
        true
    }
}

/// Watches the thread that judges while the source says so.
struct Watcher {
    steady: Arc<AtomicBool>,
    /// What was noted before the present frame.
    before: usize,
}

impl Host for Watcher {
    fn alive(&mut self) {
        self.before = NOTED.with_borrow(Vec::len);
        WATCHED.set(self.steady.load(Ordering::Relaxed));
    }

    fn stop(&mut self) -> bool {
        false
    }

    fn change(&mut self) -> Option<Result<Plan, String>> {
        None
    }

    /// Counts are told once a second, which is no part of a frame.
    fn tally(&mut self, _: &Tally) {
        WATCHED.set(false);
        NOTED.with_borrow_mut(|noted| noted.truncate(self.before));
    }

    fn note(&mut self, _: &dyn std::fmt::Display) {}
}

/// Between the source and the verdict; what is told of a frame afterwards is made for it.
#[test]
fn a_watched_normal_frame_allocates_its_record_alone() {
    let (steady, found) = (Arc::default(), Arc::default());
    let (of_source, of_thread) = (Arc::clone(&steady), Arc::clone(&found));
    let source = SourceConfig {
        name: "memory".into(),
        key: "memory".into(),
        open: Box::new(move || {
            Ok(Box::new(Steady {
                drawn: tiny::frame(1, None),
                next: 0,
                steady: Arc::clone(&of_source),
                found: Arc::clone(&of_thread),
            }))
        }),
        policy: None,
        monitoring: MonitorSettings::default(),
    };
    let plan = Plan {
        detector: Detector::new(&tiny::writer().finish().unwrap(), &engine()).unwrap(),
        successor: None,
        sources: vec![source],
        sinks: Vec::new(),
        control: None,
        options: PipelineOptions {
            depth: 1,
            ..PipelineOptions::default()
        },
    };
    let mut watcher = Watcher { steady, before: 0 };
    let summary = edge_vae::stream::run(plan, &mut watcher).unwrap();
    WATCHED.set(false);
    assert_eq!(summary.tally.sources[0].normal, FRAMES);
    let frames = (FRAMES - WARM_UP) as usize;
    // The pool grows until it has a buffer for each frame that was ever on its way at once: less
    // than once a frame.
    let capturing = found.lock().unwrap();
    assert!(capturing.len() < frames, "by the source: {capturing:#?}");
    let (counts, own) = noted();
    println!(
        "watch: {counts:?}, {} of ours in some {frames} frames",
        own.len()
    );
    // The judge may be behind the source by what waits and what is on its way.
    let most = OF_A_RECORD * (frames + 3);
    assert!(
        own.len() <= most,
        "{} in {frames} frames: {own:#?}",
        own.len()
    );
}
