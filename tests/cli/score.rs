//! What `score` says of frames that can be scored.

use std::{io::Write, process::Stdio};

use edge_vae::{Frame, frame::PixelFormat};

use crate::{
    test_dir::{Ran, TestDir},
    tiny,
};

#[test]
fn a_line_a_frame_says_verdict_score_threshold_and_path() {
    let dir = TestDir::new();
    let ran = dir.verb("score", &["good.png", "bad.png"]);
    let lines: Vec<&str> = ran.is_fine().stdout.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("normal ") && lines[0].ends_with("good.png"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("anomalous ") && lines[1].ends_with("bad.png"),
        "{}",
        lines[1]
    );
    let column = |word| (lines[0].find(word).unwrap(), lines[1].find(word).unwrap());
    for word in ["score", "threshold", "  p ", ".png"] {
        let (first, second) = column(word);
        let longer = usize::from(word == ".png");
        assert_eq!(first, second + longer, "{word}");
    }
    assert!(lines[0].contains("  not higher than any of 100 normal frames  "));
    assert!(lines[1].contains("  higher than all 100 normal frames  "));
}

#[test]
fn json_has_every_key_and_the_numbers_of_the_formula() {
    let dir = TestDir::new();
    let ran = dir.verb("score", &["--json", "bad.png", "good.png"]);
    let records = ran.is_fine().json();
    let keys = [
        "backend",
        "device",
        "frame_id",
        "latency_ms",
        "map_max",
        "model_id",
        "p_value",
        "path",
        "percentile_of_normals",
        "pred_label",
        "pred_score",
        "reasons",
        "regions",
        "review",
        "schema_version",
        "threshold",
        "timestamp",
    ];
    for record in &records {
        let mut found: Vec<&str> = record
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        found.sort_unstable();
        assert_eq!(found, keys);
        let latency = record["latency_ms"].as_object().unwrap();
        let mut stages: Vec<&str> = latency.keys().map(String::as_str).collect();
        stages.sort_unstable();
        assert_eq!(
            stages,
            [
                "decode", "detect", "encode", "prepare", "read", "score", "total"
            ]
        );
        let time = |stage: &str| latency[stage].as_f64().unwrap();
        assert!(stages.iter().all(|stage| time(stage) >= 0.0));
        let parts = ["read", "prepare", "encode", "decode", "detect", "score"].map(time);
        // Each is rounded to a microsecond.
        assert!(parts.iter().sum::<f64>() <= time("total") + 0.005);
        assert_eq!(record["backend"], "tract");
        assert_eq!(record["device"], "cpu");
        assert_eq!(record["schema_version"], 1);
        let time = record["timestamp"].as_str().unwrap();
        assert!(
            time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T",
            "{time}"
        );
    }
    // The frames are the tiny model's own, each pixel four times as large.
    let expected = tiny::expected(&tiny::frame(1, Some((5, 2)))).score.unwrap();
    let bad = &records[0];
    assert!((bad["pred_score"].as_f64().unwrap() - expected).abs() < 1e-4);
    assert_eq!(bad["pred_label"], "anomalous");
    assert_eq!(
        (&bad["frame_id"], &bad["path"]),
        (&0.into(), &"bad.png".into())
    );
    assert!(bad["pred_score"].as_f64() > bad["threshold"].as_f64());
    // None of a hundred calibration frames is as strange: 1/(100 + 1).
    assert!((bad["p_value"].as_f64().unwrap() - 1.0 / 101.0).abs() < 1e-9);
    assert_eq!(bad["percentile_of_normals"], 100.0);
    let reason = bad["reasons"][0].as_str().unwrap();
    assert!(
        reason.contains("higher than all 100 normal frames"),
        "{reason}"
    );
    // The score is the map's maximum.
    assert!((bad["map_max"].as_f64().unwrap() - expected).abs() < 1e-4);
    assert_eq!(records[1]["percentile_of_normals"], 0.0);
    let region = &bad["regions"][0];
    let bbox: Vec<i64> = region["bbox"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_i64().unwrap())
        .collect();
    let [x, y, w, h] = bbox[..] else {
        panic!("{bbox:?}")
    };
    // The spot covers 20–24 × 8–12.
    assert!(x <= 20 && y <= 8 && x + w >= 24 && y + h >= 12, "{bbox:?}");
    assert!(region["area"].as_i64() > Some(0) && region["max"].as_f64() > Some(0.0));
    assert_eq!(records[1]["pred_label"], "normal");
    assert_eq!(records[1]["regions"], serde_json::json!([]));
}

#[test]
fn a_black_frame_is_invalid_and_says_why() {
    let dir = TestDir::new();
    let black = Frame::from_u8(32, 32, PixelFormat::Gray8, vec![0; 1024], "black").unwrap();
    dir.write("black.png", tiny::png(&black));
    let ran = dir.verb(
        "score",
        &["--json", "black.png", "--overlay", "seen", "--map", "maps"],
    );
    let record = &ran.is_fine().json()[0];
    assert_eq!(record["pred_label"], "invalid");
    for key in ["pred_score", "p_value", "percentile_of_normals", "map_max"] {
        assert!(record[key].is_null(), "{key}");
    }
    assert!(
        record["reasons"][0].as_str().unwrap().contains("black"),
        "{record}"
    );
    // There is something to see of it, and no map.
    assert_eq!(dir.files("seen"), ["black.png.overlay.png"]);
    assert_eq!(dir.files("maps"), [""; 0]);
    let ran = dir.verb("score", &["black.png"]);
    assert!(ran.is_fine().stdout.starts_with("invalid "), "{ran:?}");
    // A covered camera passes no gate.
    let ran = dir.verb("score", &["black.png", "--exit-code"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
}

#[test]
fn the_exit_code_tells_of_anomalies_when_asked() {
    let dir = TestDir::new();
    assert_eq!(dir.verb("score", &["bad.png"]).code, Some(0));
    assert_eq!(
        dir.verb("score", &["good.png", "--exit-code"]).code,
        Some(0)
    );
    let ran = dir.verb("score", &["good.png", "bad.png", "--exit-code"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    // A failure outweighs an anomaly.
    dir.verb("score", &["bad.png", "none.png", "--exit-code"])
        .fails(&["none.png"]);
}

#[test]
fn one_bad_frame_among_many_is_named_and_the_rest_is_scored() {
    let dir = TestDir::new();
    dir.write("torn.png", &tiny::png(&tiny::frame(4, None))[..60]);
    let ran = dir.verb("score", &["good.png", "torn.png", "bad.png"]);
    ran.fails(&["torn.png"]);
    assert_eq!(ran.stdout.lines().count(), 2);
}

/// Verdicts, their order, files and what failed are those of one frame after the other.
#[test]
fn frames_side_by_side_come_out_in_order() {
    let dir = TestDir::new();
    dir.write("torn.png", &tiny::png(&tiny::frame(4, None))[..60]);
    let frames: Vec<&str> = ["good.png", "bad.png", "torn.png"].repeat(7);
    let of = |jobs: &'static str| {
        let seen = format!("seen-{jobs}");
        let flags = ["--json", "--jobs", jobs, "--overlay", &seen];
        let ran = dir.verb("score", &[&flags, &frames[..]].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert_eq!(ran.stderr.matches("torn.png").count(), 7, "{}", ran.stderr);
        let lines = ran.stdout.lines().map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = record.as_object_mut().unwrap();
            fields.remove("latency_ms").unwrap();
            let overlay = fields.remove("overlay").unwrap();
            assert!(dir.at(overlay.as_str().unwrap()).exists());
            record
        });
        lines.collect::<Vec<_>>()
    };
    let one_after_the_other = of("1");
    assert_eq!(one_after_the_other.len(), 14);
    assert_eq!(of("3"), one_after_the_other);
}

#[test]
fn the_summary_counts_everything() {
    let dir = TestDir::new();
    dir.write("torn.png", b"\x89PNG\r\n\x1a\n");
    let ran = dir.run(&[
        "score", "--model", "model", "good.png", "bad.png", "torn.png",
    ]);
    assert_eq!(ran.code, Some(2));
    let summary = ran.stderr.lines().last().unwrap();
    for part in [
        "2 frames scored",
        "1 anomalous",
        "0 invalid",
        "1 failed",
        "frames/s",
    ] {
        assert!(summary.contains(part), "{summary}");
    }
    let chosen = ran
        .stderr
        .lines()
        .filter(|line| line.contains("tract") && line.contains("cpu"));
    assert_eq!(chosen.count(), 1, "{}", ran.stderr);
}

#[test]
fn folders_globs_and_lists_lead_to_the_same_frames() {
    let dir = TestDir::new();
    dir.frame("set/a.png", None);
    dir.frame("set/deep/b.png", None);
    dir.write("set/notes.txt", "no picture");
    let paths = |ran: &Ran| -> Vec<String> {
        let records = ran.is_fine().json();
        records
            .iter()
            .map(|record| record["path"].as_str().unwrap().to_owned())
            .collect()
    };
    let both = ["set/a.png", "set/deep/b.png"];
    assert_eq!(paths(&dir.verb("score", &["--json", "set"])), both);
    assert_eq!(paths(&dir.verb("score", &["--json", "set/**/*.png"])), both);
    let mut child = dir
        .command(&["score", "--model", "model", "--quiet", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut list = child.stdin.take().unwrap();
    list.write_all(b"set/a.png\r\n\nset/deep/b.png").unwrap();
    drop(list);
    assert_eq!(paths(&Ran::of(child.wait_with_output().unwrap())), both);
    dir.verb("score", &["-"])
        .fails_at_once(&["standard input is empty"]);
}

#[test]
fn results_of_frames_of_one_name_do_not_collide() {
    let dir = TestDir::new();
    dir.frame("a/1.png", None);
    dir.frame("b/1.png", Some((0, 0)));
    dir.verb(
        "score",
        &["a/1.png", "b/1.png", "--overlay", "seen", "--map", "maps"],
    )
    .is_fine();
    assert_eq!(
        dir.files("seen"),
        ["a/1.png.overlay.png", "b/1.png.overlay.png"]
    );
    assert_eq!(
        dir.files("maps"),
        [
            "a/1.png.map.npy",
            "a/1.png.map.png",
            "b/1.png.map.npy",
            "b/1.png.map.png"
        ]
    );
    let overlay = image::open(dir.at("seen/b/1.png.overlay.png")).unwrap();
    assert!(overlay.width() > 32 && overlay.height() > 32);
}

#[test]
fn the_map_is_written_raw_and_as_levels_of_its_range() {
    use ndarray::Array2;
    use ndarray_npy::ReadNpyExt;

    let dir = TestDir::new();
    let ran = dir.verb("score", &["bad.png", "--map", "maps", "--json"]);
    let record = &ran.is_fine().json()[0];
    let raw = std::fs::File::open(dir.at("maps/bad.png.map.npy")).unwrap();
    let raw = Array2::<f32>::read_npy(raw).unwrap();
    assert_eq!(raw.dim(), (32, 32));
    let levels = image::open(dir.at("maps/bad.png.map.png"))
        .unwrap()
        .into_luma16();
    let low = record["map"]["minimum"].as_f64().unwrap();
    let high = record["map"]["maximum"].as_f64().unwrap();
    for (x, y, level) in levels.enumerate_pixels() {
        let value = low + f64::from(level.0[0]) / 65535.0 * (high - low);
        let exact = f64::from(raw[[y as usize, x as usize]]);
        assert!((value - exact).abs() <= (high - low) / 65535.0, "{x} {y}");
    }
    assert_eq!(record["map"]["npy"], "maps/bad.png.map.npy");
}

#[test]
fn sixteen_bits_palettes_and_rotated_pictures_are_frames() {
    let dir = TestDir::new();
    for name in [
        "grey16.png",
        "palette.png",
        "rotated.jpg",
        "cmyk.jpg",
        "rgba.png",
        "still.gif",
    ] {
        dir.write(name, crate::test_dir::picture(name));
        let ran = dir.verb("score", &[name, "--json"]);
        assert_eq!(ran.is_fine().json().len(), 1, "{name}");
    }
    // By the content, not by the name.
    dir.write("frame.jpg", tiny::png(&tiny::frame(4, None)));
    dir.verb("score", &["frame.jpg"]).is_fine();
}

#[test]
fn only_anomalous_frames_have_heat() {
    let dir = TestDir::new();
    dir.verb("score", &["good.png", "bad.png", "--overlay", "seen"])
        .is_fine();
    // The frame is enlarged by a whole factor; a normal frame's pixels stay as they are.
    let grey = |name: &str| {
        let picture = image::open(dir.at("seen").join(name)).unwrap().into_rgb8();
        (0..384).all(|y| {
            (0..384).all(|x| {
                let [r, g, b] = picture.get_pixel(x, y).0;
                r == g && g == b
            })
        })
    };
    assert!(grey("good.png.overlay.png"));
    assert!(!grey("bad.png.overlay.png"));
}

#[test]
fn a_frame_from_before_1970_is_scored_too() {
    let dir = TestDir::new();
    let file = std::fs::File::options()
        .append(true)
        .open(dir.at("good.png"))
        .unwrap();
    let before = std::time::UNIX_EPOCH - std::time::Duration::from_secs(86_400);
    file.set_modified(before).unwrap();
    let ran = dir.verb("score", &["good.png", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&ran.is_fine().stdout).unwrap();
    assert_eq!(line["timestamp"], "1970-01-01T00:00:00.000Z");
}
