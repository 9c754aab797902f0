//! The trainer as a user meets it: the real binary in a scratch directory.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "../../../tests/faults/driver.rs"]
mod faults;

mod data;
mod detection;
mod devices;
mod few;
mod flags;
mod interruption;
mod memory;
mod outliers;
mod power;
mod python;
mod shape;
mod tiles;
mod trust;
mod without_vae;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use edge_vae::{
    DetectorOptions,
    backend::{BackendKind, EngineOptions},
};
use tempfile::TempDir;

/// A scratch directory with a small procedural data set in `frames`.
struct Scratch {
    directory: TempDir,
}

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let scratch = Self { directory };
        let synth = scratch.train(&[
            "synth",
            "--out",
            "frames",
            "--width",
            "64",
            "--height",
            "64",
            "--train",
            "40",
            "--test-good",
            "2",
            "--per-kind",
            "1",
        ]);
        assert!(synth.status.success(), "{}", stderr(&synth));
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-vae-train"));
        command
            .current_dir(self.directory.path())
            .env("EDGE_VAE_CACHE", self.path("cache"))
            .args(arguments);
        command
    }

    fn train(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the trainer runs")
    }
}

/// The engine that is built in: what runs here keeps nothing in the user's cache.
fn tract() -> DetectorOptions {
    DetectorOptions {
        engine: EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        },
    }
}

/// A short run of the smallest network; the same flags give the same bits.
const FIT: [&str; 8] = [
    "fit", "frames", "--preset", "28x28", "--batch", "8", "--steps", "60",
];

fn fit<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = FIT.to_vec();
    arguments.extend(["--out", out]);
    if !more.contains(&"--latent") {
        arguments.extend(["--latent", "vector:16"]);
    }
    arguments.extend(more);
    arguments
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts the way every failure looks: exit code 2, and a last line that has all of `words`.
fn assert_fails(output: &Output, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{word:?} is missing in {last:?}");
    }
}

fn graphs(bundle: &Path) -> [Vec<u8>; 3] {
    ["encoder.onnx", "decoder.onnx", "statistics-residual.npy"]
        .map(|name| fs::read(bundle.join(name)).expect("a file of the bundle"))
}
