//! Where verdicts and events go.

mod delivery;
mod error;
mod evidence;
mod gpio;
mod late;
mod log;
mod mqtt;
pub(crate) mod outbox;
mod pictures;
mod prometheus;
mod screen;
mod secret;
mod terminal;
#[cfg(test)]
pub(crate) mod test_messages;
mod webhook;

use std::{path::PathBuf, sync::Arc};

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{Detection, Frame};

use super::control::ControlHandle;
use super::quantity;
use super::record::{
    DriftRecord, EventClass, EventRecord, FrameRecord, PauseRecord, PeerTally, SourceRecord, Tally,
    ThresholdRecord,
};

pub use error::SinkError;
pub use evidence::EvidenceSinkSettings;
pub use gpio::{Gpio, GpioCondition, GpioLevel, GpioSettings};
pub(super) use late::open_or_wait;
pub use log::{Log, LogSettings};
pub use mqtt::{Mqtt, MqttSettings, Protocol};
pub use outbox::{Outbox, OutboxMessage, OutboxSettings};
pub use pictures::{MapFormat, Pictures, PicturesSettings, SavePolicy};
pub use prometheus::{ListenAddress, Prometheus, PrometheusSettings};
pub use screen::{Screen, ScreenSettings};
pub use terminal::Terminal;
pub use webhook::{Webhook, WebhookSettings};

/// A frame with its verdict and all that is known of it.
#[derive(Debug)]
pub struct ScoredFrame {
    /// The frame as it was captured.
    pub frame: Arc<Frame>,
    /// Verdict, regions, times.
    pub detection: Detection,
    /// What is written of it, as a program reads it.
    pub record: FrameRecord,
    /// The anomaly map in the frame's geometry, `H×W`, of an anomalous frame where some sink asked
    /// for maps.
    pub map: Option<Array2<f32>>,
    /// The value of the map that is shown as cold, and the threshold, which is shown as hot.
    pub map_range: [f32; 2],
    /// SHA-256 of the manifest of the model that judged.
    pub model_sha256: Arc<str>,
    /// The target false-alarm rate that it judged by.
    pub false_alarm_rate: f64,
}

/// What sinks are told.
#[derive(Clone, Debug)]
pub enum Message {
    /// A frame was judged.
    Frame(Arc<ScoredFrame>),
    /// An event began or ended. The frame is the one that made it so: the worst of an event that
    /// ended, where it is still at hand.
    Event {
        /// What is written of it.
        record: Arc<EventRecord>,
        /// The frame to show.
        frame: Option<Arc<ScoredFrame>>,
    },
    /// The monitor of drift changed its mind.
    Drift(Arc<DriftRecord>),
    /// A source was lost or came back.
    Source(Arc<SourceRecord>),
    /// Frames of a source are no longer judged, or are again.
    Pause(Arc<PauseRecord>),
    /// Frames are judged by another threshold.
    Threshold(Arc<ThresholdRecord>),
    /// Counts, once a second and at the end.
    Tally(Arc<Tally>),
}

/// Which events a sink is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFilter {
    /// All.
    #[default]
    All,
    /// Those of anomalous frames.
    Defect,
    /// Those of frames for review.
    Review,
}

impl EventFilter {
    /// Whether it lets an event through.
    pub fn takes(self, class: EventClass) -> bool {
        match self {
            Self::All => true,
            Self::Defect => class == EventClass::Defect,
            Self::Review => class == EventClass::Review,
        }
    }
}

/// What a sink wants to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// [`Message::Frame`]; drift, sources and counts always come.
    pub frames: bool,
    /// Which [`Message::Event`]s.
    pub events: EventFilter,
    /// [`ScoredFrame::map`], which costs a resampling a frame.
    pub maps: bool,
    /// Every frame, and if the sources have to wait for it. Else the oldest are lost when the sink
    /// is too slow. Events and the rest are never lost.
    pub every_frame: bool,
    /// An event is in its safe keeping when [`Sink::take`] returns: others are told of it only
    /// then, so that none was announced that is missing after a crash.
    pub durable: bool,
}

/// How a sink that keeps what it can't pass on at once stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkStatus {
    /// Whether what failed last still does.
    pub failing: bool,
    /// Messages that wait for the disk or the peer.
    pub waiting: u64,
    /// Messages that will never arrive, those that the peer refused aside.
    pub lost: u64,
    /// Of a sink with a peer.
    pub peer: Option<PeerTally>,
}

/// What a sink needs of the machine and the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkNeeds {
    /// Folders that it writes into; it makes those that are missing.
    pub folders: Vec<PathBuf>,
    /// Devices that it opens.
    pub devices: Vec<PathBuf>,
    /// Host and port that it connects to.
    pub peer: Option<(String, u16)>,
    /// Where it listens.
    pub listens: Option<ListenAddress>,
}

/// What the configuration says of one sink. A new kind of sink is a module with its settings and
/// its [`Sink`], and a table in [`Configuration`](super::Configuration).
pub trait SinkSettings: Clone + Serialize + Send + 'static {
    /// The sink in words, without passwords: `log events.jsonl`.
    fn describe(&self) -> String;

    /// Its paths, which are relative to the folder of the configuration.
    fn paths(&mut self) -> Vec<&mut PathBuf> {
        Vec::new()
    }

    /// Checks what can be checked without opening it.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for settings that can't work.
    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// What it needs of the machine and the network, where its settings are sound.
    fn needs(&self) -> SinkNeeds {
        SinkNeeds::default()
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for settings that can't work; [`SinkError::Unavailable`] where a disk
    /// takes nothing now: it is opened again later.
    fn open(&self) -> Result<Box<dyn Sink>, SinkError>;
}

/// Something that is told of verdicts and events. It has a thread of its own.
pub trait Sink: Send {
    /// What it is called in messages: `mqtt mqtt://broker:1883`.
    fn name(&self) -> &str;

    /// What it wants to be told.
    fn wants(&self) -> Wants;

    /// Called once, before the first message: where it can send commands that reach it.
    fn control(&mut self, _handle: &ControlHandle) {}

    /// Called once, before the first message, where the sink was opened late: so many frames were
    /// judged until then.
    fn missed(&mut self, _frames: u64) {}

    /// Takes a message.
    ///
    /// # Errors
    /// What went wrong, for the supervisor to log once; where a message was not taken, to count.
    /// The sink goes on: the next message is given to it all the same, so whatever must not be lost
    /// is kept by the sink itself until it can be delivered.
    fn take(&mut self, message: &Message) -> Result<(), SinkError>;

    /// How it stands; `None` of a sink that keeps nothing: what it fails to take is lost, and the
    /// next message that it takes shows that it works again.
    fn status(&self) -> Option<SinkStatus> {
        None
    }

    /// Called about ten times a second when there is nothing to take: a time to deliver what waits.
    ///
    /// # Errors
    /// As [`Sink::take`].
    fn idle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Called once, after the last message: flushes, and leaves a safe state.
    ///
    /// # Errors
    /// What could not be delivered, and [`SinkError::Unavailable`] for trouble that was not
    /// reported yet; what is kept on disk is not lost.
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
