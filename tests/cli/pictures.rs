//! Picture files and frames as cameras, networks and other tools leave them: what was not decoded,
//! or shows nothing, is never judged.

use std::io::Cursor;

use edge_vae::{Frame, frame::DecodeOptions};
use image::ImageFormat;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

use crate::{
    test_dir::{Ran, TestDir, picture},
    tiny,
};

fn encoded(frame: &Frame, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = image::DynamicImage::from(frame.to_rgb8()).into_luma8();
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Position of the first scan's data.
fn scan(jpeg: &[u8]) -> usize {
    let marker = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]);
    marker.unwrap() + 2
}

/// The scan's data cut to a half, and the marker of the end behind it.
fn half(jpeg: &[u8]) -> Vec<u8> {
    let start = scan(jpeg);
    let cut = start + (jpeg.len() - start) / 2;
    [&jpeg[..cut], b"\xff\xd9"].concat()
}

/// Baseline, progressive and with restart intervals.
fn jpegs() -> [(&'static str, Vec<u8>); 3] {
    [
        (
            "baseline",
            encoded(&tiny::frame(4, None), ImageFormat::Jpeg),
        ),
        ("progressive", picture("progressive.jpg")),
        ("restarts", picture("restarts.jpg")),
    ]
}

#[track_caller]
fn labels(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    ran.json()
        .iter()
        .filter(|record| record["pred_label"].is_string())
        .map(|record| (text(&record["pred_label"]), record["reasons"].to_string()))
        .collect()
}

/// What `watch` says of the pictures of a folder.
fn watched(dir: &TestDir, folder: &str) -> Ran {
    let source = format!("{folder}?watch=false");
    dir.run(&["watch", "--model", "model", "--quiet", "--json", &source])
}

#[test]
fn a_jpeg_whose_data_ends_early_is_corrupt_on_every_path() {
    let dir = TestDir::new();
    for (name, jpeg) in jpegs() {
        dir.write(&format!("whole/{name}.jpg"), &jpeg);
        dir.write(&format!("damaged/{name}.jpg"), half(&jpeg));
        dir.write(&format!("data/test/bad/{name}.jpg"), half(&jpeg));
        dir.frame(&format!("data/test/good/{name}.png"), None);
    }
    assert_eq!(
        labels(dir.verb("score", &["whole", "--json"]).is_fine()).len(),
        3
    );
    // Enough for a calibration, were they whole.
    for copy in 0..8 {
        for (name, jpeg) in jpegs() {
            dir.write(&format!("line/{copy}-{name}.jpg"), half(&jpeg));
        }
    }
    for (verb, folder, count) in [("score", "damaged", 3), ("calibrate", "line", 24)] {
        let ran = dir.verb(verb, &[folder]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let corrupt = ran.stderr.matches("truncated or corrupt JPEG").count();
        assert_eq!(corrupt, count, "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
    let ran = dir.verb("evaluate", &["data", "--json"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.stderr.matches("truncated or corrupt JPEG").count(),
        3,
        "{ran:?}"
    );

    let ran = watched(&dir, "damaged");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let labels = labels(&ran);
    assert_eq!(labels.len(), 3);
    for (label, reasons) in labels {
        assert_eq!(label, "invalid");
        assert!(reasons.contains("truncated or corrupt JPEG"), "{reasons}");
    }
}

#[test]
fn a_jpeg_without_its_tables_has_those_of_the_standard() {
    let dir = TestDir::new();
    let with = encoded(&tiny::frame(4, None), ImageFormat::Jpeg);
    let mut without = with[..2].to_vec();
    let mut at = 2;
    while with[at + 1] != 0xda {
        let length = 2 + usize::from(u16::from_be_bytes([with[at + 2], with[at + 3]]));
        if with[at + 1] != 0xc4 {
            without.extend(&with[at..at + length]);
        }
        at += length;
    }
    without.extend(&with[at..]);
    dir.write("frames/with.jpg", &with);
    dir.write("frames/without.jpg", &without);
    let ran = dir.verb("score", &["frames", "--json"]);
    let scores: Vec<_> = ran
        .is_fine()
        .json()
        .iter()
        .map(|r| r["pred_score"].clone())
        .collect();
    assert_eq!(scores[0], scores[1]);
    assert_eq!(labels(watched(&dir, "frames").is_fine()).len(), 2);
}

#[test]
fn one_of_several_pictures_in_a_file_is_chosen_or_none_is_read() {
    let dir = TestDir::new();
    dir.write("pages.tif", picture("pages.tif"));
    dir.write("twice.jpg", picture("restarts.jpg").repeat(2));
    dir.write(
        "maps.pgm",
        b"P5 2 2 255\n\x00\x50\xa0\xffP5 2 2 255\n\x10\x60\xb0\xf0",
    );
    for name in ["pages.tif", "twice.jpg", "maps.pgm"] {
        dir.verb("score", &[name])
            .fails_at_once(&[name, "with 2 pictures", "--page"]);
        let page = |page| dir.verb("score", &[name, "--page", page]);
        assert_eq!(
            labels(
                dir.verb("score", &[name, "--page", "2", "--json"])
                    .is_fine()
            )
            .len(),
            1
        );
        page("3").fails_at_once(&[name, "no page 3", "has 2"]);
    }
    dir.write("moving.gif", picture("animated.gif"));
    dir.verb("score", &["moving.gif", "--page", "1"])
        .fails_at_once(&["animated"]);
}

#[test]
fn more_pixels_than_usual_are_read_where_they_are_allowed() {
    let mut writer = tiny::writer();
    writer.preprocess.max_pixels = Some(500);
    let dir = TestDir::with_model(writer);
    dir.verb("score", &["good.png"])
        .fails_at_once(&["32×32 pixels and the limit is 500", "--max-pixels"]);
    dir.verb("score", &["good.png", "--max-pixels", "1024"])
        .is_fine();
    let dir = TestDir::new();
    dir.verb("score", &["good.png", "--max-pixels", "1023"])
        .fails_at_once(&["the limit is 1023"]);
}

/// Noise of `deviation` about 16, as of a covered lens.
fn covered(side: u32, deviation: f32) -> image::GrayImage {
    let mut random = Pcg64::seed_from_u64(u64::from(side));
    image::GrayImage::from_fn(side, side, |_, _| {
        let noise: f32 = random.sample(StandardNormal);
        image::Luma([(16.0 + deviation * noise).round() as u8])
    })
}

#[test]
fn a_covered_lens_is_invalid_in_score_and_watch() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.at("covered")).unwrap();
    let mut count = 0;
    for side in [32, 64, 256, 512] {
        let plain = covered(side, 1.0);
        let mut hot = plain.clone();
        hot.put_pixel(side / 2, side / 3, image::Luma([255]));
        let mut clock = plain.clone();
        for letter in 0..side / 24 {
            for (x, y) in (0..4).flat_map(|x| (0..7).map(move |y| (x, y))) {
                if side >= 128 {
                    clock.put_pixel(6 + letter * 6 + x, 5 + y, image::Luma([235]));
                }
            }
        }
        for (name, picture) in [("plain", plain), ("hot", hot), ("clock", clock)] {
            for ending in ["png", "jpg"] {
                let path = dir.at(&format!("covered/{side}-{name}.{ending}"));
                picture.save(path).unwrap();
                count += 1;
            }
        }
    }
    for ran in [
        dir.verb("score", &["covered", "--json"]),
        watched(&dir, "covered"),
    ] {
        let labels = labels(ran.is_fine());
        assert_eq!(labels.len(), count);
        for (label, reasons) in labels {
            assert_eq!(label, "invalid", "{ran:?}");
            assert!(reasons.contains("the frame is black"), "{reasons}");
        }
    }
}

fn deep(samples: Vec<u16>) -> Vec<u8> {
    let picture = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(32, 32, samples).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn samples_of_ten_bits_are_recognised_and_read_as_the_model_says() {
    let eight = tiny::frame(4, None);
    let edge_vae::frame::Samples::U8(samples) = eight.samples() else {
        panic!("16 bits");
    };
    // The same light in the lowest ten bits.
    let ten = |v: &u8| (f64::from(*v) * 1023.0 / 255.0).round() as u16;
    let ten: Vec<u16> = samples.iter().map(ten).collect();
    let flat: Vec<u16> = (0..32 * 32).map(|i| 300 + i as u16 % 200).collect();

    let dir = TestDir::new();
    dir.write("flat.png", deep(flat));
    let ran = dir.verb("score", &["flat.png", "--json"]);
    let [(label, reasons)] = &labels(ran.is_fine())[..] else {
        panic!("{ran:?}");
    };
    assert_eq!(label, "invalid");
    assert!(
        reasons.contains("only reach 1023 of 65535: are they of 10 bits?"),
        "{reasons}"
    );

    let mut writer = tiny::writer();
    writer.preprocess.bits = Some(10);
    let dir = TestDir::with_model(writer);
    dir.write("frames/deep.png", deep(ten));
    dir.write("frames/good.png", tiny::png(&eight));
    for ran in [
        dir.verb("score", &["frames", "--json"]),
        watched(&dir, "frames"),
    ] {
        let records = ran.is_fine().json();
        let scores: Vec<f64> = records
            .iter()
            .filter_map(|record| record["pred_score"].as_f64())
            .collect();
        assert_eq!(scores.len(), 2, "{ran:?}");
        assert!(
            (scores[0] - scores[1]).abs() < 0.02 * scores[1].abs().max(1.0),
            "{scores:?}"
        );
    }
    dir.write("twelve.png", deep((0..1024).map(|i| i * 3).collect()));
    dir.verb("score", &["twelve.png"])
        .fails_at_once(&["twelve.png", "more than 10 bits"]);
}

#[test]
fn a_frame_of_quite_other_proportions_is_invalid() {
    let dir = TestDir::new();
    let strip = image::GrayImage::from_fn(4096, 8, |x, y| image::Luma([(x * 7 + y * 31) as u8]));
    strip.save(dir.at("strip.png")).unwrap();
    // The model that comes with the program knows the size of its frames.
    let ran = Ran::of(
        dir.command(&["score", "--quiet", "--json", "strip.png", "--model"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/models/surface"))
            .output()
            .unwrap(),
    );
    let [(label, reasons)] = &labels(ran.is_fine())[..] else {
        panic!("{ran:?}");
    };
    assert_eq!(label, "invalid");
    assert!(reasons.contains("quite other proportions"), "{reasons}");
}

#[test]
fn what_is_read_is_what_was_written() {
    // Guards the helpers above: the whole pictures decode.
    for (name, jpeg) in jpegs() {
        assert!(Frame::decode(&jpeg, name, &DecodeOptions::default()).is_ok());
        assert!(Frame::decode(&half(&jpeg), name, &DecodeOptions::default()).is_err());
    }
}
