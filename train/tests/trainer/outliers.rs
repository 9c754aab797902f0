//! Odd training frames: ranked, shown, reviewed, excluded.

use std::fs;

use edge_vae::{Frame, bundle::Bundle};
use serde_json::Value;

use super::{Scratch, assert_fails, fit, stderr};

/// Puts frames with defects among the good ones: their names in the data set.
fn contaminate(scratch: &Scratch) -> Vec<String> {
    let test = scratch.path("frames/test");
    let mut kinds: Vec<_> = fs::read_dir(&test)
        .expect("the test part")
        .map(|entry| entry.expect("a kind").path())
        .filter(|kind| !kind.ends_with("good"))
        .collect();
    kinds.sort();
    let planted = kinds.iter().take(2).enumerate().map(|(number, kind)| {
        let mut frames = fs::read_dir(kind).expect("a kind");
        let frame = frames.next().expect("a frame").expect("a frame").path();
        let name = format!("train/good/planted-{number}.png");
        fs::copy(frame, scratch.path("frames").join(&name)).expect("a copy");
        name
    });
    planted.collect()
}

#[test]
fn odd_frames_are_ranked_shown_and_reviewed() {
    let scratch = Scratch::new();
    let planted = contaminate(&scratch);
    let run = scratch.train(&[
        "fit", "frames", "--out", "model", "--size", "128", "--batch", "2", "--steps", "2",
        "--score", "features", "--json",
    ]);
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    let record: Value = serde_json::from_slice(&run.stdout).expect("one JSON object");
    assert_eq!(record["training_frames"], 42);
    assert_eq!(record["scored_by"], "out-of-fold");
    let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
    assert_eq!(record["model_id"], bundle.model_id());
    let calibration = bundle.calibration().expect("a calibration");
    assert_eq!(record["threshold"], calibration.threshold);

    // The file has all frames and their calibration scores, the highest first.
    let file = scratch.path("model.training/training-frames.json");
    assert_eq!(record["ranking"], "model.training/training-frames.json");
    let ranking: Value =
        serde_json::from_slice(&fs::read(&file).expect("a ranking")).expect("JSON");
    let frames = ranking["frames"].as_array().expect("frames");
    let scores: Vec<f64> = frames
        .iter()
        .map(|f| f["score"].as_f64().expect("a score"))
        .collect();
    let mut expected = calibration.scores.clone();
    expected.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(scores, expected);
    let highest: Vec<&str> = frames
        .iter()
        .take(4)
        .filter_map(|f| f["frame"].as_str())
        .collect();
    assert!(planted.iter().any(|name| name == highest[0]), "{highest:?}");
    let suspicious = record["suspicious"].as_array().expect("frames");
    assert_eq!(suspicious[..], frames[..suspicious.len()]);
    // Named either way.
    assert!(said.contains(highest[0]), "{said}");

    // What the model was made of is in the bundle, by the picture.
    let seen = bundle.training_frames().expect("digests").expect("a list");
    assert_eq!(seen.count(), 42);
    let open = |name: &str| Frame::open(&scratch.path("frames").join(name)).expect("a frame");
    assert!(seen.contains(&open(&planted[0])) && !seen.contains(&open("test/good/000.png")));

    let preview = scratch.train(&[
        "preview", "frames", "--model", "model", "--count", "4", "--out", "seen",
    ]);
    assert!(preview.status.success(), "{}", stderr(&preview));
    let sheet = image::open(scratch.path("seen/ranked.png"))
        .expect("a sheet")
        .into_rgb8();
    // The frames are grey, so that what has a colour is a map.
    let is_coloured = |pixel: &image::Rgb<u8>| pixel.0.iter().max() > pixel.0.iter().min();
    assert!(sheet.pixels().filter(|pixel| is_coloured(pixel)).count() > 1000);

    review(&scratch, highest[0]);
}

#[test]
fn frames_that_look_least_normal_are_trimmed_and_told() {
    let scratch = Scratch::new();
    let planted = contaminate(&scratch);
    fs::write(scratch.path("exclude.txt"), "train/good/000.png\n").expect("a list");
    let flags = |out: &'static str, more: &[&'static str]| {
        let usual = [
            "fit", "frames", "--out", out, "--size", "128", "--batch", "2", "--steps", "1",
            "--json",
        ];
        [&usual[..], more].concat()
    };
    let trim = [
        "--score",
        "features",
        "--trim",
        "0.05",
        "--exclude",
        "exclude.txt",
    ];
    let run = scratch.train(&flags("model", &trim));
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    let record: Value = serde_json::from_slice(&run.stdout).expect("one JSON object");
    // 42 but for the excluded one and a twentieth of the rest.
    assert_eq!(record["training_frames"], 39);
    let statement = record["statement"].as_str().expect("a statement");
    let told = "2 training frames that looked least normal had been left out: if they were normal, \
                up to 4.9 % more are called anomalous";
    assert!(statement.ends_with(told), "{statement}");
    let list = fs::read_to_string(scratch.path("model.training/trimmed.txt")).expect("a list");
    assert!(list.starts_with("train/good/000.png\n# "), "{list}");
    assert_eq!(list.lines().count(), 4);
    assert!(planted.iter().any(|name| list.contains(name)), "{list}");

    // The bundle says it too, also after the run was continued.
    let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
    assert_eq!(bundle.calibration().expect("a calibration").trimmed, 2);
    let again = scratch.train(&flags("model", &["--resume"]));
    let record: Value = serde_json::from_slice(&again.stdout).expect("one JSON object");
    assert_eq!(record["statement"], statement);

    let run = scratch.train(&flags("other", &["--score", "residual", "--trim", "0.05"]));
    assert_fails(&run, &["--trim ranks all frames", "edge-vae-train review"]);
    assert!(!scratch.path("other").exists());
}

/// The page of the ranked frames, anew and with an earlier list.
fn review(scratch: &Scratch, highest: &str) {
    let flags = [
        "review",
        "frames",
        "--model",
        "model",
        "--out",
        "review.html",
    ];
    let run = scratch.train(&[&flags[..], &["--count", "5"]].concat());
    assert!(run.status.success(), "{}", stderr(&run));
    assert_eq!(run.stdout, b"review.html\n");
    let page = || fs::read_to_string(scratch.path("review.html")).expect("a page");
    let text = page();
    let shown = text.matches("<figure ").count();
    assert!((5..=10).contains(&shown), "{shown}");
    assert_eq!(text.matches("src=\"data:image/").count(), 2 * shown);
    assert!(text.contains(&format!("data-frame=\"{highest}\" data-decision=\"\"")));
    assert!(text.contains("each scored by a model of the others"));
    assert!(text.contains("id=\"download\"") && text.contains("ArrowRight"));
    assert!(
        !text.contains("http") && !text.contains("src=\"/"),
        "it needs a network"
    );

    // The last frame of the ranking is not on the page, and stays excluded.
    let list = format!("# earlier\n{highest}\ntrain/good/000.png\n");
    fs::write(scratch.path("exclude.txt"), list).expect("a list");
    let run = scratch.train(&[&flags[..], &["--count", "1", "--exclude", "exclude.txt"]].concat());
    assert!(run.status.success(), "{}", stderr(&run));
    let text = page();
    assert!(text.contains(&format!(
        "data-frame=\"{highest}\" data-decision=\"exclude\""
    )));
    assert!(
        text.contains("data-elsewhere=\"[&quot;train/good/000.png&quot;]\""),
        "{text}"
    );

    // Without the ranking of `fit` the model's own scores do.
    fs::remove_dir_all(scratch.path("model.training")).expect("the folder to go");
    let run = scratch.train(&[&flags[..], &["--count", "2"]].concat());
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(page().contains("which may have been trained on them"));
    let missing = scratch.train(&["review", "frames", "--model", "none", "--out", "no.html"]);
    assert_fails(&missing, &["none"]);
    assert!(!scratch.path("no.html").exists());
}

#[test]
fn excluded_frames_are_left_out_and_unknown_ones_named() {
    let scratch = Scratch::new();
    let list = |text: &str| fs::write(scratch.path("list.txt"), text).expect("a list");
    let exclude = ["--exclude", "list.txt"];
    for (text, words) in [
        (
            "train/good/000.png\n\ntrain/good/none.png\nother.png\n",
            &[
                "list.txt:3: train/good/none.png is no",
                "1 more",
                "such as train/good/000.png",
            ][..],
        ),
        (
            "test/good/000.png\n",
            &["list.txt:1: test/good/000.png is no training frame"],
        ),
    ] {
        list(text);
        assert_fails(&scratch.train(&fit("model", &exclude)), words);
    }
    let absent = scratch.train(&fit("model", &["--exclude", "absent.txt"]));
    assert_fails(&absent, &["--exclude absent.txt: cannot read"]);

    list("\u{feff}# by hand\r\ntrain/good/000.png\r\n./train/good/007.png\r\n");
    let run = scratch.train(&fit("model", &exclude));
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("2 of 40 frames are excluded by list.txt"),
        "{said}"
    );
    assert!(said.contains("38 frames: "), "{said}");
    let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
    let seen = bundle.training_frames().expect("digests").expect("a list");
    let good = |name: &str| {
        let path = scratch.path("frames/train/good").join(name);
        seen.contains(&Frame::open(&path).expect("a frame"))
    };
    assert_eq!(seen.count(), 38);
    assert!(!good("000.png") && !good("007.png") && good("001.png"));
    // Held-out frames are ranked where no folds are.
    let file = scratch.path("model.training/training-frames.json");
    let ranking: Value = serde_json::from_slice(&fs::read(file).expect("a ranking")).expect("JSON");
    assert_eq!(ranking["scored_by"], "held-out");
    let calibration = bundle.calibration().expect("a calibration");
    assert_eq!(
        ranking["frames"].as_array().map(Vec::len),
        Some(calibration.scores.len())
    );

    // A resumed run keeps the list of its checkpoint.
    let resumed = scratch.train(&["fit", "frames", "--resume", "--out", "model"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("excluded by list.txt"));
}
