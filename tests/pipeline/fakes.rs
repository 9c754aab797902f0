//! Sources, sinks and a host that do what a test says.

use std::{
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
    runtime::Label,
    stream::{
        Host, MonitorSettings, PipelineOptions, Plan, SinkConfig, SourceConfig,
        record::{EventPhase, Tally},
        sink::{EventFilter, Message, Sink, SinkError, Wants},
        source::{Arrival, Source, SourceError},
    },
};

use crate::tiny;

pub(crate) fn detector() -> Detector {
    detector_of(tiny::writer())
}

pub(crate) fn detector_of(writer: BundleWriter) -> Detector {
    let engine = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        device: Device::Cpu,
        ..EngineOptions::default()
    });
    Detector::new(&writer.finish().unwrap(), &engine.unwrap()).unwrap()
}

/// Frames of which those in `defective` have a spot; each a little other than the one before, as a
/// camera's are.
pub(crate) struct Line {
    pub(crate) next: u64,
    pub(crate) count: u64,
    pub(crate) defective: Vec<u64>,
    pub(crate) live: bool,
    /// Lost before this frame, once.
    pub(crate) lost_at: Option<u64>,
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
pub(crate) struct Notes(pub(crate) Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn with(&self, start: &str) -> Vec<String> {
        let mut notes = self.read();
        notes.retain(|note| note.starts_with(start));
        notes
    }
}

pub(crate) struct Recorder {
    pub(crate) name: String,
    pub(crate) notes: Notes,
    pub(crate) wants: Wants,
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
            Message::Pause(record) => format!("pause {} {}", record.source, record.paused),
            Message::Threshold(record) => format!("threshold {}", record.threshold),
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

pub(crate) fn recorder(name: &str, notes: &Notes, wants: Wants) -> SinkConfig {
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

/// Counts the frames that were judged.
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

/// A sink that counts the frames that were judged; it goes on when the plan changes.
pub(crate) fn counter(seen: &Arc<AtomicUsize>) -> SinkConfig {
    let seen = Arc::clone(seen);
    SinkConfig {
        key: "counter".into(),
        open: Box::new(move || Ok(Box::new(Counter(seen)))),
    }
}

pub(crate) const ALL: Wants = Wants {
    events: EventFilter::All,
    frames: true,
    maps: true,
    every_frame: true,
    durable: false,
};

pub(crate) fn camera(name: &str, count: u64, defective: &[u64]) -> SourceConfig {
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
pub(crate) struct TestHost {
    pub(crate) notes: Vec<String>,
    pub(crate) change_after: Option<(u64, Plan)>,
    pub(crate) stop_after: Option<u64>,
    pub(crate) seen: Arc<AtomicUsize>,
}

impl Host for TestHost {
    fn stop(&mut self) -> bool {
        let seen = self.seen.load(Ordering::Relaxed) as u64;
        self.stop_after.is_some_and(|after| seen >= after)
    }

    fn change(&mut self) -> Option<Result<Plan, String>> {
        let seen = self.seen.load(Ordering::Relaxed) as u64;
        let due = self.change_after.take_if(|(after, _)| seen >= *after)?;
        Some(Ok(due.1))
    }

    fn alive(&mut self) {}

    fn tally(&mut self, _tally: &Tally) {}

    fn note(&mut self, text: &dyn std::fmt::Display) {
        self.notes.push(text.to_string());
    }
}

pub(crate) fn plan(sources: Vec<SourceConfig>, sinks: Vec<SinkConfig>) -> Plan {
    Plan {
        detector: detector(),
        successor: None,
        sources,
        sinks,
        control: None,
        options: PipelineOptions::default(),
    }
}
