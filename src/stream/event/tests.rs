use std::time::UNIX_EPOCH;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;
use crate::anomaly::Calibration;

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
    Events::new(rule, "line", "tiny-01234567", &run)
}

fn at(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

/// A frame of this score; NaN stands for one that could not be judged.
fn seen(frame_number: u64, seconds: f64, score: f64) -> Seen<'static> {
    let judged = !score.is_nan();
    Seen {
        frame_number,
        captured: at(seconds),
        label: match score {
            _ if !judged => Label::Invalid,
            _ if score > 90.0 => Label::Anomalous,
            _ => Label::Normal,
        },
        score: judged.then_some(score),
        p_value: judged.then_some(0.5),
        regions: &[],
        path: None,
    }
}

const INVALID: f64 = f64::NAN;

/// What scores, one frame a second, give: `+F` an event began with first frame F, `-F..L worst W
/// (n)` one ended, each after the number of the frame that made it so.
fn told(rule: EventRule, scores: &[f64]) -> Vec<String> {
    told_at(
        rule,
        &scores
            .iter()
            .enumerate()
            .map(|(i, &s)| (i as f64, s))
            .collect::<Vec<_>>(),
    )
}

fn told_at(rule: EventRule, frames: &[(f64, f64)]) -> Vec<String> {
    let mut events = events(rule);
    let mut told = Vec::new();
    for (number, &(seconds, score)) in frames.iter().enumerate() {
        for record in events.observe(&seen(number as u64, seconds, score)) {
            told.push(format!("{number}: {}", line(&record)));
        }
    }
    told.extend(
        events
            .finish(SOURCE_ENDED)
            .map(|r| format!("end: {}", line(&r))),
    );
    told
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
fn each_file_of_its_own() {
    // 91 is above 90, 60 above the release threshold of 50.
    assert_eq!(
        told(rule(1, 1, 0.0), &[10.0, 95.0, 20.0, 91.0, 60.0, 93.0, 50.0]),
        [
            "1: +1",
            "2: -1..1 worst 1 (1)",
            "3: +3",
            "6: -3..5 worst 5 (2)"
        ]
    );
    assert_eq!(
        told(rule(1, 1, 0.0), &[95.0]),
        ["0: +0", "end: -0..0 worst 0 (1)"]
    );
    assert!(told(rule(1, 1, 0.0), &[90.0, 60.0, INVALID]).is_empty());
}

#[test]
fn a_single_frame_of_three_is_none() {
    let (hot, cold) = (95.0, 10.0);
    assert!(told(rule(2, 3, 0.0), &[hot, cold, cold, hot, cold, cold]).is_empty());
    // Frames 1 and 3; calm when only one of the last three, 3 of 2, 3, 4, is above the release.
    assert_eq!(
        told(rule(2, 3, 0.0), &[cold, hot, cold, hot, cold, cold, hot]),
        ["3: +1", "4: -1..3 worst 1 (2)"]
    );
    // The event has had its frames: the next one needs two of its own.
    assert_eq!(
        told(rule(2, 3, 0.0), &[hot, hot, cold, cold, hot, hot, cold]),
        [
            "1: +0",
            "3: -0..1 worst 0 (2)",
            "5: +4",
            "end: -4..5 worst 4 (2)"
        ]
    );
    // A frame long ago is no part of the next event.
    assert_eq!(
        told(rule(2, 3, 0.0), &[hot, cold, cold, hot, 99.0]),
        ["4: +3", "end: -3..4 worst 4 (2)"]
    );
}

#[test]
fn a_score_that_wavers_makes_one_event() {
    let frames = [95.0, 89.0, 91.0, 70.0, 55.0, 92.0, 51.0, 50.0, 91.0];
    assert_eq!(
        told(rule(1, 1, 0.0), &frames),
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
        told(rule(1, 1, 2.0), &[hot, cold, cold, cold, hot]),
        [
            "0: +0",
            "3: -0..0 worst 0 (1)",
            "4: +4",
            "end: -4..4 worst 4 (1)"
        ]
    );
    assert_eq!(
        told(rule(1, 1, 2.0), &[hot, cold, cold, 97.0, cold, cold, cold]),
        ["0: +0", "6: -0..3 worst 3 (2)"]
    );
    // One anomalous frame of three does not make it unquiet, and does not end it either.
    assert_eq!(
        told(rule(2, 3, 2.0), &[hot, hot, cold, cold, cold, hot, cold]),
        ["1: +0", "6: -0..5 worst 0 (3)"]
    );
}

#[test]
fn frames_that_could_not_be_judged_count_for_nothing() {
    let (hot, cold) = (95.0, 10.0);
    assert_eq!(
        told(
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
        told_at(rule(2, 2, 1.0), &frames),
        ["1: +0", "4: -0..1 worst 0 (2)"]
    );
}

#[test]
fn a_gap_ends_an_event() {
    let (hot, cold) = (95.0, 10.0);
    let rule = limited(rule(1, 1, 0.0), 10.0, f64::INFINITY);
    let frames = [(0.0, hot), (10.0, hot), (20.5, hot), (21.0, cold)];
    assert_eq!(
        told_at(rule.clone(), &frames),
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
        told_at(rule.clone(), &frames),
        ["0: +0", "2: -0..0 worst 0 (1)"]
    );
    let mut events = events(rule);
    events.observe(&seen(0, 0.0, hot));
    let closed = events.observe(&seen(1, 60.5, INVALID));
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
        told(rule, &[95.0; 8]),
        [
            "1: +0",
            "5: -0..4 worst 0 (5)",
            "6: +5",
            "end: -5..7 worst 5 (3)"
        ]
    );
}

#[test]
fn a_clock_that_was_set_ends_nothing_early() {
    let (hot, cold) = (95.0, 10.0);
    // Set back by an hour while calm: the cool-down waits on, and does not end by mistake.
    let frames = [
        (7200.0, hot),
        (7201.0, cold),
        (3601.0, cold),
        (7203.0, cold),
    ];
    assert_eq!(
        told_at(rule(1, 1, 2.0), &frames),
        ["0: +0", "3: -0..0 worst 0 (1)"]
    );
}

#[test]
fn records_say_all_of_an_event() {
    let region = Region {
        bbox: [1, 2, 3, 4],
        area: 5,
        max: 9.5,
        evidence: Vec::new(),
    };
    let mut events = events(rule(2, 3, 0.0));
    assert_eq!(events.open_id(), None);
    let frame = |number: u64, score: f64| Seen {
        regions: std::slice::from_ref(&region),
        path: Some("a.png"),
        p_value: Some(0.01),
        ..seen(number, number as f64 / 8.0, score)
    };
    assert!(events.observe(&frame(7, 92.0)).is_empty());
    let opened = events.observe(&frame(8, 94.0));
    let moment = |number: u64, time: &str, score: f64| Moment {
        frame_number: number,
        timestamp: time.to_owned(),
        score,
        p_value: 0.01,
        regions: vec![region.clone()],
        path: Some("a.png".to_owned()),
    };
    let first = moment(7, "1970-01-01T00:00:00.875Z", 92.0);
    let second = moment(8, "1970-01-01T00:00:01.000Z", 94.0);
    let expected = EventRecord {
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
        last: moment(9, "1970-01-01T00:00:01.125Z", 93.0),
        frames: 3,
        ended_by: Some("the model was replaced".to_owned()),
        ..expected
    };
    assert_eq!(closed, Some(expected));
    assert_eq!(events.finish(SOURCE_ENDED), None);
    let next = events.observe(&frame(10, 93.0));
    assert_eq!(next[0].event_id, "19700101T000000Z-000000-line-000002");
    assert_eq!(next[0].model_id, "tiny-76543210");
    let calm = events.observe(&seen(11, 2.0, 1.0));
    assert_eq!(
        calm[0].ended_by.as_deref(),
        Some("a frame scored no more than 50.0000")
    );
}

/// The same by counting anew at every frame: an event at a time, from the frame where the last one
/// ended.
fn by_brute_force(rule: &EventRule, frames: &[(f64, f64)]) -> Vec<String> {
    let judged = |k: usize| !frames[k].1.is_nan();
    let last_of = |from: usize, to: usize| -> Vec<usize> {
        let all: Vec<usize> = (from..=to).filter(|&k| judged(k)).collect();
        all[all.len().saturating_sub(rule.of)..].to_vec()
    };
    let hot = |k: &usize| frames[*k].1 > 90.0;
    let warm = |k: &usize| frames[*k].1 > 50.0;
    let mut told = Vec::new();
    let mut start = 0;
    'event: loop {
        let opens = |k: &usize| {
            let window = last_of(start, *k);
            judged(*k) && hot(k) && window.iter().filter(|k| hot(k)).count() >= rule.anomalous
        };
        let Some(opened) = (start..frames.len()).find(opens) else {
            return told;
        };
        let first = *last_of(start, opened).iter().find(|k| hot(k)).unwrap();
        told.push(format!("{opened}: +{first}"));
        let close = |last: usize, when: String, told: &mut Vec<String>| {
            let of_event: Vec<usize> = (first..=last).filter(|k| judged(*k) && hot(k)).collect();
            let most = of_event.iter().map(|&k| frames[k].1).fold(0.0, f64::max);
            let worst = of_event.iter().find(|&&k| frames[k].1 == most).unwrap();
            told.push(format!(
                "{when}: -{first}..{} worst {worst} ({})",
                of_event.last().unwrap(),
                of_event.len()
            ));
        };
        for k in opened + 1..frames.len() {
            let before = (opened..k).rfind(|&k| judged(k)).unwrap();
            let gap = frames[k].0 - frames[before].0 > rule.max_gap;
            if gap || frames[k].0 - frames[opened].0 > rule.max_duration {
                close(k - 1, k.to_string(), &mut told);
                start = k;
                continue 'event;
            }
            if !judged(k) || warm(&k) {
                continue;
            }
            // The judged frames up to this one that are all calm.
            let calm =
                |k: usize| last_of(start, k).iter().filter(|k| warm(k)).count() < rule.anomalous;
            let run = (opened + 1..=k)
                .rev()
                .filter(|&k| judged(k))
                .take_while(|&k| calm(k))
                .last();
            if run.is_some_and(|since| frames[k].0 - frames[since].0 >= rule.cool_down) {
                close(k, k.to_string(), &mut told);
                start = k + 1;
                continue 'event;
            }
        }
        close(frames.len() - 1, "end".to_owned(), &mut told);
        return told;
    }
}

#[test]
fn random_sequences_give_what_counting_anew_gives() {
    let mut rng = Pcg64::seed_from_u64(3);
    let mut told = 0;
    for round in 0..4000 {
        let of = rng.random_range(1..=5);
        let rule = limited(
            rule(
                rng.random_range(1..=of),
                of,
                f64::from(rng.random_range(0..4)),
            ),
            f64::from(rng.random_range(2..8)),
            f64::from(rng.random_range(3..20)),
        );
        let heat = rng.random_range(0.1..0.9);
        let mut time = 0.0;
        let frames: Vec<(f64, f64)> = (0..rng.random_range(1..40))
            .map(|_| {
                time += 0.25 * f64::from(rng.random_range(1..=8));
                let score = match rng.random_range(0.0..1.0) {
                    x if x < 0.1 => INVALID,
                    x if x < 0.1 + 0.9 * heat => f64::from(rng.random_range(91..=99)),
                    _ => f64::from(rng.random_range(1..=90)),
                };
                (time, score)
            })
            .collect();
        let found = told_at(rule.clone(), &frames);
        assert_eq!(
            found,
            by_brute_force(&rule, &frames),
            "{round}: {rule:?} {frames:?}"
        );
        told += found.len();
    }
    assert!(told > 10_000, "{told}");
}

#[test]
fn settings_are_resolved_and_refused() {
    let calibration = calibration();
    let resolve = |settings: &EventSettings, live| EventRule::new(settings, &calibration, live);
    let usual = EventSettings::default();
    let live = resolve(&usual, true).unwrap();
    assert_eq!((live.anomalous, live.of), (2, 3));
    assert_eq!(
        (live.cool_down, live.max_gap, live.max_duration),
        (1.0, 30.0, 600.0)
    );
    assert_eq!((live.release_rate, live.release), (0.5, 50.0));
    let files = resolve(&usual, false).unwrap();
    assert_eq!((files.anomalous, files.of, files.cool_down), (1, 1, 0.0));
    assert_eq!(
        (files.max_gap, files.max_duration),
        (f64::INFINITY, f64::INFINITY)
    );
    let parse = |text: &str| toml::from_str::<EventSettings>(text);
    for (text, expected) in [
        ("anomalous = 5", (5, 5)),
        ("of = 1", (1, 1)),
        ("anomalous = 1", (1, 3)),
        ("of = 9", (2, 9)),
    ] {
        let rule = resolve(&parse(text).unwrap(), true).unwrap();
        assert_eq!((rule.anomalous, rule.of), expected, "{text}");
    }
    for (text, key) in [
        ("of = 0", "events.of: found 0"),
        ("of = 1001", "events.of: found 1001"),
        ("anomalous = 0\nof = 2", "events.anomalous: found 0"),
        ("anomalous = 3\nof = 2", "events.anomalous: found 3"),
        ("release-rate = 0.05", "events.release-rate: found 0.05"),
        ("release-rate = 1.0", "events.release-rate: found 1"),
        ("cool-down = -1.0", "events.cool-down: found -1"),
        ("max-gap = nan", "events.max-gap: found NaN"),
        ("max-duration = -0.5", "events.max-duration: found -0.5"),
    ] {
        let message = resolve(&parse(text).unwrap(), true)
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(key), "{message}");
    }
    assert!(parse("cooldown = 1.0").is_err());
    assert_eq!(
        resolve(&parse("release-rate = 0.1").unwrap(), true)
            .unwrap()
            .release,
        90.0
    );
}

#[test]
fn false_events_are_as_rare_as_said() {
    // By hand: 2 of 3 at 0.01: 0.01·(1 − 0.99²); 3 of 3: 0.01³; 1 of 5: 0.01.
    for ((anomalous, of), expected) in [
        ((1, 1), 0.01),
        ((1, 5), 0.01),
        ((2, 3), 1.99e-4),
        ((3, 3), 1e-6),
        ((2, 1000), 0.005),
    ] {
        let found = rule(anomalous, of, 0.0).false_events(0.01);
        assert!(
            (found.independent / expected - 1.0).abs() < 1e-9,
            "{found:?}"
        );
        assert_eq!(found.at_most, 0.01 / f64::from(anomalous));
    }
    // Independent frames, one in twenty anomalous: nearly as many events as said, and no more but by
    // chance. The release threshold is that of the calibration, so that events are short.
    let mut rng = Pcg64::seed_from_u64(8);
    let frames = 200_000_u32;
    for (anomalous, of) in [(1, 1), (2, 3), (3, 5)] {
        let rule = EventRule {
            release: 90.0,
            ..rule(anomalous, of, 0.0)
        };
        let said = rule.false_events(0.05).independent * f64::from(frames);
        let mut events = events(rule);
        let mut begun = 0_u32;
        for number in 0..frames {
            let score = if rng.random_bool(0.05) { 95.0 } else { 10.0 };
            let records = events.observe(&seen(number.into(), number.into(), score));
            begun += records
                .iter()
                .filter(|r| r.phase == EventPhase::Open)
                .count() as u32;
        }
        let begun = f64::from(begun);
        assert!(
            begun <= said + 3.0 * said.sqrt(),
            "{anomalous} of {of}: {begun} {said}"
        );
        assert!(
            begun >= 0.8 * said - 3.0 * said.sqrt(),
            "{anomalous} of {of}: {begun} {said}"
        );
    }
}

#[test]
fn the_rule_in_words() {
    let live = EventRule::new(&EventSettings::default(), &calibration(), true).unwrap();
    assert_eq!(
        live.statement(0.01, Some(30.0)),
        "an event begins when 2 of the last 3 frames are anomalous, and ends when fewer than 2 of the last 3 frames score above 50.0000, for 1 s, when no frame could be judged for 30 s, or after 600 s; false events of normal frames, each called anomalous with probability 0.01: at most one in 2m 48s if frames are independent, at most one in 7s however they depend on each other"
    );
    let files = rule(1, 1, 0.0);
    assert_eq!(
        files.statement(0.05, None),
        "an event begins with each anomalous frame, and ends when a frame scores no more than 50.0000; false events of normal frames, each called anomalous with probability 0.05: at most 5.0e-2 a frame if frames are independent, at most 5.0e-2 a frame however they depend on each other"
    );
    assert!(!live.statement(0.0, Some(30.0)).contains("inf"));
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
