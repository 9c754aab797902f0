//! What judges by features alone: before the VAE is trained, and instead of it.

use std::{fs, process::Stdio, thread, time::Duration};

use edge_vae::{
    Detector, Frame,
    backend::{Engine, EngineOptions},
    bundle::Bundle,
    runtime::{Label, load_vae},
};

use super::{Scratch, assert_fails, stderr, tract};

fn fit<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "fit", "frames", "--out", out, "--size", "64", "--batch", "2", "--score", "features",
    ];
    [&usual[..], more].concat()
}

#[test]
fn features_judge_the_same_with_a_vae_and_without() {
    let scratch = Scratch::new();
    let run = scratch.train(&fit("plain", &["--vae", "off"]));
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(!scratch.path("plain.training/checkpoint").exists());
    let run = scratch.train(&fit("whole", &["--steps", "2"]));
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(stderr(&run).contains("whole judges already, by features alone"));

    let open = |model: &str| Bundle::open(&scratch.path(model)).expect("a bundle");
    let (plain, whole) = (open("plain"), open("whole"));
    assert!(plain.manifest().vae.is_none() && whole.manifest().vae.is_some());
    assert!(
        plain
            .graphs()
            .all(|(name, _)| whole.file(name) == plain.file(name))
    );
    assert!(plain.file("encoder.onnx").is_none() && whole.file("encoder.onnx").is_some());
    let calibrations = [&plain, &whole].map(|bundle| bundle.calibration().expect("a calibration"));
    let [of_plain, of_whole] = calibrations;
    assert_eq!(of_plain.scores, of_whole.scores);
    assert_eq!(of_plain.threshold, of_whole.threshold);
    let reference = |of: &edge_vae::calibration::Calibration| of.reference.clone().expect("a look");
    assert_eq!(reference(of_plain).focus, reference(of_whole).focus);
    assert_eq!(reference(of_plain).divergence, None);
    assert!(reference(of_whole).divergence.is_some());

    let mut detectors = ["plain", "whole"]
        .map(|model| Detector::open(&scratch.path(model), &tract()).expect("a detector"));
    for entry in fs::read_dir(scratch.path("frames/test/good")).expect("a folder") {
        let frame = Frame::open(&entry.expect("a file").path()).expect("a frame");
        let [one, other] = detectors
            .each_mut()
            .map(|d| d.score(&frame).expect("a verdict"));
        assert_eq!(one.verdict.score, other.verdict.score);
        assert_ne!(one.verdict.label, Label::Invalid);
        assert!(one.divergence.is_none() && other.divergence.is_some());
        let drawn = detectors.each_ref().map(|d| d.reconstruction().is_some());
        assert_eq!(drawn, [false, true]);
    }

    let engine = Engine::open(&EngineOptions::default()).expect("an engine");
    let Err(refused) = load_vae(&plain, &engine, 1) else {
        panic!("a VAE");
    };
    let refused = refused.to_string();
    assert!(refused.contains("has no VAE"), "{refused}");
}

#[test]
fn a_run_that_is_killed_while_it_trains_leaves_a_model_that_judges() {
    let scratch = Scratch::new();
    let long = fit("part", &["--steps", "100000"]);
    let mut child = scratch
        .command(&long)
        .stderr(Stdio::null())
        .spawn()
        .expect("the trainer starts");
    let metrics = scratch.path("part.training").join("metrics.jsonl");
    for _ in 0..6000 {
        if metrics.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("the trainer is killed");
    child.wait().expect("the trainer ends");
    let mut detector = Detector::open(&scratch.path("part"), &tract()).expect("a detector");
    assert!(detector.manifest().vae.is_none());
    let frame = Frame::open(&scratch.path("frames/test/good/000.png")).expect("a frame");
    let detection = detector.score(&frame).expect("a verdict");
    assert_ne!(detection.verdict.label, Label::Invalid);
}

#[test]
fn what_needs_a_vae_is_refused_without_one() {
    let scratch = Scratch::new();
    let off = ["fit", "frames", "--out", "none", "--vae", "off"];
    let refused: [(&[&str], &[&str]); 3] = [
        (&["--resume"], &["--resume", "--vae off"]),
        (
            &["--score", "residual"],
            &["--score residual", "without a VAE"],
        ),
        // The VAE's own features; the frames themselves are too large to be compared with.
        (
            &["--score", "features", "--features", "own", "--size", "128"],
            &["--score features", "without a VAE"],
        ),
    ];
    for (flags, words) in refused {
        assert_fails(&scratch.train(&[&off[..], flags].concat()), words);
        assert!(!scratch.path("none").exists());
    }
}
