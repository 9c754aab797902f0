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
    Detection, Detector, Explain, Frame,
    calibration::{Calibration, CalibrationError},
    frame::FrameStatistics,
    runtime::Label,
};

use super::{
    capture::{CaptureCounters, CapturedFrame},
    control::LastVerdict,
    drift::SourceDrift,
    event::{FrameVerdict, RunId, SOURCE_ENDED},
    event_tracker::{EventNotice, EventTracker},
    frame_queue::Policy,
    health::Health,
    loss_log::LossLog,
    monitor::MonitorSettings,
    plan::SourceConfig,
    record::{
        DriftRecord, EventClass, EventPhase, EventRecord, FrameRecord, SCHEMA_VERSION, SourceTally,
        StageTimes, timestamp,
    },
    sink::ScoredFrame,
    stages::milliseconds,
};

/// Why an event of frames for review ended with which a defect was seen.
const DEFECT_BEGAN: &str = "an event of anomalous frames began";

/// Why an event ended whose source was paused.
const PAUSED: &str = "the source was paused";

/// A frame, judged or not.
#[derive(Clone)]
pub(super) struct LatestFrame {
    pub(super) frame: Arc<Frame>,
    pub(super) number: u64,
    /// Absent where it came while its source was paused.
    pub(super) scored: Option<Arc<ScoredFrame>>,
}

/// One source while it runs.
pub(super) struct SourceState {
    /// The number by which its thread and its queue know it.
    pub(super) id: usize,
    pub(super) name: String,
    /// What distinguishes its settings from others.
    pub(super) key: String,
    pub(super) tally: SourceTally,
    pub(super) counters: Arc<CaptureCounters>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) losses: LossLog,
    /// Why it gives no more frames, until the last of them is judged.
    pub(super) ended: Option<String>,
    pub(super) lost_at: Option<Instant>,
    monitoring: MonitorSettings,
    live: bool,
    health: Health,
    defects: EventTracker,
    /// Where the calibration has a review band.
    review: Option<EventTracker>,
    run: RunId,
    drift: Option<SourceDrift>,
    /// The latest frame, judged or not.
    pub(super) latest: Option<LatestFrame>,
    /// Of the latest judged frame.
    pub(super) last: Option<LastVerdict>,
    policy: Option<Policy>,
    rate: FrameRate,
}

/// What a frame led to.
pub(super) struct FrameOutcome {
    pub(super) scored: Arc<ScoredFrame>,
    pub(super) notices: Vec<EventNotice>,
    pub(super) drift: Option<DriftRecord>,
    pub(super) times: StageTimes,
    /// The engine's error, where it failed on the frame.
    pub(super) failure: Option<String>,
}

impl SourceState {
    /// A source that is taken for not live until its first frame tells.
    pub(super) fn new(
        id: usize,
        config: &SourceConfig,
        detector: &Detector,
        run: &RunId,
    ) -> Result<Self, CalibrationError> {
        let (name, monitoring) = (config.name.clone(), config.monitoring.clone());
        let monitors = monitoring.resolve(&name, detector.calibration(), false)?;
        Ok(Self {
            id,
            tally: SourceTally {
                name: name.clone(),
                ..SourceTally::default()
            },
            health: monitors.health,
            defects: EventTracker::new(
                EventClass::Defect,
                monitors.events,
                (&name, detector.model_id()),
                run,
            ),
            review: monitors.review.map(|rule| {
                let of = (&*name, detector.model_id());
                EventTracker::new(EventClass::Review, rule, of, run)
            }),
            run: run.clone(),
            drift: monitors.drift,
            name,
            key: config.key.clone(),
            counters: Arc::default(),
            stop: Arc::default(),
            thread: None,
            losses: LossLog::default(),
            ended: None,
            lost_at: None,
            monitoring,
            live: false,
            latest: None,
            last: None,
            policy: config.policy,
            rate: FrameRate::default(),
        })
    }

    /// Takes the source for live or not, as its frames are to be judged. To be called before the
    /// first of them; no event is open then.
    pub(super) fn set_live(
        &mut self,
        live: bool,
        detector: &Detector,
    ) -> Result<(), CalibrationError> {
        if live != self.live {
            self.live = live;
            let why = "the source was replaced";
            self.monitor_by(self.monitoring.clone(), detector, why)?;
        }
        Ok(())
    }

    /// From now on frames are judged otherwise. What is open ends.
    pub(super) fn monitor_by(
        &mut self,
        monitoring: MonitorSettings,
        detector: &Detector,
        why: &str,
    ) -> Result<Vec<EventNotice>, CalibrationError> {
        let monitors = monitoring.resolve(&self.name, detector.calibration(), self.live)?;
        let model_id = detector.model_id();
        let mut ended = Vec::from_iter(self.defects.replace(monitors.events, model_id, why));
        match (&mut self.review, monitors.review) {
            (Some(review), Some(rule)) => ended.extend(review.replace(rule, model_id, why)),
            (review, None) => ended.extend(review.take().and_then(|mut it| it.finish(why))),
            (review @ None, Some(rule)) => {
                let of = (&*self.name, model_id);
                *review = Some(EventTracker::new(EventClass::Review, rule, of, &self.run));
            }
        }
        self.monitoring = monitoring;
        self.health = monitors.health;
        self.drift = monitors.drift;
        self.tally.drifted = false;
        Ok(ended)
    }

    /// What a person should know of how its frames are judged.
    pub(super) fn disabled_checks(&self) -> Option<&'static str> {
        self.health.disabled_checks()
    }

    /// Whether its frames wait while it is paused, for all are to be judged. Those of another are
    /// skipped: what is judged is the present.
    pub(super) fn holds(&self) -> bool {
        let policy = self.policy.unwrap_or(Policy::default_for(self.live));
        self.tally.paused && policy == Policy::All
    }

    /// Judges no frames from now on, or judges them again. What is open ends.
    pub(super) fn pause(&mut self, paused: bool) -> Vec<EventNotice> {
        self.tally.paused = paused;
        self.end_events(PAUSED)
    }

    /// Takes a frame that is not judged.
    pub(super) fn skip(&mut self, captured: CapturedFrame) {
        self.tally.skipped += 1;
        self.latest = Some(LatestFrame {
            frame: captured.frame,
            number: captured.number,
            scored: None,
        });
    }

    /// Whether another calibration suits the settings by which its frames are judged.
    pub(super) fn check(&self, calibration: &Calibration) -> Result<(), CalibrationError> {
        self.monitoring
            .resolve(&self.name, calibration, self.live)
            .map(drop)
    }

    /// [`SourceState::monitor_by`] the same settings, since the calibration changed.
    pub(super) fn recalibrate(
        &mut self,
        detector: &Detector,
        why: &str,
    ) -> Result<Vec<EventNotice>, CalibrationError> {
        self.monitor_by(self.monitoring.clone(), detector, why)
    }

    /// The event that is open.
    pub(super) fn open_event(&self) -> Option<&str> {
        let of_review = || self.review.as_ref().and_then(EventTracker::open_id);
        self.defects.open_id().or_else(of_review)
    }

    /// Ends what is open, for there are no more frames.
    pub(super) fn finish(&mut self) -> Vec<EventNotice> {
        self.end_events(SOURCE_ENDED)
    }

    fn end_events(&mut self, why: &str) -> Vec<EventNotice> {
        let trackers = [Some(&mut self.defects), self.review.as_mut()];
        let trackers = trackers.into_iter().flatten();
        trackers.filter_map(|it| it.finish(why)).collect()
    }

    /// Judges a frame, and what it means after those before it.
    pub(super) fn score(
        &mut self,
        detector: &mut Detector,
        mut captured: CapturedFrame,
        maps: bool,
    ) -> FrameOutcome {
        let queued = captured.arrived.elapsed();
        let begin = Instant::now();
        let too_many_bits = detector
            .bits()
            .filter(|_| captured.damage.is_none() && captured.frame.bits().is_none())
            .and_then(|bits| Arc::make_mut(&mut captured.frame).set_bits(bits).err());
        let frame = &captured.frame;
        let statistics = FrameStatistics::of(frame);
        let mut failure = None;
        let damage = captured.damage.clone();
        let unfit = damage
            .or(too_many_bits.map(|error| error.to_string()))
            .or_else(|| self.health.check(frame, &statistics));
        let mut detection = if let Some(reason) = unfit {
            Detection::invalid(reason, statistics)
        } else {
            let drift = self.drift.as_ref();
            detector.explain(match drift.is_some_and(|d| d.takes(captured.at)) {
                true => Explain::Always,
                false => Explain::Anomalous,
            });
            detector
                .score_with(frame, statistics)
                .unwrap_or_else(|error| {
                    let error = error.to_string();
                    failure = Some(error.clone());
                    Detection::invalid(error, statistics)
                })
        };
        let anomalous = detection.verdict.label == Label::Anomalous;
        let map = (maps && anomalous)
            .then(|| detector.frame_map(&detection))
            .flatten();
        detection.latency.total = begin.elapsed();
        let times = times(queued, &detection);
        let mut record = self.record(&captured, &detection, detector, times);
        let verdict = FrameVerdict {
            frame_number: captured.number,
            captured: frame.captured(),
            at: captured.at,
            label: detection.verdict.label,
            review: detection.verdict.review,
            score: detection.verdict.score,
            p_value: detection.verdict.p_value,
            regions: &detection.verdict.regions,
            path: record.path.as_deref(),
        };
        let events = self.defects.observe(&verdict);
        let mut ended = None;
        let mut reviews = Vec::new();
        if let Some(review) = &mut self.review {
            // What lasts is a defect, whatever wavers about its threshold.
            match self.defects.open_id() {
                Some(_) => ended = review.finish(DEFECT_BEGAN),
                None => reviews = review.observe(&verdict),
            }
        }
        record.event_id = self.open_event().map(str::to_owned);
        let drift = self
            .drift
            .as_mut()
            .and_then(|drift| drift.observe(frame, captured.at, &detection));
        if let Some(drift) = &drift {
            self.tally.drifted = drift.drifted;
        }
        self.count(&detection, failure.is_some(), events.iter().chain(&reviews));
        let threshold = detection
            .region_threshold
            .unwrap_or(detector.calibration().map_threshold as f32);
        let scored = Arc::new(ScoredFrame {
            frame: captured.frame,
            detection,
            record,
            map,
            map_range: [0.0_f32.min(threshold.next_down()), threshold],
            model_sha256: Arc::clone(detector.model_sha256()),
            false_alarm_rate: detector.calibration().false_alarm_rate,
        });
        let mut notices = Vec::from_iter(ended);
        notices.extend(self.defects.with_frames(&scored, events));
        if let Some(review) = &mut self.review {
            notices.extend(review.with_frames(&scored, reviews));
        }
        self.latest = Some(LatestFrame {
            frame: Arc::clone(&scored.frame),
            number: scored.record.frame_number,
            scored: Some(Arc::clone(&scored)),
        });
        self.last = Some(LastVerdict {
            frame_number: scored.record.frame_number,
            timestamp: scored.record.timestamp.clone(),
            pred_label: scored.record.pred_label,
            pred_score: scored.record.pred_score,
        });
        FrameOutcome {
            scored,
            notices,
            drift,
            times,
            failure,
        }
    }

    fn count<'a>(
        &mut self,
        detection: &Detection,
        failed: bool,
        events: impl Iterator<Item = &'a EventRecord>,
    ) {
        self.rate.count();
        self.tally.judged += 1;
        match detection.verdict.label {
            Label::Normal => {
                self.tally.normal += 1;
                self.tally.review += u64::from(detection.verdict.review);
            }
            Label::Anomalous => self.tally.anomalous += 1,
            Label::Invalid => self.tally.invalid += 1,
        }
        self.tally.failed += u64::from(failed);
        for event in events.filter(|event| event.phase == EventPhase::Open) {
            match event.class {
                EventClass::Defect => self.tally.events += 1,
                EventClass::Review => self.tally.review_events += 1,
            }
        }
    }

    /// What is written of a frame.
    fn record(
        &self,
        captured: &CapturedFrame,
        detection: &Detection,
        detector: &Detector,
        latency_ms: StageTimes,
    ) -> FrameRecord {
        let frame = &captured.frame;
        let verdict = &detection.verdict;
        let calibration = detector.calibration();
        FrameRecord {
            schema_version: SCHEMA_VERSION,
            source: self.name.clone(),
            frame_number: captured.number,
            frame_id: captured.number,
            timestamp: timestamp(frame.captured()),
            path: (frame.source() != self.name).then(|| frame.source().to_owned()),
            pred_label: verdict.label,
            review: verdict.review,
            pred_score: verdict.score,
            threshold: calibration.threshold,
            p_value: verdict.p_value,
            // Of frames that were judged only, as the p-value.
            percentile_of_normals: verdict
                .p_value
                .and(verdict.score)
                .map(|score| calibration.percentile(score).percent()),
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

    /// The counts, and frames a second since the last call.
    pub(super) fn tally(&mut self) -> SourceTally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.tally.captured = read(&self.counters.captured);
        self.tally.dropped = read(&self.counters.dropped);
        self.tally.unreadable = read(&self.counters.unreadable);
        self.tally.reconnects = read(&self.counters.reconnects);
        self.tally.fps = self.rate.per_second();
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
impl Drop for SourceState {
    fn drop(&mut self) {
        self.stop();
    }
}

fn times(queued: Duration, detection: &Detection) -> StageTimes {
    let latency = &detection.latency;
    StageTimes {
        queue: milliseconds(queued),
        prepare: milliseconds(latency.prepare),
        encode: milliseconds(latency.encode),
        decode: milliseconds(latency.decode),
        detect: milliseconds(latency.detect),
        score: milliseconds(latency.score),
        total: milliseconds(queued + latency.total),
    }
}

/// Frames a second over the last few seconds.
#[derive(Debug)]
struct FrameRate {
    began: Instant,
    frames: u64,
    last: f64,
}

impl Default for FrameRate {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            frames: 0,
            last: 0.0,
        }
    }
}

impl FrameRate {
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
