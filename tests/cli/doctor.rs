//! `edge-vae doctor` on the machine of the tests.

use std::net::TcpListener;

use serde_json::Value;

use crate::test_dir::{Ran, TestDir};

fn doctor(dir: &TestDir, arguments: &[&str]) -> Ran {
    dir.run(&[&["doctor"], arguments].concat())
}

/// The findings of a topic, of a run with `--json`.
fn findings(ran: &Ran, topic: &str) -> Vec<Value> {
    let record = ran.json().remove(0);
    let all = record["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["topic"] == topic)
        .cloned()
        .collect()
}

#[test]
fn every_line_is_a_finding_and_the_exit_code_says_whether_it_can_run() {
    let dir = TestDir::new();
    let ran = doctor(&dir, &["--model", "model"]);
    ran.is_fine();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let (last, findings) = lines.split_last().unwrap();
    assert!(last.starts_with("0 errors, "), "{last}");
    for topic in [
        "board",
        "processor",
        "system",
        "gpu",
        "engine",
        "model",
        "camera",
        "decoder",
        "memory",
        "disk",
        "time",
    ] {
        let of_topic = findings
            .iter()
            .filter(|line| line.split_whitespace().nth(1) == Some(topic));
        assert!(of_topic.count() >= 1, "{topic} is missing:\n{}", ran.stdout);
    }
    for line in findings {
        let severity = line.split_whitespace().next().unwrap();
        assert!(["ok", "note", "warning"].contains(&severity), "{line}");
        assert!(severity != "warning" || line.contains(" → "), "{line}");
    }
    assert!(
        ran.stdout.contains("reproduces its golden frame"),
        "{}",
        ran.stdout
    );
    let has_gpu = std::path::Path::new("/dev/nvidiactl").exists();
    assert_ne!(has_gpu, ran.stdout.contains("no NVIDIA GPU here"));
}

#[test]
fn json_has_what_the_lines_say_and_the_engine_that_score_takes() {
    let dir = TestDir::new();
    let ran = doctor(&dir, &["--model", "model", "--json"]);
    ran.is_fine();
    let record = &ran.json()[0];
    assert_eq!(record["schema_version"], 1);
    assert_eq!(record["can_run"], true);
    let engine = &findings(&ran, "engine")[0];
    let scored = dir.verb("score", &["good.png", "--json"]).json().remove(0);
    assert_eq!(engine["details"]["backend"], scored["backend"]);
    assert_eq!(engine["details"]["device"], scored["device"]);
    assert_eq!(
        findings(&ran, "model")[0]["details"]["model_id"],
        scored["model_id"]
    );
    assert_eq!(findings(&ran, "board")[0]["severity"], "ok");
}

#[test]
fn without_a_model_it_says_so_and_can_run() {
    let dir = TestDir::new();
    let ran = doctor(&dir, &["--json"]);
    ran.is_fine();
    let model = &findings(&ran, "model")[0];
    assert_eq!(model["severity"], "note");
    assert!(model["text"].as_str().unwrap().contains("--model DIR"));
}

#[test]
fn a_model_that_is_broken_can_t_run() {
    let dir = TestDir::new();
    std::fs::remove_file(dir.at("model/manifest.toml")).unwrap();
    let ran = doctor(&dir, &["--model", "model", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    assert_eq!(ran.json()[0]["can_run"], false);
    let model = &findings(&ran, "model")[0];
    assert_eq!(model["severity"], "error");
    assert!(model["remedy"].is_string());
}

#[test]
fn a_configuration_is_examined_with_its_devices_ports_and_folders() {
    let dir = TestDir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    dir.write("file", "");
    dir.write(
        "edge-vae.toml",
        format!(
            "model = 'model'\n\
             [[source]]\nuri = '/dev/video-missing'\n\
             [[source]]\nuri = 'synth://surface'\n\
             [[log]]\npath = 'file/events.jsonl'\n\
             [[gpio]]\nline = '/dev/gpiochip-missing:1'\n\
             [[mqtt]]\nurl = 'mqtt://127.0.0.1:{port}'\n\
             [[prometheus]]\naddress = '127.0.0.1:{port}'\n"
        ),
    );
    // The file of the present folder, as `watch` takes it.
    let ran = doctor(&dir, &["--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    let has = |topic: &str, severity: &str, words: &[&str]| {
        let found = findings(&ran, topic);
        let found = found.iter().find(|finding| {
            let text = finding["text"].as_str().unwrap();
            finding["severity"] == severity && words.iter().all(|word| text.contains(word))
        });
        assert!(
            found.is_some(),
            "{topic} {severity} {words:?}: {}",
            ran.stdout
        );
    };
    has("source", "error", &["video-missing", "no such device"]);
    has("source", "ok", &["synth://surface"]);
    has("disk", "error", &["file", "cannot write"]);
    has("sink", "error", &["/dev/gpiochip-missing"]);
    has("sink", "ok", &["mqtt", "127.0.0.1"]);
    has("sink", "error", &["prometheus", "can't be had"]);
    has("model", "ok", &["golden frame"]);

    drop(taken);
    dir.write(
        "other.toml",
        "model = 'model'\n[[source]]\nuri = 'synth://surface'\n[[log]]\npath = 'events.jsonl'\n",
    );
    doctor(&dir, &["--config", "other.toml"]).is_fine();
    assert!(!dir.at("events.jsonl").exists());
}

#[test]
fn a_wrong_call_is_one_line_and_code_2() {
    let dir = TestDir::new();
    doctor(&dir, &["--config", "gone.toml"]).fails_at_once(&["gone.toml"]);
    dir.write("broken.toml", "queue = 'many'");
    doctor(&dir, &["--config", "broken.toml"]).fails_at_once(&["broken.toml", "line 1"]);
    doctor(&dir, &["--jsno"]).fails_at_once(&["--jsno", "edge-vae doctor --help"]);
}
