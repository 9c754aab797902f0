//! What runs, for whom, and how it can end.

use std::time::Duration;

use super::{
    control::{ControlError, ControlSettings},
    frame_queue::Policy,
    monitor::MonitorSettings,
    record::Tally,
    sink::{Sink, SinkError},
    source::{Opener, SourceError},
    successor::Successor,
};
use crate::{Detector, calibration::CalibrationError};

/// A source of the pipeline.
pub struct SourceConfig {
    /// Its name: in records, topics, labels; no other source has it.
    pub name: String,
    /// What distinguishes its settings from others: when the plan changes, a source of the same
    /// name and key goes on undisturbed.
    pub key: String,
    /// Opens it, each time that it was lost.
    pub open: Opener,
    /// What happens to frames for which there is no time. `None`: a live source loses the oldest,
    /// any other waits.
    pub policy: Option<Policy>,
    /// How its frames are judged over time.
    pub monitoring: MonitorSettings,
}

/// Opens a sink.
pub type SinkOpener = Box<dyn FnOnce() -> Result<Box<dyn Sink>, SinkError> + Send>;

/// A sink of the pipeline.
pub struct SinkConfig {
    /// What distinguishes its settings from others: when the plan changes, a sink of the same key
    /// goes on undisturbed.
    pub key: String,
    /// Opens it.
    pub open: SinkOpener,
}

/// What runs.
pub struct Plan {
    /// Judges the frames.
    pub detector: Detector,
    /// Judges them as soon as it is made.
    pub successor: Option<Successor>,
    /// The sources, at least one.
    pub sources: Vec<SourceConfig>,
    /// The sinks.
    pub sinks: Vec<SinkConfig>,
    /// Where commands are taken; `None` for nowhere but the sinks that take some.
    pub control: Option<ControlSettings>,
    /// How it runs.
    pub options: PipelineOptions,
}

/// How a pipeline runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineOptions {
    /// Frames of a source that wait for the model, at least 1.
    pub depth: usize,
    /// Judged frames, of all sources together, after which it ends; `None` for no limit.
    pub frames: Option<u64>,
    /// Time after which it ends; `None` for no limit.
    pub duration: Option<Duration>,
    /// Attempts after which a source is given up that does not come back; `None` for never.
    pub retries: Option<u32>,
    /// A frame whose verdict takes longer, from its arrival, is late.
    pub deadline: Duration,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self {
            depth: 4,
            frames: None,
            duration: None,
            retries: None,
            deadline: Duration::from_secs(1),
        }
    }
}

/// Who runs the pipeline: asked and told between two frames.
pub trait Host {
    /// Whether an end was asked for: the frames in flight are still judged.
    fn stop(&mut self) -> bool;

    /// Another plan, if there is one now: sources and sinks that are the same go on, the model is
    /// exchanged between two frames. Or why there is none, which a person was told.
    fn change(&mut self) -> Option<Result<Plan, String>>;

    /// Asks for another plan, as a hang-up does: [`Host::change`] will tell. `false` where one is
    /// being made, or none can be.
    fn reload(&mut self) -> bool {
        false
    }

    /// Called some twenty times a second, however few frames there are: a sign of life.
    fn alive(&mut self);

    /// The counts, once a second.
    fn tally(&mut self, tally: &Tally);

    /// Something that a person should know, once.
    fn note(&mut self, text: &dyn std::fmt::Display);
}

/// Why a pipeline did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A sink could not be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// No commands can be taken.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A setting of how frames are judged is impossible.
    #[error(transparent)]
    MonitorSettings(#[from] CalibrationError),
    /// Two sources have one name.
    #[error("two sources are called {name}: give each a name of its own")]
    SameName {
        /// The name.
        name: String,
    },
    /// No source was given.
    #[error("no source: name at least one")]
    NoSource,
    /// The system has no more threads.
    #[error("no thread could be started: {0}")]
    Thread(std::io::Error),
}

/// How a pipeline ended.
#[derive(Debug)]
pub struct RunSummary {
    /// The counts.
    pub tally: Tally,
    /// Why a source was given up, the last of several.
    pub abandoned: Option<SourceError>,
}
