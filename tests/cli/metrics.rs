//! Metrics against scikit-learn, and against AUPRO by its definition in numpy, on scores that are
//! drawn anew for each of many cases.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use edge_vae::metrics::{
    PixelScores, auroc, average_precision, evaluate_images, f1_max, partial_auroc,
};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

/// Scores of frames, maps and masks. With few levels there are ties within and between both kinds.
struct Case {
    normal: Vec<f64>,
    anomalous: Vec<f64>,
    frames: Vec<(Array2<f32>, Array2<bool>)>,
}

fn drawn(seed: u64) -> Case {
    let mut rng = Pcg64::seed_from_u64(seed);
    let levels = [1, 2, 5, 30, 1_000_000][seed as usize % 5];
    let shift = rng.random_range(-1.0..2.0);
    let mut scores = |most: usize, shift: f64| -> Vec<f64> {
        let count = rng.random_range(1..most);
        let score = |_| f64::from(rng.random_range(0..levels)) / f64::from(levels) + shift;
        (0..count).map(score).collect()
    };
    let normal = scores(60, 0.0);
    // By a level's whole share, so that kinds tie.
    let step = (shift * f64::from(levels)).round() / f64::from(levels);
    let anomalous = scores(40, step);
    let frames = (0..4)
        .map(|number| {
            let (height, width) = (rng.random_range(4..14), rng.random_range(4..14));
            let share = if number == 0 {
                0.0
            } else {
                rng.random_range(0.05..0.4)
            };
            let mut mask = Array2::from_shape_fn((height, width), |_| rng.random_bool(share));
            if number == 1 {
                mask[[0, 0]] = true;
            }
            let map = Array2::from_shape_fn((height, width), |place| {
                let score = rng.random_range(0..levels) as f32 / levels as f32;
                score + if mask[place] { 0.5 } else { 0.0 }
            });
            (map, mask)
        })
        .collect();
    Case {
        normal,
        anomalous,
        frames,
    }
}

impl Case {
    fn to_json(&self) -> Value {
        let rows = |array: &Array2<f32>| -> Vec<Vec<f32>> {
            array.rows().into_iter().map(|row| row.to_vec()).collect()
        };
        let mask = |array: &Array2<bool>| -> Vec<Vec<bool>> {
            array.rows().into_iter().map(|row| row.to_vec()).collect()
        };
        json!({
            "normal": self.normal,
            "anomalous": self.anomalous,
            "maps": self.frames.iter().map(|(map, _)| rows(map)).collect::<Vec<_>>(),
            "masks": self.frames.iter().map(|(_, set)| mask(set)).collect::<Vec<_>>(),
        })
    }
}

/// The figures that `metrics.py` gives; `None` where Python or a package is missing.
fn by_python(cases: &[Case]) -> Option<Vec<Value>> {
    let Ok(python) = std::env::var("EDGE_VAE_PYTHON") else {
        eprintln!("SKIPPED: EDGE_VAE_PYTHON names no Python with numpy, scipy, scikit-learn");
        return None;
    };
    let has = Command::new(&python)
        .args(["-c", "import sklearn, scipy"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no scikit-learn");
        return None;
    }
    let mut child = Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = cases
        .iter()
        .map(|case| format!("{}\n", case.to_json()))
        .collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    Some(lines.collect())
}

#[track_caller]
fn same(what: &str, seed: usize, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    let difference = (found - expected).abs();
    assert!(
        difference < 1e-9,
        "{what} of case {seed}: {found}, by Python {expected}"
    );
}

#[test]
fn every_figure_is_that_of_scikit_learn_and_of_the_definition() {
    let cases: Vec<Case> = (0..60).map(drawn).collect();
    let Some(figures) = by_python(&cases) else {
        return;
    };
    assert_eq!(figures.len(), cases.len());
    for (seed, (case, expected)) in cases.iter().zip(&figures).enumerate() {
        let (normal, anomalous) = (&case.normal[..], &case.anomalous[..]);
        let check = |what: &str, found: f64| same(what, seed, found, &expected[what]);
        check("auroc", auroc(normal, anomalous).unwrap());
        check("partial", partial_auroc(normal, anomalous, 0.1).unwrap());
        check(
            "average_precision",
            average_precision(normal, anomalous).unwrap(),
        );
        let best = f1_max(normal, anomalous).unwrap();
        check("f1", best.value);
        check("f1_threshold", best.threshold);
        let reach = |scores: &[f64]| scores.iter().filter(|s| **s >= best.threshold).count();
        let (wrong, found) = (reach(normal), reach(anomalous));
        let confusion = [normal.len() - wrong, wrong, anomalous.len() - found, found];
        assert_eq!(expected["confusion"], json!(confusion), "case {seed}");
        check("precision", found as f64 / (found + wrong) as f64);
        check("recall", found as f64 / anomalous.len() as f64);
        let together = evaluate_images(&[normal, anomalous], None).all.unwrap();
        check("auroc", together.auroc.value);
        check("average_precision", together.average_precision.value);

        let mut pixels = PixelScores::new(2);
        for (number, (map, mask)) in case.frames.iter().enumerate() {
            let mask = mask.view();
            pixels
                .add(usize::from(number > 0), map.view(), Some(mask))
                .unwrap();
        }
        let pixels = pixels.evaluate(None).all.unwrap();
        for (what, found) in [
            ("auroc", pixels.auroc),
            ("aupro", pixels.aupro),
            ("aupro_5", pixels.aupro_5),
        ] {
            assert_eq!(found.error, 0.0);
            same(what, seed, found.value, &expected["pixels"][what]);
        }
    }
}
