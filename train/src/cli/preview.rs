//! `preview`: from flags to contact sheets.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::trust::TrustFlags;
use crate::{
    data,
    options::FitOverrides,
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

Writes into OUT frames.png, the frames as the network sees them; augmented.png, the same with
random augmentation; defects.png, the kinds of synthetic defects, each beside its outline. With
--model also model-normal.png and model-defects.png: frame, reconstruction and anomaly map, with
score and label; and ranked.png, the frames that are least like the others, with their maps, where
`fit` left its ranking in MODEL.training.

All flags of `fit` may be given, to see what it would train on; those that change no picture have
no effect. With --model, frames are prepared as that bundle says."
)]
pub(super) struct PreviewArgs {
    /// Folder with the training frames, as for `fit`
    dataset: PathBuf,
    /// Folder for the contact sheets
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Show how this model scores normal frames and synthetic defects
    #[arg(long, value_name = "BUNDLE")]
    model: Option<PathBuf>,
    /// Frames shown; every second one also with a defect of each kind
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u64).range(1..=64))]
    count: u64,
    #[command(flatten)]
    overrides: FitOverrides,
    #[command(flatten)]
    trust: TrustFlags,
}

pub(super) fn run(args: &PreviewArgs, reporter: &Reporter) -> Result<()> {
    let model = args.model.as_deref();
    let model = model.map(|model| args.trust.open(model, reporter));
    let dataset = data::open(&args.dataset, &args.overrides, None, reporter)?;
    let job = PreviewJob {
        out: args.out.clone(),
        options: args.overrides.over_defaults(data::usual_preset(&dataset))?,
        model: model.transpose()?,
        count: args.count as usize,
    };
    for path in preview(&dataset, &job, reporter)? {
        println!("{}", path.display());
    }
    Ok(())
}
