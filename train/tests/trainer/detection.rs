//! A network with a head, trained on synthetic defects.

use std::{fs, process::Stdio, thread, time::Duration};

use edge_vae::{
    Detector, Frame,
    backend::{Engine, EngineOptions},
    bundle::Bundle,
    frame::PixelFormat,
    runtime::{AdaptationParams, Adapter, GoldenCheck},
};

use super::{Scratch, assert_fails, stderr};

/// A short run of the smallest network with a head.
fn fit<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "fit", "frames", "--preset", "edge", "--size", "128", "--batch", "2", "--steps", "24",
        "--out", out,
    ];
    arguments.extend(more);
    arguments
}

/// A short run after which features of the pretrained backbone decide.
const FEATURES: [&str; 8] = [
    "--size", "128", "--batch", "2", "--steps", "2", "--score", "features",
];

#[test]
fn a_head_is_trained_selected_and_exported_and_survives_being_killed() {
    let scratch = Scratch::new();
    let undisturbed = scratch.train(&fit("undisturbed/model", &[]));
    let text = stderr(&undisturbed);
    assert!(undisturbed.status.success(), "{text}");
    assert!(text.contains("[1, 128, 128]"), "{text}");
    assert!(text.contains("AUROC"), "{text}");
    let metrics = scratch.path("undisturbed/model.training/metrics.jsonl");
    let metrics = fs::read_to_string(metrics).expect("the metrics");
    for line in metrics.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record");
        let auroc = record["head"]["validation_auroc"].as_f64();
        assert!(auroc.is_some_and(|a| (0.0..=1.0).contains(&a)), "{line}");
        assert!(record["validation_objective"].is_f64(), "{line}");
    }
    let curve = scratch.path("undisturbed/model.training/loss.svg");
    let curve = fs::read_to_string(curve).expect("the loss curve");
    assert!(curve.contains("1 − AUROC"));

    let checkpoint = scratch
        .path("killed/model.training")
        .join("checkpoint.safetensors");
    for _ in 0..3 {
        let resume: &[&str] = if checkpoint.exists() {
            &["--resume"]
        } else {
            &[]
        };
        let mut child = scratch
            .command(&fit("killed/model", resume))
            .stderr(Stdio::null())
            .spawn()
            .expect("the trainer starts");
        thread::sleep(Duration::from_millis(1500));
        child.kill().expect("the trainer can be killed");
        child.wait().expect("the trainer ends");
    }
    let resume: &[&str] = if checkpoint.exists() {
        &["--resume"]
    } else {
        &[]
    };
    let last = scratch.train(&fit("killed/model", resume));
    assert!(last.status.success(), "{}", stderr(&last));
    let mut compared = 0;
    for entry in fs::read_dir(scratch.path("undisturbed/model")).expect("the bundle") {
        let file = entry.expect("a file of the bundle").file_name();
        // The manifest tells how long it took.
        if file == "manifest.toml" || file == "calibration" {
            continue;
        }
        let bytes =
            |model: &str| fs::read(scratch.path(model).join(&file)).expect("a file of the bundle");
        assert!(
            bytes("undisturbed/model") == bytes("killed/model"),
            "being killed changed the bits of {file:?}"
        );
        compared += 1;
    }
    assert!(
        compared > 6,
        "encoder, decoder, head, statistics, golden files"
    );

    // What decides is selected after training, so a finished run may be given another.
    let other = scratch.train(&fit("killed/model", &["--resume", "--score", "latent"]));
    assert!(other.status.success(), "{}", stderr(&other));
    let manifest = scratch.path("killed/model/manifest.toml");
    let manifest = fs::read_to_string(manifest).expect("the manifest");
    assert!(manifest.contains("sources = [\"latent\"]"), "{manifest}");
    let encoder = |model: &str| fs::read(scratch.path(model).join("encoder.onnx"));
    assert_eq!(
        encoder("undisturbed/model").expect("an encoder"),
        encoder("killed/model").expect("an encoder")
    );
}

#[test]
fn a_head_is_optional_and_wants_feature_maps() {
    let scratch = Scratch::new();
    let off = ["--head", "off", "--colour", "rgb", "--latent", "map:4"];
    let run = scratch.train(&fit("plain", &off));
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(!scratch.path("plain/head.onnx").exists());
    let metrics = scratch.path("plain.training/metrics.jsonl");
    let metrics = fs::read_to_string(metrics).expect("the metrics");
    assert!(!metrics.contains("auroc"), "{metrics}");

    let digits = [
        "fit", "frames", "--preset", "28x28", "--score", "features", "--steps", "20", "--out",
        "small",
    ];
    let run = scratch.train(&digits);
    let text = stderr(&run);
    assert!(run.status.success(), "{text}");
    assert!(text.contains("prototypes"), "{text}");
    assert!(scratch.path("small/features.onnx").exists());

    let digits = [
        "fit", "frames", "--preset", "28x28", "--head", "on", "--out", "digits",
    ];
    assert_fails(&scratch.train(&digits), &["--head on", "28x28"]);
    let twice = [
        "fit", "frames", "--preset", "28x28", "--size", "128", "--out", "twice",
    ];
    assert_fails(&scratch.train(&twice), &["--size", "28×28"]);
}

#[test]
fn the_pretrained_backbone_is_the_default_and_can_be_left_out() {
    let scratch = Scratch::new();
    let manifest = |model: &str| {
        fs::read_to_string(scratch.path(model).join("manifest.toml")).expect("the manifest")
    };
    let run = scratch.train(&fit("pretrained", &["--score", "features"]));
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(scratch.path("pretrained/backbone.onnx").exists());
    assert!(manifest("pretrained").contains("[feature-extractor]"));
    let own = ["--score", "features", "--features", "own"];
    let run = scratch.train(&fit("own", &own));
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(!scratch.path("own/backbone.onnx").exists());
    assert!(!manifest("own").contains("feature-extractor"));

    let refused = [
        (
            &["--features", "pretrained", "--preset", "28x28"][..],
            "--features own",
        ),
        (
            &["--features", "own", "--feature-maps", "a"],
            "--feature-maps",
        ),
        (&["--features", "absent.onnx"], "absent.onnx"),
    ];
    for (flags, named) in refused {
        let command = [&["fit", "frames", "--out", "refused"], flags].concat();
        assert_fails(&scratch.train(&command), &[named]);
        assert!(!scratch.path("refused").exists());
    }
}

#[test]
fn large_planes_are_kept_on_a_grid_and_proved() {
    let scratch = Scratch::new();
    let run = scratch.train(&[
        "fit",
        "frames",
        "--size",
        "512",
        "--head",
        "off",
        "--features",
        "own",
        "--score",
        "residual-z",
        "--batch",
        "1",
        "--steps",
        "1",
        "--out",
        "large",
    ]);
    assert!(run.status.success(), "{}", stderr(&run));
    let size = |name: &str| {
        let file = fs::metadata(scratch.path("large").join(name));
        file.expect("a file of the bundle").len()
    };
    // 128×128 of 512×512 golden values, 256×256 of as many positions.
    assert!(size("golden.npz") < 500_000);
    assert!((524_288..525_000).contains(&size("statistics-residual.npy")));
    let bundle = Bundle::open(&scratch.path("large")).expect("a bundle");
    let engine = Engine::open(&EngineOptions::default()).expect("tract");
    let proof = GoldenCheck::verify(&bundle, &engine).expect("golden values of tract");
    let names: Vec<&str> = proof.differences.iter().map(|d| d.array.as_str()).collect();
    assert!(
        names.contains(&"anomaly_map") && names.contains(&"input"),
        "{names:?}"
    );
}

/// What the network itself leaves unexplained needs no other.
#[test]
fn reconstructions_are_compared_with_those_of_normal_frames() {
    let scratch = Scratch::new();
    let run = scratch.train(&fit("model", &["--score", "residual-z"]));
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("residual features, per-location Gaussian"),
        "{said}"
    );
    assert!(said.contains("residual, standardised"), "{said}");
    let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
    let scoring = bundle.manifest().scoring.as_ref().expect("a scoring");
    assert!(bundle.manifest().feature_extractor.is_none());
    // Of a network that was hardly trained either may be the better one.
    let chosen = &scoring.image.sources[0];
    let graphs = &bundle.manifest().graphs;
    let has = |name: &str| graphs.iter().any(|graph| graph.file == name);
    let has_features = chosen == "residual-features";
    assert!(has_features || chosen == "residual", "{chosen}");
    assert_eq!(has("residual-features.onnx"), has_features);
    let engine = Engine::open(&EngineOptions::default()).expect("tract");
    let proof = GoldenCheck::verify(&bundle, &engine).expect("golden values of tract");
    let mut names = proof.differences.iter().map(|d| d.array.as_str());
    assert_eq!(names.any(|name| name == "residual_distance"), has_features);
}

#[test]
fn a_vae_over_features_is_a_score() {
    let scratch = Scratch::new();
    let short = [
        "fit", "frames", "--batch", "2", "--steps", "2", "--out", "model",
    ];
    let with = |network: &[&str]| {
        let flags = [&short[..], &["--score", "features-vae"], network].concat();
        scratch.train(&flags)
    };
    let refused = with(&["--preset", "28x28"]);
    assert_fails(&refused, &["features-vae", "28x28"]);
    let run = with(&["--preset", "edge", "--size", "128"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let manifest = fs::read_to_string(scratch.path("model/manifest.toml")).expect("the manifest");
    assert!(manifest.contains("sources = [\"features\"]"), "{manifest}");
}

#[test]
fn where_features_decide_all_frames_are_fitted_to_and_calibrate() {
    let scratch = Scratch::new();
    let fit = |more: &[&str]| {
        let flags = [
            "fit",
            "frames",
            "--out",
            "model",
            "--review-rate",
            "0.3",
            "--json",
        ];
        let command = [&flags[..], more];
        let run = scratch.train(&command.concat());
        assert!(run.status.success(), "{}", stderr(&run));
        let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
        let told: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
        assert_eq!(told["model_id"], bundle.model_id());
        let rows = told["operating_table"]["rows"].as_array().expect("rows");
        assert!(rows.iter().any(|row| row["is_set"] == true), "{told}");
        let calibration = bundle.calibration().cloned();
        (stderr(&run), calibration.expect("a calibration"))
    };
    let (said, folds) = fit(&[&FEATURES[..], &["--false-alarm-rate", "0.05"]].concat());
    let good = || fs::read_dir(scratch.path("frames/train/good")).expect("the frames");
    let frames = good().count();
    assert!(said.contains("each scored out of fold"), "{said}");
    assert_eq!(folds.review.map(|band| band.rate), Some(0.3));
    assert_eq!((folds.scores.len(), folds.folds), (frames, Some(20)));
    assert_eq!(
        folds.threshold,
        folds.threshold_at(0.05).expect("a threshold")
    );

    // The model has seen all of them now, and scores them lower than models that have not.
    let engine = Engine::open(&EngineOptions::default()).expect("tract");
    let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
    let mut detector = Detector::new(&bundle, &engine).expect("a detector");
    let seen = good().map(|entry| {
        let frame = Frame::open(&entry.expect("a frame").path()).expect("a frame");
        let detection = detector.score(&frame).expect("a verdict");
        detection.verdict.score.expect("a score")
    });
    let mut seen: Vec<f64> = seen.collect();
    seen.sort_by(f64::total_cmp);
    let below = seen
        .iter()
        .zip(&folds.scores)
        .filter(|(seen, unseen)| seen < unseen);
    assert_eq!(below.count(), frames, "{seen:?} {:?}", folds.scores);

    // Its file says what it takes to add frames: to those that it learns it is nearer than before,
    // though each is scored by a model that was shown the others alone.
    let params = AdaptationParams {
        folds: 2,
        weight: 50.0,
    };
    let mut adapter = Adapter::new(&bundle, &engine, params).expect("a model that can be adapted");
    // The frames, and samples that weigh as much as 200 more.
    let known = adapter.known();
    assert!((known - (frames as f64 + 200.0)).abs() < 1e-6, "{known}");
    let turned: Vec<Frame> = good()
        .map(|entry| Frame::open(&entry.expect("a frame").path()).expect("a frame"))
        .map(|frame| {
            let picture = image::DynamicImage::from(frame.to_rgb8()).rotate90();
            let (width, height) = (picture.width(), picture.height());
            let samples = picture.into_rgb8().into_raw();
            let format = PixelFormat::Rgb8;
            Frame::from_u8(width, height, format, samples, "turned").expect("a frame")
        })
        .collect();
    let mut before = 0.0;
    for (place, frame) in turned.iter().enumerate() {
        let scored = adapter.learn(frame, place % 2).expect("a score");
        before += scored.score;
    }
    let mut after = 0.0;
    for fold in 0..2 {
        let mut model = adapter.model(fold).expect("a model");
        for frame in turned.iter().skip(fold).step_by(2) {
            after += model.score(frame).expect("a score").score;
        }
    }
    assert!(after < before, "{after} {before}");
    let date = "2026-01-31T12:00:00Z".to_owned();
    let adapted = adapter.finish(folds.clone(), date).expect("a bundle");
    assert_ne!(adapted.model_id(), bundle.model_id());
    GoldenCheck::verify(&adapted, &engine).expect("golden values of its own");
    let drawn = bundle.synthetic_defects().expect("drawn defects");
    assert!(drawn.sizes.iter().all(|&size| size > 0.0 && size < 1.0));
    let found = drawn
        .scores
        .iter()
        .filter(|&&s| s > folds.threshold)
        .count();
    assert!(found > 0 && found <= drawn.scores.len(), "{found}");
    assert!(said.contains("Drawn defects are not yours"), "{said}");
    assert!(
        adapted.synthetic_defects().is_none(),
        "their scores are of the old densities"
    );

    let (said, held_out) = fit(&["--resume", "--calibration", "held-out"]);
    assert!(said.contains("held-out normal frames"), "{said}");
    assert_eq!((held_out.scores.len(), held_out.folds), (frames / 5, None));
}

#[test]
fn groups_are_never_divided_and_limit_the_guarantee() {
    let scratch = Scratch::new();
    let fit = |out: &str, more: &[&str]| {
        let command = [
            &[
                "fit",
                "frames",
                "--preset",
                "28x28",
                "--latent",
                "vector:16",
            ][..],
            &["--steps", "4", "--out", out],
            more,
        ];
        scratch.train(&command.concat())
    };
    // Four tens of frames, of which two train, one chooses and one calibrates.
    let run = fit("grouped", &["--group-by", "([0-9]+)[0-9]\\.png$"]);
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains(
            "1 of 4 groups, held out, can guarantee a false-alarm rate of 50 %, not 1.0 %"
        ),
        "{said}"
    );
    assert!(
        said.contains("20 to train, 10 to select by, 10 held out"),
        "{said}"
    );
    let bundle = Bundle::open(&scratch.path("grouped")).expect("a bundle");
    let calibration = bundle.calibration().cloned().expect("one");
    assert_eq!(
        (calibration.groups(), calibration.scores.len()),
        (Some(1), 10)
    );
    assert_eq!(calibration.false_alarm_rate, 0.5);
    assert!(said.contains("new groups like these"), "{said}");
    let kept = calibration.reference.expect("what frames looked like");
    assert_eq!(kept.frames(), 1);

    let refused = fit("none", &["--group-by", "parent"]);
    assert_fails(&refused, &["1 of at least 3 groups in 40 frames"]);
    let refused = fit("none", &["--group-by", "shift-([0-9]+)"]);
    assert_fails(&refused, &["finds no group in this path"]);
    let refused = fit("none", &["--group-by", "shift"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("0 captures"),
        "{}",
        stderr(&refused)
    );

    // Frames in folds: groups of ten, each scored by a model of other groups.
    let groups = ["--group-by", "([0-9]+)[0-9]\\.png$"];
    let flags = [
        "fit",
        "frames",
        "--out",
        "folds",
        "--false-alarm-rate",
        "0.2",
    ];
    let run = scratch.train(&[&flags[..], &FEATURES, &groups].concat());
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("40 normal frames of 4 groups, each group scored out of fold (4 folds)"),
        "{said}"
    );
    let bundle = Bundle::open(&scratch.path("folds")).expect("a bundle");
    let calibration = bundle.calibration().cloned().expect("one");
    assert_eq!(
        (calibration.groups(), calibration.folds),
        (Some(4), Some(4))
    );
}
