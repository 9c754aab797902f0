//! Along the operating table, and the review band.

use super::*;

#[test]
fn the_rate_moves_along_the_table_without_a_frame() {
    let dir = TestDir::new();
    let before = weights(&dir, "model");
    let scores = Bundle::open(&dir.at("model")).unwrap();
    let scores = scores.calibration().unwrap().scores.clone();
    let ran = dir.verb("calibrate", &["--false-alarm-rate", "0.02", "--json"]);
    let record = &ran.is_fine().json()[0];
    // A hundred scores from 0.01 to 1: two ranks of 101 are above the 99th.
    assert_eq!(record["threshold"], 0.99);
    assert_eq!(record["false_alarm_rate"], 0.02);
    assert_eq!(record["earlier"]["threshold"], 0.96);
    let rows = record["operating_table"]["rows"].as_array().unwrap();
    let rates: Vec<_> = rows
        .iter()
        .map(|row| row["false_alarm_rate"].clone())
        .collect();
    assert_eq!(rates, [0.001, 0.01, 0.02, 0.05, 0.1]);
    let set: Vec<bool> = rows.iter().map(|row| row["is_set"] == true).collect();
    assert_eq!(set, [false, false, true, false, false]);
    assert_eq!(rows[0]["threshold"], Value::Null);
    assert_eq!(rows[0]["missing"], 899);
    assert_eq!(rows[2]["threshold"], 0.99);
    // Of the nine drawn defects, which score 0.92, 0.94 … 1.08, five are above 0.99.
    let found = &rows[2]["synthetic_defects"];
    assert_eq!(found["all"], json!({"found": 5, "of": 9}));
    let shares = [0, 2, 3].map(|found| json!({"found": found, "of": 3}));
    assert_eq!(found["by_size"], json!(shares));
    assert_eq!(found["by_contrast"], json!(shares));

    assert_eq!(weights(&dir, "model"), before);
    let moved = Bundle::open(&dir.at("model")).unwrap();
    let moved = moved.calibration().unwrap();
    assert_eq!(moved.scores, scores);
    assert_eq!((moved.threshold, moved.false_alarm_rate), (0.99, 0.02));

    let ran = dir.verb(
        "calibrate",
        &["--false-alarm-rate", "0.1", "--out", "other"],
    );
    let text = &ran.is_fine().stdout;
    assert!(text.contains("0.9100, was 0.9900"), "{text}");
    let row = text.lines().find(|line| line.starts_with("10 % *"));
    assert!(row.is_some_and(|row| row.contains("100 %")), "{text}");
    assert!(text.contains("Drawn defects are not yours"), "{text}");
    let before = files(&dir, "model");
    dir.verb("calibrate", &["--false-alarm-rate", "0.001"])
        .fails_at_once(&["100 calibration frames", "at least 999"]);
    dir.verb(
        "calibrate",
        &["--false-alarm-rate", "0.1", "--group-by", "parent"],
    )
    .fails_at_once(&["--group-by", "none are given"]);
    assert_eq!(files(&dir, "model"), before);
}

#[test]
fn frames_between_two_rates_are_for_review() {
    let dir = TestDir::new();
    // Thresholds: 0.96 at 5 %, 0.81 at 20 %.
    let between = 117;
    assert!((0.85..0.95).contains(&score_of(between)));
    dir.write("near.png", chequers(between));
    let judged = |more: &[&str]| {
        let frames = ["good.png", "near.png", "bad.png", "--json"];
        let ran = dir.verb("score", &[&frames[..], more].concat());
        let records = ran.is_fine().json();
        let each = records.iter();
        each.map(|r| {
            (
                r["pred_label"].as_str().unwrap().to_owned(),
                r["review"] == true,
            )
        })
        .collect::<Vec<_>>()
    };
    let labels = |reviewed: bool| {
        [
            ("normal", false),
            ("normal", reviewed),
            ("anomalous", false),
        ]
        .map(|(label, review)| (label.to_owned(), review))
    };
    assert_eq!(judged(&[]), labels(false));
    assert_eq!(judged(&["--review-rate", "0.2"]), labels(true));
    let ran = dir.verb(
        "score",
        &["near.png", "--review-rate", "0.2", "--exit-code"],
    );
    let text = &ran.is_fine().stdout;
    assert!(text.starts_with("review "), "{text}");

    // What the model says holds until it is said otherwise.
    let ran = dir.verb("calibrate", &["--review-rate", "0.2"]);
    let text = &ran.is_fine().stdout;
    assert!(text.contains("normal frames above 0.8100"), "{text}");
    let manifest = fs::read_to_string(dir.at("model/calibration/calibration.toml")).unwrap();
    assert!(manifest.contains("review-rate = 0.2"), "{manifest}");
    assert_eq!(judged(&[]), labels(true));
    assert_eq!(judged(&["--review-rate", "off"]), labels(false));
    let info = dir.run(&["model", "info", "model"]);
    assert!(
        info.is_fine().stdout.contains("for a rate of 0.2"),
        "{info:?}"
    );

    for rate in ["0.05", "0.01"] {
        let refused = ["review rate", "above the false-alarm rate"];
        dir.verb("calibrate", &["--review-rate", rate])
            .fails_at_once(&refused);
        dir.verb("score", &["near.png", "--review-rate", rate])
            .fails_at_once(&refused);
    }
    // A false-alarm rate that reaches it takes another one with it.
    dir.verb("calibrate", &["--false-alarm-rate", "0.3"])
        .fails_at_once(&["review rate"]);
    dir.verb(
        "calibrate",
        &["--false-alarm-rate", "0.3", "--review-rate", "off"],
    )
    .is_fine();
    assert_eq!(
        Bundle::open(&dir.at("model"))
            .unwrap()
            .calibration()
            .unwrap()
            .review,
        None
    );
}
