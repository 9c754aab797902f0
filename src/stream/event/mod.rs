//! One event for each defect: debounce, hysteresis, cool-down.
//!
//! Frames for review have events of their own: [`EventClass::Review`]. There the threshold is that
//! of the review band, for beginning and release alike.
//!
//! Of the last M frames that could be judged, N anomalous ones begin an event. It lasts until fewer
//! than N of the last M are above a lower threshold, the release threshold, so that a score that
//! wavers about the threshold makes one event and not many; and until this has been so for the
//! cool-down, so that what comes back at once is the same event. An anomalous frame belongs to one
//! event at most. Frames that could not be judged neither begin, hold nor end one.
//!
//! What lasts is measured from capture to capture, so pictures in files give the events that the
//! camera gave. Of other sources it is measured by a clock that nobody sets.

mod id;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use crate::{runtime::Label, scoring::Region};

use super::record::{EventClass, EventFrame, EventPhase, EventRecord, SCHEMA_VERSION, timestamp};

use id::EventIds;
pub use id::RunId;
pub use settings::{EventRule, EventSettings, FalseEvents};

/// Why an event ended whose source gave its last frame.
pub const SOURCE_ENDED: &str = "the source ended";

/// What events are made of: a frame and its verdict.
#[derive(Clone, Copy, Debug)]
pub struct FrameVerdict<'a> {
    /// Number of the frame at its source.
    pub frame_number: u64,
    /// When it was captured, as it is written.
    pub captured: SystemTime,
    /// When it was captured, as durations are measured: by a clock that nobody sets, since any
    /// beginning.
    pub at: Duration,
    /// What it was called.
    pub label: Label,
    /// Whether it is for review.
    pub review: bool,
    /// Its raw score; `None` where it was not scored.
    pub score: Option<f64>,
    /// Its conformal p-value; `None` where it is invalid.
    pub p_value: Option<f64>,
    /// What is strange in it.
    pub regions: &'a [Region],
    /// Its file, for sources of files.
    pub path: Option<&'a str>,
}

/// The events of one source.
#[derive(Clone, Debug)]
pub struct Events {
    class: EventClass,
    rule: EventRule,
    source: String,
    model_id: String,
    ids: EventIds,
    /// The last frames that were judged, at most M, since the last event.
    window: VecDeque<ScoreLevel>,
    /// The anomalous ones among them, while no event is open.
    candidates: VecDeque<EventFrame>,
    last_judged: Option<Duration>,
    open: Option<Open>,
}

/// How high a judged frame scored.
#[derive(Clone, Copy, Debug)]
struct ScoreLevel {
    anomalous: bool,
    /// Above the release threshold, or anomalous.
    above_release: bool,
}

#[derive(Clone, Debug)]
struct Open {
    record: EventRecord,
    /// When the frame that opened it was captured.
    began: Duration,
    /// Since when it is calm.
    calm_since: Option<Duration>,
}

impl Events {
    /// Of a source, judged by a model; `run` makes ids of this run different from those of others.
    pub fn new(
        class: EventClass,
        rule: EventRule,
        source: &str,
        model_id: &str,
        run: &RunId,
    ) -> Self {
        Self {
            class,
            rule,
            source: source.to_owned(),
            model_id: model_id.to_owned(),
            ids: EventIds::new(class, run, source),
            window: VecDeque::new(),
            candidates: VecDeque::new(),
            last_judged: None,
            open: None,
        }
    }

    /// Takes in the next frame of the source. What is returned began or ended with it: at most two,
    /// of which the first ended and the second began.
    pub fn observe(&mut self, verdict: &FrameVerdict) -> Vec<EventRecord> {
        let mut records = Vec::new();
        if let Some(why) = self.expired(verdict.at) {
            records.extend(self.finish(&why));
        }
        let (Some(score), Some(p_value)) = (verdict.score, verdict.p_value) else {
            return records;
        };
        let anomalous = match (verdict.label, self.class) {
            (Label::Invalid, _) => return records,
            (label, EventClass::Defect) => label == Label::Anomalous,
            (_, EventClass::Review) => verdict.review,
        };
        self.last_judged = Some(verdict.at);
        let frame = anomalous.then(|| EventFrame {
            frame_number: verdict.frame_number,
            timestamp: timestamp(verdict.captured),
            score,
            p_value,
            regions: verdict.regions.to_vec(),
            path: verdict.path.map(str::to_owned),
        });
        let level = ScoreLevel {
            anomalous,
            above_release: anomalous || score > self.rule.release,
        };
        self.remember(level);
        if self.open.is_some() {
            records.extend(self.go_on(verdict.at, level, frame));
        } else if let Some(frame) = frame {
            self.candidates.push_back(frame);
            records.extend(self.begin(verdict.at));
        }
        records
    }

    /// Closes the open event, for a reason such as [`SOURCE_ENDED`]; the next one begins with
    /// frames that are yet to come.
    pub fn finish(&mut self, why: &str) -> Option<EventRecord> {
        self.window.clear();
        self.candidates.clear();
        let open = self.open.take()?;
        Some(EventRecord {
            phase: EventPhase::Closed,
            ended_by: Some(why.to_owned()),
            ..open.record
        })
    }

    /// Goes on with another rule or model, and closes the open event, for a reason such as «the
    /// model was replaced». Ids go on too.
    pub fn replace(&mut self, rule: EventRule, model_id: &str, why: &str) -> Option<EventRecord> {
        let closed = self.finish(why);
        self.rule = rule;
        model_id.clone_into(&mut self.model_id);
        closed
    }

    /// The id of the open event.
    pub fn open_id(&self) -> Option<&str> {
        Some(&self.open.as_ref()?.record.event_id)
    }

    /// The number of the open event's worst frame.
    pub fn worst_frame(&self) -> Option<u64> {
        Some(self.open.as_ref()?.record.worst.frame_number)
    }

    /// Why the open event can't go on at this time.
    fn expired(&self, now: Duration) -> Option<String> {
        let (open, last_judged) = (self.open.as_ref()?, self.last_judged?);
        let silence = seconds(last_judged, now);
        if silence > self.rule.max_gap {
            return Some(format!("no frame could be judged for {silence:.1} s"));
        }
        (seconds(open.began, now) > self.rule.max_duration).then(|| {
            format!(
                "it lasted {} s, the longest that one event may",
                self.rule.max_duration
            )
        })
    }

    fn remember(&mut self, level: ScoreLevel) {
        if self.window.len() == self.rule.of
            && let Some(oldest) = self.window.pop_front()
            && oldest.anomalous
        {
            self.candidates.pop_front();
        }
        self.window.push_back(level);
    }

    /// Opens an event if the last frames are enough for one.
    fn begin(&mut self, now: Duration) -> Option<EventRecord> {
        if self.candidates.len() < self.rule.anomalous {
            return None;
        }
        let frames = std::mem::take(&mut self.candidates);
        let first = frames.front()?.clone();
        let last = frames.back()?.clone();
        let worst = frames.iter().fold(&first, |worst, frame| {
            if frame.score > worst.score {
                frame
            } else {
                worst
            }
        });
        let record = EventRecord {
            schema_version: SCHEMA_VERSION,
            event_id: self.ids.next(),
            class: self.class,
            phase: EventPhase::Open,
            source: self.source.clone(),
            model_id: self.model_id.clone(),
            threshold: self.rule.threshold,
            worst: worst.clone(),
            first,
            last,
            frames: frames.len() as u64,
            ended_by: None,
        };
        self.open = Some(Open {
            record: record.clone(),
            began: now,
            calm_since: None,
        });
        Some(record)
    }

    /// Takes a frame into the open event, and closes it if it has calmed down.
    fn go_on(
        &mut self,
        now: Duration,
        level: ScoreLevel,
        frame: Option<EventFrame>,
    ) -> Option<EventRecord> {
        let open = self.open.as_mut()?;
        if let Some(frame) = frame {
            open.record.frames += 1;
            if frame.score > open.record.worst.score {
                open.record.worst = frame.clone();
            }
            open.record.last = frame;
        }
        let above = self.window.iter().filter(|s| s.above_release).count();
        if above >= self.rule.anomalous {
            open.calm_since = None;
            return None;
        }
        let since = *open.calm_since.get_or_insert(now);
        // A frame that may be the first of more does not end it.
        if level.above_release || seconds(since, now) < self.rule.cool_down {
            return None;
        }
        let why = self.rule.calm(["scored", "scored"], self.rule.cool_down);
        self.finish(&why)
    }
}

/// Seconds from one time to another; 0 where pictures are older than those before them.
fn seconds(from: Duration, to: Duration) -> f64 {
    to.saturating_sub(from).as_secs_f64()
}
