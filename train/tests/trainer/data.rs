//! Training frames as users have them.

use std::fs;

use super::{Scratch, assert_fails, fit, stderr};

#[test]
fn unreadable_frames_are_named_counted_and_left_out() {
    let scratch = Scratch::new();
    let good = scratch.path("frames/train/good");
    fs::write(good.join("broken.png"), b"no picture").expect("a file");
    let run = scratch.train(&fit("model", &[]));
    let text = stderr(&run);
    assert!(run.status.success(), "{text}");
    assert!(text.contains("broken.png"), "{text}");
    assert!(
        text.contains("1 of 41 frames left out: 1 unreadable"),
        "{text}"
    );

    for index in 0..5 {
        fs::write(good.join(format!("broken{index}.png")), b"no picture").expect("a file");
    }
    assert_fails(
        &scratch.train(&fit("other", &[])),
        &["6 of 46", "broken.png"],
    );
}

#[test]
fn too_few_frames_and_no_frames_are_errors() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("empty")).expect("a folder");
    let empty = scratch.train(&["fit", "empty", "--out", "model"]);
    assert_fails(&empty, &["empty", "no pictures"]);
    fs::create_dir(scratch.path("few")).expect("a folder");
    for name in ["000.png", "001.png", "002.png"] {
        fs::copy(
            scratch.path("frames/train/good").join(name),
            scratch.path("few").join(name),
        )
        .expect("a frame");
    }
    let few = scratch.train(&[
        "fit", "few", "--preset", "28x28", "--steps", "5", "--out", "model",
    ]);
    assert_fails(&few, &["3 usable training frames", "8"]);
    let missing = scratch.train(&["fit", "missing", "--out", "model"]);
    assert_fails(&missing, &["missing: cannot read: "]);
    assert_eq!(stderr(&missing).matches("os error").count(), 1);
}

#[test]
fn a_folder_that_is_no_bundle_is_not_replaced() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("mine")).expect("a folder");
    fs::write(scratch.path("mine/notes.txt"), b"keep").expect("a file");
    assert_fails(&scratch.train(&fit("mine", &[])), &["mine"]);
    let kept = fs::read(scratch.path("mine/notes.txt")).expect("the file is still there");
    assert_eq!(kept, b"keep");
}

#[test]
fn wrong_flags_are_errors() {
    let scratch = Scratch::new();
    for (flag, value) in [
        ("--false-alarm-rate", "1.5"),
        ("--latent", "vector:0"),
        ("--crop", "0.5,0,0.2,1"),
        ("--likelihood", "poisson"),
        ("--minutes", "-1"),
        ("--beta", "nan"),
    ] {
        let run = scratch.train(&["fit", "frames", "--out", "model", flag, value]);
        assert_eq!(run.status.code(), Some(2));
        assert!(stderr(&run).contains(flag), "{}", stderr(&run));
    }
    let cuda = scratch.train(&fit("model", &["--device", "cuda"]));
    assert_fails(&cuda, &["--device cuda"]);
}

#[test]
fn colour_and_fixed_variance_and_a_map_of_latents() {
    let scratch = Scratch::new();
    let run = scratch.train(&fit(
        "model",
        &[
            "--colour",
            "rgb",
            "--likelihood",
            "gaussian:0.3",
            "--latent",
            "map:4",
        ],
    ));
    assert!(run.status.success(), "{}", stderr(&run));
    let manifest = fs::read_to_string(scratch.path("model/manifest.toml")).expect("a manifest");
    assert!(manifest.contains("colour = \"rgb\""), "{manifest}");
    for file in ["metrics.jsonl", "loss.svg", "checkpoint.safetensors"] {
        assert!(scratch.path("model.training").join(file).exists(), "{file}");
    }
}
