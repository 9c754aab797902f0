//! Models that judge by features alone.

use std::fs;

use crate::{test_dir::TestDir, tiny};

#[test]
fn a_model_without_a_vae_judges_and_says_what_it_lacks() {
    let dir = TestDir::with_model(tiny::features_alone());
    let verified = dir.run(&["model", "verify", "model", "--quiet"]);
    verified.is_fine();
    let info = dir.run(&["model", "info", "model"]);
    let info = info.is_fine();
    assert!(info.stdout.contains("VAE          none"), "{info:?}");
    let record = dir.run(&["model", "info", "model", "--json"]);
    let record: serde_json::Value = serde_json::from_str(&record.is_fine().stdout).unwrap();
    assert_eq!(record["input_shape"], serde_json::json!([1, 8, 8]));
    assert!(record["latent_shape"].is_null() && record.get("vae").is_none());

    let scored = dir.run(&["score", "--model", "model", "good.png", "--json", "--quiet"]);
    let scored: serde_json::Value = serde_json::from_str(&scored.stdout).unwrap();
    assert!(scored["pred_score"].is_number(), "{scored}");
    assert_ne!(scored["pred_label"], "invalid");
}

#[test]
fn what_only_a_vae_does_is_refused_before_anything_is_written() {
    let dir = TestDir::with_model(tiny::features_alone());
    let verbs: [&[&str]; 5] = [
        &["encode", "--model", "model", "good.png"],
        &[
            "reconstruct",
            "--model",
            "model",
            "good.png",
            "--out",
            "out",
        ],
        &["sample", "--model", "model", "--out", "out"],
        &[
            "interpolate",
            "--model",
            "model",
            "good.png",
            "good.png",
            "--out",
            "way.png",
        ],
        &["likelihood", "--model", "model", "good.png"],
    ];
    for verb in verbs {
        let run = dir.run(&[verb, &["--quiet"]].concat());
        run.fails_at_once(&["model", "has no VAE", "without `--vae off`"]);
    }
    assert!(!dir.at("out").exists() && !dir.at("way.png").exists());
}

#[test]
fn a_model_that_does_nothing_is_refused() {
    let dir = TestDir::with_model(tiny::features_alone());
    let path = dir.at("model").join("manifest.toml");
    let text = fs::read_to_string(&path).unwrap();
    let reads = "reads = \"distance\"";
    assert!(text.contains(reads), "{text}");
    fs::write(&path, text.replace(reads, "reads = \"residual\"")).unwrap();
    let run = dir.run(&["model", "verify", "model", "--quiet"]);
    run.fails_at_once(&[
        "manifest.toml",
        "source `grey` reads residual",
        "only a VAE makes",
    ]);
}
