//! Frames in tiles, with a mask.

use std::fs;

use edge_vae::{
    Detector, Frame,
    dataset::{Dataset, DatasetOptions},
    frame::{PixelFormat, Samples},
};

use super::{Scratch, assert_fails, stderr, tract};

fn fit<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "fit",
        "frames",
        "--preset",
        "edge",
        "--size",
        "128",
        "--batch",
        "2",
        "--steps",
        "4",
        "--false-alarm-rate",
        "0.2",
        "--out",
        out,
    ];
    arguments.extend(more);
    arguments
}

#[test]
fn tiles_and_a_mask_go_the_whole_way() {
    let scratch = Scratch::new();
    // The left half, in another size than that of the frames.
    image::GrayImage::from_fn(32, 32, |x, _| image::Luma([255 * u8::from(x < 16)]))
        .save(scratch.path("roi.png"))
        .expect("a mask");
    let run = scratch.train(&fit("model", &["--tiles", "176x128", "--mask", "roi.png"]));
    let text = stderr(&run);
    assert!(run.status.success(), "{text}");
    assert!(text.contains("2 tiles of a canvas of 176×128"), "{text}");
    assert!(text.contains("patch features, global mixture"), "{text}");
    assert!(!text.contains("per-location"), "{text}");

    let options = tract();
    let mut detector = Detector::open(&scratch.path("model"), &options).expect("a detector");
    let settings = &detector.manifest().preprocess;
    assert_eq!(settings.canvas_shape()[1..], [128, 176]);
    assert!(detector.manifest().files.contains_key("mask.png"));
    // Statistics of positions are those of the canvas.
    let scoring = detector.manifest().scoring.clone().expect("a scoring");
    for source in &scoring.sources {
        let file = source.statistics.as_ref().expect("statistics");
        let values = match source.name.as_str() {
            "residual" | "likelihood" => 128 * 176,
            "head" => 64 * 88,
            // At a sixteenth, or at the features' own grid.
            _ => continue,
        };
        let bytes = fs::metadata(scratch.path("model").join(file)).expect("the file");
        assert!(bytes.len() as usize / 4 / 2 - values < 64, "{file}");
    }

    let dataset = Dataset::open(&scratch.path("frames"), &DatasetOptions::default());
    let frame = dataset.expect("the data set").train[0]
        .frame()
        .expect("a frame");
    let scored = detector.score(&frame).expect("a verdict");
    let map = detector.anomaly_map().expect("a map").to_owned();
    assert_eq!(map.dim(), (128, 176));
    let least = map.iter().copied().fold(f32::INFINITY, f32::min);
    for ((_, x), &value) in map.indexed_iter() {
        assert!(x < 88 || value == least, "{x}: {value}");
    }
    // What the mask leaves out changes nothing.
    let spoilt = detector.score(&spoilt(&frame)).expect("a verdict");
    assert_eq!(spoilt.verdict.score, scored.verdict.score);
    assert_eq!(detector.anomaly_map().expect("a map"), map);
}

/// The frame with other pixels in its right half.
fn spoilt(frame: &Frame) -> Frame {
    let Samples::U8(samples) = frame.samples() else {
        panic!("the frames have 8 bits");
    };
    let channels = frame.format().channels();
    let row = frame.width() as usize * channels;
    let mut samples = samples.clone();
    for line in samples.chunks_exact_mut(row) {
        for (place, sample) in line[row / 2..].iter_mut().enumerate() {
            *sample = (place * 29 % 256) as u8;
        }
    }
    let format = match channels {
        1 => PixelFormat::Gray8,
        _ => PixelFormat::Rgb8,
    };
    Frame::from_u8(frame.width(), frame.height(), format, samples, "spoilt").expect("a frame")
}

#[test]
fn what_can_not_be_tiled_or_masked_is_said_before_training() {
    let scratch = Scratch::new();
    let small = scratch.train(&fit("model", &["--tiles", "100x128"]));
    assert_fails(&small, &["tiles width is 100", "128"]);
    let vector = ["--tiles", "256x256", "--latent", "vector:16"];
    assert_fails(
        &scratch.train(&fit("model", &vector)),
        &["--tiles", "whole"],
    );
    let missing = scratch.train(&fit("model", &["--mask", "nowhere.png"]));
    assert_fails(&missing, &["--mask nowhere.png"]);
    image::GrayImage::new(8, 8)
        .save(scratch.path("black.png"))
        .expect("a mask");
    let black = scratch.train(&fit("model", &["--mask", "black.png"]));
    assert_fails(&black, &["black.png", "black all over"]);
    let odd = scratch.train(&fit("model", &["--tiles", "large"]));
    assert!(stderr(&odd).contains("WIDTHxHEIGHT"), "{}", stderr(&odd));
}
