//! What a fit takes of the memory: said, and bounded.

use std::fs;

use edge_vae::bundle::Bundle;

use super::{Scratch, assert_fails, stderr};

const FIT: [&str; 9] = [
    "fit",
    "frames",
    "--vae",
    "off",
    "--size",
    "64",
    "--score",
    "fine-features",
    "--json",
];

/// The smallest bound that a refusal says would do, as it is given to the flag.
fn least(refusal: &str) -> &str {
    let (_, rest) = refusal
        .split_once("give at least --memory ")
        .expect("a size");
    rest.split(',').next().expect("a size")
}

#[test]
fn a_fit_within_the_least_memory_makes_the_same_model() {
    let scratch = Scratch::new();
    let fit = |out: &str, more: &[&str]| {
        let run = scratch.train(&[&FIT[..], &["--out", out], more].concat());
        assert!(run.status.success(), "{}", stderr(&run));
        let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("a report");
        (report["peak_memory_bytes"].as_u64(), stderr(&run))
    };
    fit("free", &[]);

    let refused = scratch.train(&[&FIT[..], &["--out", "bound", "--memory", "1MiB"]].concat());
    assert_fails(
        &refused,
        &["--memory 1 MiB is too little", "40 frames", "--colour grey"],
    );
    assert!(!scratch.path("bound").exists());
    let text = stderr(&refused);
    let least = least(&text);
    let (peak, said) = fit("bound", &["--memory", least]);
    // Nothing is left for features but the last MiB.
    assert!(
        said.contains(": 0 MiB for features, the rest of them will lie in a file"),
        "{said}"
    );
    assert!(!said.contains("more than --memory"), "{said}");
    if cfg!(target_os = "linux") {
        let mib = least
            .strip_suffix("MiB")
            .and_then(|mib| mib.parse::<u64>().ok());
        let (mib, peak) = (mib.expect("MiB"), peak.expect("a peak"));
        assert!(peak <= mib << 20, "{peak} bytes of {mib} MiB");
    }
    let left = fs::read_dir(scratch.path("bound.training")).expect("a folder");
    let left: Vec<_> = left.map(|file| file.expect("a file").file_name()).collect();
    assert_eq!(left, ["training-frames.json"]);

    let [one, other] = ["free", "bound"].map(|model| {
        let bundle = Bundle::open(&scratch.path(model)).expect("a bundle");
        let scores = bundle.calibration().expect("a calibration").scores.clone();
        let files = bundle.graphs().map(|(name, _)| name.to_owned());
        let files: Vec<_> = files
            .map(|name| (bundle.file(&name).map(<[u8]>::to_vec), name))
            .collect();
        (scores, files)
    });
    assert!(one == other, "another model");
}

#[test]
fn the_peak_is_said_at_the_end_and_wrong_sizes_are_refused() {
    let scratch = Scratch::new();
    let run = scratch.train(&super::fit("digits", &["--memory", "2GiB"]));
    assert!(run.status.success(), "{}", stderr(&run));
    if cfg!(target_os = "linux") {
        let text = stderr(&run);
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("peak memory: "), "{text}");
    }
    for wrong in ["4", "4GB", "0MiB", "NaNMiB", "infGiB", "GiB"] {
        let run = scratch.train(&super::fit("none", &["--memory", wrong]));
        assert_eq!(run.status.code(), Some(2));
        let text = stderr(&run);
        assert!(
            text.contains("--memory") && text.contains("900MiB"),
            "{text}"
        );
    }
}
