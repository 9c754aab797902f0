//! From sources through one model to sinks, on a model that can be worked out by hand.

#[path = "../tiny/mod.rs"]
mod tiny;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use edge_vae::{
    Detector, Frame,
    backend::{BackendKind, Device, Engine, EngineOptions},
    bundle::BundleWriter,
    drift::DriftSettings,
    runtime::Label,
    stream::{
        Host, MonitorSettings, PipelineOptions, Plan, Policy, RunSummary, SinkConfig, SourceConfig,
        StreamError,
        record::{EventPhase, Tally},
        run,
        sink::{Message, Sink, SinkError, Wants},
        source::{Arrival, Source, SourceError},
    },
};

fn detector() -> Detector {
    detector_of(tiny::writer())
}

fn detector_of(writer: BundleWriter) -> Detector {
    let engine = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        device: Device::Cpu,
        ..EngineOptions::default()
    });
    Detector::new(&writer.finish().unwrap(), &engine.unwrap()).unwrap()
}

/// Frames of which those in `defective` have a spot; each a little other than the one before, as a
/// camera's are.
struct Line {
    next: u64,
    count: u64,
    defective: Vec<u64>,
    live: bool,
    /// Lost before this frame, once.
    lost_at: Option<u64>,
}

impl Source for Line {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        if self.lost_at == Some(self.next) {
            self.lost_at = None;
            return Err(SourceError::Lost {
                source_name: "line".into(),
                problem: "unplugged".into(),
            });
        }
        if self.next == self.count {
            return Ok(Arrival::End);
        }
        let spot = self.defective.contains(&self.next).then_some((5, 2));
        let captured = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + 40 * self.next);
        let drawn = tiny::frame(1, spot);
        frame
            .refill(
                drawn.width(),
                drawn.height(),
                drawn.format(),
                captured,
                |samples| {
                    samples.clone_from(drawn.samples());
                    Ok(())
                },
            )
            .map_err(SourceError::Frame)?;
        self.next += 1;
        Ok(Arrival::Frame)
    }

    fn has_own_times(&self) -> bool {
        true
    }

    fn is_live(&self) -> bool {
        self.live
    }
}

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn with(&self, start: &str) -> Vec<String> {
        let mut notes = self.read();
        notes.retain(|note| note.starts_with(start));
        notes
    }
}

struct Recorder {
    name: String,
    notes: Notes,
    wants: Wants,
}

impl Sink for Recorder {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        let note = match message {
            Message::Frame(scored) => {
                assert_eq!(
                    scored.map.is_some(),
                    self.wants.maps && scored.record.pred_label == Label::Anomalous
                );
                let record = &scored.record;
                format!(
                    "frame {} {} {}",
                    record.source, record.frame_number, record.pred_label
                )
            }
            Message::Event { record, frame } => {
                let phase = match record.phase {
                    EventPhase::Open => "open",
                    EventPhase::Closed => "closed",
                };
                let shown = frame.as_ref().map(|frame| frame.record.frame_number);
                assert_eq!(shown, Some(record.worst.frame_number));
                format!(
                    "event {phase} {} {}-{} {}",
                    record.source,
                    record.first.frame_number,
                    record.last.frame_number,
                    record.frames
                )
            }
            Message::Source(record) => format!("source {} {}", record.source, record.up),
            Message::Drift(record) => format!("drift {}", record.source),
            Message::Tally(_) => return Ok(()),
        };
        if self.name == "keeper" && note.starts_with("event") {
            // Others must not be faster.
            std::thread::sleep(Duration::from_millis(50));
        }
        self.notes.0.lock().unwrap().push(note);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.notes.0.lock().unwrap().push("finished".into());
        Ok(())
    }
}

fn recorder(name: &str, notes: &Notes, wants: Wants) -> SinkConfig {
    let sink = Recorder {
        name: name.to_owned(),
        notes: notes.clone(),
        wants,
    };
    SinkConfig {
        key: name.to_owned(),
        open: Box::new(move || Ok(Box::new(sink))),
    }
}

const ALL: Wants = Wants {
    frames: true,
    maps: true,
    every_frame: true,
    durable: false,
};

fn camera(name: &str, count: u64, defective: &[u64]) -> SourceConfig {
    let defective = defective.to_vec();
    SourceConfig {
        name: name.to_owned(),
        key: format!("{count}"),
        open: Box::new(move || {
            Ok(Box::new(Line {
                next: 0,
                count,
                defective: defective.clone(),
                live: false,
                lost_at: None,
            }))
        }),
        policy: None,
        monitoring: MonitorSettings::default(),
    }
}

/// Stops when it is told to, changes the plan when it is told to, and remembers what was said.
#[derive(Default)]
struct TestHost {
    notes: Vec<String>,
    change_after: Option<(u64, Plan)>,
    stop_after: Option<u64>,
    seen: Arc<AtomicUsize>,
}

impl Host for TestHost {
    fn stop(&mut self) -> bool {
        let seen = self.seen.load(Ordering::Relaxed) as u64;
        self.stop_after.is_some_and(|after| seen >= after)
    }

    fn change(&mut self) -> Option<Plan> {
        let seen = self.seen.load(Ordering::Relaxed) as u64;
        let due = self.change_after.take_if(|(after, _)| seen >= *after)?;
        Some(due.1)
    }

    fn alive(&mut self) {}

    fn tally(&mut self, _tally: &Tally) {}

    fn note(&mut self, text: &dyn std::fmt::Display) {
        self.notes.push(text.to_string());
    }
}

fn plan(sources: Vec<SourceConfig>, sinks: Vec<SinkConfig>) -> Plan {
    Plan {
        detector: detector(),
        sources,
        sinks,
        options: PipelineOptions::default(),
    }
}

#[test]
fn every_frame_is_judged_in_order_and_each_defect_is_one_event() {
    let notes = Notes::default();
    let defective: Vec<u64> = (20..26).chain(100..104).collect();
    let RunSummary { tally, .. } = run(
        plan(
            vec![camera("line", 200, &defective)],
            vec![recorder("all", &notes, ALL)],
        ),
        &mut TestHost::default(),
    )
    .unwrap();
    let frames: Vec<String> = (0..200)
        .map(|number| {
            let label = match defective.contains(&number) {
                true => "anomalous",
                false => "normal",
            };
            format!("frame line {number} {label}")
        })
        .collect();
    assert_eq!(notes.with("frame"), frames);
    assert_eq!(
        notes.with("event open").len(),
        2,
        "{:?}",
        notes.with("event")
    );
    assert_eq!(
        notes.with("event closed"),
        ["event closed line 20-25 6", "event closed line 100-103 4"]
    );
    assert_eq!(notes.read().last().map(String::as_str), Some("finished"));
    let source = &tally.sources[0];
    assert_eq!(
        (source.captured, source.judged, source.dropped),
        (200, 200, 0)
    );
    assert_eq!(
        (source.normal, source.anomalous, source.invalid),
        (190, 10, 0)
    );
    assert_eq!(source.events, 2);
    assert!(tally.stages.iter().all(|stage| stage.p50 <= stage.p99));
}

/// Numbers of the frames for which the encoder ran.
#[derive(Clone, Default)]
struct Encoded(Arc<Mutex<Vec<u64>>>);

impl Sink for Encoded {
    fn name(&self) -> &str {
        "encoded"
    }

    fn wants(&self) -> Wants {
        ALL
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        if let Message::Frame(scored) = message
            && scored.record.latency_ms.encode > 0.0
        {
            self.0.lock().unwrap().push(scored.record.frame_number);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Of a live source one a second, 40 ms a frame, is compared for drift.
#[test]
fn what_a_verdict_does_not_need_runs_for_drift_and_anomalous_frames() {
    let encoded = Encoded::default();
    let mut line = camera("line", 60, &[10]);
    line.open = Box::new(|| {
        Ok(Box::new(Line {
            next: 0,
            count: 60,
            defective: vec![10],
            live: true,
            lost_at: None,
        }))
    });
    line.policy = Some(Policy::All);
    line.monitoring.drift = Some(DriftSettings::default());
    // Its frames are all the same.
    line.monitoring.health.frozen_after = 0;
    let sink = encoded.clone();
    let sink = SinkConfig {
        key: "encoded".into(),
        open: Box::new(move || Ok(Box::new(sink))),
    };
    let mut plan = plan(vec![line], vec![sink]);
    plan.detector = detector_of(tiny::without_vae(false));
    plan.options.frames = Some(60);
    let RunSummary { tally, .. } = run(plan, &mut TestHost::default()).unwrap();
    let source = &tally.sources[0];
    assert_eq!((source.normal, source.anomalous), (59, 1));
    assert_eq!(*encoded.0.lock().unwrap(), [0, 10, 25, 50]);
}

#[test]
fn where_the_latest_is_wanted_each_frame_is_judged_or_counted_as_dropped() {
    let notes = Notes::default();
    let mut line = camera("line", 3000, &[]);
    line.policy = Some(Policy::Latest);
    let RunSummary { tally, .. } = run(
        plan(vec![line], vec![recorder("all", &notes, ALL)]),
        &mut TestHost::default(),
    )
    .unwrap();
    let source = &tally.sources[0];
    assert_eq!(source.captured, 3000);
    assert_eq!(source.judged + source.dropped, 3000);
    let numbers: Vec<u64> = notes
        .with("frame")
        .iter()
        .map(|note| note.split(' ').nth(2).unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers.len() as u64, source.judged);
    assert!(numbers.is_sorted());
    assert_eq!(numbers.last(), Some(&2999), "the latest is never lost");
}

#[test]
fn a_limit_of_frames_is_kept_to_the_frame() {
    let notes = Notes::default();
    let mut plan = plan(
        vec![camera("a", 1000, &[]), camera("b", 1000, &[])],
        vec![recorder("all", &notes, ALL)],
    );
    plan.options.frames = Some(61);
    let RunSummary { tally, .. } = run(plan, &mut TestHost::default()).unwrap();
    assert_eq!(notes.with("frame").len(), 61);
    let judged: u64 = tally.sources.iter().map(|source| source.judged).sum();
    assert_eq!(judged, 61);
}

#[test]
fn a_lost_source_is_opened_again_and_one_that_is_given_up_leaves_the_others() {
    let notes = Notes::default();
    let mut opened = 0;
    let mut returning = camera("returning", 0, &[]);
    returning.open = Box::new(move || {
        opened += 1;
        Ok(Box::new(Line {
            next: 10 * (opened - 1),
            count: 20,
            defective: Vec::new(),
            live: true,
            lost_at: (opened == 1).then_some(10),
        }))
    });
    returning.policy = Some(Policy::All);
    let mut hopeless = camera("hopeless", 0, &[]);
    hopeless.open = Box::new(|| {
        Err(SourceError::Impossible {
            source_name: "hopeless".into(),
            problem: "ffmpeg is not installed".into(),
        })
    });
    let mut host = TestHost::default();
    let RunSummary { abandoned, .. } = run(
        plan(
            vec![returning, hopeless],
            vec![recorder("all", &notes, ALL)],
        ),
        &mut host,
    )
    .unwrap();
    assert!(matches!(abandoned, Some(SourceError::Impossible { .. })));
    assert_eq!(notes.with("frame").len(), 20);
    assert_eq!(
        notes.with("source returning"),
        [
            "source returning true",
            "source returning false",
            "source returning true",
            "source returning false"
        ]
    );
    assert_eq!(notes.with("source hopeless"), ["source hopeless false"]);
    let said = host.notes.join("\n");
    assert!(
        said.contains("hopeless: ffmpeg is not installed; given up"),
        "{said}"
    );
    assert!(said.contains("line: unplugged; trying again"), "{said}");
    assert!(said.contains("returning: back after"), "{said}");
}

#[test]
fn an_event_is_kept_before_others_hear_of_it() {
    let notes = Notes::default();
    let keeper = Wants {
        durable: true,
        ..Wants::default()
    };
    let mut host = TestHost::default();
    // Both write into the same notes.
    let sinks = vec![
        recorder("other", &notes, Wants::default()),
        recorder("keeper", &notes, keeper),
    ];
    run(
        plan(vec![camera("line", 30, &[5, 6, 7, 8])], sinks),
        &mut host,
    )
    .unwrap();
    let events = notes.with("event");
    assert_eq!(events.len(), 4);
    assert_eq!(events[0], events[1], "{events:?}");
    assert_eq!(events[2], events[3], "{events:?}");
}

#[test]
fn another_plan_takes_over_between_two_frames() {
    let notes = Notes::default();
    let seen = Arc::new(AtomicUsize::new(0));
    // Counts what was judged, for the host; goes on when the plan changes.
    struct Counter(Arc<AtomicUsize>);
    impl Sink for Counter {
        fn name(&self) -> &str {
            "counter"
        }
        fn wants(&self) -> Wants {
            ALL
        }
        fn take(&mut self, message: &Message) -> Result<(), SinkError> {
            if matches!(message, Message::Frame(_)) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    }
    let counter = |seen: &Arc<AtomicUsize>| {
        let seen = Arc::clone(seen);
        SinkConfig {
            key: "counter".into(),
            open: Box::new(move || Ok(Box::new(Counter(seen)) as Box<dyn Sink>)),
        }
    };
    let unopened = Arc::new(AtomicUsize::new(1_000_000));
    let second = plan(
        vec![camera("kept", 2000, &[]), camera("new", 40, &[])],
        // The same key: goes on, and this one is not opened.
        vec![counter(&unopened), recorder("new", &notes, ALL)],
    );
    let mut host = TestHost {
        change_after: Some((50, second)),
        seen: Arc::clone(&seen),
        ..TestHost::default()
    };
    let first = plan(
        vec![camera("kept", 2000, &[]), camera("gone", 100_000_000, &[])],
        vec![counter(&seen), recorder("old", &notes, ALL)],
    );
    let RunSummary { tally, .. } = run(first, &mut host).unwrap();
    let names: Vec<&str> = tally.sources.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["kept", "new"]);
    assert_eq!(tally.sources[0].judged, 2000, "{:?}", host.notes);
    assert_eq!(tally.sources[1].judged, 40);
    assert_eq!(unopened.load(Ordering::Relaxed), 1_000_000);
    assert!(seen.load(Ordering::Relaxed) >= 2040);
    let mut kept = VecDeque::from(notes.with("frame kept"));
    kept.retain(|note| note.ends_with("normal"));
    assert_eq!(kept.len(), 2000, "none is told twice, none is lost");
}

#[test]
fn at_the_end_the_frames_in_flight_are_judged() {
    let notes = Notes::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut host = TestHost {
        // As soon as it runs.
        stop_after: Some(0),
        seen,
        ..TestHost::default()
    };
    let RunSummary { tally, .. } = run(
        plan(
            vec![camera("line", 1_000_000, &[])],
            vec![recorder("all", &notes, ALL)],
        ),
        &mut host,
    )
    .unwrap();
    let source = &tally.sources[0];
    // Each that was captured is judged, but for the one that waits for dir at the end.
    assert!(source.captured - source.judged <= 1, "{source:?}");
    assert_eq!(notes.read().last().map(String::as_str), Some("finished"));
}

#[test]
fn impossible_plans_are_refused() {
    let none = run(plan(vec![], vec![]), &mut TestHost::default());
    assert!(matches!(none, Err(StreamError::NoSource)));
    let twice = vec![camera("a", 1, &[]), camera("a", 1, &[])];
    let twice = run(plan(twice, vec![]), &mut TestHost::default());
    assert!(matches!(twice, Err(StreamError::SameName { .. })));
    let sink = SinkConfig {
        key: "bad".into(),
        open: Box::new(|| {
            Err(SinkError::Setting {
                sink: "log".into(),
                problem: "no such folder".into(),
            })
        }),
    };
    let bad = run(
        plan(vec![camera("a", 1, &[])], vec![sink]),
        &mut TestHost::default(),
    );
    assert!(matches!(bad, Err(StreamError::Sink(_))));
}
