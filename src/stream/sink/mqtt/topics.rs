//! Topics, the retained state of a source, and what Home Assistant is told.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    runtime::Label,
    stream::{control::Verb, record::SCHEMA_VERSION},
};

/// The name of a source as one level of a topic.
pub(super) fn level(source: &str) -> String {
    let level: String = source
        .chars()
        .map(|c| {
            if c.is_control() || "/+#".contains(c) {
                '_'
            } else {
                c
            }
        })
        .collect();
    // Names that begin with $ are the broker's.
    if level.is_empty() || level.starts_with('$') {
        format!("_{level}")
    } else {
        level
    }
}

/// The retained state of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "state")]
pub(super) struct State {
    schema_version: u32,
    pub(super) source: String,
    /// Whether it gives frames.
    pub(super) up: bool,
    /// Label and raw score of the latest frame that was looked at.
    pub(super) label: Option<Label>,
    /// Whether that frame is for review.
    pub(super) review: bool,
    pub(super) score: Option<f64>,
    pub(super) threshold: Option<f64>,
    /// The event that is open.
    pub(super) event_id: Option<String>,
    pub(super) drifted: bool,
    /// Whether its frames are not judged, by command.
    pub(super) paused: bool,
}

impl State {
    pub(super) fn new(source: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            source: source.to_owned(),
            up: false,
            label: None,
            review: false,
            score: None,
            threshold: None,
            event_id: None,
            drifted: false,
            paused: false,
        }
    }

    /// What is not judged has no label.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if paused {
            (self.label, self.score, self.review) = (None, None, false);
        }
    }

    /// Whether the other one differs in more than the score.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let told = |state: &Self| {
            let Self {
                up,
                label,
                review,
                drifted,
                paused,
                ..
            } = state;
            (*up, *label, *review, *drifted, *paused)
        };
        told(self) != told(other) || self.event_id != other.event_id
    }
}

/// Topics and retained messages by which Home Assistant finds a source. What a camera shows is
/// known only while it gives frames: without them "Problem" and "Score" are unavailable, and
/// "Connection" says so. "Paused" is a switch where it may be one.
pub(super) fn discovery(
    discovery_prefix: &str,
    prefix: &str,
    client_id: &str,
    source: &str,
    commands: &[Verb],
) -> Vec<(String, Value)> {
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect()
    };
    let id = format!("{}_{}", plain(client_id), plain(source));
    let state = format!("{prefix}/{}/state", level(source));
    let program = json!({ "topic": format!("{prefix}/status") });
    let camera = json!({
        "topic": state,
        "value_template": "{{ 'online' if value_json.up else 'offline' }}",
    });
    let sensor = |kind: &str, object: &str, available: &[&Value], more: Value| {
        let mut config = json!({
            "unique_id": format!("{id}_{object}"),
            "state_topic": state,
            "json_attributes_topic": state,
            "availability": available,
            "availability_mode": "all",
            "device": {
                "identifiers": [id],
                "name": source,
                "manufacturer": "edge-vae",
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        (
            format!("{discovery_prefix}/{kind}/{id}/{object}/config"),
            config,
        )
    };
    // `None` is unknown: an invalid frame says nothing of a problem.
    let problem = "{{ 'ON' if value_json.event_id else \
                   'OFF' if value_json.label in ['normal', 'anomalous'] else 'None' }}";
    let mut sensors = vec![
        sensor(
            "binary_sensor",
            "problem",
            &[&program, &camera],
            json!({
                "name": "Problem",
                "device_class": "problem",
                "value_template": problem,
            }),
        ),
        sensor(
            "sensor",
            "score",
            &[&program, &camera],
            json!({
                "name": "Score",
                "state_class": "measurement",
                "value_template": "{{ value_json.score }}",
            }),
        ),
        sensor(
            "binary_sensor",
            "connection",
            &[&program],
            json!({
                "name": "Connection",
                "device_class": "connectivity",
                "value_template": "{{ 'ON' if value_json.up else 'OFF' }}",
            }),
        ),
    ];
    if [Verb::Pause, Verb::Resume]
        .iter()
        .all(|verb| commands.contains(verb))
    {
        sensors.push(sensor(
            "switch",
            "paused",
            &[&program],
            json!({
                "name": "Paused",
                "command_topic": format!("{prefix}/{}/command", level(source)),
                "payload_on": r#"{"command":"pause"}"#,
                "payload_off": r#"{"command":"resume"}"#,
                "state_on": "ON",
                "state_off": "OFF",
                "value_template": "{{ 'ON' if value_json.paused else 'OFF' }}",
            }),
        ));
    }
    sensors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_level() {
        for (name, expected) in [
            ("cam 1", "cam 1"),
            ("rtsp://a/b", "rtsp:__a_b"),
            ("#+", "__"),
            ("", "_"),
            ("$SYS", "_$SYS"),
            ("a\n", "a_"),
        ] {
            assert_eq!(level(name), expected);
        }
    }

    #[test]
    fn a_frame_for_review_is_another_state() {
        let state = State::new("cam");
        let mut review = state.clone();
        review.review = true;
        assert!(review.differs(&state));
        review.review = false;
        review.score = Some(1.0);
        assert!(!review.differs(&state));
        let written = serde_json::to_value(&state).unwrap();
        assert_eq!(written["review"], false);
    }

    #[test]
    fn home_assistant_is_told_of_three_sensors() {
        let sensors = discovery("homeassistant", "hall", "edge-1", "cam/1", &[Verb::Pause]);
        let [(topic, problem), (_, score), (_, connection)] = &sensors[..] else {
            panic!("{sensors:?}");
        };
        assert_eq!(
            topic.as_str(),
            "homeassistant/binary_sensor/edge-1_cam_1/problem/config"
        );
        assert_eq!(problem["state_topic"], "hall/cam_1/state");
        assert_eq!(problem["device_class"], "problem");
        assert_eq!(problem["device"], score["device"]);
        assert_ne!(problem["unique_id"], score["unique_id"]);
        // What the camera shows is unavailable without it, that it is gone is not.
        assert_eq!(problem["availability"][1]["topic"], "hall/cam_1/state");
        assert_eq!(connection["availability"].as_array().unwrap().len(), 1);
        assert_eq!(connection["device_class"], "connectivity");
    }
}
