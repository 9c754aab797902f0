//! A score that no line of the library knows: a graph, and lines of the manifest.

use std::fs;

use edge_vae::{
    Detector, DetectorOptions,
    backend::{Engine, EngineOptions},
    bundle::{Bundle, write_npy},
    runtime::renew_golden,
};
use sha2::{Digest, Sha256};

use crate::{
    test_dir::TestDir,
    tiny::{self, SIDE},
};

fn sha256(parts: &[&[u8]]) -> String {
    let digest = Sha256::digest(parts.concat());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tiny model in `model`, with two more files and what its manifest has to say of them.
fn dir_with_a_further_score() -> TestDir {
    let dir = TestDir::new();
    let read = |name: &str| fs::read(dir.at("model").join(name)).unwrap();
    let graph = tiny::distance_from_grey("colour_distance");
    let moments = [0.01, 0.02].map(|value| [value; SIDE * SIDE]).concat();
    let statistics = write_npy(&[2, SIDE, SIDE], &moments).unwrap();
    let mut manifest = String::from_utf8(read("manifest.toml")).unwrap();
    let mut add = |before: &str, line: &str| {
        assert!(manifest.contains(before), "{manifest}");
        manifest = manifest.replacen(before, &format!("{line}{before}"), 1);
    };
    add("\n[preprocess]", "graphs = [{ file = \"colour.onnx\" }]\n");
    add(
        "    { name = \"residual\"",
        "    { name = \"colour\", reads = \"colour_distance\", smoothing = 0.0, \
         statistics = \"colour.npy\" },\n",
    );
    for (name, bytes) in [("colour.onnx", &graph), ("colour.npy", &statistics)] {
        let (size, digest) = (bytes.len(), sha256(&[bytes.as_slice()]));
        let entry = format!("{{ bytes = {size}, sha256 = \"{digest}\" }}");
        add("\"decoder.onnx\" =", &format!("\"{name}\" = {entry}\n"));
        dir.write(&format!("model/{name}"), bytes);
    }
    let [encoder, decoder, residual] = ["encoder.onnx", "decoder.onnx", "statistics.npy"].map(read);
    let weights = [&encoder, &decoder, &graph, &statistics, &residual].map(Vec::as_slice);
    let [before, after] = [manifest.lines().nth(1).unwrap(), &sha256(&weights)[..8]];
    let id = format!("model_id = \"tiny-{after}\"");
    let old = before.split('"').nth(1).unwrap().to_owned();
    let manifest = manifest.replacen(before, &id, 1);
    dir.write("model/manifest.toml", manifest);
    // The score that judges is the same, and so is its threshold.
    let calibration = String::from_utf8(read("calibration/calibration.toml")).unwrap();
    let calibration = calibration.replace(&old, &format!("tiny-{after}"));
    dir.write("model/calibration/calibration.toml", calibration);
    dir
}

#[test]
fn a_score_is_added_by_the_manifest_alone() {
    let dir = dir_with_a_further_score();
    let folder = dir.at("model");
    let mut bundle = Bundle::open(&folder).unwrap();
    // A bundle proves itself: what nobody computed before is not there to be compared.
    let unproved = Detector::open(&folder, &DetectorOptions::default());
    let message = unproved.err().unwrap().to_string();
    assert!(
        message.contains("has no array `colour_distance`"),
        "{message}"
    );
    let engine = Engine::open(&EngineOptions::default()).unwrap();
    renew_golden(&mut bundle, &engine).unwrap();
    bundle.save(&folder).unwrap();

    let info = dir.run(&["model", "info", "model"]);
    let info = info.is_fine();
    assert!(info.stdout.contains("colour: colour_distance"), "{info:?}");
    let verified = dir.run(&["model", "verify", "model", "--quiet"]);
    assert!(
        verified.is_fine().stdout.contains("colour_distance"),
        "{verified:?}"
    );
    let scored = dir.verb("score", &["--json", "bad.png"]);
    let record = &scored.is_fine().json()[0];
    assert_eq!(record["pred_label"], "anomalous");
    let sources = record["regions"][0]["sources"].as_array().unwrap();
    let names: Vec<&str> = sources
        .iter()
        .filter_map(|s| s["source"].as_str())
        .collect();
    // 0.58 from the grey, in deviations of 0.02; the residual's are of 2.
    assert_eq!(names, ["colour", "residual"]);
    assert!(sources[0]["z"].as_f64().unwrap() > 20.0, "{record}");
}

#[test]
fn a_tensor_that_is_no_map_is_no_score() {
    let dir = dir_with_a_further_score();
    let path = dir.at("model/manifest.toml");
    let manifest = fs::read_to_string(&path).unwrap();
    for (tensor, problem) in [
        ("nothing", "which no graph of the bundle makes"),
        // 1×2×2 is a map, but the statistics are of 8×8 cells.
        ("mean", "has shape [2, 8, 8], expected [2, 2, 2]"),
    ] {
        let reads = format!("reads = \"{tensor}\"");
        fs::write(
            &path,
            manifest.replace("reads = \"colour_distance\"", &reads),
        )
        .unwrap();
        let refused = Detector::open(&dir.at("model"), &DetectorOptions::default());
        let message = refused.err().unwrap().to_string();
        assert!(message.contains(problem), "{message}");
    }
}
