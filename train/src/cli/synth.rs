//! `synth`: a procedural data set.

use std::path::PathBuf;

use anyhow::Result;
use edge_vae::synth::{DatasetCounts, SurfaceSettings, write_dataset};

use crate::reporter::Reporter;

/// Flags of `synth`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  edge-vae-train synth --out frames --seed 7
  edge-vae-train fit frames --out models/surface

Writes frames in MVTec AD layout: train/good, test/good, test/KIND and ground_truth/KIND with
masks of exactly the pixels that a defect changed.")]
pub(super) struct SynthArgs {
    /// Folder to write; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Normal frames for training
    #[arg(long, value_name = "N", default_value_t = DatasetCounts::default().train)]
    train: u32,
    /// Normal frames for testing
    #[arg(long, value_name = "N", default_value_t = DatasetCounts::default().test_good)]
    test_good: u32,
    /// Frames with a defect, of each kind
    #[arg(long, value_name = "N", default_value_t = DatasetCounts::default().per_kind)]
    per_kind: u32,
    /// Width of the frames in pixels
    #[arg(long, default_value_t = SurfaceSettings::default().width)]
    width: u32,
    /// Height of the frames in pixels
    #[arg(long, default_value_t = SurfaceSettings::default().height)]
    height: u32,
}

pub(super) fn run(args: &SynthArgs, reporter: &Reporter) -> Result<()> {
    let settings = SurfaceSettings {
        width: args.width,
        height: args.height,
        ..SurfaceSettings::default()
    };
    let counts = DatasetCounts {
        train: args.train,
        test_good: args.test_good,
        per_kind: args.per_kind,
    };
    let mut bar = reporter.bar(counts.total() as usize, "frames");
    write_dataset(&args.out, &settings, args.seed, &counts, &mut |done, _| {
        bar.set(done as usize);
    })?;
    drop(bar);
    reporter.line(format_args!(
        "{}: {} frames in MVTec AD layout, seed {}",
        args.out.display(),
        counts.total(),
        args.seed
    ));
    Ok(())
}
