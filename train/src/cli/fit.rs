//! `fit`: from flags to a training run.

use std::{io::Write, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{
    devices::{self, Devices},
    interrupt,
};
use crate::{
    options::{FitOverrides, Golden, Switch},
    pipeline::{self, Job},
    reporter::Reporter,
};

/// Flags of `fit`.
#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  edge-vae-train fit frames/good --out models/part --minutes 20
  edge-vae-train fit frames/good --out models/part --vae off
  edge-vae-train fit frames/good --out models/part --resume
  edge-vae-train fit mvtec/screw --preset best --size 256 --out models/screw
  edge-vae-train fit mnist --preset 28x28 --likelihood bernoulli --out models/digits

DATASET is a folder of pictures of good parts, a folder in MVTec AD layout (train/good, test/KIND,
ground_truth/KIND), or a folder of IDX files (MNIST). Training looks only at normal frames.
Beside the bundle (the model's folder) OUT, the folder OUT.training keeps what --resume needs
(checkpoint), metrics, loss curve, and the ranking of the training frames by how odd they are."
)]
pub(super) struct FitArgs {
    /// Folder with the training frames
    dataset: PathBuf,
    /// Folder to write the model (bundle) to: all that the device needs beside the program
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue the interrupted run beside OUT with the same result as if undisturbed
    ///
    /// A finished run is written again; --minutes (or --epochs, --steps), --score and --calibration
    /// may change.
    #[arg(long)]
    resume: bool,
    /// off: train no VAE. What reads features judges the same, after some minutes; there is no
    /// reconstruction and no likelihood
    ///
    /// With a VAE too a bundle that judges by features is written first, and replaced when the VAE
    /// is trained.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    vae: Switch,
    #[command(flatten)]
    overrides: FitOverrides,
    /// Where to train the network: cpu, cuda (the first NVIDIA GPU), cuda:N, or several of a kind,
    /// as cuda:0,cuda:1
    ///
    /// Several share each step: see --shards. GPUs need a build with `--features cuda`.
    #[arg(long, visible_alias = "devices", value_name = "LIST", default_value = "cpu",
          value_parser = devices::devices, hide_short_help = true)]
    device: Devices,
    /// Picture that goes into the bundle with the outputs that every engine (what runs the model)
    /// must reproduce: a PNG file, or glyph for a drawn digit [default: a calibration frame]
    #[arg(long, value_name = "FILE|glyph", hide_short_help = true)]
    golden: Option<String>,
    /// Leave out this share of the training frames, those that look least normal: for sets with
    /// some defective frames among the good ones
    ///
    /// A first fit ranks them, so it takes longer. Is the share larger than that of the defective
    /// frames, normal ones are left out too, and there may be as many more false alarms.
    #[arg(long, value_name = "SHARE", value_parser = trimmed_share, hide_short_help = true)]
    trim: Option<f64>,
    /// Most memory that the process may take, as 900MiB or 4GiB [default: no bound]
    ///
    /// What there is no room for lies in a file in OUT.training until the end; fewer frames are on
    /// their way at once. The model is the same. Frames, synthetic defects and the network itself
    /// stay in memory: a bound that is too small for them is an error at the beginning.
    #[arg(long, value_name = "SIZE", value_parser = memory, hide_short_help = true)]
    memory: Option<u64>,
    /// A second, larger rate of false alarms: normal frames above its threshold are for review
    #[arg(long, value_name = "RATE", hide_short_help = true)]
    review_rate: Option<f64>,
    /// Print the result as a JSON object: guarantee, what each rate of false alarms finds
    /// (operating table), suspicious frames
    #[arg(long, hide_short_help = true)]
    json: bool,
}

pub(super) fn run(args: &FitArgs, reporter: &Reporter) -> Result<()> {
    if let Some(rate) = args.review_rate {
        let least = args.overrides.false_alarm_rate.unwrap_or(0.0);
        ensure!(
            rate > least && rate < 1.0,
            "--review-rate: found {rate}, expected a rate above the false-alarm rate and below 1"
        );
    }
    ensure!(
        !(args.resume && args.vae == Switch::Off),
        "--resume continues the training of a VAE: give one of --resume and --vae off"
    );
    ensure!(
        !(args.device != Devices::Cpu(1) && args.vae == Switch::Off),
        "--device is where a VAE is trained: give one of --device and --vae off"
    );
    let job = Job {
        dataset: args.dataset.clone(),
        out: args.out.clone(),
        resume: args.resume,
        vae: args.vae == Switch::On,
        overrides: args.overrides.clone(),
        trim: args.trim,
        memory: args.memory,
        golden: args.golden.as_deref().map(|golden| match golden {
            "glyph" => Golden::Glyph,
            path => Golden::File(path.into()),
        }),
        devices: args.device.open()?,
        interrupted: interrupt::watch()?,
        reporter,
    };
    let report = pipeline::fit(&job, args.review_rate)?;
    if args.json {
        let text = serde_json::to_string(&report)?;
        writeln!(std::io::stdout(), "{text}").context("standard output: cannot write")?;
    }
    Ok(())
}

/// Bytes of `900MiB` or `4GiB`.
fn memory(text: &str) -> Result<u64, String> {
    let units = [("MiB", 20), ("GiB", 30)];
    let number = units.iter().find_map(|(unit, power)| {
        let number = text.strip_suffix(unit)?.trim().parse::<f64>().ok()?;
        Some(number * f64::from(1_u32 << power))
    });
    match number {
        Some(bytes) if bytes >= 1.0 && bytes.is_finite() => Ok(bytes as u64),
        _ => Err("expected a size as 900MiB or 4GiB".to_owned()),
    }
}

fn trimmed_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 0.5 => Ok(share),
        _ => Err("expected a number above 0 and below 0.5".to_owned()),
    }
}
