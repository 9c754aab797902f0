//! Models that are damaged, hostile or absent.

use std::fs;

use edge_vae::bundle::{BundleWriter, DECODER, ENCODER};

use crate::{test_dir::TestDir, tiny};

/// The verbs that open a model, with arguments that would do for a good one.
const VERBS: [&[&str]; 4] = [
    &["score", "--model", "model", "good.png"],
    &[
        "reconstruct",
        "--model",
        "model",
        "good.png",
        "--out",
        "out",
    ],
    &["likelihood", "--model", "model", "good.png"],
    &["model", "verify", "model"],
];

#[track_caller]
fn refused(dir: &TestDir, words: &[&str]) {
    for verb in VERBS {
        dir.run(&[verb, &["--quiet"]].concat()).fails_at_once(words);
    }
    assert_eq!(
        dir.files("")
            .iter()
            .filter(|file| file.starts_with("out/"))
            .count(),
        0
    );
}

/// The model with one file replaced after it was saved.
fn with_file(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> TestDir {
    let dir = TestDir::new();
    let path = dir.at("model").join(name);
    let bytes = change(fs::read(&path).unwrap());
    fs::write(path, bytes).unwrap();
    dir
}

fn with_manifest(from: &str, to: &str) -> TestDir {
    with_file("manifest.toml", |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        text.replacen(from, to, 1).into_bytes()
    })
}

/// A model whose digests are right and whose content is not.
fn with_writer(change: impl FnOnce(&mut BundleWriter)) -> TestDir {
    let mut writer = tiny::writer();
    change(&mut writer);
    TestDir::with_model(writer)
}

#[test]
fn no_model_is_named() {
    let dir = TestDir::new();
    dir.run(&["score", "good.png"]).fails_at_once(&[
        "no model",
        "models/surface",
        "EDGE_VAE_MODEL",
        "--model",
    ]);
    dir.run(&["score", "--model", "nowhere", "good.png"])
        .fails_at_once(&["nowhere", "no such folder"]);
    dir.run(&["score", "--model", "good.png", "good.png"])
        .fails_at_once(&["good.png", "not a folder"]);
    fs::create_dir(dir.at("empty")).unwrap();
    dir.run(&["model", "info", "empty"])
        .fails_at_once(&["empty", "no manifest.toml"]);
}

#[test]
fn the_model_of_the_folder_or_the_variable_is_taken() {
    let dir = TestDir::new();
    let mut command = dir.command(&["score", "good.png", "--quiet"]);
    let ran = command.env("EDGE_VAE_MODEL", "model").output().unwrap();
    crate::test_dir::Ran::of(ran).is_fine();
    fs::create_dir(dir.at("models")).unwrap();
    fs::rename(dir.at("model"), dir.at("models/surface")).unwrap();
    dir.run(&["score", "good.png", "--quiet"]).is_fine();
    // What somebody set goes before what happens to lie there.
    let mut command = dir.command(&["score", "good.png", "--quiet"]);
    let ran = command.env("EDGE_VAE_MODEL", "nowhere").output().unwrap();
    crate::test_dir::Ran::of(ran).fails_at_once(&["nowhere", "no such folder"]);
}

/// As a package lays it out: `PREFIX/bin/edge-vae`, also by a link, and `PREFIX/share/edge-vae`.
#[cfg(unix)]
#[test]
fn the_model_of_the_package_is_taken() {
    let dir = TestDir::new();
    for folder in ["usr/bin", "usr/share/edge-vae/models", "local"] {
        fs::create_dir_all(dir.at(folder)).unwrap();
    }
    fs::rename(dir.at("model"), dir.at("usr/share/edge-vae/models/surface")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_edge-vae"), dir.at("usr/bin/edge-vae")).unwrap();
    std::os::unix::fs::symlink("../usr/bin/edge-vae", dir.at("local/edge-vae")).unwrap();
    for program in ["usr/bin/edge-vae", "local/edge-vae"] {
        let ran = std::process::Command::new(dir.at(program))
            .args(["score", "good.png", "--quiet"])
            .current_dir(dir.at("."))
            .env_remove("EDGE_VAE_MODEL")
            .output()
            .unwrap();
        crate::test_dir::Ran::of(ran).is_fine();
    }
}

#[test]
fn a_missing_graph() {
    let dir = TestDir::new();
    fs::remove_file(dir.at("model").join(DECODER)).unwrap();
    refused(&dir, &[DECODER, "missing"]);
}

#[test]
fn a_truncated_graph() {
    refused(
        &with_file(ENCODER, |bytes| bytes[..bytes.len() / 2].to_vec()),
        &[ENCODER, "bytes"],
    );
    refused(
        &with_writer(|writer| {
            let bytes = writer.files.get_mut(ENCODER).unwrap();
            bytes.truncate(bytes.len() / 2);
        }),
        &[ENCODER],
    );
}

#[test]
fn a_hostile_graph() {
    // Lengths that promise more than there is, nesting, and text.
    for bytes in [
        [0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f].repeat(40),
        vec![0x3a; 5000],
        b"#!/bin/sh\nrm -rf /\n".to_vec(),
        Vec::new(),
    ] {
        refused(
            &with_writer(|writer| {
                writer.files.insert(DECODER.into(), bytes);
            }),
            &[DECODER],
        );
    }
}

#[test]
fn graphs_of_other_shapes() {
    refused(
        &with_writer(|writer| {
            writer.files.insert(ENCODER.into(), tiny::encoder(16));
        }),
        &["encoder", "16"],
    );
}

#[test]
fn weights_that_are_not_numbers() {
    let dir = with_writer(|writer| {
        writer.files.insert(DECODER.into(), tiny::decoder(f32::NAN));
    });
    refused(&dir, &["NaN"]);
}

#[test]
fn a_model_that_computes_something_else() {
    let dir = with_writer(|writer| {
        writer.files.insert(DECODER.into(), tiny::decoder(0.2));
    });
    dir.verb("score", &["good.png"])
        .fails_at_once(&["model", "golden frame"]);
    let ran = dir.run(&["model", "verify", "model", "--quiet"]);
    ran.fails(&["model", "disagrees"]);
    assert!(ran.stdout.contains("differs"), "{}", ran.stdout);
}

#[test]
fn a_changed_byte() {
    let dir = with_file(DECODER, |mut bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    });
    refused(&dir, &[DECODER, "SHA-256"]);
}

#[test]
fn a_manifest_that_is_missing_truncated_or_hostile() {
    let dir = TestDir::new();
    fs::remove_file(dir.at("model/manifest.toml")).unwrap();
    refused(&dir, &["model", "no manifest.toml"]);
    refused(
        &with_file("manifest.toml", |bytes| bytes[..100].to_vec()),
        &["manifest.toml"],
    );
    for hostile in [
        &b"\xff\xfe\x00"[..],
        b"a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        b"schema_version = \"one\"",
        b"",
    ] {
        refused(
            &with_file("manifest.toml", |_| hostile.to_vec()),
            &["manifest.toml"],
        );
    }
    refused(
        &with_file("manifest.toml", |_| b"[".repeat(200_000)),
        &["manifest.toml"],
    );
    refused(
        &with_manifest("encoder.onnx", "../../etc/passwd"),
        &["manifest.toml"],
    );
    refused(
        &with_manifest("width = 8", "width = 4000000000"),
        &["manifest.toml"],
    );
}

#[test]
fn an_unknown_schema() {
    refused(
        &with_manifest("schema_version = 3", "schema_version = 99"),
        &["schema 99", "newer"],
    );
}

#[test]
fn info_shows_what_the_model_is() {
    let dir = TestDir::new();
    let ran = dir.run(&["model", "info", "model"]);
    for part in [
        "tiny-",
        "8×8 pixels, grey",
        "map of 1×2×2",
        "learned variance",
        "by hand",
        "Drawn defects are not yours",
        "no: 899 frames more needed",
        ENCODER,
    ] {
        assert!(
            ran.is_fine().stdout.contains(part),
            "{part:?}: {}",
            ran.stdout
        );
    }
    let json = &dir
        .run(&["model", "info", "model", "--json"])
        .is_fine()
        .json()[0];
    assert_eq!(json["input_shape"], serde_json::json!([1, 8, 8]));
    assert_eq!(json["card"]["dataset"], "by hand");
    assert_eq!(json["schema_version"], 3);
    assert!(json["calibration_statement"].is_string());
    assert_eq!(json["calibration"]["model-id"], json["model_id"]);
    let rows = json["operating_table"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[3]["false_alarm_rate"], 0.05);
    assert_eq!(rows[3]["is_set"], true);
}

#[test]
fn verify_prints_each_difference() {
    let dir = TestDir::new();
    let ran = dir.run(&["model", "verify", "model", "--quiet"]);
    for array in [
        "input",
        "mean",
        "log_variance",
        "reconstruction",
        "anomaly_map",
        "score",
    ] {
        assert!(
            ran.is_fine().stdout.contains(&format!("  {array} ")),
            "{}",
            ran.stdout
        );
    }
    assert!(ran.stdout.contains("agrees"), "{}", ran.stdout);
    let all = dir.run(&["model", "verify", "model", "--all-engines"]);
    assert_eq!(all.code, Some(0), "{all:?}");
    assert!(all.stdout.contains("tract"), "{all:?}");
}
