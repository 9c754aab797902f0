//! `bench`: numbers that belong together.

use std::path::Path;

use crate::test_dir::TestDir;

fn number(record: &serde_json::Value, keys: &[&str]) -> f64 {
    let value = keys.iter().fold(record, |value, key| &value[*key]);
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{keys:?} in {record}"))
}

#[test]
fn each_way_is_measured_and_what_is_missing_is_said() {
    let dir = TestDir::new();
    let ran = dir.run(&["bench", "--model", "model", "--seconds", "0.05", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let said = "edge-vae: left out: ort: ONNX Runtime not found";
    assert!(
        ran.stderr.starts_with(said) && ran.stderr.lines().count() == 1,
        "{}",
        ran.stderr
    );
    let records = ran.json();
    assert_eq!(records[0]["backend"], "tract");
    for record in &records {
        let p = |percent| number(record, &["latency_ms", percent]);
        assert!(
            0.0 < p("p50") && p("p50") <= p("p95") && p("p95") <= p("p99"),
            "{record}"
        );
        assert!(number(record, &["start_ms"]) > 0.0 && number(record, &["frames"]) >= 1.0);
        assert!(number(record, &["frames_per_second"]) > 0.0);
        assert_eq!(
            number(record, &["stages_ms", "read"]),
            0.0,
            "the frame is in memory"
        );
        if cfg!(target_os = "linux") {
            assert!(number(record, &["peak_memory_bytes"]) > 1e6);
        }
    }
}

#[test]
fn files_are_read_anew_and_a_way_can_be_fixed() {
    let dir = TestDir::new();
    let ran = dir.verb(
        "bench",
        &[
            "good.png",
            "bad.png",
            "--backend",
            "tract",
            "--device",
            "cpu",
            "--threads",
            "1",
            "--jobs",
            "2",
            "--seconds",
            "0.05",
        ],
    );
    let lines: Vec<&str> = ran.is_fine().stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.stdout);
    assert!(lines[0].contains("p50 ms") && lines[1].starts_with("tract "));
    let read: f64 = lines[4]
        .split_whitespace()
        .rev()
        .nth(5)
        .unwrap()
        .parse()
        .unwrap();
    assert!(read > 0.0, "{}", lines[4]);

    let ran = dir.verb("bench", &["none.png", "--seconds", "0.05"]);
    ran.fails_at_once(&["none.png"]);
    let ran = dir.verb("bench", &["--seconds", "0"]);
    ran.fails_at_once(&["--seconds", "above 0"]);
}

#[test]
fn onnx_runtime_is_measured_where_it_is() {
    let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else {
        eprintln!("skipped: ORT_DYLIB_PATH names no ONNX Runtime");
        return;
    };
    let dir = TestDir::new();
    let library = Path::new(&library).to_str().unwrap();
    let flags = [
        "--seconds",
        "0.05",
        "--json",
        "--backend",
        "ort",
        "--ort-library",
        library,
    ];
    let records = dir.verb("bench", &flags).is_fine().json();
    assert!(records.iter().all(|record| record["backend"] == "ort"));
    assert!(
        records[0]["engine"]
            .as_str()
            .unwrap()
            .contains("ONNX Runtime")
    );
}

#[test]
fn nodes_are_timed_where_asked_for() {
    let dir = TestDir::new();
    let flags = ["--nodes", "--seconds", "0.05", "--backend", "tract"];
    let records = dir.verb("bench", &[&flags[..], &["--json"]].concat());
    let records = records.is_fine().json();
    assert_eq!(records.len(), 1, "one thread, one frame at a time");
    let nodes = records[0]["nodes"].as_array().unwrap();
    assert!(nodes.len() > 3, "{nodes:?}");
    let shares: f64 = nodes.iter().map(|node| number(node, &["share"])).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert!(nodes.is_sorted_by(|a, b| number(a, &["share"]) >= number(b, &["share"])));
    for node in nodes {
        let named = ["graph", "node", "operator"].map(|key| node[key].as_str().unwrap().is_empty());
        assert_eq!(named, [false; 3], "{node}");
        assert!(number(node, &["ms"]) >= 0.0, "{node}");
    }
    let several = dir.verb("bench", &["--nodes", "--jobs", "2"]);
    several.fails_at_once(&["--nodes", "--jobs"]);
    let text = dir.verb("bench", &flags);
    let text = &text.is_fine().stdout;
    assert!(
        text.contains("nodes of tract") && text.contains("share"),
        "{text}"
    );
}
