//! The models and frames that come with the program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(arguments: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("edge-vae"))
        .current_dir(root())
        .env("EDGE_VAE_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .args(arguments)
        .output()
        .unwrap()
}

fn models() -> Vec<PathBuf> {
    let mut models: Vec<PathBuf> = fs::read_dir(root().join("models"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    models.sort();
    models
}

#[test]
fn every_model_proves_itself_on_every_engine_that_is_here() {
    assert!(!models().is_empty());
    for model in models() {
        for place in [vec![], vec!["--model"]] {
            let mut arguments = vec!["model", "verify"];
            arguments.extend(place);
            arguments.extend([model.to_str().unwrap(), "--all-engines"]);
            let ran = run(&arguments);
            let text = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{}: {text}", model.display());
            if std::env::var_os("ORT_DYLIB_PATH").is_some() {
                let shown = String::from_utf8_lossy(&ran.stdout);
                assert!(shown.contains("ONNX Runtime"), "{shown}");
            }
        }
    }
}

#[test]
fn models_are_a_few_megabytes_and_name_no_path() {
    for model in models() {
        let bytes: u64 = fs::read_dir(&model)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes < 24 << 20, "{}: {bytes} bytes", model.display());
        let manifest = fs::read_to_string(model.join("manifest.toml")).unwrap();
        assert!(!manifest.contains('/'), "{}", model.display());
    }
}

#[test]
fn the_surface_model_tells_the_example_frames_apart() {
    let frames = root().join("examples/frames");
    let ran = run(&["score", frames.to_str().unwrap(), "--json"]);
    assert!(ran.status.success());
    let lines = String::from_utf8(ran.stdout).unwrap();
    let (mut normal, mut defective) = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = record["path"].as_str().unwrap();
        let score = record["pred_score"].as_f64().unwrap();
        if path.contains("normal") {
            assert_eq!(record["pred_label"], "normal", "{path}");
            normal.push(score);
        } else {
            assert_eq!(record["pred_label"], "anomalous", "{path}");
            assert!(!record["regions"].as_array().unwrap().is_empty(), "{path}");
            defective.push(score);
        }
    }
    assert!(normal.len() >= 2 && defective.len() >= 3, "{lines}");
}
