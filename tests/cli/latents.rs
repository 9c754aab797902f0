//! From frames to latents and back to pictures.

use std::fs::{self, File};

use ndarray::{Array1, Array2, Array4};
use ndarray_npy::{NpzReader, WriteNpyExt};

use crate::{
    test_dir::TestDir,
    tiny::{self, LOG_VARIANCE},
};

#[test]
fn encode_prints_the_posterior() {
    let dir = TestDir::new();
    let ran = dir.verb("encode", &["bad.png", "--json"]);
    let record = &ran.is_fine().json()[0];
    let expected = tiny::expected(&tiny::frame(1, Some((5, 2))));
    let numbers = |key: &str| -> Vec<f64> {
        record[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    };
    for (found, expected) in numbers("mean").iter().zip(expected.values("mean")) {
        assert!((found - f64::from(*expected)).abs() < 1e-6);
    }
    let log_variance = f64::from(LOG_VARIANCE);
    for (variance, deviation) in numbers("variance")
        .iter()
        .zip(numbers("standard_deviation"))
    {
        assert!((variance - log_variance.exp()).abs() < 1e-6);
        assert!((deviation - (0.5 * log_variance).exp()).abs() < 1e-6);
    }
    // ½ Σ (σ² + μ² − 1 − ln σ²)
    let kl: f64 = expected
        .values("mean")
        .iter()
        .map(|&mean| 0.5 * (log_variance.exp() + f64::from(mean).powi(2) - 1.0 - log_variance))
        .sum();
    assert!((record["kl"].as_f64().unwrap() - kl).abs() < 1e-5);
    assert_eq!(record["shape"], serde_json::json!([1, 2, 2]));
    assert_eq!(record["schema_version"], 1);
    let ran = dir.verb("encode", &["bad.png", "good.png"]);
    assert_eq!(ran.is_fine().stdout.lines().count(), 2);
}

#[test]
fn latents_survive_the_way_through_a_file() {
    let dir = TestDir::new();
    dir.write("torn.png", "x");
    dir.verb(
        "encode",
        &["torn.png", "good.png", "bad.png", "--out", "z.npz"],
    )
    .fails(&["torn.png"]);
    let mut npz = NpzReader::new(File::open(dir.at("z.npz")).unwrap()).unwrap();
    let mean: Array4<f32> = npz.by_name("mean").unwrap();
    assert_eq!(mean.dim(), (2, 1, 2, 2));
    let frame: Array1<u64> = npz.by_name("frame").unwrap();
    assert_eq!(frame.to_vec(), [1, 2]);

    let ran = dir.verb("decode", &["z.npz", "--out", "pictures"]);
    assert_eq!(
        ran.is_fine().stdout.lines().collect::<Vec<_>>(),
        ["pictures/000000.png", "pictures/000001.png"]
    );
    let picture = image::open(dir.at("pictures/000001.png"))
        .unwrap()
        .into_luma8();
    let expected = tiny::expected(&tiny::frame(1, Some((5, 2))));
    let expected = expected.values("reconstruction");
    for (found, expected) in picture.pixels().zip(expected) {
        assert!((f32::from(found.0[0]) - expected * 255.0).abs() <= 0.501);
    }
}

#[test]
fn latents_that_do_not_fit_are_named() {
    let dir = TestDir::new();
    let mut npy = Vec::new();
    Array4::<f32>::zeros((2, 3, 2, 2))
        .write_npy(&mut npy)
        .unwrap();
    dir.write("wide.npy", &npy);
    dir.verb("decode", &["wide.npy", "--out", "out"])
        .fails_at_once(&["wide.npy", "[2, 3, 2, 2]", "1×2×2"]);
    dir.write("cut.npy", &npy[..100]);
    dir.verb("decode", &["cut.npy", "--out", "out"])
        .fails_at_once(&["cut.npy"]);
    dir.write("text.npz", "PK? no");
    dir.verb("decode", &["text.npz", "--out", "out"])
        .fails_at_once(&["text.npz"]);
    dir.verb("decode", &["none.npy", "--out", "out"])
        .fails_at_once(&["none.npy", "No such file"]);
    assert!(!dir.at("out").exists());
}

#[test]
fn samples_depend_on_the_seed_alone() {
    let dir = TestDir::new();
    let sample = |seed: &str, out: &str| {
        let ran = dir.verb("sample", &["--count", "3", "--seed", seed, "--out", out]);
        assert_eq!(ran.is_fine().stdout.lines().count(), 3);
        fs::read(dir.at(out).join("000002.png")).unwrap()
    };
    assert_eq!(sample("7", "a"), sample("7", "b"));
    assert_ne!(sample("7", "a"), sample("8", "c"));
    dir.verb("sample", &["--count", "5", "--out", "d", "--sheet"])
        .is_fine();
    assert_eq!(dir.files("d"), ["sheet.png"]);
    let ran = dir.verb(
        "sample",
        &["--posterior", "bad.png", "--count", "2", "--out", "e"],
    );
    assert_eq!(ran.is_fine().stdout.lines().count(), 2);
    dir.verb("sample", &["--posterior", "none.png", "--out", "f"])
        .fails_at_once(&["none.png"]);
}

#[test]
fn reconstructions_and_interpolations_are_painted() {
    let dir = TestDir::new();
    let ran = dir.verb("reconstruct", &["good.png", "bad.png", "--out", "seen"]);
    assert_eq!(
        ran.is_fine().stdout.lines().collect::<Vec<_>>(),
        ["seen/good.png.sheet.png", "seen/bad.png.sheet.png"]
    );
    dir.verb("reconstruct", &["bad.png", "--out", "plain", "--plain"])
        .is_fine();
    let plain = image::open(dir.at("plain/bad.png.reconstruction.png")).unwrap();
    assert_eq!((plain.width(), plain.height()), (8, 8));
    for extra in [&[][..], &["--spherical"]] {
        let arguments = [
            &["good.png", "bad.png", "--steps", "5", "--out", "way.png"],
            extra,
        ]
        .concat();
        dir.verb("interpolate", &arguments).is_fine();
        let way = image::open(dir.at("way.png")).unwrap();
        assert!(
            way.width() > 4 * way.height(),
            "{}×{}",
            way.width(),
            way.height()
        );
    }
    dir.verb("interpolate", &["good.png", "none.png", "--out", "x.png"])
        .fails_at_once(&["none.png"]);
    assert!(!dir.at("x.png").exists());
}

/// With the model of two tiles, and a frame as large as its canvas.
fn tiled() -> (TestDir, edge_vae::Frame) {
    let dir = TestDir::with_model(tiny::tiled());
    let frame = tiny::canvas_frame(1, Some((5, 2)));
    dir.write("wide.png", tiny::png(&frame));
    (dir, frame)
}

#[test]
fn tiles_are_encoded_one_by_one() {
    let (dir, frame) = tiled();
    let (expected, _) = tiny::expected_tiles(&frame);
    let close = |found: &[f64], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - f64::from(*expected)).abs() < 1e-6);
        }
    };
    let records = dir.verb("encode", &["wide.png", "--json"]).is_fine().json();
    assert_eq!(records.len(), 2);
    for (tile, (record, expected)) in records.iter().zip(&expected).enumerate() {
        assert_eq!(record["tile"], tile);
        assert_eq!(record["tile_bbox"], serde_json::json!([2 * tile, 0, 8, 8]));
        let mean: Vec<f64> = serde_json::from_value(record["mean"].clone()).unwrap();
        close(&mean, expected.values("mean"));
    }
    let text = dir.verb("encode", &["wide.png"]);
    assert!(text.is_fine().stdout.contains("wide.png  tile 1 of 2\n"));

    dir.verb("encode", &["wide.png", "wide.png", "--out", "z.npz"])
        .is_fine();
    let mut npz = NpzReader::new(File::open(dir.at("z.npz")).unwrap()).unwrap();
    let mean: Array4<f32> = npz.by_name("mean").unwrap();
    assert_eq!(mean.dim(), (4, 1, 2, 2));
    let last: Vec<f64> = mean.iter().skip(12).map(|&v| v.into()).collect();
    close(&last, expected[1].values("mean"));
    let frame: Array1<u64> = npz.by_name("frame").unwrap();
    let tile: Array1<u64> = npz.by_name("tile").unwrap();
    assert_eq!(
        (frame.to_vec(), tile.to_vec()),
        (vec![0, 0, 1, 1], vec![0, 1, 0, 1])
    );
    let places: Array2<u64> = npz.by_name("tile_bbox").unwrap();
    assert_eq!(places.row(3).to_vec(), [2, 0, 8, 8]);
    let ran = dir.verb("decode", &["z.npz", "--out", "pictures"]);
    assert_eq!(ran.is_fine().stdout.lines().count(), 4);
}

#[test]
fn tiles_are_reconstructed_as_one_picture() {
    let (dir, frame) = tiled();
    let (_, expected) = tiny::expected_tiles(&frame);
    dir.verb("reconstruct", &["wide.png", "--out", "plain", "--plain"])
        .is_fine();
    let plain = image::open(dir.at("plain/wide.png.reconstruction.png"))
        .unwrap()
        .into_luma8();
    assert_eq!(plain.dimensions(), (tiny::CANVAS as u32, tiny::SIDE as u32));
    for (found, expected) in plain.pixels().zip(expected) {
        assert!((f32::from(found.0[0]) - expected * 255.0).abs() <= 0.501);
    }
    dir.verb("reconstruct", &["wide.png", "--out", "seen"])
        .is_fine();
    assert_eq!(dir.files("seen"), ["wide.png.sheet.png"]);
}

#[test]
fn what_needs_one_posterior_a_frame_refuses_tiles() {
    let (dir, _) = tiled();
    for (verb, arguments, reason) in [
        ("likelihood", &["wide.png"][..], "share pixels"),
        (
            "interpolate",
            &["wide.png", "wide.png", "--out", "way.png"],
            "no single way",
        ),
        (
            "sample",
            &["--posterior", "wide.png", "--out", "drawn"],
            "--posterior",
        ),
    ] {
        dir.verb(verb, arguments)
            .fails_at_once(&["tiny-", "2 tiles", reason]);
    }
    dir.verb("sample", &["--out", "drawn", "--count", "1"])
        .is_fine();
}

#[cfg(unix)]
#[test]
fn latents_are_read_from_files_alone() {
    let dir = TestDir::new();
    let fifo = dir.at("pipe.npy");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for latents in ["/dev/zero", "pipe.npy", "model"] {
        dir.verb("decode", &[latents, "--out", "out"])
            .fails_at_once(&[latents, "not a regular file"]);
    }
}
