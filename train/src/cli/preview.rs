//! `preview`: from flags to contact sheets.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::fit::{TrainingArgs, open, resolve};
use crate::{
    preview::{PreviewJob, preview},
    reporter::Reporter,
};

/// Flags of `preview`.
#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  edge-vae-train preview frames/good --out seen
  edge-vae-train preview mvtec/screw --size 256 --colour grey --out seen
  edge-vae-train preview frames/good --model models/part --out seen

Writes into OUT frames.png, the frames as the network sees them; augmented.png, the same changed at
random as in training; defects.png, the kinds of synthetic defects, each beside its outline. With
--model also model-normal.png and model-defects.png: frame, reconstruction and anomaly map, with
the score and what was said of it.

All flags of `fit` may be given, so that its command line shows what it would train on; those that
change no picture have no effect. With --model, frames are prepared as that bundle says."
)]
pub(super) struct PreviewArgs {
    /// Folder with the training frames, as for `fit`.
    dataset: PathBuf,
    /// Folder for the sheets; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Show what this model makes of normal frames and of synthetic defects.
    #[arg(long, value_name = "BUNDLE")]
    model: Option<PathBuf>,
    /// Frames shown; every second one of them with a defect of each kind.
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u64).range(1..=64))]
    count: u64,
    #[command(flatten)]
    training: TrainingArgs,
}

pub(super) fn run(args: &PreviewArgs, reporter: &Reporter) -> Result<()> {
    let (dataset, small) = open(&args.dataset, args.training.class, &args.training)?;
    let job = PreviewJob {
        out: args.out.clone(),
        options: resolve(&args.training, small)?,
        model: args.model.clone(),
        count: args.count as usize,
    };
    for path in preview(&dataset, &job, reporter)? {
        println!("{}", path.display());
    }
    Ok(())
}
