//! What `evaluate` and `calibrate` say of frames that the model was trained on.

use std::{fs, io::Cursor};

use edge_vae::{
    Frame,
    bundle::{TRAINING_FRAMES, TrainingFrames},
    frame::PixelFormat,
};
use image::ImageFormat;

use crate::{test_dir::TestDir, tiny};

/// A normal frame that no other number gives.
fn normal(number: u8) -> Frame {
    let side = tiny::SIDE;
    let samples = (0..side * side)
        .map(|index| 100 + number * ((index % side + index / side) % 2) as u8)
        .collect();
    let side = side as u32;
    Frame::from_u8(side, side, PixelFormat::Gray8, samples, "normal").unwrap()
}

/// A model that was trained on the normal frames 10, 11 and 12.
fn trained() -> TestDir {
    let mut writer = tiny::writer();
    let seen: TrainingFrames = (10..13).map(|number| normal(number).digest()).collect();
    writer
        .files
        .insert(TRAINING_FRAMES.to_owned(), seen.to_file());
    TestDir::with_model(writer)
}

#[test]
fn evaluate_says_which_frames_the_model_has_seen() {
    let dir = trained();
    dir.frame("data/test/spot/1.png", Some((5, 2)));
    for number in 20..24 {
        let name = format!("data/test/good/{number}.png");
        dir.write(&name, tiny::png(&normal(number)));
    }
    let ran = dir.verb("evaluate", &["data", "--json"]);
    let seen = &ran.is_fine().json()[0]["seen_in_training"];
    assert_eq!(
        (&seen["normal"], &seen["defective"]),
        (&0.into(), &0.into())
    );
    let text = dir.verb("evaluate", &["data"]);
    assert!(!text.is_fine().stdout.contains("used to train"));

    // One as it was, one written anew in another format and in colour, one among the defects.
    dir.write("data/test/good/a.png", tiny::png(&normal(10)));
    let rgb = image::DynamicImage::from(normal(11).to_rgb8());
    let mut bmp = Cursor::new(Vec::new());
    rgb.write_to(&mut bmp, ImageFormat::Bmp).unwrap();
    dir.write("data/test/good/b.bmp", bmp.into_inner());
    dir.write("data/test/spot/c.png", tiny::png(&normal(12)));
    let ran = dir.verb("evaluate", &["data", "--json"]);
    let seen = &ran.is_fine().json()[0]["seen_in_training"];
    assert_eq!(
        (&seen["normal"], &seen["defective"]),
        (&2.into(), &1.into())
    );
    let text = dir.verb("evaluate", &["data", "--html", "page.html"]);
    let page = fs::read_to_string(dir.at("page.html")).unwrap();
    let words = [
        "2 of 6 normal frames were used to train this model: image AUROC",
        "1 of 2 frames with a defect were used to train this model",
    ];
    for words in words {
        assert!(text.is_fine().stdout.contains(words), "{}", text.stdout);
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn calibrate_warns_of_frames_that_the_model_has_seen() {
    let dir = trained();
    for number in 11..31 {
        dir.write(&format!("normals/{number}.png"), tiny::png(&normal(number)));
    }
    let flags = ["normals", "--false-alarm-rate", "0.1", "--json"];
    let ran = dir.run(&[&["calibrate", "--model", "model"], &flags[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let record = &ran.json()[0];
    assert_eq!(record["seen_in_training"], 2);
    let warning = record["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("2 of 20 frames were used to train"),
        "{warning}"
    );
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    // What was told stays with the model.
    assert!(dir.at("model").join(TRAINING_FRAMES).exists());
}

#[test]
fn bundles_that_do_not_say_work_and_damaged_lists_are_named() {
    let dir = TestDir::new();
    dir.frame("data/test/good/1.png", None);
    dir.frame("data/test/spot/1.png", Some((5, 2)));
    let ran = dir.verb("evaluate", &["data", "--json"]);
    assert!(ran.is_fine().json()[0]["seen_in_training"].is_null());

    let mut writer = tiny::writer();
    let list = b"0123456789abcdef\nno digest\n".to_vec();
    writer.files.insert(TRAINING_FRAMES.to_owned(), list);
    let damaged = TestDir::with_model(writer);
    damaged.frame("data/test/good/1.png", None);
    damaged
        .verb("evaluate", &["data"])
        .fails_at_once(&["training-frames.txt: line 2"]);
}
