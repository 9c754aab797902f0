//! `edge-vae likelihood`.

mod report;
mod source;
mod workers;

use std::{path::PathBuf, thread};

use clap::{Args, ValueEnum};
use edge_vae::{
    backend::Device,
    runtime::{GoldenCheck, load_preprocessor},
    vae::{Likelihood, VaeSpec},
};

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    frames::{self, FrameFlags},
    interrupt,
    output::StandardOutput,
    reconstruct::one_posterior,
    reporter::{Reporter, one_line},
};
use report::{FrameEstimate, Summary};
use workers::Plan;

/// Estimate log p(x) of frames: the ELBO, and the importance-weighted bound with K samples.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae likelihood --model models/digits28 mnist/ --samples 5000
  edge-vae likelihood frames/*.png --samples 100 --each
  edge-vae likelihood --model models/digits28 mnist/ --limit 100 --samples 5000 --json

A folder with IDX files as those of MNIST, or in the layout of MVTec AD, is a data set, of which
--split chooses the part. Any other folder, and files and globs, are pictures.

ELBO = reconstruction - KL, where reconstruction is the mean of log p(x|z) over the K samples and
KL is exact. The bound is log 1/K sum p(x|z) p(z)/q(z|x) (Burda et al. 2016). All are in nats. The
same seed gives the same random numbers for each frame, whatever --threads and --limit are. Bits per
dimension of a Gaussian model are those of 256 grey levels.

Models that cut frames into tiles are refused: tiles share pixels, so the probabilities of tiles do
not make one of the frame.

JSON: an object with kind=frame for each frame, in their order, and one with kind=summary.")]
pub(crate) struct LikelihoodFlags {
    #[command(flatten)]
    frames: FrameFlags,

    /// Importance samples for each frame, K.
    #[arg(
        long,
        value_name = "K",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=100_000_000)
    )]
    samples: u32,

    /// Seed of the random numbers.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Take N frames only, drawn at random by the seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// How grey values become black and white [default: dynamic for a Bernoulli model, else none].
    #[arg(long, value_name = "HOW")]
    binarise: Option<Binarise>,

    /// Part of a data set.
    #[arg(long, value_name = "PART")]
    split: Option<SplitChoice>,

    /// Latents decoded at once [default: by the size of the pictures].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8192))]
    batch: Option<u16>,

    /// Print a line for each frame as well.
    #[arg(long)]
    each: bool,

    /// Print JSON lines.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model: ModelFlags,
}

/// How a picture becomes one of black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Binarise {
    /// White with the probability that is the grey value (drawn once a frame, by the seed).
    Dynamic,
    /// White above one half.
    Threshold,
    /// As it is.
    None,
}

impl Binarise {
    fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Threshold => "threshold",
            Self::None => "none",
        }
    }
}

/// Part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitChoice {
    /// The test part.
    Test,
    /// The training part.
    Train,
}

/// What [`LikelihoodFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct LikelihoodOptions {
    frames: Vec<PathBuf>,
    model: ModelOptions,
    samples: usize,
    seed: u64,
    limit: Option<usize>,
    binarise: Option<Binarise>,
    split: Option<SplitChoice>,
    batch: Option<usize>,
    each: bool,
    json: bool,
}

impl LikelihoodFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<LikelihoodOptions> {
        Ok(LikelihoodOptions {
            frames: self.frames.resolve(),
            model: self.model.resolve()?,
            samples: self.samples as usize,
            seed: self.seed,
            limit: self.limit.map(|limit| limit as usize),
            binarise: self.binarise,
            split: self.split,
            batch: self.batch.map(usize::from),
            each: self.each,
            json: self.json,
        })
    }
}

pub(crate) fn run(options: &LikelihoodOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let source = source::find(&options.frames, options.split, reporter)?;
    let bundle = options.model.trust.open(&options.model.bundle, reporter)?;
    // Threads are workers here, each with a graph of its own.
    let engine = options.model.engine.open(&bundle, 1, reporter)?;
    one_posterior(
        load_preprocessor(&bundle)?.layout(),
        bundle.model_id(),
        "tiles that overlap share pixels, so that their probabilities make none of the frame; \
         `score` scores it",
    )?;
    GoldenCheck::verify(&bundle, &engine)?;
    let (manifest, vae) = (bundle.manifest(), bundle.vae()?);
    let binarise = binarise(options.binarise, vae, bundle.model_id(), reporter)?;
    let chosen = frames::choose(source.frames.len(), options.limit, options.seed);
    let threads = options.model.engine.threads.unwrap_or_else(|| {
        // Graphs of a GPU would only wait for each other.
        if engine.device() == Device::Cpu {
            thread::available_parallelism().map_or(1, usize::from)
        } else {
            1
        }
    });
    let plan = Plan {
        samples: options.samples,
        seed: options.seed,
        batch: options
            .batch
            .unwrap_or_else(|| batch(vae.dimensions(), options.samples, chosen.len())),
        workers: threads,
        binarise,
    };
    interrupt::watch();
    let mut progress = reporter.progress(chosen.len() * plan.samples, "samples");
    let outcomes = workers::run(
        &bundle,
        &engine,
        &source.frames,
        &chosen,
        &plan,
        &mut progress,
    )?;
    let seconds = progress.finish();

    let mut out = StandardOutput::new();
    let mut estimates = Vec::with_capacity(outcomes.len());
    let mut failed = source.failed;
    for (index, outcome) in outcomes {
        match outcome {
            Ok(estimate) => {
                let estimate = FrameEstimate::of(&estimate, vae, &manifest.preprocess.normalise)?;
                if options.json || options.each {
                    estimate.print(&mut out, options.json, source.frames[index].name())?;
                }
                estimates.push(estimate);
            }
            Err(error) => {
                failed += 1;
                reporter.error(&one_line(&error));
            }
        }
    }
    interrupt::check_after(estimates.len(), chosen.len())?;
    anyhow::ensure!(!estimates.is_empty(), "no frame could be read");
    let mut summary = Summary::of(&estimates);
    summary.model_id = bundle.model_id();
    summary.failed = failed;
    summary.samples = plan.samples;
    summary.seed = plan.seed;
    summary.binarise = binarise.name();
    summary.seconds = seconds;
    summary.print(&mut out, options.json)?;
    out.finish()?;
    Ok(Outcome::after_failures(failed))
}

fn binarise(
    requested: Option<Binarise>,
    vae: &VaeSpec,
    model_id: &str,
    reporter: Reporter,
) -> anyhow::Result<Binarise> {
    let bernoulli = vae.likelihood == Likelihood::Bernoulli;
    match requested {
        Some(how @ (Binarise::Dynamic | Binarise::Threshold)) if !bernoulli => {
            anyhow::bail!(
                "--binarise {}: {} has no Bernoulli likelihood, so its pictures stay as they are",
                how.name(),
                model_id
            )
        }
        Some(how) => Ok(how),
        None if bernoulli => {
            reporter.note(
                &"pictures are binarised dynamically: white with the probability that is the grey \
                  value (--binarise)",
            );
            Ok(Binarise::Dynamic)
        }
        None => Ok(Binarise::None),
    }
}

/// Values of a batch of pictures, whose activations then stay in a core's cache: 32 pictures of
/// 28×28 pixels, with which both engines were fastest of 1 to 500 (tract 1.5 times as fast as with
/// 250).
const VALUES_AT_ONCE: usize = 25_600;

fn batch(dimensions: usize, samples: usize, frames: usize) -> usize {
    (VALUES_AT_ONCE / dimensions.max(1))
        .clamp(1, 256)
        .min(samples.saturating_mul(frames).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_suit_the_pictures_and_the_work() {
        assert_eq!(batch(784, 5000, 10_000), 32);
        assert_eq!(batch(784, 3, 2), 6);
        assert_eq!(batch(64, 5000, 10), 256);
        assert_eq!(batch(3 * 256 * 256, 5000, 10), 1);
    }
}
