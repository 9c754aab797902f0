//! `likelihood`, on a model whose evidence is known in closed form.

use edge_vae::bundle::{BundleWriter, DECODER};

use crate::{
    test_dir::TestDir,
    tiny::{self, SIDE, SQUARE},
};

/// The tiny model with σ = 1 at each pixel, so that its posterior is near the true one, and
/// without a scoring, whose golden values would differ.
fn writer() -> BundleWriter {
    let mut writer = tiny::writer();
    let mut values = tiny::expected(&tiny::frame(1, None));
    values.insert(
        "reconstruction_log_variance",
        &[1, SIDE, SIDE],
        &[0.0; SIDE * SIDE],
    );
    values.remove("anomaly_map");
    writer.scoring = None;
    writer.calibration = None;
    writer.golden.score = None;
    writer.files.remove("statistics.npy");
    writer.files.insert(DECODER.into(), tiny::decoder(1.0));
    writer
        .files
        .insert("golden.npz".into(), values.to_npz().unwrap());
    writer
}

/// log p(x) of the model of [`writer`]. A square of n = 16 pixels is N(0, I + 11ᵀ), whose
/// determinant is 1 + n, and whose inverse is I − 11ᵀ/(1 + n).
fn evidence(input: &[f32]) -> f64 {
    let n = (SQUARE * SQUARE) as f64;
    let squares = SIDE / SQUARE;
    let mut sums = vec![(0.0, 0.0); squares * squares];
    for (index, &x) in input.iter().enumerate() {
        let square = index / SIDE / SQUARE * squares + index % SIDE / SQUARE;
        sums[square].0 += f64::from(x);
        sums[square].1 += f64::from(x).powi(2);
    }
    sums.iter()
        .map(|(sum, squares)| {
            let distance = squares - sum * sum / (1.0 + n);
            -0.5 * (n * std::f64::consts::TAU.ln() + (1.0 + n).ln() + distance)
        })
        .sum()
}

fn records(dir: &TestDir, arguments: &[&str]) -> Vec<serde_json::Value> {
    let ran = dir.verb("likelihood", &[&["--json"], arguments].concat());
    ran.is_fine().json()
}

#[test]
fn the_estimate_meets_the_closed_form() {
    let dir = TestDir::with_model(writer());
    let found = records(&dir, &["good.png", "bad.png", "--samples", "20000"]);
    assert_eq!(found.len(), 3);
    for (record, spot) in found.iter().zip([None, Some((5, 2))]) {
        let exact = evidence(tiny::expected(&tiny::frame(1, spot)).values("input"));
        let bound = record["log_likelihood"].as_f64().unwrap();
        // With some 10⁴ effective samples the error is about 0.01.
        assert!((bound - exact).abs() < 0.05, "{bound} {exact}");
        let elbo = record["elbo"].as_f64().unwrap();
        assert!(elbo < exact && elbo > exact - 2.0, "{elbo} {exact}");
        assert_eq!(
            elbo,
            record["reconstruction"].as_f64().unwrap() - record["kl"].as_f64().unwrap()
        );
        assert!(record["effective_sample_size"].as_f64().unwrap() > 2000.0);
        // One level of 256 is 1/255.
        let bits = (-bound + 64.0 * 255_f64.ln()) / (64.0 * 2_f64.ln());
        assert!((record["bits_per_dimension"].as_f64().unwrap() - bits).abs() < 1e-9);
    }
    assert!(found.iter().all(|one| one["schema_version"] == 1));
    let summary = &found[2];
    assert_eq!(
        (&summary["kind"], &summary["frames"]),
        (&"summary".into(), &2.into())
    );
    let of = |i: usize| found[i]["log_likelihood"].as_f64().unwrap();
    let nll = &summary["negative_log_likelihood"];
    assert!((nll["mean"].as_f64().unwrap() + 0.5 * (of(0) + of(1))).abs() < 1e-9);
    // s/√2 of two values is half their distance.
    let error = nll["standard_error"].as_f64().unwrap();
    assert!((error - 0.5 * (of(0) - of(1)).abs()).abs() < 1e-9);
}

#[test]
fn results_depend_on_the_seed_and_on_nothing_else() {
    let dir = TestDir::with_model(writer());
    for i in 0..7 {
        dir.frame(&format!("set/{i}.png"), Some((i, i)));
    }
    let with = |extra: &[&str]| -> Vec<f64> {
        let arguments = [&["set", "--samples", "37"], extra].concat();
        let found = records(&dir, &arguments);
        let frames = &found[..found.len() - 1];
        frames
            .iter()
            .map(|one| one["log_likelihood"].as_f64().unwrap())
            .collect()
    };
    let reference = with(&["--threads", "1"]);
    assert_eq!(reference.len(), 7);
    assert_eq!(with(&["--threads", "3"]), reference);
    for (found, expected) in with(&["--batch", "5"]).iter().zip(&reference) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    assert_ne!(with(&["--seed", "1"]), reference);
    let some = with(&["--limit", "3"]);
    assert!(
        some.len() == 3 && some.iter().all(|one| reference.contains(one)),
        "{some:?}"
    );
}

#[test]
fn unreadable_frames_are_named_and_left_out() {
    let dir = TestDir::with_model(writer());
    dir.write("torn.png", "x");
    let ran = dir.verb("likelihood", &["torn.png", "good.png", "--json"]);
    let summary = &ran.fails(&["torn.png"]).json()[1];
    assert_eq!(
        (&summary["frames"], &summary["failed"]),
        (&1.into(), &1.into())
    );
    assert!(summary["kl"]["standard_error"].is_null());
    dir.verb("likelihood", &["good.png", "--binarise", "dynamic"])
        .fails_at_once(&["--binarise", "Bernoulli"]);
    dir.verb("likelihood", &["good.png", "--split", "test"])
        .fails_at_once(&["--split", "good.png"]);
    let text = dir.verb("likelihood", &["good.png"]);
    for part in ["-log p(x)", "KL", "bits/dimension", "1 frame,"] {
        assert!(text.is_fine().stdout.contains(part), "{}", text.stdout);
    }
}

#[test]
fn pictures_below_a_folder_called_test_are_pictures() {
    let dir = TestDir::with_model(writer());
    dir.frame("set/test/1.png", None);
    dir.frame("set/other/2.png", None);
    assert_eq!(records(&dir, &["set"]).len(), 3);
    dir.verb("likelihood", &["set", "--split", "test"])
        .fails_at_once(&["set", "train/good"]);
    // Masks are not.
    dir.frame("set/ground_truth/1.png", None);
    dir.verb("likelihood", &["set"])
        .fails_at_once(&["set", "ground_truth"]);
}
