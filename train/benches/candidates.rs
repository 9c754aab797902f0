//! What selection knows of its candidates, and what is true: every image score on the synthetic
//! validation set and on real test frames.
//!
//! `cargo bench --bench candidates -- DATASET [flags of fit]` prints a line of JSON for each image
//! score, in the order of preference: its name, AUROC and partial AUROC by both, and whether `fit`
//! selects it. DATASET has test frames, as in the MVTec AD layout. Nothing is tuned by the real
//! frames; they tell whether a rule of selection is a good one. `--steps 1` leaves the VAE
//! untrained, which the backbone's candidates do not ask for.

use std::{io::Write as _, path::PathBuf, sync::atomic::AtomicBool};

use anyhow::Result;
use clap::Parser;
use edge_vae_train::{
    options::FitOverrides,
    pipeline::{self, Job},
    reporter::Reporter,
};

#[derive(Parser)]
struct Arguments {
    /// Folder in MVTec AD layout.
    dataset: PathBuf,
    #[command(flatten)]
    overrides: FitOverrides,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let rows = pipeline::compare(&Job {
        dataset: arguments.dataset,
        out: folder.path().join("model"),
        resume: false,
        vae: true,
        overrides: arguments.overrides,
        trim: None,
        memory: None,
        golden: None,
        devices: vec![candle_core::Device::Cpu],
        interrupted: &AtomicBool::new(false),
        reporter: &Reporter::new(false),
    })?;
    let mut out = std::io::stdout().lock();
    for row in rows {
        writeln!(out, "{}", serde_json::to_string(&row)?)?;
    }
    Ok(())
}
