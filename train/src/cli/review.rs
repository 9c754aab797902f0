//! `review`: from flags to a page.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::trust::TrustFlags;
use crate::{
    outliers::{ReviewJob, review},
    reporter::Reporter,
};

/// Flags of `review`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  edge-vae-train review frames/good --model models/part --out review.html
  edge-vae-train review frames/good --model models/part --out review.html --exclude exclude.txt
  edge-vae-train fit frames/good --exclude exclude.txt --out models/part

The page shows frames beside their anomaly maps, the oddest first. Arrow keys go from one to the
next, x excludes, k keeps. Its button downloads exclude.txt, which `fit --exclude` reads. It needs
no network and sends nothing anywhere.

Frames are ranked as `fit` did, each by a model of the others, where MODEL.training has that ranking
for all frames; else by the model's own scores.")]
pub(super) struct ReviewArgs {
    /// Folder with the training frames, as for `fit`
    dataset: PathBuf,
    /// Model that was trained on them
    #[arg(long, value_name = "BUNDLE")]
    model: PathBuf,
    /// HTML file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Frames on the page; those that stand out are there in any case
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    count: u64,
    /// Go on with the list of an earlier review: its frames are excluded already
    #[arg(long, value_name = "LIST")]
    exclude: Option<PathBuf>,
    /// The class of an IDX data set that is normal
    #[arg(long, value_name = "LABEL")]
    class: Option<u8>,
    #[command(flatten)]
    trust: TrustFlags,
}

pub(super) fn run(args: &ReviewArgs, reporter: &Reporter) -> Result<()> {
    let job = ReviewJob {
        dataset: args.dataset.clone(),
        class: args.class,
        model: args.trust.open(&args.model, reporter)?,
        out: args.out.clone(),
        count: args.count as usize,
        exclude: args.exclude.clone(),
    };
    review(&job, reporter)?;
    println!("{}", args.out.display());
    Ok(())
}
