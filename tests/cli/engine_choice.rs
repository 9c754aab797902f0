//! `--device auto`: the fastest engine that computes what the trainer saw.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use edge_vae::{
    backend::{BackendKind, Engine, EngineOptions},
    bundle::Bundle,
    runtime::renew_golden,
};

use crate::{
    test_dir::{Ran, TestDir},
    tiny,
};

/// ONNX Runtime's library, or `None` said aloud.
fn library() -> Option<PathBuf> {
    let found = env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: no ONNX Runtime library (set ORT_DYLIB_PATH)");
    }
    found
}

/// `score good.png --json` with ONNX Runtime's library in reach.
fn score(dir: &TestDir, library: &Path, extra: &[&str]) -> Ran {
    let model = match extra {
        ["--model", ..] => &[][..],
        _ => &["--model", "model"],
    };
    let arguments = [&["score", "good.png", "--json"], model, extra].concat();
    let mut command = dir.command(&arguments);
    command.env("ORT_DYLIB_PATH", library);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

/// What is kept of the times, one file.
fn kept(dir: &TestDir) -> PathBuf {
    let files = dir.files("cache/choices");
    assert_eq!(files.len(), 1, "{files:?}");
    dir.at("cache/choices").join(&files[0])
}

/// Says in a kept file that an engine takes so many milliseconds.
fn set_time(file: &Path, engine: &str, milliseconds: f64) {
    let mut table: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let trials = table["trial"].as_array_mut().unwrap();
    let is_meant = |trial: &&mut toml::Value| trial["engine"].as_str().unwrap().contains(engine);
    let trial = trials.iter_mut().find(is_meant).unwrap();
    let trial = trial.as_table_mut().unwrap();
    trial.insert("milliseconds".into(), milliseconds.into());
    fs::write(file, table.to_string()).unwrap();
}

#[test]
fn without_onnx_runtime_nothing_is_measured() {
    let dir = TestDir::new();
    let ran = dir.run(&["score", "--model", "model", "good.png", "--json"]);
    assert_eq!(ran.json()[0]["backend"], "tract");
    assert!(ran.stderr.contains("runs on tract"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(" ms"), "{}", ran.stderr);
    assert!(!dir.at("cache").exists());
}

#[test]
fn both_times_are_shown_and_the_faster_engine_runs() {
    let Some(library) = library() else { return };
    let dir = TestDir::new();
    let first = score(&dir, &library, &[]);
    assert!(
        first.stderr.contains("tract 0.") && first.stderr.contains("ONNX Runtime 1."),
        "{}",
        first.stderr
    );
    assert_eq!(first.stderr.matches(" ms").count(), 2, "{}", first.stderr);
    let file = kept(&dir);
    // Later starts read what the first measured, whichever was faster.
    for (tract, ort, expected) in [(9.0, 2.5, "ort"), (2.5, 9.0, "tract")] {
        set_time(&file, "tract", tract);
        set_time(&file, "ONNX", ort);
        let ran = score(&dir, &library, &[]);
        assert_eq!(ran.json()[0]["backend"], expected);
        assert!(ran.stderr.contains(", 2.5 ms a frame; "), "{}", ran.stderr);
        assert!(ran.stderr.contains("takes 9.0 ms"), "{}", ran.stderr);
        // What is asked for runs.
        for asked in ["tract", "ort"] {
            let ran = score(&dir, &library, &["--backend", asked, "--device", "cpu"]);
            assert_eq!(ran.json()[0]["backend"], asked);
            assert!(!ran.stderr.contains("runs on"), "{}", ran.stderr);
        }
    }
    // Both are CPUs: the device says nothing about the engine.
    let cpu = score(&dir, &library, &["--device", "cpu"]);
    assert_eq!(cpu.stderr.matches(" ms").count(), 2, "{}", cpu.stderr);
}

#[test]
fn times_of_something_else_are_measured_anew() {
    let Some(library) = library() else { return };
    let dir = TestDir::new();
    score(&dir, &library, &[]);
    let file = kept(&dir);
    for (what, with) in [("cpu = ", "cpu = \"another\" # "), ("", "no TOML")] {
        set_time(&file, "tract", 777.0);
        let text = fs::read_to_string(&file).unwrap();
        let stale = if what.is_empty() {
            with.to_owned()
        } else {
            text.replace(what, with)
        };
        fs::write(&file, stale).unwrap();
        let ran = score(&dir, &library, &[]);
        assert!(!ran.stderr.contains("777"), "{}", ran.stderr);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("milliseconds") && !text.contains("another"));
    }
}

#[test]
fn an_engine_that_disagrees_is_left_out() {
    let Some(library) = library() else { return };
    let dir = TestDir::new();
    // Golden values of tract to the last bit, and no tolerance for another rounding: of graphs with
    // sums long enough for the order to matter.
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/models/surface");
    let mut bundle = Bundle::open(shipped.as_ref()).unwrap();
    let tract = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        ..EngineOptions::default()
    });
    renew_golden(&mut bundle, &tract.unwrap()).unwrap();
    bundle.save(&dir.at("strict")).unwrap();
    let manifest = dir.at("strict/manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let strict = text
        .replace("tolerance = 0.0001", "tolerance = 1e-12")
        .replace("map-tolerance = 0.01", "map-tolerance = 1e-12");
    assert_ne!(strict, text);
    fs::write(&manifest, strict).unwrap();
    let ran = score(&dir, &library, &["--model", "strict"]);
    assert_eq!(ran.json()[0]["backend"], "tract");
    assert!(
        ran.stderr.contains("ONNX Runtime on cpu is left out: ")
            && ran.stderr.contains("golden frame"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_said_once_and_harms_nothing() {
    let Some(library) = library() else { return };
    let dir = TestDir::with_model(tiny::writer());
    dir.write("cache", "a file in the folder's place");
    for _ in 0..2 {
        let ran = score(&dir, &library, &[]);
        assert_eq!(ran.stderr.matches("measured at every start").count(), 1);
        assert_eq!(ran.stderr.matches(" ms").count(), 2, "{}", ran.stderr);
    }
}
