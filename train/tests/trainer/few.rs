//! Fewer normal frames than a guarantee takes.

use std::fs;

use edge_vae::{
    Detector, Frame,
    backend::{Engine, EngineOptions},
    bundle::Bundle,
    calibration::Calibration,
};

use super::{Scratch, stderr};

/// A short run after which features of the pretrained backbone decide.
const FEATURES: [&str; 10] = [
    "--preset", "edge", "--size", "128", "--batch", "2", "--steps", "1", "--score", "features",
];

/// The first frames, `files` of them in turn, in a folder of this name.
fn frames(scratch: &Scratch, name: &str, distinct: usize, files: usize) {
    fs::create_dir(scratch.path(name)).expect("a folder");
    for index in 0..files {
        let original = format!("frames/train/good/{:03}.png", index % distinct);
        let copy = scratch.path(name).join(format!("{index:02}.png"));
        fs::copy(scratch.path(&original), copy).expect("a frame");
    }
}

/// What `fit` says, and the calibration of its bundle.
fn fit(scratch: &Scratch, folder: &str, more: &[&str]) -> (String, Calibration) {
    let out = format!("{folder}-model");
    let command = [&["fit", folder, "--out", &out], more].concat();
    let run = scratch.train(&command);
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    let bundle = Bundle::open(&scratch.path(&out)).expect("a bundle");
    (said, bundle.calibration().expect("a calibration").clone())
}

/// The scores of the test frames: normal ones, and ones with a defect.
fn scores(scratch: &Scratch, model: &str) -> [Vec<f64>; 2] {
    let engine = Engine::open(&EngineOptions::default()).expect("tract");
    let bundle = Bundle::open(&scratch.path(model)).expect("a bundle");
    let mut detector = Detector::new(&bundle, &engine).expect("a detector");
    let mut scores = [Vec::new(), Vec::new()];
    for kind in fs::read_dir(scratch.path("frames/test")).expect("the test part") {
        let kind = kind.expect("a kind");
        let defective = usize::from(kind.file_name() != "good");
        for frame in fs::read_dir(kind.path()).expect("a folder") {
            let frame = Frame::open(&frame.expect("a frame").path()).expect("a frame");
            let verdict = detector.score(&frame).expect("a verdict").verdict;
            scores[defective].push(verdict.score.expect("a score"));
        }
    }
    scores
}

#[test]
fn one_frame_ranks_and_guarantees_nothing() {
    let scratch = Scratch::new();
    frames(&scratch, "one", 1, 1);
    let (said, calibration) = fit(&scratch, "one", &FEATURES);
    assert!(
        said.contains("1 frame can guarantee no false-alarm rate; 1.0 % takes 99 frames: 98 more"),
        "{said}"
    );
    assert!(
        said.contains("no guarantee: the threshold is the largest"),
        "{said}"
    );
    assert!(said.contains("No rate is guaranteed"), "{said}");
    assert!(calibration.unguaranteed);
    assert_eq!(calibration.false_alarm_rate, 0.01);
    assert_eq!(Some(&calibration.threshold), calibration.scores.last());
    assert!(calibration.scores.len() > 1, "augmented samples");
    assert!(calibration.p_value(f64::MAX) >= 0.5);
    let manifest = fs::read_to_string(scratch.path("one-model/calibration/calibration.toml"));
    let manifest = manifest.expect("the manifest");
    assert!(manifest.contains("unguaranteed = true"), "{manifest}");

    let [normal, defective] = scores(&scratch, "one-model");
    let pairs = normal
        .iter()
        .flat_map(|n| defective.iter().map(move |d| d > n));
    let right: Vec<bool> = pairs.collect();
    let share = right.iter().filter(|&&right| right).count() as f64 / right.len() as f64;
    assert!(share > 0.6, "{normal:?} {defective:?}");
}

#[test]
fn a_picture_that_comes_thirty_times_is_one() {
    let scratch = Scratch::new();
    frames(&scratch, "copies", 1, 30);
    let small = ["--preset", "28x28", "--steps", "5"];
    let (said, calibration) = fit(&scratch, "copies", &small);
    assert!(
        said.contains("29 of 30 training frames show the same"),
        "{said}"
    );
    assert!(
        said.contains("1 distinct picture can guarantee no false-alarm rate"),
        "{said}"
    );
    assert!(calibration.unguaranteed);
}

#[test]
fn two_frames_and_five_promise_what_so_many_can() {
    let scratch = Scratch::new();
    for (count, rate, words) in [
        (
            2,
            "34 %",
            "2 frames can guarantee a false-alarm rate of 34 %, not 1.0 %",
        ),
        (
            5,
            "17 %",
            "5 frames can guarantee a false-alarm rate of 17 %, not 1.0 %",
        ),
    ] {
        let folder = format!("of{count}");
        frames(&scratch, &folder, count, count);
        let (said, calibration) = fit(&scratch, &folder, &FEATURES);
        assert!(said.contains(words), "{said}");
        let more = format!("1.0 % takes 99 frames: {} more", 99 - count);
        assert!(said.contains(&more), "{said}");
        assert!(!calibration.unguaranteed);
        assert_eq!(calibration.scores.len(), count);
        assert_eq!(calibration.folds, u32::try_from(count).ok());
        assert_eq!(calibration.false_alarm_rate, 1.0 / (count as f64 + 1.0));
        assert!(
            calibration.statement().contains(rate),
            "{}",
            calibration.statement()
        );
        let [normal, defective] = scores(&scratch, &format!("{folder}-model"));
        let all = normal.iter().chain(&defective);
        assert!(all.into_iter().all(|score| score.is_finite()));
    }
}

#[test]
fn what_was_trained_on_two_frames_or_chosen_by_them_promises_nothing() {
    let scratch = Scratch::new();
    let small = ["--preset", "28x28", "--steps", "5"];
    frames(&scratch, "two", 2, 2);
    let (said, calibration) = fit(&scratch, "two", &small);
    assert!(
        said.contains("2 frames can guarantee no false-alarm rate"),
        "{said}"
    );
    assert!(calibration.unguaranteed);
    frames(&scratch, "three", 3, 3);
    let (said, calibration) = fit(&scratch, "three", &small);
    assert!(
        said.contains("1 of 3 frames, held out, can guarantee a false-alarm rate of 50 %"),
        "{said}"
    );
    assert!(!calibration.unguaranteed);
    assert_eq!((calibration.scores.len(), calibration.folds), (1, None));
}
