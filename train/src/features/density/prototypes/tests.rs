use edge_vae::backend::{BackendError, BackendKind, Engine, EngineOptions};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;

const SHAPE: [usize; 3] = [2, 10, 12];

fn normalise() -> Normalise {
    Normalise {
        mean: vec![0.3, 0.5],
        std: vec![0.2, 0.25],
    }
}

fn frames(count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Pcg64::seed_from_u64(seed);
    (0..count)
        .map(|frame| {
            let kind = frame % 3;
            (0..240)
                .map(|i| {
                    let wave = ((i * (kind + 2)) as f32 * 0.11).sin();
                    wave + 0.3 * random.random::<f32>()
                })
                .collect()
        })
        .collect()
}

fn borrowed(frames: &[Vec<f32>]) -> Vec<&[f32]> {
    frames.iter().map(Vec::as_slice).collect()
}

fn fitted(blur: f32) -> Prototypes {
    let (train, held_out) = (frames(30, 1), frames(9, 2));
    let (train, held_out) = (borrowed(&train), borrowed(&held_out));
    Prototypes::fit(&train, &held_out, SHAPE, &normalise(), blur, 4).unwrap()
}

/// v by its definition in f64; the kernel reaches to int(4·σ + ½) and mirrors the edges.
fn by_definition(frame: &[f32], blur: f64) -> Vec<f64> {
    let Normalise { mean, std } = normalise();
    let value = |i: usize| f64::from(frame[i]) * f64::from(std[i / 120]) + f64::from(mean[i / 120]);
    let level = (0..240).map(value).sum::<f64>() / 240.0;
    let reach = (4.0 * blur + 0.5) as i64;
    let weight = |d: i64| (-0.5 * (d as f64 / blur).powi(2)).exp();
    let total: f64 = (-reach..=reach).map(weight).sum();
    let mirrored = |at: i64, side: i64| {
        let at = at.rem_euclid(2 * side);
        at.min(2 * side - 1 - at) as usize
    };
    let smooth = |i: usize| {
        let (plane, y, x) = (i / 120, (i % 120 / 12) as i64, (i % 12) as i64);
        let mut sum = 0.0;
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let (row, column) = (mirrored(y + dy, 10), mirrored(x + dx, 12));
                let share = weight(dy) * weight(dx) / (total * total);
                sum += share * (value(plane * 120 + row * 12 + column) - level);
            }
        }
        sum
    };
    let d: Vec<f64> = (0..240).map(smooth).collect();
    let length = (d.iter().map(|d| d * d).sum::<f64>() + 240.0 * 1e-4).sqrt();
    d.iter().map(|d| d / length).collect()
}

#[test]
fn distances_by_the_definition() {
    let prototypes = fitted(1.2);
    assert_eq!(prototypes.count(), 11);
    let squared = |frame: &[f32]| -> f64 {
        let v = by_definition(frame, 1.2);
        let to = |row: usize| {
            let centre = prototypes.rows.row(row).transpose().map(f64::from)
                + prototypes.mean.map(f64::from);
            v.iter()
                .zip(centre.iter())
                .map(|(v, c)| (v - c).powi(2))
                .sum()
        };
        (0..prototypes.count())
            .map(to)
            .fold(f64::INFINITY, f64::min)
    };
    // s makes the mean over the held-out frames 1.
    let held_out = frames(9, 2);
    let mean = held_out.iter().map(|f| squared(f)).sum::<f64>() / 9.0;
    for frame in frames(12, 3) {
        let found = f64::from(prototypes.distance(&frame).unwrap());
        let expected = squared(&frame) / mean;
        assert!(
            (found - expected).abs() < 1e-4 * expected.max(1.0),
            "{found}, {expected}"
        );
    }
}

#[test]
fn prototypes_lie_in_the_middle_of_hand_made_clusters() {
    // Three kinds of frames without noise: each is a prototype, another picture is none.
    let kinds: Vec<Vec<f32>> = (0..3)
        .map(|kind| {
            (0..240)
                .map(|i| ((i * (kind + 2)) as f32 * 0.11).sin())
                .collect()
        })
        .collect();
    let train: Vec<Vec<f32>> = (0..60).map(|i| kinds[i % 3].clone()).collect();
    let train = borrowed(&train);
    let prototypes = Prototypes::fit(&train, &train[..6], SHAPE, &normalise(), 0.0, 1).unwrap();
    for kind in &kinds {
        assert!(prototypes.distance(kind).unwrap() < 0.05);
    }
    let other: Vec<f32> = (0..240).map(|i| (i as f32 * 0.73).cos()).collect();
    assert!(prototypes.distance(&other).unwrap() > 100.0);
}

#[test]
fn exposure_changes_nothing_and_an_even_picture_is_far_from_all() {
    let prototypes = fitted(1.0);
    let Normalise { mean, std } = normalise();
    let frame = &frames(1, 8)[0];
    let exposed: Vec<f32> = frame
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let (mean, std) = (mean[i / 120], std[i / 120]);
            ((v * std + mean) * 1.3 - 0.1 - mean) / std
        })
        .collect();
    let [plain, other] = [frame, &exposed].map(|f| prototypes.distance(f).unwrap());
    assert!((plain - other).abs() < 0.02 * plain, "{plain}, {other}");
    for level in [-1.0, 0.0, 7.0] {
        let even: Vec<f32> = (0..240)
            .map(|i| (level - mean[i / 120]) / std[i / 120])
            .collect();
        let far = prototypes.distance(&even).unwrap();
        assert!(far.is_finite() && far > plain, "{far}, {plain}");
    }
}

fn agrees(kind: BackendKind) {
    let options = EngineOptions {
        backend: Some(kind),
        device: edge_vae::backend::Device::Cpu,
        ..EngineOptions::default()
    };
    let engine = match Engine::open(&options) {
        Ok(engine) => engine,
        Err(BackendError::LibraryMissing { .. }) => {
            eprintln!("skipped: no ONNX Runtime; name it by ORT_DYLIB_PATH");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    for blur in [0.0, 1.0] {
        let prototypes = fitted(blur);
        let onnx = prototypes.to_onnx("test", "distance");
        let mut graph = engine.load(&onnx, "features.onnx", 2).unwrap();
        assert_eq!(graph.outputs()[0].shape, [2, 1, 1, 1]);
        let mut pictures = frames(8, 5);
        // One that is even, and one that is a prototype's neighbour.
        pictures.push(vec![0.4; 240]);
        pictures.push(frames(1, 1).remove(0));
        for pair in pictures.chunks_exact(2) {
            let input = pair.concat();
            let mut found = [0.0_f32; 2];
            graph.run(&[&input], &mut [&mut found]).unwrap();
            for (found, frame) in found.iter().zip(pair) {
                let expected = prototypes.distance(frame).unwrap();
                let difference = (found - expected).abs() / expected.max(1.0);
                assert!(difference < 1e-4, "{kind}, {blur}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn tract_computes_the_same() {
    agrees(BackendKind::Tract);
}

#[test]
fn onnx_runtime_computes_the_same() {
    agrees(BackendKind::Ort);
}

#[test]
fn as_many_as_frames_and_size_allow() {
    assert_eq!(count(4096, 784), 128);
    assert_eq!(count(28, 784), 11);
    assert_eq!(count(1, 784), 2);
    assert_eq!(count(1_000_000, 784), 500);
    assert_eq!(count(1_000_000, 3 * 784), 445);
}

#[test]
fn what_cannot_be_fitted_is_named() {
    let good = frames(3, 1);
    let good = borrowed(&good);
    let fit = |train: &[&[f32]], held_out: &[&[f32]], shape| {
        let fitted = Prototypes::fit(train, held_out, shape, &normalise(), 1.0, 0);
        fitted.map(|_| ()).unwrap_err().to_string()
    };
    assert!(fit(&[], &good, SHAPE).contains("0 and 3"));
    assert!(fit(&good, &[], SHAPE).contains("3 and 0"));
    assert!(fit(&good, &good, [1, 128, 128]).contains("at most"));
    assert!(fit(&good, &good, [2, 10, 10]).contains("240 values"));
    let bad = [f32::NAN; 240];
    assert!(fit(&[&bad], &good, SHAPE).contains("not finite"));
}
