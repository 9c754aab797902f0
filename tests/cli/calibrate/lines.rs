//! Lines of `score` in place of frames.

use super::*;

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
