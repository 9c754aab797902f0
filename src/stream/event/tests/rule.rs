//! What an [`EventRule`] resolves to, and what it promises.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;

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
    // Independent frames, one in twenty anomalous: nearly as many events as expected, no more but
    // by chance. The release threshold is that of the calibration, so that events are short.
    let mut rng = Pcg64::seed_from_u64(8);
    let frames = 200_000_u32;
    for (anomalous, of) in [(1, 1), (2, 3), (3, 5)] {
        let rule = EventRule {
            release: 90.0,
            ..rule(anomalous, of, 0.0)
        };
        let expected = rule.false_events(0.05).independent * f64::from(frames);
        let mut events = events(rule);
        let mut begun = 0_u32;
        for number in 0..frames {
            let score = if rng.random_bool(0.05) { 95.0 } else { 10.0 };
            let records = events.observe(&verdict(number.into(), number.into(), score));
            begun += records
                .iter()
                .filter(|r| r.phase == EventPhase::Open)
                .count() as u32;
        }
        let begun = f64::from(begun);
        assert!(
            begun <= expected + 3.0 * expected.sqrt(),
            "{anomalous} of {of}: {begun} {expected}"
        );
        assert!(
            begun >= 0.8 * expected - 3.0 * expected.sqrt(),
            "{anomalous} of {of}: {begun} {expected}"
        );
    }
}

#[test]
fn the_rule_in_words() {
    let live = EventRule::new(&EventSettings::default(), &calibration(), true).unwrap();
    assert_eq!(
        live.statement(0.01, Some(30.0)),
        "an event begins when 2 of the last 3 frames are anomalous, and ends when fewer than 2 of \
         the last 3 frames score above 50.0000, for 1 s, when no frame could be judged for 30 s, \
         or after 600 s; false events of normal frames, each called anomalous with probability \
         0.01: at most one in 2m 48s if frames are independent, at most one in 7s however they \
         depend on each other"
    );
    let files = rule(1, 1, 0.0);
    assert_eq!(
        files.statement(0.05, None),
        "an event begins with each anomalous frame, and ends when a frame scores no more than \
         50.0000; false events of normal frames, each called anomalous with probability 0.05: at \
         most 5.0e-2 a frame if frames are independent, at most 5.0e-2 a frame however they \
         depend on each other"
    );
    assert!(!live.statement(0.0, Some(30.0)).contains("inf"));
}
