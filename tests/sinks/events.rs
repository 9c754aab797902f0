//! Events to send.

use std::sync::Arc;

use edge_vae::stream::{
    record::{EventClass, EventFrame, EventPhase, EventRecord, SCHEMA_VERSION},
    sink::{Message, Sink, SinkError},
};

/// The opening of event `number`: `event-0007`.
pub(crate) fn event(number: usize) -> Message {
    let frame = EventFrame {
        frame_number: number as u64,
        timestamp: "2026-03-04T05:06:07.089Z".to_owned(),
        score: 9.0,
        p_value: 0.01,
        regions: vec![],
        path: None,
    };
    Message::Event {
        record: Arc::new(EventRecord {
            schema_version: SCHEMA_VERSION,
            event_id: id(number),
            class: EventClass::Defect,
            phase: EventPhase::Open,
            source: "line 3".to_owned(),
            model_id: "surface".to_owned(),
            threshold: 4.0,
            first: frame.clone(),
            worst: frame.clone(),
            last: frame,
            frames: 1,
            ended_by: None,
        }),
        frame: None,
    }
}

pub(crate) fn id(number: usize) -> String {
    format!("event-{number:04}")
}

pub(crate) fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(id).collect()
}

/// The id in a JSON object.
pub(crate) fn id_of(json: &[u8]) -> String {
    let event: EventRecord = serde_json::from_slice(json).unwrap();
    event.event_id
}

/// What a sink reports next.
pub(crate) fn trouble(sink: &mut dyn Sink) -> String {
    let mut logged = None;
    crate::until("a failure is reported", || {
        logged = sink.idle().err().map(|error: SinkError| error.to_string());
        logged.is_some()
    });
    logged.unwrap_or_default()
}
