//! What is known of one source while it runs, and how its frames are judged over time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    Detector, Explain, Judgement,
    anomaly::{AnomalyError, Calibration, DriftSettings, Label},
    frame::FrameStatistics,
};

use super::{
    capture::{Captured, Counts},
    drift::SourceDrift,
    event::{EventRule, EventSettings, Events, RunId, SOURCE_ENDED, Seen},
    health::{Health, HealthSettings},
    record::{
        DriftRecord, EventPhase, EventRecord, FrameRecord, SCHEMA_VERSION, SourceTally, StageTimes,
        timestamp,
    },
    sink::Judged,
    stages::milliseconds,
};

/// How frames of a source are judged beyond the verdict of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judging {
    /// When anomalous frames are an event.
    pub events: EventSettings,
    /// Which frames can't be judged.
    pub health: HealthSettings,
    /// How drift is looked for; `None` for not at all.
    pub drift: Option<DriftSettings>,
}

/// The rules that [`Judging`] gives for one source and one calibration.
struct Rules {
    events: EventRule,
    health: Health,
    drift: Option<SourceDrift>,
}

impl Judging {
    fn rules(
        &self,
        name: &str,
        calibration: &Calibration,
        live: bool,
    ) -> Result<Rules, AnomalyError> {
        let drift = self.drift.as_ref().map_or(Ok(None), |settings| {
            SourceDrift::new(settings, calibration, name, live)
        });
        Ok(Rules {
            events: EventRule::new(&self.events, calibration, live)?,
            health: Health::new(self.health.clone(), calibration, live)?,
            drift: drift?,
        })
    }

    /// The rules in words, for a source that is `live` or not.
    ///
    /// # Errors
    /// A setting outside of its domain, by its name.
    pub fn statements(
        &self,
        calibration: &Calibration,
        live: bool,
    ) -> Result<Vec<String>, AnomalyError> {
        let rules = self.rules("", calibration, live)?;
        let rate = calibration.false_alarm_rate;
        let mut statements = vec![rules.events.statement(rate, None)];
        statements.extend(rules.health.lacks().map(str::to_owned));
        statements.extend(rules.drift.map(|drift| drift.statement()));
        Ok(statements)
    }
}

/// An event that began or ended, and the frame to show with it.
pub(super) type Shown = (EventRecord, Option<Arc<Judged>>);

/// One source while it runs.
pub(super) struct Lane {
    pub(super) name: String,
    /// What distinguishes its settings from others.
    pub(super) key: String,
    pub(super) tally: SourceTally,
    pub(super) counts: Arc<Counts>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) thread: Option<JoinHandle<()>>,
    /// What was said of its being lost, so that it is said once.
    pub(super) trouble: Trouble,
    /// Why it gives no more frames, until the last of them is judged.
    pub(super) ended: Option<String>,
    pub(super) lost_at: Option<Instant>,
    judging: Judging,
    live: bool,
    health: Health,
    events: Events,
    drift: Option<SourceDrift>,
    /// The worst frame of the open event.
    worst: Option<Arc<Judged>>,
    pace: Pace,
}

/// What a frame led to.
pub(super) struct Outcome {
    pub(super) judged: Arc<Judged>,
    pub(super) events: Vec<Shown>,
    pub(super) drift: Option<DriftRecord>,
    pub(super) times: StageTimes,
    /// The engine's error, where it failed on the frame.
    pub(super) failure: Option<String>,
}

impl Lane {
    /// A source that is taken for not live until its first frame tells.
    pub(super) fn new(
        name: String,
        key: String,
        judging: Judging,
        detector: &Detector,
        run: &RunId,
    ) -> Result<Self, AnomalyError> {
        let rules = judging.rules(&name, detector.calibration(), false)?;
        Ok(Self {
            tally: SourceTally {
                name: name.clone(),
                ..SourceTally::default()
            },
            health: rules.health,
            events: Events::new(rules.events, &name, detector.model_id(), run),
            drift: rules.drift,
            name,
            key,
            counts: Arc::default(),
            stop: Arc::default(),
            thread: None,
            trouble: Trouble::default(),
            ended: None,
            lost_at: None,
            judging,
            live: false,
            worst: None,
            pace: Pace::default(),
        })
    }

    /// Takes the source for live or not, as its frames are to be judged. To be told before the
    /// first of them; nothing is open then.
    pub(super) fn is_live(&mut self, live: bool, detector: &Detector) -> Result<(), AnomalyError> {
        if live != self.live {
            self.live = live;
            self.judge_by(self.judging.clone(), detector, "the source was replaced")?;
        }
        Ok(())
    }

    /// From now on frames are judged otherwise. What is open ends.
    pub(super) fn judge_by(
        &mut self,
        judging: Judging,
        detector: &Detector,
        why: &str,
    ) -> Result<Vec<Shown>, AnomalyError> {
        let rules = judging.rules(&self.name, detector.calibration(), self.live)?;
        let ended = self.events.replace(rules.events, detector.model_id(), why);
        self.judging = judging;
        self.health = rules.health;
        self.drift = rules.drift;
        self.tally.drifted = false;
        let worst = self.worst.take();
        Ok(ended
            .into_iter()
            .map(|event| (event, worst.clone()))
            .collect())
    }

    /// What a person should know of how its frames are judged.
    pub(super) fn lacks(&self) -> Option<&'static str> {
        self.health.lacks()
    }

    /// Ends the open event, if there is one, for there are no more frames.
    pub(super) fn finish(&mut self) -> Vec<Shown> {
        let ended = self.events.finish(SOURCE_ENDED);
        let worst = self.worst.take();
        ended
            .into_iter()
            .map(|event| (event, worst.clone()))
            .collect()
    }

    /// Judges a frame, and what it means after those before it.
    pub(super) fn judge(
        &mut self,
        detector: &mut Detector,
        captured: Captured,
        maps: bool,
    ) -> Outcome {
        let queued = captured.arrived.elapsed();
        let frame = &captured.frame;
        let begin = Instant::now();
        let statistics = FrameStatistics::of(frame);
        let mut failure = None;
        let mut judgement = if let Some(reason) = self.health.check(frame, &statistics) {
            Judgement::invalid(reason, statistics)
        } else {
            let drift = self.drift.as_ref();
            detector.explain(match drift.is_some_and(|d| d.takes(frame.captured())) {
                true => Explain::Always,
                false => Explain::Anomalous,
            });
            detector
                .score_with(frame, statistics)
                .unwrap_or_else(|error| {
                    let error = error.to_string();
                    failure = Some(error.clone());
                    Judgement::invalid(error, statistics)
                })
        };
        let anomalous = judgement.verdict.label == Label::Anomalous;
        let map = (maps && anomalous)
            .then(|| detector.frame_map(&judgement))
            .flatten();
        judgement.latency.total = begin.elapsed();
        let times = times(queued, &judgement);
        let mut record = self.record(&captured, &judgement, detector, times);
        let events = self.events.observe(&Seen {
            frame_number: captured.number,
            captured: frame.captured(),
            label: judgement.verdict.label,
            score: judgement.verdict.score,
            p_value: judgement.verdict.p_value,
            regions: &judgement.verdict.regions,
            path: record.path.as_deref(),
        });
        record.event_id = self.events.open_id().map(str::to_owned);
        let drift = self
            .drift
            .as_mut()
            .and_then(|drift| drift.observe(frame, &judgement));
        if let Some(drift) = &drift {
            self.tally.drifted = drift.drifted;
        }
        self.count(&judgement, failure.is_some(), &events);
        let threshold = judgement
            .region_threshold
            .unwrap_or(detector.calibration().map_threshold as f32);
        let judged = Arc::new(Judged {
            frame: captured.frame,
            judgement,
            record,
            map,
            map_range: [0.0_f32.min(threshold.next_down()), threshold],
        });
        let events = self.show(&judged, events);
        Outcome {
            judged,
            events,
            drift,
            times,
            failure,
        }
    }

    /// Gives each event the frame to show with it: what opened it, or its worst.
    fn show(&mut self, judged: &Arc<Judged>, events: Vec<EventRecord>) -> Vec<Shown> {
        let mut shown = Vec::with_capacity(events.len());
        for event in events {
            match event.phase {
                EventPhase::Closed => shown.push((event, self.worst.take())),
                EventPhase::Open => {
                    self.worst = Some(Arc::clone(judged));
                    shown.push((event, self.worst.clone()));
                }
            }
        }
        let worst = self.events.worst_frame();
        if worst.is_some_and(|number| number == judged.record.frame_number) {
            self.worst = Some(Arc::clone(judged));
        }
        shown
    }

    fn count(&mut self, judgement: &Judgement, failed: bool, events: &[EventRecord]) {
        self.pace.count();
        self.tally.judged += 1;
        match judgement.verdict.label {
            Label::Normal => self.tally.normal += 1,
            Label::Anomalous => self.tally.anomalous += 1,
            Label::Invalid => self.tally.invalid += 1,
        }
        self.tally.failed += u64::from(failed);
        let opened = |event: &&EventRecord| event.phase == EventPhase::Open;
        self.tally.events += events.iter().filter(opened).count() as u64;
    }

    /// What is written of a frame.
    fn record(
        &self,
        captured: &Captured,
        judgement: &Judgement,
        detector: &Detector,
        latency_ms: StageTimes,
    ) -> FrameRecord {
        let frame = &captured.frame;
        let verdict = &judgement.verdict;
        let calibration = detector.calibration();
        FrameRecord {
            schema_version: SCHEMA_VERSION,
            source: self.name.clone(),
            frame_number: captured.number,
            frame_id: captured.number,
            timestamp: timestamp(frame.captured()),
            path: (frame.source() != self.name).then(|| frame.source().to_owned()),
            pred_label: verdict.label,
            pred_score: verdict.score,
            threshold: calibration.threshold,
            p_value: verdict.p_value,
            // Of frames that were judged only, as the p-value.
            percentile_of_normals: verdict
                .p_value
                .and(verdict.score)
                .map(|score| calibration.standing(score).percentile()),
            // The detector's map is that of the frame before, where this one was not given to it.
            map_max: verdict.score.and_then(|_| detector.map_maximum()),
            regions: verdict.regions.clone(),
            reasons: verdict.reasons.clone(),
            event_id: None,
            model_id: detector.model_id().to_owned(),
            backend: detector.backend().name(),
            device: detector.device().name(),
            latency_ms,
        }
    }

    /// The counts, and frames a second since they were last asked for.
    pub(super) fn tally(&mut self) -> SourceTally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.tally.captured = read(&self.counts.captured);
        self.tally.dropped = read(&self.counts.dropped);
        self.tally.unreadable = read(&self.counts.unreadable);
        self.tally.reconnects = read(&self.counts.reconnects);
        self.tally.fps = self.pace.per_second();
        self.tally.clone()
    }

    /// Asks the source's thread to end, and waits for it.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tally.up = false;
        if let Some(thread) = self.thread.take() {
            // A panic in it was written to standard error; its frames are over either way.
            let _ = thread.join();
        }
    }
}

/// A pipeline that could not be started leaves no thread behind.
impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn times(queued: Duration, judgement: &Judgement) -> StageTimes {
    let latency = &judgement.latency;
    StageTimes {
        queue: milliseconds(queued),
        prepare: milliseconds(latency.prepare),
        encode: milliseconds(latency.encode),
        decode: milliseconds(latency.decode),
        detect: milliseconds(latency.detect),
        judge: milliseconds(latency.judge),
        total: milliseconds(queued + latency.total),
    }
}

/// What was said of a source that was lost, so that one that comes and goes is not told each time.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    last: Option<(String, Instant)>,
    quiet: bool,
}

impl Trouble {
    /// For so long the same trouble is not said again.
    const SAME: Duration = Duration::from_secs(60);

    /// Whether the reason is to be said; if so, it is taken for said.
    pub(super) fn is_news(&mut self, reason: &str) -> bool {
        self.quiet = self
            .last
            .as_ref()
            .is_some_and(|(last, when)| last == reason && when.elapsed() < Self::SAME);
        if !self.quiet {
            self.last = Some((reason.to_owned(), Instant::now()));
        }
        !self.quiet
    }

    /// Whether the last was not said.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }
}

/// Frames a second over the last few seconds.
#[derive(Debug)]
struct Pace {
    began: Instant,
    frames: u64,
    last: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            frames: 0,
            last: 0.0,
        }
    }
}

impl Pace {
    /// Long enough that slow sources show more than 0 or 1.
    const SPAN: f64 = 2.0;

    fn count(&mut self) {
        self.frames += 1;
    }

    fn per_second(&mut self) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64();
        if seconds >= Self::SPAN {
            self.last = self.frames as f64 / seconds;
            self.began = Instant::now();
            self.frames = 0;
        } else if self.last == 0.0 && seconds > 0.0 {
            return self.frames as f64 / seconds;
        }
        self.last
    }
}
