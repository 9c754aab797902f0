//! Regions of interest.

use super::*;

/// A mask of the tiny model's size, white where asked.
fn mask(white: impl Fn(usize) -> bool) -> Vec<u8> {
    let side = tiny::SIDE as u32;
    let samples = (0..side * side)
        .map(|index| 255 * u8::from(white((index % side) as usize)))
        .collect();
    tiny::png(&Frame::from_u8(side, side, PixelFormat::Gray8, samples, "mask").unwrap())
}

#[test]
fn a_mask_is_added_to_a_model_and_calibrated_with() {
    let dir = dir_of(120, plain);
    dir.write("roi.png", mask(tiny::is_inside));
    let before = files(&dir, "model");
    let judged = |model: &str| {
        let ran = dir.run(&["score", "--quiet", "--json", "--model", model, "bad.png"]);
        ran.is_fine().json()[0]["pred_label"].clone()
    };
    // Its bright spot lies where the mask will be black.
    assert_eq!(judged("model"), "anomalous");
    let arguments = ["normals", "--mask", "roi.png", "--out", "masked", "--json"];
    let ran = dir.verb("calibrate", &arguments);
    let record = &ran.is_fine().json()[0];
    assert_eq!(files(&dir, "model"), before);
    assert_eq!(judged("masked"), "normal");
    // The rate of the model, and nothing else of a calibration of other scores.
    assert_eq!(record["false_alarm_rate"], 0.05);
    assert_eq!(record["earlier"], Value::Null);
    close(&record["threshold"], score_of(FAINTEST + 114));

    let masked = Bundle::open(&dir.at("masked")).unwrap();
    assert_eq!(masked.file("mask.png"), Some(&mask(tiny::is_inside)[..]));
    let without = Bundle::open(&dir.at("model")).unwrap();
    assert_ne!(masked.model_id(), without.model_id());
    for name in [
        "encoder.onnx",
        "decoder.onnx",
        "statistics.npy",
        "golden.png",
    ] {
        assert_eq!(masked.file(name), without.file(name), "{name}");
    }
    // What the golden frame gives with this mask, by hand.
    let expected = tiny::expected_masked(&tiny::frame(1, None));
    let found = GoldenValues::read(&masked).unwrap();
    assert!((found.score.unwrap() - expected.score.unwrap()).abs() < 1e-4);
    let pairs = found.values("input").iter().zip(expected.values("input"));
    for (found, expected) in pairs.chain(
        found
            .values("anomaly_map")
            .iter()
            .zip(expected.values("anomaly_map")),
    ) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    dir.run(&["model", "verify", "masked", "--quiet"]).is_fine();

    // In the model's own folder, and a smaller mask in the place of one.
    dir.write("small.png", mask(|x| x < 2));
    dir.run(&[
        "calibrate",
        "--quiet",
        "--model",
        "masked",
        "normals",
        "--mask",
        "small.png",
    ])
    .is_fine();
    let smaller = Bundle::open(&dir.at("masked")).unwrap();
    assert_eq!(smaller.file("mask.png"), Some(&mask(|x| x < 2)[..]));
    assert_ne!(smaller.model_id(), masked.model_id());
    dir.run(&["model", "verify", "masked", "--quiet"]).is_fine();
}

#[test]
fn masks_that_a_model_cannot_take_are_refused() {
    let dir = TestDir::with_model(tiny::masked());
    for index in 0..20 {
        dir.write(&plain(index), chequers(FAINTEST + index));
    }
    dir.write("wider.png", mask(|x| x < 5));
    dir.write("black.png", mask(|_| false));
    let before = files(&dir, "model");
    let with = |mask: &str| dir.verb("calibrate", &["normals", "--mask", mask]);
    with("wider.png").fails_at_once(&["wider.png", "learned nothing"]);
    with("black.png").fails_at_once(&["black.png", "black all over"]);
    with("normals/000.png").fails_at_once(&["normals/000.png", "is no mask"]);
    with("none.png").fails_at_once(&["none.png", "cannot read"]);
    dir.verb("calibrate", &["--from", "l.jsonl", "--mask", "wider.png"])
        .fails_at_once(&["--mask"]);
    dir.write("model/notes.txt", "mine");
    with("wider.png").fails_at_once(&["model", "notes.txt"]);
    fs::remove_file(dir.at("model/notes.txt")).unwrap();
    assert_eq!(files(&dir, "model"), before);
}
