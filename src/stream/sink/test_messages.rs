//! Messages to test sinks with.

use std::sync::Arc;

use ndarray::Array2;

use super::{Message, ScoredFrame};
use crate::{
    Detection, Frame, Latency,
    frame::{FrameStatistics, PixelFormat},
    runtime::{Label, Verdict},
    scoring::Region,
    stream::record::{
        DriftRecord, EventClass, EventFrame, EventPhase, EventRecord, FrameRecord, SCHEMA_VERSION,
        SourceRecord, SourceTally, StageTimes, Tally,
    },
};

/// Threshold of all that is judged here.
pub(crate) const THRESHOLD: f64 = 4.0;

/// A grey frame of 64×48 pixels that was judged; a score that is no number makes it invalid.
pub(crate) fn scored(source: &str, frame_number: u64, score: f64) -> Arc<ScoredFrame> {
    let (label, regions) = if !score.is_finite() {
        (Label::Invalid, vec![])
    } else if score > THRESHOLD {
        (Label::Anomalous, vec![region(score as f32)])
    } else {
        (Label::Normal, vec![])
    };
    let reasons = match label {
        Label::Normal => vec![],
        _ => vec!["a reason".to_owned()],
    };
    let known = label != Label::Invalid;
    let mut map = Array2::zeros((48, 64));
    map[[12, 20]] = if known { score as f32 } else { 0.0 };
    Arc::new(ScoredFrame {
        frame: Arc::new(
            Frame::from_u8(64, 48, PixelFormat::Gray8, vec![90; 64 * 48], source).unwrap(),
        ),
        detection: Detection {
            verdict: Verdict {
                label,
                review: false,
                score: known.then_some(score),
                threshold: known.then_some(THRESHOLD),
                p_value: known.then_some(0.01),
                regions: regions.clone(),
                reasons: reasons.clone(),
            },
            geometry: None,
            region_threshold: (label == Label::Anomalous).then_some(THRESHOLD as f32),
            statistics: FrameStatistics {
                brightness: 0.35,
                contrast: 0.0,
                focus: 0.0,
            },
            divergence: known.then_some(1.0),
            latency: Latency::default(),
        },
        record: FrameRecord {
            schema_version: SCHEMA_VERSION,
            source: source.to_owned(),
            frame_number,
            frame_id: frame_number,
            timestamp: "2026-03-04T05:06:07.089Z".to_owned(),
            path: None,
            pred_label: label,
            review: false,
            pred_score: known.then_some(score),
            threshold: THRESHOLD,
            p_value: known.then_some(0.01),
            percentile_of_normals: None,
            map_max: known.then_some(score),
            regions,
            reasons,
            event_id: None,
            model_id: "surface".to_owned(),
            backend: "tract",
            device: "cpu",
            latency_ms: StageTimes::default(),
        },
        map: known.then_some(map),
        map_range: [0.0, THRESHOLD as f32],
        model_sha256: "00".repeat(32).into(),
        false_alarm_rate: 0.01,
    })
}

fn region(max: f32) -> Region {
    Region {
        bbox: [20, 12, 1, 1],
        area: 1,
        max,
        sources: vec![],
    }
}

pub(crate) fn frame(source: &str, frame_number: u64, score: f64) -> Message {
    Message::Frame(scored(source, frame_number, score))
}

/// An event that opened.
pub(crate) fn record(event_id: &str, source: &str) -> EventRecord {
    let event_frame = EventFrame {
        frame_number: 7,
        timestamp: "2026-03-04T05:06:07.089Z".to_owned(),
        score: 9.0,
        p_value: 0.01,
        regions: vec![region(9.0)],
        path: None,
    };
    EventRecord {
        schema_version: SCHEMA_VERSION,
        event_id: event_id.to_owned(),
        class: EventClass::Defect,
        phase: EventPhase::Open,
        source: source.to_owned(),
        model_id: "surface".to_owned(),
        threshold: THRESHOLD,
        first: event_frame.clone(),
        worst: event_frame.clone(),
        last: event_frame,
        frames: 3,
        ended_by: None,
    }
}

pub(crate) fn opened(event_id: &str, source: &str) -> Message {
    Message::Event {
        record: Arc::new(record(event_id, source)),
        frame: Some(scored(source, 7, 9.0)),
    }
}

/// An event of frames for review that opened.
pub(crate) fn review_opened(event_id: &str, source: &str) -> Message {
    let record = EventRecord {
        class: EventClass::Review,
        ..record(event_id, source)
    };
    Message::Event {
        record: Arc::new(record),
        frame: None,
    }
}

pub(crate) fn closed(event_id: &str, source: &str) -> Message {
    let record = EventRecord {
        phase: EventPhase::Closed,
        frames: 12,
        ended_by: Some("normal frames".to_owned()),
        ..record(event_id, source)
    };
    Message::Event {
        record: Arc::new(record),
        frame: Some(scored(source, 9, 11.0)),
    }
}

pub(crate) fn drift(source: &str) -> Message {
    Message::Drift(Arc::new(DriftRecord {
        schema_version: SCHEMA_VERSION,
        source: source.to_owned(),
        timestamp: "2026-03-04T05:06:07.089Z".to_owned(),
        drifted: true,
        explanation: "the light is darker".to_owned(),
        tests: vec![],
        window: 500,
        false_alarm_rate: 0.001,
    }))
}

pub(crate) fn source(name: &str, up: bool) -> Message {
    Message::Source(Arc::new(SourceRecord {
        schema_version: SCHEMA_VERSION,
        source: name.to_owned(),
        timestamp: "2026-03-04T05:06:07.089Z".to_owned(),
        up,
        reason: "unplugged".to_owned(),
    }))
}

pub(crate) fn lost(name: &str) -> Message {
    source(name, false)
}

pub(crate) fn tally(names: &[&str]) -> Message {
    Message::Tally(Arc::new(Tally {
        seconds: 60.0,
        sources: names
            .iter()
            .map(|name| SourceTally {
                name: (*name).to_owned(),
                up: true,
                captured: 1800,
                judged: 1790,
                dropped: 10,
                normal: 1780,
                review: 40,
                anomalous: 8,
                invalid: 2,
                events: 3,
                review_events: 5,
                fps: 29.8,
                ..SourceTally::default()
            })
            .collect(),
        temperature: Some(61.4),
        ..Tally::default()
    }))
}
