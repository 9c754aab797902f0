//! What can be asked for, and how it is written.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most bytes of a request: the longest that makes sense has a few hundred.
pub const MOST_REQUEST_BYTES: usize = 16 * 1024;

/// What a pipeline can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// How it stands.
    Status,
    /// Judge no frames for now.
    Pause,
    /// Judge them again.
    Resume,
    /// Read configuration and model again.
    Reload,
    /// Judge by another threshold.
    Threshold,
    /// Show the latest frame.
    Snapshot,
}

impl Verb {
    /// As in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reload => "reload",
            Self::Threshold => "threshold",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Which threshold judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdChoice {
    /// The calibration's own.
    Calibrated,
    /// The one that guarantees this false-alarm rate.
    Rate(f64),
    /// This one.
    Value(f64),
}

/// A verb with what it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// See [`Verb::Status`].
    Status,
    /// Of one source, or of all.
    Pause(Option<String>),
    /// Of one source, or of all.
    Resume(Option<String>),
    /// See [`Verb::Reload`].
    Reload,
    /// See [`Verb::Threshold`].
    Threshold(ThresholdChoice),
    /// Of one source; of the only one where none is named.
    Snapshot {
        /// The source.
        source: Option<String>,
        /// Whether heat, boxes and verdict are drawn on it.
        overlay: bool,
    },
}

/// A request as it is written: one JSON object.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Request {
    /// What is asked for.
    pub command: Verb,
    /// Repeated in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// Of `pause`, `resume`, `snapshot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Of `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Of `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_alarm_rate: Option<f64>,
    /// Of `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Of `snapshot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<bool>,
}

impl Request {
    /// A verb and nothing else.
    pub fn new(command: Verb) -> Self {
        Self {
            command,
            id: None,
            source: None,
            value: None,
            false_alarm_rate: None,
            default: None,
            overlay: None,
        }
    }

    /// # Errors
    /// Keys that the verb does not take, in words.
    pub fn resolve(&self) -> Result<Command, String> {
        let verb = self.command;
        let (of_source, of_threshold, of_snapshot) = match verb {
            Verb::Status | Verb::Reload => (false, false, false),
            Verb::Pause | Verb::Resume => (true, false, false),
            Verb::Threshold => (false, true, false),
            Verb::Snapshot => (true, false, true),
        };
        for (key, given, taken) in [
            ("source", self.source.is_some(), of_source),
            ("value", self.value.is_some(), of_threshold),
            (
                "false_alarm_rate",
                self.false_alarm_rate.is_some(),
                of_threshold,
            ),
            ("default", self.default.is_some(), of_threshold),
            ("overlay", self.overlay.is_some(), of_snapshot),
        ] {
            if given && !taken {
                return Err(format!("{} takes no {key}", verb.as_str()));
            }
        }
        let source = self.source.clone();
        Ok(match verb {
            Verb::Status => Command::Status,
            Verb::Pause => Command::Pause(source),
            Verb::Resume => Command::Resume(source),
            Verb::Reload => Command::Reload,
            Verb::Threshold => {
                Command::Threshold(match (self.value, self.false_alarm_rate, self.default) {
                    (Some(value), None, None) => ThresholdChoice::Value(value),
                    (None, Some(rate), None) => ThresholdChoice::Rate(rate),
                    (None, None, Some(true)) => ThresholdChoice::Calibrated,
                    _ => {
                        return Err("threshold takes one of value, false_alarm_rate and \
                                    \"default\":true"
                            .to_owned());
                    }
                })
            }
            Verb::Snapshot => Command::Snapshot {
                source,
                overlay: self.overlay == Some(true),
            },
        })
    }
}

/// Every verb, for a transport that only those reach who may do anything.
pub const ALL_VERBS: [Verb; 6] = [
    Verb::Status,
    Verb::Pause,
    Verb::Resume,
    Verb::Reload,
    Verb::Threshold,
    Verb::Snapshot,
];

/// A request as its bytes say.
pub(super) fn parse(request: &[u8]) -> Result<Request, String> {
    let one_line = |error: &dyn fmt::Display| {
        let text = error.to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    if request.len() > MOST_REQUEST_BYTES {
        return Err(format!("a request has at most {MOST_REQUEST_BYTES} bytes"));
    }
    serde_json::from_slice(request).map_err(|error| {
        format!(
            "a request is one JSON object, such as {{\"command\":\"status\"}}: {}",
            one_line(&error)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let problem = parse(text.as_bytes()).and_then(|request| request.resolve());
        problem.unwrap_err()
    }

    #[test]
    fn requests_are_read_strictly() {
        for (text, part) in [
            ("status", "one JSON object"),
            ("{}", "command"),
            (r#"{"command":"stop"}"#, "unknown variant"),
            (r#"{"command":"status","path":"/etc"}"#, "unknown field"),
            (
                r#"{"command":"status","source":"cam"}"#,
                "status takes no source",
            ),
            (r#"{"command":"pause","value":1}"#, "pause takes no value"),
            (r#"{"command":"threshold"}"#, "takes one of"),
            (r#"{"command":"threshold","default":false}"#, "takes one of"),
            (
                r#"{"command":"threshold","value":1,"false_alarm_rate":0.1}"#,
                "takes one of",
            ),
            (
                r#"{"command":"threshold","value":1e999}"#,
                "number out of range",
            ),
        ] {
            let problem = refusal(text);
            assert!(problem.contains(part), "{text}: {problem}");
            assert!(!problem.contains('\n'));
        }
        let long = format!(r#"{{"command":"pause","source":"{}"}}"#, "x".repeat(20_000));
        assert!(refusal(&long).contains("at most"));
        let request = parse(br#"{"command":"snapshot","overlay":true}"#).unwrap();
        let snapshot = Command::Snapshot {
            source: None,
            overlay: true,
        };
        assert_eq!(request.resolve(), Ok(snapshot));
    }
}
