//! A model that was trained on too few frames for any guarantee says so wherever it judges.

use edge_vae::calibration::Calibration;
use serde_json::Value;

use crate::{calibrate::chequers, test_dir::TestDir, tiny};

fn dir() -> TestDir {
    let mut writer = tiny::writer();
    let copies = vec![0.5, 0.96, 0.25];
    let calibration = Calibration::without_guarantee(copies.clone(), copies, 0.01);
    writer.calibration = Some(calibration.unwrap());
    TestDir::with_model(writer)
}

const SAID: &str = "no guarantee: the threshold is the largest score of 3 augmented samples";

#[test]
fn info_and_score_say_that_there_is_no_guarantee() {
    let dir = dir();
    let ran = dir.run(&["model", "info", "model"]);
    let text = &ran.is_fine().stdout;
    for part in [
        SAID,
        "1.0 % takes 99 normal frames",
        "with the training, without a guarantee",
        "no: 98 frames more needed",
        "No rate is guaranteed, so none is set.",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    let ran = dir.run(&["model", "info", "model", "--json"]);
    let json = &ran.is_fine().json()[0];
    assert_eq!(json["calibration"]["unguaranteed"], true);
    let table = &json["operating_table"];
    assert_eq!(table["guaranteed"], false);
    for row in table["rows"].as_array().unwrap() {
        assert_eq!(row["threshold"], Value::Null);
        assert_eq!(row["is_set"], false);
    }

    let score = ["score", "--model", "model", "good.png", "bad.png", "--json"];
    let ran = dir.run(&score);
    assert!(ran.stderr.contains(SAID), "{}", ran.stderr);
    let text = dir.verb("score", &["bad.png"]);
    let text = &text.stdout;
    assert!(
        text.contains("higher than all 3 augmented samples"),
        "{text}"
    );
    let lines = ran.json();
    assert_eq!(lines[0]["pred_label"], "normal");
    assert_eq!(lines[1]["pred_label"], "anomalous");
    assert_eq!(lines[1]["threshold"], 0.96);
    assert_eq!(lines[1]["p_value"], 0.5);
    let reason = lines[1]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("guarantees no rate"), "{reason}");
}

#[test]
fn evaluate_ranks_and_holds_the_model_to_no_rate() {
    let dir = dir();
    for name in ["1", "2"] {
        dir.frame(&format!("data/test/good/{name}.png"), None);
        dir.frame(&format!("data/test/spot/{name}.png"), Some((5, 2)));
    }
    let ran = dir.verb("evaluate", &["data", "--json"]);
    let json = &ran.is_fine().json()[0];
    assert_eq!(json["image_AUROC"], 1.0);
    assert_eq!(json["false_alarms"]["guaranteed"], false);
    assert_eq!(json["false_alarms"]["target_inside"], Value::Null);
    let ran = dir.verb("evaluate", &["data"]);
    let text = &ran.is_fine().stdout;
    assert!(
        text.contains("threshold 0.9600, which guarantees no rate"),
        "{text}"
    );
}

#[test]
fn no_rate_can_be_chosen_until_it_is_calibrated() {
    let dir = dir();
    let words = [
        "guarantees no false-alarm rate",
        "calibrate it with normal frames",
    ];
    dir.verb("calibrate", &["--false-alarm-rate", "0.1"])
        .fails_at_once(&words);
    dir.verb("score", &["good.png", "--review-rate", "0.2"])
        .fails_at_once(&words);
    for index in 0..9 {
        dir.write(&format!("normals/{index}.png"), chequers(10 + index));
    }
    let ran = dir.verb("calibrate", &["normals", "--false-alarm-rate", "0.1"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said = "calibrated on 9 held-out normal frames";
    assert!(ran.stdout.contains(said), "{ran:?}");
    let ran = dir.run(&["score", "--model", "model", "good.png"]);
    assert!(!ran.stderr.contains("no guarantee"), "{}", ran.stderr);
}
