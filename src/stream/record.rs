//! What is written of frames and events: the JSON objects of the terminal, the log and the network.
//!
//! One object a line. Each says what it is in `type`: `frame`, `event`, `drift`, `source`, `pause`,
//! `threshold`.

use serde::{Deserialize, Serialize};

pub(crate) use crate::timestamp;
use crate::{runtime::Label, scoring::Region};

/// Schema of the objects; it changes when a key changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// A judged frame.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "frame")]
pub struct FrameRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the source.
    pub source: String,
    /// The source's frames are counted from 0; lost frames leave gaps.
    pub frame_number: u64,
    /// The same number, under the name that `edge-vae score` gives it.
    pub frame_id: u64,
    /// When the frame was captured, RFC 3339 in UTC with milliseconds.
    pub timestamp: String,
    /// The file, for sources of files; of procedural frames what they show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `normal`, `anomalous`, `invalid`.
    pub pred_label: Label,
    /// Whether a normal frame is for review.
    pub review: bool,
    /// Raw score; `null` where the frame was not scored.
    pub pred_score: Option<f64>,
    /// The calibration's threshold.
    pub threshold: f64,
    /// Conformal p-value.
    pub p_value: Option<f64>,
    /// Share of the calibration's frames with a smaller score, percent.
    pub percentile_of_normals: Option<f64>,
    /// The largest value of the anomaly map; `null` where the frame was not scored.
    pub map_max: Option<f64>,
    /// The anomalous regions of an anomalous frame.
    pub regions: Vec<Region>,
    /// Why it is anomalous, invalid or for review.
    pub reasons: Vec<String>,
    /// The event that is open at the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The model that judged.
    pub model_id: String,
    /// The engine that ran it: `tract`, `ort`.
    pub backend: &'static str,
    /// Where it ran: `cpu`, `cuda`, `tensorrt`.
    pub device: &'static str,
    /// How long the stages took, milliseconds.
    pub latency_ms: StageTimes,
}

/// How long the stages of a frame took, milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StageTimes {
    /// Waiting for the model, since the frame was there.
    pub queue: f64,
    /// To a tensor.
    pub prepare: f64,
    /// The encoder.
    pub encode: f64,
    /// The decoder.
    pub decode: f64,
    /// The graphs after it.
    pub detect: f64,
    /// Map, score, verdict, regions.
    pub score: f64,
    /// From the frame's arrival to its verdict.
    pub total: f64,
}

/// What an event is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventClass {
    /// Anomalous frames.
    #[default]
    Defect,
    /// Normal frames for review.
    Review,
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventPhase {
    /// It began: enough of the last frames were anomalous.
    Open,
    /// It ended.
    Closed,
}

/// One frame of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventFrame {
    /// Number of the frame.
    pub frame_number: u64,
    /// When it was captured, RFC 3339 in UTC with milliseconds.
    pub timestamp: String,
    /// Its raw score.
    pub score: f64,
    /// Its conformal p-value.
    pub p_value: f64,
    /// Its anomalous regions.
    pub regions: Vec<Region>,
    /// The file, for sources of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// One defect that passed before a source, or something that a person shall look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "event")]
pub struct EventRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The same when it opens and when it closes, and never given twice, over restarts too.
    pub event_id: String,
    /// Of which frames it is.
    #[serde(default)]
    pub class: EventClass,
    /// Where it stands.
    pub phase: EventPhase,
    /// Name of the source.
    pub source: String,
    /// The model that judged.
    pub model_id: String,
    /// The calibration's threshold for frames of this class.
    pub threshold: f64,
    /// The first frame of those that opened it.
    pub first: EventFrame,
    /// The one with the highest score so far.
    pub worst: EventFrame,
    /// The latest one.
    pub last: EventFrame,
    /// How many frames of its class it has so far.
    pub frames: u64,
    /// Why it ended; `null` while it is open.
    pub ended_by: Option<String>,
}

/// The monitor of drift changed its mind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "drift")]
pub struct DriftRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the source.
    pub source: String,
    /// When, RFC 3339 in UTC with milliseconds.
    pub timestamp: String,
    /// Whether the frames are unlike those of calibration now.
    pub drifted: bool,
    /// What it is taken for, in words.
    pub explanation: String,
    /// What was compared.
    pub tests: Vec<DriftTest>,
    /// Frames of the window.
    pub window: usize,
    /// Probability that a window of a source that has not changed is called drifted.
    pub false_alarm_rate: f64,
}

/// One quantity of the frames, compared with calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftTest {
    /// `score`, `divergence`, `brightness`, `contrast`, `focus`.
    pub quantity: String,
    /// Kolmogorov–Smirnov statistic, 0–1.
    pub statistic: f64,
    /// Its p-value, not corrected for the number of quantities.
    pub p_value: f64,
    /// Median of the window.
    pub median: f64,
    /// Median of the calibration frames.
    pub calibration_median: f64,
    /// Whether it is one that changed.
    pub drifted: bool,
}

/// A source was lost or came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "source")]
pub struct SourceRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the source.
    pub source: String,
    /// When, RFC 3339 in UTC with milliseconds.
    pub timestamp: String,
    /// Whether it gives frames.
    pub up: bool,
    /// What happened.
    pub reason: String,
}

/// Frames of a source are no longer judged, or are again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "pause")]
pub struct PauseRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the source.
    pub source: String,
    /// When, RFC 3339 in UTC with milliseconds.
    pub timestamp: String,
    /// Whether its frames are not judged.
    pub paused: bool,
}

/// Where a threshold is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThresholdOrigin {
    /// The bundle's calibration.
    Calibration,
    /// A command that named a false-alarm rate.
    Rate,
    /// A command that named the threshold.
    Value,
}

/// The threshold that judges from now on, as a command set it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "threshold")]
pub struct ThresholdRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When, RFC 3339 in UTC with milliseconds.
    pub timestamp: String,
    /// The model that judges.
    pub model_id: String,
    /// Frames with a score above it are anomalous.
    pub threshold: f64,
    /// Where it is from.
    pub origin: ThresholdOrigin,
    /// The rate of false alarms that it guarantees.
    pub false_alarm_rate: f64,
    /// The calibration's own threshold.
    pub calibrated: f64,
}

/// What was counted since the start. For the terminal's status line, metrics, the display and the
/// summary.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Seconds since the start.
    pub seconds: f64,
    /// By source, in the order of the configuration.
    pub sources: Vec<SourceTally>,
    /// Times by stage.
    pub stages: Vec<StageTally>,
    /// By sink, in the order of the configuration.
    pub sinks: Vec<SinkTally>,
    /// Frames that took longer than their deadline.
    pub late: u64,
    /// The hottest of the machine's sensors, degrees Celsius, where it has any.
    pub temperature: Option<f64>,
}

/// What was counted at one source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceTally {
    /// Its name.
    pub name: String,
    /// Whether it gives frames now.
    pub up: bool,
    /// Whether its frames are not judged, by command.
    pub paused: bool,
    /// Frames that arrived.
    pub captured: u64,
    /// Frames that were lost because nobody had time for them.
    pub dropped: u64,
    /// Frames that could not be read.
    pub unreadable: u64,
    /// Frames that came while it was paused, and were not judged.
    pub skipped: u64,
    /// Frames that were judged.
    pub judged: u64,
    /// Of these, normal ones.
    pub normal: u64,
    /// Normal ones that are for review.
    pub review: u64,
    /// Anomalous ones.
    pub anomalous: u64,
    /// Invalid ones.
    pub invalid: u64,
    /// Frames on which the engine failed.
    pub failed: u64,
    /// Events of anomalous frames that began.
    pub events: u64,
    /// Events of frames for review that began.
    pub review_events: u64,
    /// How often it was opened again.
    pub reconnects: u64,
    /// Whether it drifted from calibration.
    pub drifted: bool,
    /// Judged frames a second, over the last seconds.
    pub fps: f64,
}

/// What was counted at one sink.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SinkTally {
    /// Its name.
    pub name: String,
    /// Messages that it took; counts like this one are not among them.
    pub taken: u64,
    /// Messages that it failed to take when they came.
    pub failed: u64,
    /// Frames that it had no time for.
    pub dropped: u64,
    /// Messages that wait for the disk or the peer.
    pub waiting: u64,
    /// Messages that will never arrive, those that the peer refused aside.
    pub lost: u64,
    /// Of a sink with a peer: a broker, a web server.
    pub peer: Option<PeerTally>,
}

/// What became of the messages for a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerTally {
    /// Messages that it has.
    pub delivered: u64,
    /// Messages that it will never take, which were set aside.
    pub refused: u64,
}

/// Percentiles of one stage's time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StageTally {
    /// The key of [`StageTimes`].
    pub stage: &'static str,
    /// Median, milliseconds.
    pub p50: f64,
    /// Milliseconds.
    pub p95: f64,
    /// Milliseconds.
    pub p99: f64,
    /// The slowest, milliseconds.
    pub max: f64,
}
