//! What `calibrate` makes of frames and of lines, and what it refuses.

use std::{collections::BTreeMap, fs, path::Path};

use edge_vae::{
    Frame,
    bundle::{Bundle, MANIFEST},
    frame::PixelFormat,
    runtime::GoldenValues,
    synth::{SurfaceSettings, surface_frame},
};
use serde_json::{Value, json};

use crate::{
    test_dir::{Ran, TestDir},
    tiny,
};

/// The contrast of the faintest frame; frame i has i more.
const FAINTEST: u8 = 10;

/// A chequer pattern of this contrast, whose score is [`score_of`].
fn chequers(contrast: u8) -> Vec<u8> {
    let side = tiny::SIDE;
    let samples = (0..side * side)
        .map(|index| 100 + contrast * ((index % side + index / side) % 2) as u8)
        .collect();
    let side = side as u32;
    tiny::png(&Frame::from_u8(side, side, PixelFormat::Gray8, samples, "chequers").unwrap())
}

/// Each pixel is half the contrast away from the mean of its square.
fn score_of(contrast: u8) -> f64 {
    let residual = f64::from(contrast) / 2.0 / 255.0 / f64::from(tiny::SIGMA);
    (residual - f64::from(tiny::STATISTICS.0)) / f64::from(tiny::STATISTICS.1)
}

/// A dir with so many frames of rising contrast, `name` giving the place of each.
fn dir_of(count: u8, name: impl Fn(u8) -> String) -> TestDir {
    let dir = TestDir::new();
    for index in 0..count {
        dir.write(&name(index), chequers(FAINTEST + index));
    }
    dir
}

fn plain(index: u8) -> String {
    format!("normals/{index:03}.png")
}

/// All files of a bundle.
fn files(dir: &TestDir, bundle: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |name: &String| fs::read(dir.at(bundle).join(name)).unwrap();
    let names = dir.files(bundle);
    names
        .iter()
        .map(|name| (name.clone(), read(name)))
        .collect()
}

/// The files but the manifest.
fn weights(dir: &TestDir, bundle: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(dir, bundle);
    files.remove(MANIFEST).unwrap();
    files
}

#[track_caller]
fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
}

fn calibrate(dir: &TestDir, arguments: &[&str]) -> Ran {
    dir.run(&[&["calibrate", "--model", "model"], arguments].concat())
}

#[test]
fn the_threshold_has_its_rank_and_nothing_else_changes() {
    let dir = dir_of(120, plain);
    let before = weights(&dir, "model");
    let ran = dir.verb(
        "calibrate",
        &["normals", "--false-alarm-rate", "0.05", "--json"],
    );
    let record = &ran.is_fine().json()[0];
    // ⌊121 · 0.05⌋ = 6 ranks are above, so the threshold is the 115th of the 120 scores.
    close(&record["threshold"], score_of(FAINTEST + 114));
    close(&record["map_threshold"], score_of(FAINTEST + 114));
    assert_eq!(record["frames"], 120);
    assert_eq!(record["groups"], Value::Null);
    assert_eq!(record["false_alarm_rate"], 0.05);
    // scipy.stats.beta(6, 115).ppf([0.05, 0.95]).
    close(&record["rate_interval"][0], 0.021_996_1);
    close(&record["rate_interval"][1], 0.085_608_3);
    assert_eq!(record["schema_version"], 1);
    let statement = record["statement"].as_str().unwrap();
    assert!(
        statement.contains("at most 5.0 % on average"),
        "{statement}"
    );
    // The tiny model's own calibration: a hundred scores from 0.01 to 1.
    assert_eq!(record["earlier"]["frames"], 100);
    assert_eq!(record["earlier"]["threshold"], 0.96);
    let above = (0..120).filter(|&i| score_of(FAINTEST + i) > 0.96).count();
    assert_eq!(record["earlier"]["called_anomalous"], above);

    assert_eq!(weights(&dir, "model"), before);
    let bundle = Bundle::open(&dir.at("model")).unwrap();
    assert_eq!(record["model_id"], bundle.model_id());
    let calibration = bundle.calibration().cloned().unwrap();
    assert_eq!(record["threshold"], calibration.threshold);
    assert_eq!(record["date"], calibration.date.unwrap());
    for (index, score) in (0..).zip(&calibration.scores) {
        assert!((score - score_of(FAINTEST + index)).abs() < 1e-4);
    }
    // Chequers of 100 and 100 + c: the mean is c/2 above 100, the deviation c/2; the posterior mean
    // is the mean of each of four squares, with one variance for all.
    let seen = calibration.reference.unwrap();
    let side = tiny::SIDE as u64;
    assert_eq!(
        record["reference"],
        json!({"frames": 120, "width": side, "height": side})
    );
    for (index, contrast) in (0..).zip(FAINTEST..FAINTEST + 120) {
        let half = f64::from(contrast) / 2.0 / 255.0;
        let mean = 100.0 / 255.0 + half;
        let log_variance = f64::from(tiny::LOG_VARIANCE);
        let divergence = 2.0 * (mean * mean + log_variance.exp() - 1.0 - log_variance);
        for (found, expected) in [
            (seen.brightness[index], mean),
            (seen.contrast[index], half),
            (seen.divergence[index], divergence),
        ] {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
    dir.run(&["model", "verify", "model", "--quiet"]).is_fine();

    // The 117th of the frames: four are at least as strange, and 116 below.
    dir.write("new.png", chequers(126));
    let judged = dir.verb("score", &["--json", "new.png"]);
    let judged = &judged.is_fine().json()[0];
    assert_eq!(judged["pred_label"], "anomalous");
    close(&judged["p_value"], 5.0 / 121.0);
    close(&judged["percentile_of_normals"], 100.0 * 116.0 / 120.0);
    close(&judged["map_max"], score_of(126));
    assert!(
        judged["reasons"][0]
            .as_str()
            .unwrap()
            .contains("higher than 96.6 % of 120 normal frames")
    );
    let info = dir.run(&["model", "info", "model"]);
    for part in [
        "on 120 frames",
        "false-alarm rate of 0.05",
        "on average",
        "Z, ",
    ] {
        assert!(info.is_fine().stdout.contains(part), "{}", info.stdout);
    }
}

#[test]
fn the_rate_of_the_model_is_kept_and_the_result_is_told() {
    let dir = dir_of(99, plain);
    let ran = calibrate(&dir, &["normals/*.png", "--quiet"]);
    for part in [
        "threshold",
        ", was 0.9600",
        "at most 5.0 %",
        "earlier",
        "tiny-",
    ] {
        assert!(ran.is_fine().stdout.contains(part), "{}", ran.stdout);
    }
    let ran = calibrate(&dir, &["normals", "--false-alarm-rate", "0.01"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("at most 1.0 %"), "{}", ran.stdout);
    // The same frames as before.
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
}

#[test]
fn a_model_elsewhere_leaves_the_first_as_it_is() {
    let dir = dir_of(40, plain);
    let before = files(&dir, "model");
    dir.verb("calibrate", &["normals", "--out", "new/er/model"])
        .is_fine();
    assert_eq!(files(&dir, "model"), before);
    assert_eq!(weights(&dir, "new/er/model"), weights(&dir, "model"));
    assert_ne!(files(&dir, "new/er/model"), before);
    dir.write("other/notes.txt", "mine");
    dir.verb("calibrate", &["normals", "--out", "other"])
        .fails_at_once(&["other", "notes.txt"]);
}

#[test]
fn a_model_without_calibration_gets_one() {
    let mut writer = tiny::writer();
    writer.calibration = None;
    let dir = TestDir::with_model(writer);
    for index in 0..100 {
        dir.write(&plain(index), chequers(FAINTEST + index));
    }
    let ran = dir.verb("calibrate", &["normals", "--json"]);
    let record = &ran.is_fine().json()[0];
    assert_eq!(record["false_alarm_rate"], 0.01);
    assert_eq!(record["earlier"], Value::Null);
    close(&record["threshold"], score_of(FAINTEST + 99));
    dir.verb("score", &["good.png"]).is_fine();

    let mut writer = tiny::writer();
    (writer.calibration, writer.scoring, writer.golden.score) = (None, None, None);
    let dir = TestDir::with_model(writer);
    dir.verb("calibrate", &["good.png"])
        .fails_at_once(&["model", "scoring"]);
}

#[test]
fn too_few_frames_are_refused_with_the_number_needed() {
    let dir = dir_of(98, plain);
    let before = files(&dir, "model");
    dir.verb("calibrate", &["normals", "--false-alarm-rate", "0.01"])
        .fails_at_once(&["98 calibration frames", "0.01", "at least 99"]);
    for rate in ["0", "1", "-0.1", "NaN", "2"] {
        let flag = format!("--false-alarm-rate={rate}");
        dir.verb("calibrate", &["normals", &flag])
            .fails_at_once(&["false-alarm rate", "above 0 and below 1"]);
    }
    // One of them turns out to be black: 98 are left of 99.
    dir.write("normals/black.png", tiny::png(&black()));
    dir.verb("calibrate", &["normals", "--false-alarm-rate", "0.01"])
        .fails_at_once(&["98 calibration frames"]);
    dir.verb("calibrate", &["nowhere", "normals"])
        .fails_at_once(&["nowhere"]);
    assert_eq!(files(&dir, "model"), before);
}

fn black() -> Frame {
    Frame::from_u8(8, 8, PixelFormat::Gray8, vec![0; 64], "black").unwrap()
}

#[test]
fn black_and_torn_frames_are_named_counted_and_left_out() {
    let dir = dir_of(30, plain);
    dir.write("normals/black.png", tiny::png(&black()));
    for name in ["a", "b", "c"] {
        dir.write(&format!("normals/torn-{name}.png"), &chequers(50)[..40]);
    }
    let ran = calibrate(&dir, &["normals", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for name in ["black.png", "torn-a.png", "torn-b.png", "torn-c.png"] {
        assert_eq!(ran.stderr.matches(name).count(), 1, "{}", ran.stderr);
    }
    let record = &ran.json()[0];
    assert_eq!(record["frames"], 30);
    assert_eq!(
        record["left_out"],
        json!({"invalid": 1, "unreadable": 3, "rejected": 0, "other_models": 0})
    );
    // 4 of 35 are more than a tenth.
    let before = files(&dir, "model");
    dir.write("normals/torn-d.png", b"");
    let ran = dir.verb("calibrate", &["normals"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert!(ran.stderr.contains("4 of 35 frames"), "{}", ran.stderr);
    assert_eq!(files(&dir, "model"), before);
}

#[test]
fn a_frame_counts_once_and_copies_are_told() {
    let dir = dir_of(20, plain);
    let ran = calibrate(&dir, &["normals", "normals/*.png", "--json"]);
    assert_eq!(ran.json()[0]["frames"], 20);
    assert!(
        ran.stderr.contains("20 frames named twice"),
        "{}",
        ran.stderr
    );
    dir.write("normals/copy.png", chequers(FAINTEST));
    let ran = calibrate(&dir, &["normals", "--json"]);
    let warning = ran.json()[0]["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.contains("1 of 21 frames have exactly"), "{warning}");
    assert!(ran.stderr.contains(&warning), "{}", ran.stderr);
}

#[test]
fn frames_unlike_the_earlier_ones_are_told() {
    let dir = dir_of(60, plain);
    dir.verb("calibrate", &["normals"]).is_fine();
    for index in 0..60 {
        dir.write(&format!("brighter/{index}.png"), chequers(90 + index));
    }
    let ran = calibrate(&dir, &["brighter", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("look unlike"), "{}", ran.stderr);
    let earlier = &ran.json()[0]["earlier"];
    assert_eq!(earlier["distance"], 1.0);
    assert!(earlier["p_value"].as_f64() < Some(1e-20), "{earlier}");
    assert_eq!(earlier["called_anomalous"], 60);
}

#[test]
fn frames_that_belong_together_count_as_groups() {
    // Forty parts of three frames.
    let dir = dir_of(120, |i| format!("normals/part-{}/{}.png", i / 3, i % 3));
    let ran = dir.verb("calibrate", &["normals", "--group-by", "parent", "--json"]);
    let record = &ran.is_fine().json()[0];
    assert_eq!(
        (&record["frames"], &record["groups"]),
        (&120.into(), &40.into())
    );
    // 41 · 0.05 − 1 = 1.05 groups may be above: three frames and no fourth.
    close(&record["threshold"], score_of(FAINTEST + 116));
    assert!(
        record["statement"]
            .as_str()
            .unwrap()
            .contains("120 held-out normal frames of 40 groups")
    );
    // Two frames of the last group are at least as strange, and none of the others: (1 + 2/3)/41.
    dir.write("new.png", chequers(FAINTEST + 118));
    let judged = &dir.verb("score", &["--json", "new.png"]).json()[0];
    close(&judged["p_value"], (1.0 + 2.0 / 3.0) / 41.0);
    assert_eq!(judged["pred_label"], "anomalous");
    let info = dir.run(&["model", "info", "model"]);
    assert!(
        info.is_fine().stdout.contains("of 40 groups"),
        "{}",
        info.stdout
    );

    let same = dir.verb(
        "calibrate",
        &["normals", "--group-by", "part-([0-9]+)/", "--json"],
    );
    assert_eq!(same.is_fine().json()[0]["threshold"], record["threshold"]);
    let before = files(&dir, "model");
    dir.verb(
        "calibrate",
        &["normals", "--group-by", "parent", "--false-alarm-rate=0.02"],
    )
    .fails_at_once(&["40 groups", "at least 49"]);
    dir.verb("calibrate", &["normals", "--group-by", "tray-(.)"])
        .fails_at_once(&["normals/part-0/0.png", "tray-(.)"]);
    dir.verb("calibrate", &["normals", "--group-by", "part"])
        .fails_at_once(&["part", "0 captures"]);
    dir.verb("calibrate", &["normals", "--group-by", "("])
        .fails_at_once(&["unclosed group"]);
    assert_eq!(files(&dir, "model"), before);
    let ran = calibrate(&dir, &["normals", "--group-by", "(.*)", "--json"]);
    assert_eq!(ran.json()[0]["groups"], Value::Null);
    assert!(ran.stderr.contains("stands for itself"), "{}", ran.stderr);
}

/// The JSON lines of the frames `normals`.
fn lines(dir: &TestDir) -> Vec<Value> {
    dir.verb("score", &["normals", "--json"]).is_fine().json()
}

fn write_lines(dir: &TestDir, name: &str, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    dir.write(name, text);
}

#[test]
fn lines_of_a_period_give_what_its_frames_give() {
    let dir = dir_of(120, plain);
    let mut lines = lines(&dir);
    let anomalous = lines
        .iter()
        .filter(|line| line["pred_label"] == "anomalous")
        .count();
    assert!(anomalous > 3);
    write_lines(&dir, "all.jsonl", &lines);
    let from = |file: &str, more: &[&str]| {
        let arguments = [&["--from", file, "--out", "new", "--json"], more].concat();
        dir.verb("calibrate", &arguments)
    };
    // Nobody has said whether the alarms were false.
    from("all.jsonl", &[]).fails_at_once(&[
        &format!("{anomalous} frames were called anomalous"),
        "all.jsonl:",
        "--all-normal",
        "\"accepted\"",
    ]);
    let whole = from("all.jsonl", &["--all-normal"]).is_fine().json();
    let scored = dir.verb("calibrate", &["normals", "--out", "scored"]);
    scored.is_fine();
    let of = |bundle: &str| {
        let bundle = Bundle::open(&dir.at(bundle)).unwrap();
        let mut calibration = bundle.calibration().cloned().unwrap();
        calibration.date = None;
        calibration
    };
    // A line does not say what its frame looked like.
    let mut of_frames = of("scored");
    assert_eq!(of_frames.reference.take().unwrap().frames(), 120);
    assert_eq!(of("new"), of_frames);
    assert_eq!(whole[0]["reference"], Value::Null);
    let loud = calibrate(
        &dir,
        &["--from", "all.jsonl", "--all-normal", "--out", "new"],
    );
    assert!(
        loud.stderr.contains("calibrate on frames to turn that on"),
        "{}",
        loud.stderr
    );
    assert_eq!(whole[0]["frames"], 120);
    let by_tens = [
        "--all-normal",
        "--group-by=/([0-9]{2})",
        "--false-alarm-rate=0.1",
    ];
    let grouped = from("all.jsonl", &by_tens);
    assert_eq!(grouped.is_fine().json()[0]["groups"], 12);

    // Each alarm looked at: two are false, the others are defects; and one defect was missed.
    let mut alarms = 0;
    for line in &mut lines {
        if line["pred_label"] == "anomalous" {
            alarms += 1;
            line["accepted"] = json!(alarms <= 2);
        }
    }
    lines[0]["accepted"] = json!(false);
    write_lines(&dir, "seen.jsonl", &lines);
    let seen = from("seen.jsonl", &[]).is_fine().json();
    assert_eq!(seen[0]["frames"], 120 - 1 - anomalous + 2);
    assert_eq!(seen[0]["left_out"]["rejected"], 1 + anomalous - 2);

    // The alarms removed: the sample ends at the old threshold. None above it has a probability of
    // 96·97·98·99·100/(324·325·326·327·328) = 0.0025.
    lines.retain(|line| line["pred_label"] == "normal" && line["accepted"].is_null());
    assert_eq!(lines.len(), 113);
    lines.extend(lines.clone());
    lines.extend(lines[..2].to_vec());
    write_lines(&dir, "cut.jsonl", &lines);
    let ran = calibrate(&dir, &["--from", "cut.jsonl", "--json", "--out", "new"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stderr
            .contains("a probability of 2.5e-3: if the lines of false alarms were removed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn hostile_lines() {
    let dir = dir_of(30, plain);
    let before = files(&dir, "model");
    let good = lines(&dir);
    let from = |dir: &TestDir| dir.verb("calibrate", &["--from", "l.jsonl", "--all-normal"]);
    // Other models.
    let mut others = good.clone();
    for line in &mut others {
        line["model_id"] = json!("other-01234567");
    }
    write_lines(&dir, "l.jsonl", &others);
    from(&dir).fails_at_once(&["no normal frame of tiny-", "30 of other models"]);
    dir.write("l.jsonl", "");
    from(&dir).fails_at_once(&["no normal frame"]);
    // As PowerShell writes it.
    let marked = good.iter().map(|line| format!("{line}\r\n"));
    dir.write("l.jsonl", format!("\u{feff}{}", marked.collect::<String>()));
    let arguments = ["--from", "l.jsonl", "--all-normal", "--out", "marked"];
    dir.verb("calibrate", &arguments).is_fine();
    dir.verb("calibrate", &["--from", "none.jsonl"])
        .fails_at_once(&["none.jsonl", "cannot read"]);
    dir.verb("calibrate", &["--from", "normals"])
        .fails_at_once(&["normals", "cannot read"]);

    // Up to a tenth of the lines may be broken, and each is named.
    let text: Vec<String> = good.iter().map(Value::to_string).collect();
    let score = good[7]["pred_score"].to_string();
    let without = |key: &str| {
        let mut line = good[7].clone();
        line.as_object_mut().unwrap().remove(key);
        line.to_string()
    };
    let breaks = [
        text[7].replace(&score, "NaN"),
        text[7].replace(&score, "1e999"),
        text[7].replace(&score, "null"),
        text[7].replace("\"schema_version\":1", "\"schema_version\":7"),
        without("map_max"),
        without("model_id"),
        text[7][..80].to_owned(),
        "\u{0}\u{1}".to_owned(),
        "[".repeat(100_000),
        "{}".to_owned(),
    ];
    for broken in &breaks {
        let mut some = text.clone();
        some[7] = broken.clone();
        dir.write("l.jsonl", some.join("\n"));
        let arguments = ["--from", "l.jsonl", "--all-normal", "--out", "new"];
        let ran = dir.verb("calibrate", &arguments);
        assert_eq!(ran.code, Some(0), "{broken:.80}: {ran:?}");
        assert!(
            ran.stderr.starts_with("edge-vae: l.jsonl:8: "),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stdout.contains("on 29 held-out"), "{}", ran.stdout);
    }
    dir.write("l.jsonl", [&text[..], &breaks[..4]].concat().join("\n"));
    let ran = from(&dir);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("4 of 34 lines"), "{}", ran.stderr);
    // Not every one of many is named.
    dir.write("l.jsonl", "x\n".repeat(5000));
    let ran = from(&dir);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.lines().count() < 30, "{}", ran.stderr);
    assert_eq!(files(&dir, "model"), before);
}

/// A mask of the tiny model's size, white where asked.
fn mask(white: impl Fn(usize) -> bool) -> Vec<u8> {
    let side = tiny::SIDE as u32;
    let samples = (0..side * side)
        .map(|index| 255 * u8::from(white((index % side) as usize)))
        .collect();
    tiny::png(&Frame::from_u8(side, side, PixelFormat::Gray8, samples, "mask").unwrap())
}

#[test]
fn a_mask_is_added_to_a_model_and_calibrated_with() {
    let dir = dir_of(120, plain);
    dir.write("roi.png", mask(tiny::is_inside));
    let before = files(&dir, "model");
    let judged = |model: &str| {
        let ran = dir.run(&["score", "--quiet", "--json", "--model", model, "bad.png"]);
        ran.is_fine().json()[0]["pred_label"].clone()
    };
    // Its bright spot lies where the mask will be black.
    assert_eq!(judged("model"), "anomalous");
    let arguments = ["normals", "--mask", "roi.png", "--out", "masked", "--json"];
    let ran = dir.verb("calibrate", &arguments);
    let record = &ran.is_fine().json()[0];
    assert_eq!(files(&dir, "model"), before);
    assert_eq!(judged("masked"), "normal");
    // The rate of the model, and nothing else of a calibration of other scores.
    assert_eq!(record["false_alarm_rate"], 0.05);
    assert_eq!(record["earlier"], Value::Null);
    close(&record["threshold"], score_of(FAINTEST + 114));

    let masked = Bundle::open(&dir.at("masked")).unwrap();
    assert_eq!(masked.file("mask.png"), Some(&mask(tiny::is_inside)[..]));
    let without = Bundle::open(&dir.at("model")).unwrap();
    assert_ne!(masked.model_id(), without.model_id());
    for name in [
        "encoder.onnx",
        "decoder.onnx",
        "statistics.npy",
        "golden.png",
    ] {
        assert_eq!(masked.file(name), without.file(name), "{name}");
    }
    // What the golden frame gives with this mask, by hand.
    let expected = tiny::expected_masked(&tiny::frame(1, None));
    let found = GoldenValues::read(&masked).unwrap();
    assert!((found.score.unwrap() - expected.score.unwrap()).abs() < 1e-4);
    let pairs = found.values("input").iter().zip(expected.values("input"));
    for (found, expected) in pairs.chain(
        found
            .values("anomaly_map")
            .iter()
            .zip(expected.values("anomaly_map")),
    ) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    dir.run(&["model", "verify", "masked", "--quiet"]).is_fine();

    // In the model's own folder, and a smaller mask in the place of one.
    dir.write("small.png", mask(|x| x < 2));
    dir.run(&[
        "calibrate",
        "--quiet",
        "--model",
        "masked",
        "normals",
        "--mask",
        "small.png",
    ])
    .is_fine();
    let smaller = Bundle::open(&dir.at("masked")).unwrap();
    assert_eq!(smaller.file("mask.png"), Some(&mask(|x| x < 2)[..]));
    assert_ne!(smaller.model_id(), masked.model_id());
    dir.run(&["model", "verify", "masked", "--quiet"]).is_fine();
}

#[test]
fn masks_that_a_model_cannot_take_are_refused() {
    let dir = TestDir::with_model(tiny::masked());
    for index in 0..20 {
        dir.write(&plain(index), chequers(FAINTEST + index));
    }
    dir.write("wider.png", mask(|x| x < 5));
    dir.write("black.png", mask(|_| false));
    let before = files(&dir, "model");
    let with = |mask: &str| dir.verb("calibrate", &["normals", "--mask", mask]);
    with("wider.png").fails_at_once(&["wider.png", "learned nothing"]);
    with("black.png").fails_at_once(&["black.png", "black all over"]);
    with("normals/000.png").fails_at_once(&["normals/000.png", "is no mask"]);
    with("none.png").fails_at_once(&["none.png", "cannot read"]);
    dir.verb("calibrate", &["--from", "l.jsonl", "--mask", "wider.png"])
        .fails_at_once(&["--mask"]);
    dir.write("model/notes.txt", "mine");
    with("wider.png").fails_at_once(&["model", "notes.txt"]);
    fs::remove_file(dir.at("model/notes.txt")).unwrap();
    assert_eq!(files(&dir, "model"), before);
}

#[test]
fn flags_that_contradict_each_other() {
    let dir = TestDir::new();
    dir.verb("calibrate", &[]).fails_at_once(&["NORMALS"]);
    dir.verb("calibrate", &["good.png", "--from", "l.jsonl"])
        .fails_at_once(&["--from"]);
    dir.verb("calibrate", &["good.png", "--all-normal"])
        .fails_at_once(&["--from"]);
}

#[test]
fn a_model_that_does_not_prove_itself_is_not_calibrated() {
    let mut writer = tiny::writer();
    writer
        .files
        .insert("decoder.onnx".into(), tiny::decoder(0.2));
    let dir = TestDir::with_model(writer);
    for index in 0..20 {
        dir.write(&plain(index), chequers(FAINTEST + index));
    }
    let before = files(&dir, "model");
    dir.verb("calibrate", &["normals"])
        .fails_at_once(&["model", "golden frame"]);
    assert_eq!(files(&dir, "model"), before);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_or_read_only_disk_leaves_the_model_as_it_was() {
    use std::process::{Command, Stdio};

    struct Mount(std::path::PathBuf);
    impl Drop for Mount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }

    let dir = dir_of(40, plain);
    dir.verb("calibrate", &["normals", "--out", "/proc/self/m"])
        .fails_at_once(&["/proc/self", "cannot write"]);
    let disk = dir.at("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&disk)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !mount("size=64k") {
        eprintln!("skipped: only root can mount the small disk that is to be filled");
        return;
    }
    let _mount = Mount(disk.clone());
    fs::create_dir(disk.join("model")).unwrap();
    for (name, bytes) in files(&dir, "model") {
        fs::write(disk.join("model").join(name), bytes).unwrap();
    }
    let before = files(&dir, "disk/model");
    let _ = fs::write(disk.join("filler"), vec![0_u8; 64 << 10]);
    let full = ["calibrate", "--quiet", "--model", "disk/model", "normals"];
    dir.run(&full)
        .fails_at_once(&["disk/model/manifest.toml", "No space left"]);
    assert_eq!(files(&dir, "disk/model"), before);
    fs::remove_file(disk.join("filler")).unwrap();
    assert!(mount("remount,ro"));
    dir.run(&full)
        .fails_at_once(&["disk/model", "cannot write into the folder"]);
    assert_eq!(files(&dir, "disk/model"), before);
}

#[test]
fn the_surface_model_is_calibrated_on_fresh_frames() {
    let dir = TestDir::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/surface");
    fs::create_dir(dir.at("surface")).unwrap();
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        fs::copy(&path, dir.at("surface").join(name)).unwrap();
    }
    for index in 0..99 {
        let frame = surface_frame(2026, index, &SurfaceSettings::default()).unwrap();
        let mut png = std::io::Cursor::new(Vec::new());
        frame
            .picture
            .write_to(&mut png, image::ImageFormat::Png)
            .unwrap();
        dir.write(&format!("fresh/{index}.png"), png.into_inner());
    }
    let ran = dir.run(&[
        "calibrate",
        "--model",
        "surface",
        "fresh",
        "--false-alarm-rate",
        "0.01",
        "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let record = &ran.json()[0];
    // Frames like those that it was calibrated on: nothing to warn of, few false alarms.
    assert_eq!(record["warnings"], json!([]));
    assert!(
        record["earlier"]["called_anomalous"].as_u64() <= Some(5),
        "{record}"
    );
    dir.run(&["model", "verify", "surface", "--quiet"])
        .is_fine();
}
