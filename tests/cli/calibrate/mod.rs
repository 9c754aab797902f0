//! What `calibrate` makes of frames and of lines, and what it refuses.

mod lines;
mod masks;
mod table;

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
pub(crate) fn chequers(contrast: u8) -> Vec<u8> {
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
pub(crate) fn files(dir: &TestDir, bundle: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |name: &String| fs::read(dir.at(bundle).join(name)).unwrap();
    let names = dir.files(bundle);
    names
        .iter()
        .map(|name| (name.clone(), read(name)))
        .collect()
}

/// The files but manifest and calibration.
fn weights(dir: &TestDir, bundle: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(dir, bundle);
    files.remove(MANIFEST).unwrap();
    files.retain(|name, _| !name.starts_with("calibration/"));
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
            (seen.divergence.as_ref().unwrap()[index], divergence),
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
        dir.write(&format!("disk/model/{name}"), bytes);
    }
    let before = files(&dir, "disk/model");
    let _ = fs::write(disk.join("filler"), vec![0_u8; 64 << 10]);
    let full = ["calibrate", "--quiet", "--model", "disk/model", "normals"];
    dir.run(&full)
        .fails_at_once(&["disk/model/calibration/calibration-", "No space left"]);
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
    Bundle::open(&shipped)
        .unwrap()
        .save(&dir.at("surface"))
        .unwrap();
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
