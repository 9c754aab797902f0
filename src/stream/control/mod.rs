//! Commands to a running pipeline, and their answers. How they arrive is up to a transport: each
//! hands a [`ControlHandle`] the bytes of a request and is handed back those of the answer.

mod request;
mod socket;

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::record::{FrameRecord, SCHEMA_VERSION, SinkTally, SourceTally, ThresholdRecord};
use crate::runtime::Label;

pub use request::{ALL_VERBS, Command, MOST_REQUEST_BYTES, Request, ThresholdChoice, Verb};
pub(super) use socket::ControlSocket;
pub use socket::{ControlError, ControlMode, ControlSettings, MOST_PATH_BYTES};

/// Requests that wait for the pipeline, which takes them between two frames.
const WAITING: usize = 32;

/// How long an answer may take: a frame on a slow machine, and then some.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a reload may take: TensorRT compiles a model for minutes.
const RELOAD: Duration = Duration::from_secs(600);

/// How a pipeline stands.
#[derive(Clone, Debug, Serialize)]
pub struct StatusRecord {
    /// The model that judges.
    pub model_id: String,
    /// The engine that runs it, and where.
    pub engine: String,
    /// The threshold that judges, and where it is from.
    pub threshold: ThresholdRecord,
    /// Whether no source is judged.
    pub paused: bool,
    /// Seconds since the start.
    pub uptime: f64,
    /// By source.
    pub sources: Vec<SourceStatus>,
    /// By sink.
    pub sinks: Vec<SinkTally>,
    /// Frames that took longer than their deadline.
    pub late: u64,
}

/// How a source stands.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStatus {
    /// `up`, `paused`, `lost` or `ended`.
    pub state: &'static str,
    /// The latest judged frame.
    pub last: Option<LastVerdict>,
    /// The event that is open.
    pub event_id: Option<String>,
    /// Its counts.
    #[serde(flatten)]
    pub counts: SourceTally,
}

/// Verdict of the latest judged frame.
#[derive(Clone, Debug, Serialize)]
pub struct LastVerdict {
    /// Number of the frame.
    pub frame_number: u64,
    /// When it was captured.
    pub timestamp: String,
    /// `normal`, `anomalous`, `invalid`.
    pub pred_label: Label,
    /// Raw score.
    pub pred_score: Option<f64>,
}

/// The latest frame of a source.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotRecord {
    /// Name of the source.
    pub source: String,
    /// Number of the frame.
    pub frame_number: u64,
    /// When it was captured.
    pub timestamp: String,
    /// What was said of it; absent where it came while its source was paused.
    pub frame: Option<FrameRecord>,
}

/// Makes a picture, as PNG, in the thread that wants it.
pub type MakePicture = Box<dyn FnOnce() -> Result<Vec<u8>, String> + Send>;

/// What a command led to.
pub enum Answer {
    /// Of [`Command::Status`].
    Status(Box<StatusRecord>),
    /// Of [`Command::Pause`] and [`Command::Resume`]: the sources that are paused now.
    Paused(Vec<String>),
    /// Of [`Command::Reload`]: the model that judges now, and what could not be opened.
    Reloaded {
        /// Its id.
        model_id: String,
        /// Sources and sinks that were left out, and why.
        problems: Vec<String>,
    },
    /// Of [`Command::Threshold`].
    Threshold(ThresholdRecord),
    /// Of [`Command::Snapshot`].
    Snapshot {
        /// Which frame it is.
        frame: Box<SnapshotRecord>,
        /// Its picture.
        picture: MakePicture,
    },
    /// It was not done, and why.
    Refused(String),
}

impl Answer {
    fn written(self) -> Map<String, Value> {
        let object = |value: Value| match value {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        let refused = |problem: String| object(json!({"ok": false, "error": problem}));
        let mut fields = match self {
            Self::Refused(problem) => return refused(problem),
            // Records have strings, numbers and lists only, which all have a place in JSON.
            Self::Status(record) => object(serde_json::to_value(record).unwrap_or_default()),
            Self::Paused(sources) => object(json!({"paused": sources})),
            Self::Reloaded { model_id, problems } => {
                object(json!({"model_id": model_id, "problems": problems}))
            }
            Self::Threshold(record) => object(json!({"threshold": record})),
            Self::Snapshot { frame, picture } => match picture() {
                Ok(png) => {
                    let mut fields = object(serde_json::to_value(frame).unwrap_or_default());
                    fields.insert("png".to_owned(), BASE64_STANDARD.encode(png).into());
                    fields
                }
                Err(problem) => return refused(format!("no picture could be made: {problem}")),
            },
        };
        fields.insert("ok".to_owned(), true.into());
        fields
    }
}

/// A command on its way to the pipeline.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) command: Command,
    pub(super) answer: mpsc::SyncSender<Answer>,
}

/// Takes requests to a pipeline, from any thread.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    orders: mpsc::SyncSender<Order>,
}

impl ControlHandle {
    pub(super) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::sync_channel(WAITING);
        (Self { orders }, receiver)
    }

    /// Has a command done, and waits for the answer. `give_up` is asked now and then.
    pub fn ask(&self, command: Command, give_up: &dyn Fn() -> bool) -> Answer {
        let refused = |text: &str| Answer::Refused(text.to_owned());
        let patience = match command {
            Command::Reload => RELOAD,
            _ => PATIENCE,
        };
        let (answer, answered) = mpsc::sync_channel(1);
        match self.orders.try_send(Order { command, answer }) {
            Ok(()) => {}
            Err(mpsc::TrySendError::Full(_)) => return refused("too many commands wait"),
            Err(mpsc::TrySendError::Disconnected(_)) => return refused(ENDING),
        }
        let until = Instant::now() + patience;
        loop {
            match answered.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return answer,
                Err(mpsc::RecvTimeoutError::Disconnected) => return refused(ENDING),
                Err(mpsc::RecvTimeoutError::Timeout) if give_up() => return refused(ENDING),
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return refused("no answer in time; the command may still be done");
                }
            }
        }
    }

    /// The answer to the bytes of a request, one JSON object without a line break. `allowed` are
    /// the verbs that may be asked for; of a request that names no source it is `source`, where the
    /// verb takes one.
    pub fn answer(
        &self,
        request: &[u8],
        allowed: &[Verb],
        source: Option<&str>,
        give_up: &dyn Fn() -> bool,
    ) -> Vec<u8> {
        let parsed = request::parse(request);
        let (head, answer) = match parsed {
            Err(problem) => (Map::new(), Answer::Refused(problem)),
            Ok(mut request) => {
                let mut head = Map::new();
                let verb = request.command;
                head.insert("command".to_owned(), verb.as_str().into());
                if let Some(id) = request.id.take() {
                    head.insert("id".to_owned(), id);
                }
                let takes_source = matches!(verb, Verb::Pause | Verb::Resume | Verb::Snapshot);
                if let Some(source) = source.filter(|_| takes_source) {
                    request.source.get_or_insert_with(|| source.to_owned());
                }
                let answer = if allowed.contains(&verb) {
                    match request.resolve() {
                        Ok(command) => self.ask(command, give_up),
                        Err(problem) => Answer::Refused(problem),
                    }
                } else {
                    let names: Vec<&str> = allowed.iter().map(|verb| verb.as_str()).collect();
                    Answer::Refused(format!(
                        "{} is not allowed here; allowed are {}",
                        verb.as_str(),
                        names.join(", ")
                    ))
                };
                (head, answer)
            }
        };
        let mut object = Map::new();
        object.insert("type".to_owned(), "answer".into());
        object.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
        object.extend(head);
        object.extend(answer.written());
        serde_json::to_vec(&object).unwrap_or_default()
    }
}

/// Of a transport that a request reached and the pipeline did not.
pub(super) const ENDING: &str = "the watch is ending";

/// What a fuzz target does with bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_request(bytes: &[u8]) {
    match request::parse(bytes) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).expect("it was read");
            request::parse(&written).expect("it was written here");
            let _ = request.resolve();
        }
        Err(problem) => assert!(!problem.contains('\n'), "{problem:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_or_has_no_reader_is_answered() {
        let (handle, orders) = ControlHandle::new();
        let answer = |allowed: &[Verb]| -> Value {
            let request = br#"{"command":"pause","id":7}"#;
            let answer = handle.answer(request, allowed, Some("cam"), &|| false);
            serde_json::from_slice(&answer).unwrap()
        };
        let found = answer(&[Verb::Status]);
        assert_eq!((&found["ok"], &found["id"]), (&false.into(), &7.into()));
        assert_eq!(
            found["error"],
            "pause is not allowed here; allowed are status"
        );
        assert!(orders.try_recv().is_err());
        drop(orders);
        assert_eq!(answer(&ALL_VERBS)["error"], ENDING);
    }
}
