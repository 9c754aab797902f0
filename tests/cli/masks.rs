//! Masks of data sets as people and tools call, place and save them.

use serde_json::Value;

use crate::test_dir::{Ran, TestDir};

const SIDE: u32 = 32;

/// Whether a pixel is in the spot of a frame with a spot at (5, 2).
fn spot(x: u32, y: u32) -> bool {
    (20..24).contains(&x) && (8..12).contains(&y)
}

fn grey(inside: u8, outside: u8) -> image::DynamicImage {
    image::GrayImage::from_fn(SIDE, SIDE, |x, y| {
        image::Luma([if spot(x, y) { inside } else { outside }])
    })
    .into()
}

/// Two normal frames and one with a spot, whose mask is `mask`, saved as `path` below `data`.
fn evaluated(path: &str, mask: &image::DynamicImage) -> (Ran, Value) {
    let dir = TestDir::new();
    dir.frame("data/test/good/1.png", None);
    dir.frame("data/test/good/2.png", None);
    dir.frame("data/test/spot/7.png", Some((5, 2)));
    let path = dir.at("data").join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    mask.save(path).unwrap();
    let ran = dir.run(&[
        "evaluate",
        "--model",
        "model",
        "data",
        "--json",
        "--bootstrap",
        "0",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let record = ran.json().remove(0);
    (ran, record)
}

#[test]
fn common_names_and_places_give_the_same_metrics() {
    let mask = grey(255, 0);
    let (ran, expected) = evaluated("ground_truth/spot/7_mask.png", &mask);
    assert!(expected["pixels"].is_object(), "{expected}");
    assert!(!ran.stderr.contains("mask"), "{ran:?}");
    for path in [
        "ground_truth/spot/7_gt.png",
        "ground_truth/spot/7_label.png",
        "groundtruth/spot/7.png",
        "masks/spot/7.png",
        "masks/7.png",
        "ground_truth/spot/7/000.png",
        "test/spot/7_mask.png",
        "test/spot/masks/7.png",
    ] {
        let (ran, record) = evaluated(path, &mask);
        assert_eq!(record["pixels"], expected["pixels"], "{path}");
        assert!(!ran.stderr.contains("mask"), "{path}: {ran:?}");
    }
}

#[test]
fn masks_that_fit_no_frame_are_named() {
    let (ran, record) = evaluated("ground_truth/spot/8_mask.png", &grey(255, 0));
    assert!(record["pixels"].is_null(), "{record}");
    assert!(
        ran.stderr.contains("8_mask.png: 1 mask of no frame"),
        "{ran:?}"
    );
}

#[test]
fn masks_are_read_right_however_they_were_saved() {
    let (_, expected) = evaluated("ground_truth/spot/7_mask.png", &grey(255, 0));
    let alpha = image::RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        image::Rgba([255, 255, 255, if spot(x, y) { 255 } else { 0 }])
    });
    for (path, mask) in [
        ("ground_truth/spot/7_mask.jpg", grey(255, 0)),
        ("ground_truth/spot/7_mask.png", grey(3, 0)),
        ("ground_truth/spot/7_mask.png", alpha.into()),
    ] {
        let (ran, record) = evaluated(path, &mask);
        assert_eq!(record["pixels"], expected["pixels"], "{path}: {ran:?}");
    }
}

#[test]
fn what_may_mean_something_else_is_said() {
    let photograph = image::GrayImage::from_fn(SIDE, SIDE, |x, y| {
        image::Luma([((x * 8 + y * 3) % 256) as u8])
    });
    for (mask, words) in [
        (grey(0, 255), "are black and white exchanged?"),
        (photograph.into(), "is it a mask?"),
    ] {
        let (ran, _) = evaluated("ground_truth/spot/7_mask.png", &mask);
        let said = ran.stderr.lines().filter(|line| line.contains(words));
        assert!(
            said.clone().all(|line| line.contains("7_mask.png")),
            "{ran:?}"
        );
        assert_eq!(said.count(), 1, "{ran:?}");
    }
}

#[test]
fn other_names_of_normal_frames_get_a_hint() {
    for name in ["Good", "OK", "Normal"] {
        let dir = TestDir::new();
        dir.frame("data/test/good/1.png", None);
        dir.frame(&format!("data/test/{name}/2.png"), None);
        dir.frame("data/test/spot/7.png", Some((5, 2)));
        let ran = dir.run(&["evaluate", "--model", "model", "data", "--bootstrap", "0"]);
        let hint = format!("{name}/ is taken for a kind of defect");
        assert!(ran.stderr.contains(&hint), "{ran:?}");
    }
}
