mod random;
mod rule;

use std::time::UNIX_EPOCH;

use super::*;
use crate::calibration::Calibration;

/// 99 scores 1–99 at 10 %: the threshold is 90, and the release threshold at 50 % is 50.
fn calibration() -> Calibration {
    let scores: Vec<f64> = (1..=99).map(f64::from).collect();
    Calibration::fit(scores.clone(), scores, 0.1).unwrap()
}

fn rule(anomalous: u32, of: u32, cool_down: f64) -> EventRule {
    let settings = EventSettings {
        anomalous: Some(anomalous),
        of: Some(of),
        cool_down: Some(cool_down),
        ..EventSettings::default()
    };
    EventRule::new(&settings, &calibration(), false).unwrap()
}

fn limited(rule: EventRule, max_gap: f64, max_duration: f64) -> EventRule {
    EventRule {
        max_gap,
        max_duration,
        ..rule
    }
}

fn events(rule: EventRule) -> Events {
    let run = RunId::new(UNIX_EPOCH, 0);
    Events::new(EventClass::Defect, rule, "line", "tiny-01234567", &run)
}

fn at(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

/// A frame of this score; NaN stands for one that could not be judged.
fn verdict(frame_number: u64, seconds: f64, score: f64) -> FrameVerdict<'static> {
    let judged = !score.is_nan();
    FrameVerdict {
        frame_number,
        captured: at(seconds),
        at: Duration::from_secs_f64(seconds),
        label: match score {
            _ if !judged => Label::Invalid,
            _ if score > 90.0 => Label::Anomalous,
            _ => Label::Normal,
        },
        review: score > 80.0 && score <= 90.0,
        score: judged.then_some(score),
        p_value: judged.then_some(0.5),
        regions: &[],
        path: None,
    }
}

const INVALID: f64 = f64::NAN;

/// What scores, one frame a second, give: `+F` an event began with first frame F, `-F..L worst W
/// (n)` one ended, each after the number of the frame that made it so.
fn timeline(rule: EventRule, scores: &[f64]) -> Vec<String> {
    timeline_at(
        rule,
        &scores
            .iter()
            .enumerate()
            .map(|(i, &s)| (i as f64, s))
            .collect::<Vec<_>>(),
    )
}

fn timeline_at(rule: EventRule, frames: &[(f64, f64)]) -> Vec<String> {
    let mut events = events(rule);
    let mut lines = Vec::new();
    for (number, &(seconds, score)) in frames.iter().enumerate() {
        for record in events.observe(&verdict(number as u64, seconds, score)) {
            lines.push(format!("{number}: {}", line(&record)));
        }
    }
    lines.extend(
        events
            .finish(SOURCE_ENDED)
            .map(|r| format!("end: {}", line(&r))),
    );
    lines
}

fn line(record: &EventRecord) -> String {
    let EventRecord {
        first,
        worst,
        last,
        frames,
        ..
    } = record;
    match record.phase {
        EventPhase::Open => format!("+{}", first.frame_number),
        EventPhase::Closed => format!(
            "-{}..{} worst {} ({frames})",
            first.frame_number, last.frame_number, worst.frame_number
        ),
    }
}

#[test]
fn frames_for_review_have_events_of_their_own() {
    let mut calibration = calibration();
    calibration.set_review_rate(Some(0.2)).unwrap();
    let band = calibration.review.unwrap();
    assert_eq!(band.threshold, 80.0);
    let of_band = rule(1, 1, 0.0).of_band(band);
    let run = RunId::new(UNIX_EPOCH, 0);
    let mut reviews = Events::new(EventClass::Review, of_band.clone(), "line", "tiny", &run);
    let mut lines = Vec::new();
    for (number, score) in (0..).zip([50.0, 85.0, 88.0, 80.0, 95.0, 82.0]) {
        for record in reviews.observe(&verdict(number, number as f64, score)) {
            assert_eq!(record.class, EventClass::Review);
            assert_eq!(record.threshold, 80.0);
            lines.push(format!("{number}: {}", line(&record)));
        }
    }
    // An anomalous frame is no frame for review.
    assert_eq!(lines, ["1: +1", "3: -1..2 worst 2 (2)", "5: +5"]);
    let of_defects = timeline(rule(1, 1, 0.0), &[50.0, 85.0, 88.0]);
    assert_eq!(of_defects, Vec::<String>::new());
}

#[test]
fn each_file_of_its_own() {
    // 91 is above 90, 60 above the release threshold of 50.
    assert_eq!(
        timeline(rule(1, 1, 0.0), &[10.0, 95.0, 20.0, 91.0, 60.0, 93.0, 50.0]),
        [
            "1: +1",
            "2: -1..1 worst 1 (1)",
            "3: +3",
            "6: -3..5 worst 5 (2)"
        ]
    );
    assert_eq!(
        timeline(rule(1, 1, 0.0), &[95.0]),
        ["0: +0", "end: -0..0 worst 0 (1)"]
    );
    assert!(timeline(rule(1, 1, 0.0), &[90.0, 60.0, INVALID]).is_empty());
}

#[test]
fn a_single_frame_of_three_is_none() {
    let (hot, cold) = (95.0, 10.0);
    assert!(timeline(rule(2, 3, 0.0), &[hot, cold, cold, hot, cold, cold]).is_empty());
    // Frames 1 and 3; calm when only one of the last three, 3 of 2, 3, 4, is above the release.
    assert_eq!(
        timeline(rule(2, 3, 0.0), &[cold, hot, cold, hot, cold, cold, hot]),
        ["3: +1", "4: -1..3 worst 1 (2)"]
    );
    // The event has had its frames: the next one needs two of its own.
    assert_eq!(
        timeline(rule(2, 3, 0.0), &[hot, hot, cold, cold, hot, hot, cold]),
        [
            "1: +0",
            "3: -0..1 worst 0 (2)",
            "5: +4",
            "end: -4..5 worst 4 (2)"
        ]
    );
    // A frame long ago is no part of the next event.
    assert_eq!(
        timeline(rule(2, 3, 0.0), &[hot, cold, cold, hot, 99.0]),
        ["4: +3", "end: -3..4 worst 4 (2)"]
    );
}

#[test]
fn a_score_that_wavers_makes_one_event() {
    let frames = [95.0, 89.0, 91.0, 70.0, 55.0, 92.0, 51.0, 50.0, 91.0];
    assert_eq!(
        timeline(rule(1, 1, 0.0), &frames),
        [
            "0: +0",
            "7: -0..5 worst 0 (3)",
            "8: +8",
            "end: -8..8 worst 8 (1)"
        ]
    );
}

#[test]
fn what_comes_back_within_the_cool_down_is_the_same_event() {
    let (hot, cold) = (95.0, 10.0);
    // Calm since 1; at 3 two seconds have passed.
    assert_eq!(
        timeline(rule(1, 1, 2.0), &[hot, cold, cold, cold, hot]),
        [
            "0: +0",
            "3: -0..0 worst 0 (1)",
            "4: +4",
            "end: -4..4 worst 4 (1)"
        ]
    );
    assert_eq!(
        timeline(rule(1, 1, 2.0), &[hot, cold, cold, 97.0, cold, cold, cold]),
        ["0: +0", "6: -0..3 worst 3 (2)"]
    );
    // One anomalous frame of three does not make it unquiet, and does not end it either.
    assert_eq!(
        timeline(rule(2, 3, 2.0), &[hot, hot, cold, cold, cold, hot, cold]),
        ["1: +0", "6: -0..5 worst 0 (3)"]
    );
}

#[test]
fn frames_that_could_not_be_judged_count_for_nothing() {
    let (hot, cold) = (95.0, 10.0);
    assert_eq!(
        timeline(
            rule(2, 2, 0.0),
            &[hot, INVALID, INVALID, hot, INVALID, cold]
        ),
        ["3: +0", "5: -0..3 worst 0 (2)"]
    );
    // Calm since 2, and no frame was judged until 9.
    let frames = [
        (0.0, hot),
        (1.0, hot),
        (2.0, cold),
        (8.0, INVALID),
        (9.0, cold),
    ];
    assert_eq!(
        timeline_at(rule(2, 2, 1.0), &frames),
        ["1: +0", "4: -0..1 worst 0 (2)"]
    );
}

#[test]
fn a_gap_ends_an_event() {
    let (hot, cold) = (95.0, 10.0);
    let rule = limited(rule(1, 1, 0.0), 10.0, f64::INFINITY);
    let frames = [(0.0, hot), (10.0, hot), (20.5, hot), (21.0, cold)];
    assert_eq!(
        timeline_at(rule.clone(), &frames),
        [
            "0: +0",
            "2: -0..1 worst 0 (2)",
            "2: +2",
            "3: -2..2 worst 2 (1)"
        ]
    );
    // A covered lens is a gap too, which the invalid frame tells.
    let frames = [(0.0, hot), (5.0, INVALID), (11.0, INVALID)];
    assert_eq!(
        timeline_at(rule.clone(), &frames),
        ["0: +0", "2: -0..0 worst 0 (1)"]
    );
    let mut events = events(rule);
    events.observe(&verdict(0, 0.0, hot));
    let closed = events.observe(&verdict(1, 60.5, INVALID));
    assert_eq!(
        closed[0].ended_by.as_deref(),
        Some("no frame could be judged for 60.5 s")
    );
}

#[test]
fn a_lasting_fault_is_told_again() {
    let rule = limited(rule(2, 2, 0.0), 60.0, 3.0);
    // Opens at 1, so 5 is the first frame after more than 3 s.
    assert_eq!(
        timeline(rule, &[95.0; 8]),
        [
            "1: +0",
            "5: -0..4 worst 0 (5)",
            "6: +5",
            "end: -5..7 worst 5 (3)"
        ]
    );
}

#[test]
fn pictures_out_of_order_end_nothing_early() {
    let (hot, cold) = (95.0, 10.0);
    // An hour older while calm: the cool-down waits on, and does not end by mistake.
    let frames = [
        (7200.0, hot),
        (7201.0, cold),
        (3601.0, cold),
        (7203.0, cold),
    ];
    assert_eq!(
        timeline_at(rule(1, 1, 2.0), &frames),
        ["0: +0", "3: -0..0 worst 0 (1)"]
    );
}

#[test]
fn records_say_all_of_an_event() {
    let region = Region {
        bbox: [1, 2, 3, 4],
        area: 5,
        max: 9.5,
        sources: Vec::new(),
    };
    let mut events = events(rule(2, 3, 0.0));
    assert_eq!(events.open_id(), None);
    let frame = |number: u64, score: f64| FrameVerdict {
        regions: std::slice::from_ref(&region),
        path: Some("a.png"),
        p_value: Some(0.01),
        ..verdict(number, number as f64 / 8.0, score)
    };
    assert!(events.observe(&frame(7, 92.0)).is_empty());
    let opened = events.observe(&frame(8, 94.0));
    let event_frame = |number: u64, time: &str, score: f64| EventFrame {
        frame_number: number,
        timestamp: time.to_owned(),
        score,
        p_value: 0.01,
        regions: vec![region.clone()],
        path: Some("a.png".to_owned()),
    };
    let first = event_frame(7, "1970-01-01T00:00:00.875Z", 92.0);
    let second = event_frame(8, "1970-01-01T00:00:01.000Z", 94.0);
    let expected = EventRecord {
        class: EventClass::Defect,
        schema_version: 1,
        event_id: "19700101T000000Z-000000-line-000001".to_owned(),
        phase: EventPhase::Open,
        source: "line".to_owned(),
        model_id: "tiny-01234567".to_owned(),
        threshold: 90.0,
        first: first.clone(),
        worst: second.clone(),
        last: second.clone(),
        frames: 2,
        ended_by: None,
    };
    assert_eq!(opened, std::slice::from_ref(&expected));
    assert_eq!(events.open_id(), Some(&expected.event_id[..]));
    events.observe(&frame(9, 93.0));
    let closed = events.replace(rule(1, 1, 0.0), "tiny-76543210", "the model was replaced");
    let expected = EventRecord {
        phase: EventPhase::Closed,
        last: event_frame(9, "1970-01-01T00:00:01.125Z", 93.0),
        frames: 3,
        ended_by: Some("the model was replaced".to_owned()),
        ..expected
    };
    assert_eq!(closed, Some(expected));
    assert_eq!(events.finish(SOURCE_ENDED), None);
    let next = events.observe(&frame(10, 93.0));
    assert_eq!(next[0].event_id, "19700101T000000Z-000000-line-000002");
    assert_eq!(next[0].model_id, "tiny-76543210");
    let calm = events.observe(&verdict(11, 2.0, 1.0));
    assert_eq!(
        calm[0].ended_by.as_deref(),
        Some("a frame scored no more than 50.0000")
    );
}

#[test]
fn times_beyond_the_calendar_are_written_all_the_same() {
    for (time, expected) in [
        (at(0.0) - Duration::from_secs(9), "1970-01-01T00:00:00.000Z"),
        (at(1e13), "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(timestamp(time), expected);
    }
}
