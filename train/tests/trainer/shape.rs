//! Long frames, whose proportions the tensor keeps.

use edge_vae::{
    Detector, Frame,
    backend::{BackendKind, Engine, EngineOptions, find_ort_library},
    bundle::Bundle,
    frame::{PixelFormat, Samples},
    runtime::GoldenCheck,
};

use super::{Scratch, stderr, tract};

/// Width and height of the frames.
const FRAME: [usize; 2] = [200, 80];

impl Scratch {
    /// With frames of 2.5 : 1 in `strips`.
    fn with_strips() -> Self {
        let scratch = Self::new();
        let [width, height] = FRAME.map(|side| side.to_string());
        let synth = scratch.train(&[
            "synth",
            "--out",
            "strips",
            "--width",
            &width,
            "--height",
            &height,
            "--train",
            "30",
            "--test-good",
            "2",
            "--per-kind",
            "1",
        ]);
        assert!(synth.status.success(), "{}", stderr(&synth));
        scratch
    }

    /// A short run on `strips`.
    fn fit(&self, out: &str, more: &[&str]) -> std::process::Output {
        let short = ["--batch", "2", "--steps", "2", "--out", out];
        self.train(&[&["fit", "strips"], &short[..], more].concat())
    }
}

/// The frame with a dark spot around this column and row.
fn spotted(frame: &Frame, [column, row]: [usize; 2]) -> Frame {
    let Samples::U8(samples) = frame.samples() else {
        panic!("the frames have 8 bits");
    };
    let mut samples = samples.clone();
    for y in row - 3..row + 4 {
        for x in column - 3..column + 4 {
            samples[y * FRAME[0] + x] /= 4;
        }
    }
    let [width, height] = FRAME.map(|side| side as u32);
    Frame::from_u8(width, height, PixelFormat::Gray8, samples, "spotted").expect("a frame")
}

#[test]
fn long_frames_keep_their_proportions_all_the_way() {
    let scratch = Scratch::with_strips();
    let run = scratch.fit("model", &["--size", "128", "--score", "features"]);
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("[1, 80, 192]"), "{said}");

    let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
    let settings = &bundle.manifest().preprocess;
    assert_eq!((settings.width, settings.height), (192, 80));
    let mut kinds = vec![BackendKind::Tract];
    match find_ort_library() {
        Some(_) => kinds.push(BackendKind::Ort),
        None => eprintln!("skipped: no ONNX Runtime library (set ORT_DYLIB_PATH)"),
    }
    for kind in kinds {
        let engine = Engine::open(&EngineOptions {
            backend: Some(kind),
            ..EngineOptions::default()
        });
        GoldenCheck::verify(&bundle, &engine.expect("an engine")).expect("golden values");
    }

    // A backbone of the user's takes pictures of one size, and that is the tensor's.
    let file = scratch.path("model/backbone.onnx").display().to_string();
    let own = ["--head", "off", "--score", "features", "--features", &file];
    let run = scratch.fit("own", &own);
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(stderr(&run).contains("[1, 80, 192]"), "{}", stderr(&run));

    let options = tract();
    let mut detector = Detector::open(&scratch.path("model"), &options).expect("a detector");
    let normal = Frame::open(&scratch.path("strips/test/good/000.png")).expect("a frame");
    let score = |detector: &mut Detector, frame| detector.score(frame).expect("one").verdict.score;
    let usual = score(&mut detector, &normal);
    for place in [[20, 60], [100, 40], [170, 15]] {
        let frame = spotted(&normal, place);
        let found = detector.score(&frame).expect("a verdict");
        assert!(found.verdict.score > usual, "{place:?}");
        let map = detector.frame_map(&found).expect("a map");
        assert_eq!(map.dim(), (FRAME[1], FRAME[0]));
        let peak = map.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1));
        let ((row, column), _) = peak.expect("the map is not empty");
        // A cell of the features is eight pixels of the frame.
        let off = [column.abs_diff(place[0]), row.abs_diff(place[1])];
        assert!(off.iter().all(|&off| off <= 12), "{place:?}: {off:?}");
    }
}

#[test]
fn the_tensor_is_a_square_where_proportions_differ_and_what_is_asked_for() {
    let scratch = Scratch::with_strips();
    let small = ["--head", "off", "--features", "own", "--score", "latent"];
    let exact = [&small[..], &["--size", "160x64"]].concat();
    let run = scratch.fit("exact", &exact);
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("[1, 64, 160]"), "{said}");

    let refused = [("100", "multiple of 16"), ("480x176", "multiple of 32")];
    for (size, reason) in refused {
        let run = scratch.fit("refused", &["--size", size]);
        assert!(stderr(&run).contains(reason), "{}", stderr(&run));
        assert!(!scratch.path("refused").exists());
    }

    let folder = scratch.path("strips/train/good");
    let upright = image::open(folder.join("000.png"))
        .expect("a frame")
        .rotate90();
    for number in 0..3 {
        let path = folder.join(format!("upright-{number}.png"));
        let other = upright.adjust_contrast(number as f32);
        other.save(path).expect("a picture");
    }
    let mixed = [&small[..], &["--size", "128"]].concat();
    let run = scratch.fit("mixed", &mixed);
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("[1, 128, 128]"), "{said}");
    assert!(said.contains("proportions"), "{said}");
}
