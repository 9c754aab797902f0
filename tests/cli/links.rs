//! Bundles whose files are symbolic links.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::test_dir::TestDir;

/// The model as an artefact store keeps it: files by their digests in `blobs`, named by links in
/// `snapshots/1`.
fn stored(dir: &TestDir) -> PathBuf {
    let (blobs, snapshot) = (dir.at("store/blobs"), dir.at("store/snapshots/1"));
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    for (number, name) in dir.files("model").iter().enumerate() {
        let blob = format!("blob-{number}");
        fs::copy(dir.at("model").join(name), blobs.join(&blob)).unwrap();
        let link = snapshot.join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let up = "../".repeat(name.matches('/').count());
        symlink(Path::new(&up).join("../../blobs").join(&blob), link).unwrap();
    }
    snapshot
}

#[test]
fn links_of_an_artefact_store_are_followed() {
    let dir = TestDir::new();
    stored(&dir);
    let score = |model: &str| dir.run(&["score", "--quiet", "--model", model, "bad.png", "--json"]);
    let plain = score("model").is_fine().json();
    let linked = score("store/snapshots/1").is_fine().json();
    assert_eq!(linked[0]["pred_score"], plain[0]["pred_score"]);
    dir.run(&["model", "verify", "store/snapshots/1", "--quiet"])
        .is_fine();
    // The snapshot itself may be a link too.
    symlink("store/snapshots/1", dir.at("current")).unwrap();
    score("current").is_fine();
}

#[test]
fn calibrating_a_linked_bundle_leaves_the_store_alone() {
    let dir = TestDir::new();
    let snapshot = stored(&dir);
    let before = fs::read_to_string(snapshot.join("calibration/calibration.toml")).unwrap();
    let blobs = |dir: &TestDir| {
        let names = dir.files("store/blobs");
        let read = |name: &String| fs::read(dir.at("store/blobs").join(name)).unwrap();
        names.iter().map(read).collect::<Vec<_>>()
    };
    let blobs_before = blobs(&dir);
    for number in 0..4 {
        dir.frame(&format!("normals/{number}.png"), None);
    }
    let ran = dir.run(&[
        "calibrate",
        "--model",
        "store/snapshots/1",
        "normals",
        "--false-alarm-rate",
        "0.2",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let after = fs::read_to_string(snapshot.join("calibration/calibration.toml")).unwrap();
    assert!(
        after != before && after.contains("false-alarm-rate = 0.2"),
        "{after}"
    );
    assert_eq!(blobs(&dir), blobs_before);
    dir.run(&["model", "verify", "store/snapshots/1", "--quiet"])
        .is_fine();
}

#[test]
fn links_that_lead_out_are_refused() {
    let dir = TestDir::new();
    let snapshot = stored(&dir);
    let encoder = snapshot.join("encoder.onnx");
    for (target, words) in [
        (dir.at("model/encoder.onnx"), "outside the bundle"),
        (dir.at("store/encoder.onnx"), "leads nowhere"),
        // Beside the blobs is outside.
        (PathBuf::from("../../copy"), "outside the bundle"),
    ] {
        fs::copy(dir.at("model/encoder.onnx"), dir.at("store/copy")).unwrap();
        fs::remove_file(&encoder).unwrap();
        symlink(target, &encoder).unwrap();
        dir.run(&[
            "score",
            "--quiet",
            "--model",
            "store/snapshots/1",
            "bad.png",
        ])
        .fails_at_once(&["encoder.onnx: is a symbolic link", words]);
    }
    // The same links elsewhere than in a store lead out.
    fs::create_dir_all(dir.at("other/1")).unwrap();
    symlink("../../store/blobs/blob-0", dir.at("other/1/manifest.toml")).unwrap();
    dir.run(&["score", "--quiet", "--model", "other/1", "bad.png"])
        .fails_at_once(&["manifest.toml: is a symbolic link", "outside the bundle"]);
}
