//! Training frames as users have them.

use std::fs;

use edge_vae::bundle::Bundle;

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
fn no_frames_are_an_error() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("empty")).expect("a folder");
    let empty = scratch.train(&["fit", "empty", "--out", "model"]);
    assert_fails(&empty, &["empty", "no pictures"]);
    fs::create_dir(scratch.path("black")).expect("a folder");
    let black = image::GrayImage::new(64, 64);
    black.save(scratch.path("black/000.png")).expect("a frame");
    let none = scratch.train(&[
        "fit", "black", "--preset", "28x28", "--steps", "5", "--out", "model",
    ]);
    assert_fails(&none, &["no usable training frame among 1"]);
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

#[test]
fn copies_stay_together_count_once_and_are_named() {
    let scratch = Scratch::new();
    // Of the network's size: what enlarging leaves of a JPEG file's detail is too little.
    let synth = scratch.train(&[
        "synth",
        "--out",
        "large",
        "--width",
        "128",
        "--height",
        "128",
        "--train",
        "20",
        "--test-good",
        "1",
        "--per-kind",
        "1",
    ]);
    assert!(synth.status.success(), "{}", stderr(&synth));
    let good = scratch.path("large/train/good");
    fs::copy(good.join("003.png"), good.join("x-equal.png")).expect("a copy");
    let picture = image::open(good.join("011.png"))
        .expect("a frame")
        .into_rgb8();
    picture
        .save(good.join("x-rewritten.jpg"))
        .expect("a JPEG file");
    let run = scratch.train(&[
        "fit", "large", "--preset", "edge", "--size", "128", "--head", "off", "--batch", "2",
        "--steps", "1", "--score", "latent", "--out", "model",
    ]);
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("2 of 22 training frames show the same"),
        "{said}"
    );
    for pair in [
        "x-equal.png shows what train/good/003.png shows",
        "x-rewritten.jpg shows what train/good/011.png shows",
    ] {
        assert!(said.contains(pair), "{said}");
    }
    assert!(
        said.contains("4 of 20 distinct pictures, held out, can guarantee"),
        "{said}"
    );
    let bundle = Bundle::open(&scratch.path("model")).expect("a bundle");
    let calibration = bundle.calibration().cloned().expect("one");
    let counted = calibration.groups().unwrap_or(calibration.scores.len());
    assert_eq!(counted, 4);
}

/// The scan's data cut to a half, and the marker of the end behind it, which decoders fill in.
fn cut(jpeg: &[u8]) -> Vec<u8> {
    let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]);
    let start = scan.expect("a scan") + 2;
    let end = start + (jpeg.len() - start) / 2;
    [&jpeg[..end], b"\xff\xd9"].concat()
}

#[test]
fn frames_that_a_decoder_would_fill_in_are_left_out_and_named() {
    let scratch = Scratch::new();
    let good = scratch.path("frames/train/good");
    let jpeg = |number: usize| {
        let picture = image::open(good.join(format!("{number:03}.png"))).expect("a frame");
        let mut bytes = std::io::Cursor::new(Vec::new());
        let format = image::ImageFormat::Jpeg;
        picture
            .into_luma8()
            .write_to(&mut bytes, format)
            .expect("a JPEG file");
        bytes.into_inner()
    };
    fs::write(good.join("whole.jpg"), jpeg(0)).expect("a file");
    fs::write(good.join("damaged.jpg"), cut(&jpeg(1))).expect("a file");
    let run = scratch.train(&fit("model", &[]));
    let said = stderr(&run);
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("1 of 42 frames left out: 1 unreadable"),
        "{said}"
    );
    assert!(
        said.contains("damaged.jpg: ") && !said.contains("whole.jpg: "),
        "{said}"
    );
    for number in 0..6 {
        let name = format!("damaged-{number}.jpg");
        fs::write(good.join(name), cut(&jpeg(number))).expect("a file");
    }
    let refused = scratch.train(&fit("other", &[]));
    assert_fails(&refused, &["7 of 48", "more than 10 %", "damaged"]);
    assert!(!scratch.path("other").exists());
}

#[test]
fn ten_bits_in_sixteen_and_large_frames_are_said_and_kept() {
    let scratch = Scratch::new();
    let good = scratch.path("frames/train/good");
    fs::create_dir(scratch.path("deep")).expect("a folder");
    for entry in fs::read_dir(good).expect("the frames") {
        let path = entry.expect("a frame").path();
        let eight = image::open(&path).expect("a frame").into_luma8();
        let (width, height) = eight.dimensions();
        // 0 to 1020 of 65535.
        let samples = eight.into_raw().into_iter().map(|v| 4 * u16::from(v));
        let deep: image::ImageBuffer<image::Luma<u16>, Vec<u16>> =
            image::ImageBuffer::from_raw(width, height, samples.collect()).expect("a picture");
        let name = path.file_name().expect("a name");
        deep.save(scratch.path("deep").join(name))
            .expect("a PNG file");
    }
    let deep = |out: &'static str, flags: &[&'static str]| {
        let command = [
            &[
                "fit", "deep", "--preset", "28x28", "--batch", "8", "--steps", "20",
            ][..],
            &["--latent", "vector:16", "--out", out],
            flags,
        ];
        scratch.train(&command.concat())
    };
    let refused = deep("eight", &[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    let hint = "only reach 1023 of 65535: are they of 10 bits? train with --bits 10";
    assert!(said.contains(hint), "{said}");
    assert!(!scratch.path("eight").exists());

    let run = deep("ten", &["--bits", "10", "--max-pixels", "200000000"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let bundle = Bundle::open(&scratch.path("ten")).expect("a bundle");
    let preprocess = &bundle.manifest().preprocess;
    assert_eq!(preprocess.bits, Some(10));
    assert_eq!(preprocess.max_pixels, Some(200_000_000));

    let small = scratch.train(&fit("small", &["--max-pixels", "4095"]));
    assert_fails(&small, &["000.png", "64×64", "--max-pixels"]);
}
