//! `edge-vae likelihood`.

mod progress;
mod source;
mod workers;

use std::{path::PathBuf, thread};

use clap::{Args, ValueEnum};
use edge_vae::{
    bundle::Manifest,
    runtime::{GoldenCheck, load_preprocessor},
    vae::{Likelihood, MarginalEstimate, bits_per_dimension, bits_per_dimension_bernoulli},
};
use serde::Serialize;

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    frames::{self, FrameFlags},
    interrupt,
    messages::{Voice, one_line},
    output::{SCHEMA_VERSION, StandardOutput},
    reconstruct::one_posterior,
    score::{count, no_frames},
};
use progress::Progress;
use workers::Plan;

/// Estimate log p(x) of frames: ELBO, and importance-weighted bound with K samples.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae likelihood --model models/digits28 mnist/ --samples 5000
  edge-vae likelihood frames/*.png --samples 100 --each
  edge-vae likelihood --model models/digits28 mnist/ --limit 100 --samples 5000 --json

A data set is a folder with IDX files as those of MNIST, or in the layout of MVTec AD; of these,
--split chooses. Any other folder, and files and globs, are pictures.

ELBO = reconstruction - KL, where reconstruction is the mean of log p(x|z) over the K samples and
KL is exact; the bound is log 1/K sum p(x|z) p(z)/q(z|x) (Burda et al. 2016). All in nats. The same
seed gives the same random numbers for each frame whatever the threads and the --limit. Bits per
dimension of a Gaussian model are those of 256 levels.

A model that cuts frames into tiles gives each tile a probability; as tiles share pixels, these make
none of the frame, and such models are refused.

JSON: an object with kind=frame for each frame, in their order, and one with kind=summary.")]
pub(crate) struct LikelihoodFlags {
    #[command(flatten)]
    frames: FrameFlags,

    /// Importance samples for each frame, K.
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    samples: u32,

    /// Seed of everything random.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Take N frames only, drawn at random by the seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// How grey becomes black and white [default: dynamic for a Bernoulli model, else none].
    #[arg(long, value_name = "HOW")]
    binarise: Option<Binarise>,

    /// Part of a data set.
    #[arg(long, value_name = "PART")]
    split: Option<SplitChoice>,

    /// Latents decoded at once [default: by the size of the pictures].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8192))]
    batch: Option<u16>,

    /// Print a line a frame, too.
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

#[derive(Serialize)]
struct FrameRecord<'a> {
    schema_version: u32,
    kind: &'static str,
    path: &'a str,
    log_likelihood: f64,
    elbo: f64,
    reconstruction: f64,
    kl: f64,
    bits_per_dimension: f64,
    effective_sample_size: f64,
}

/// A mean over frames and its standard error, s/√n; the error of a single frame is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Mean {
    mean: f64,
    standard_error: Option<f64>,
}

#[derive(Serialize)]
struct Summary<'a> {
    schema_version: u32,
    kind: &'static str,
    model_id: &'a str,
    frames: usize,
    failed: usize,
    samples: usize,
    seed: u64,
    binarise: &'static str,
    negative_log_likelihood: Mean,
    log_likelihood: Mean,
    elbo: Mean,
    reconstruction: Mean,
    kl: Mean,
    bits_per_dimension: Mean,
    effective_sample_size: Mean,
    seconds: f64,
}

pub(crate) fn run(options: &LikelihoodOptions, voice: Voice) -> anyhow::Result<Outcome> {
    let source = source::find(&options.frames, options.split, voice)?;
    if source.frames.is_empty() {
        return no_frames(source.failed);
    }
    let (bundle, engine) = {
        let bundle = edge_vae::bundle::Bundle::open(&options.model.bundle)?;
        // Threads are workers here, each with a graph of its own.
        let engine = options.model.engine.open(1, voice)?;
        (bundle, engine)
    };
    one_posterior(
        load_preprocessor(&bundle)?.layout(),
        bundle.model_id(),
        "tiles that overlap share pixels, so that their probabilities make none of the frame; `score` judges it",
    )?;
    GoldenCheck::verify(&bundle, &engine)?;
    let manifest = bundle.manifest();
    let binarise = binarise(options.binarise, manifest, voice)?;
    let chosen = frames::choose(source.frames.len(), options.limit, options.seed);
    let threads = options.model.engine.threads.unwrap_or_else(|| {
        // Graphs of a GPU would only wait for each other.
        if engine.device() == edge_vae::backend::Device::Cpu {
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
            .unwrap_or_else(|| batch(manifest.vae.dimensions(), options.samples, chosen.len())),
        workers: threads,
        binarise,
    };
    interrupt::watch();
    let mut progress = Progress::new(voice, chosen.len(), plan.samples);
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
                let bits = bits(&estimate, manifest)?;
                if options.json || options.each {
                    each(
                        &mut out,
                        options.json,
                        source.frames[index].name(),
                        &estimate,
                        bits,
                    )?;
                }
                estimates.push((estimate, bits));
            }
            Err(error) => {
                failed += 1;
                voice.error(&one_line(&error));
            }
        }
    }
    if interrupt::asked() {
        out.finish()?;
        anyhow::bail!(
            "interrupted after {} of {} frames",
            estimates.len(),
            chosen.len()
        );
    }
    anyhow::ensure!(!estimates.is_empty(), "no frame could be read");
    let over =
        |value: fn(&MarginalEstimate) -> f64| mean(estimates.iter().map(|(one, _)| value(one)));
    let summary = Summary {
        schema_version: SCHEMA_VERSION,
        kind: "summary",
        model_id: bundle.model_id(),
        frames: estimates.len(),
        failed,
        samples: plan.samples,
        seed: plan.seed,
        binarise: binarise.name(),
        negative_log_likelihood: over(|one| -one.log_likelihood),
        log_likelihood: over(|one| one.log_likelihood),
        elbo: over(MarginalEstimate::elbo),
        reconstruction: over(|one| one.reconstruction),
        kl: over(|one| one.kl),
        bits_per_dimension: mean(estimates.iter().map(|(_, bits)| *bits)),
        effective_sample_size: over(|one| one.effective_sample_size),
        seconds,
    };
    if options.json {
        out.json(&summary)?;
    } else {
        print(&mut out, &summary)?;
    }
    out.finish()?;
    Ok(if failed > 0 {
        Outcome::Failed
    } else {
        Outcome::Done
    })
}

fn binarise(
    asked: Option<Binarise>,
    manifest: &Manifest,
    voice: Voice,
) -> anyhow::Result<Binarise> {
    let bernoulli = manifest.vae.likelihood == Likelihood::Bernoulli;
    match asked {
        Some(how @ (Binarise::Dynamic | Binarise::Threshold)) if !bernoulli => {
            anyhow::bail!(
                "--binarise {}: {} has no Bernoulli likelihood, so its pictures stay as they are",
                how.name(),
                manifest.model_id
            )
        }
        Some(how) => Ok(how),
        None if bernoulli => {
            voice.note(&"pictures are binarised dynamically: white with the probability that is the grey value (--binarise)");
            Ok(Binarise::Dynamic)
        }
        None => Ok(Binarise::None),
    }
}

/// Values of a batch of pictures, whose activations then stay in a core's cache: of 28×28 pixels 32,
/// which is where both engines were fastest of 1 to 500 (tract 1.5 times as fast as with 250).
const VALUES_AT_ONCE: usize = 25_600;

fn batch(dimensions: usize, samples: usize, frames: usize) -> usize {
    (VALUES_AT_ONCE / dimensions.max(1))
        .clamp(1, 256)
        .min(samples.saturating_mul(frames).max(1))
}

fn bits(estimate: &MarginalEstimate, manifest: &Manifest) -> anyhow::Result<f64> {
    let dimensions = manifest.vae.dimensions();
    Ok(match manifest.vae.likelihood {
        Likelihood::Bernoulli => bits_per_dimension_bernoulli(estimate.log_likelihood, dimensions),
        Likelihood::Gaussian { .. } | Likelihood::GaussianLearned => bits_per_dimension(
            estimate.log_likelihood,
            dimensions,
            &manifest.preprocess.normalise.std,
            256,
        ),
    }?)
}

fn mean(values: impl ExactSizeIterator<Item = f64> + Clone) -> Mean {
    let count = values.len() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    Mean {
        mean,
        standard_error: (count > 1.0).then(|| (squares / (count - 1.0) / count).sqrt()),
    }
}

fn each(
    out: &mut StandardOutput,
    json: bool,
    path: &str,
    estimate: &MarginalEstimate,
    bits_per_dimension: f64,
) -> anyhow::Result<()> {
    if json {
        return out.json(&FrameRecord {
            schema_version: SCHEMA_VERSION,
            kind: "frame",
            path,
            log_likelihood: estimate.log_likelihood,
            elbo: estimate.elbo(),
            reconstruction: estimate.reconstruction,
            kl: estimate.kl,
            bits_per_dimension,
            effective_sample_size: estimate.effective_sample_size,
        });
    }
    out.line(format_args!(
        "log p {:>12.3}  ELBO {:>12.3}  reconstruction {:>12.3}  KL {:>9.3}  bits/dim {:>8.4}  {path}",
        estimate.log_likelihood,
        estimate.elbo(),
        estimate.reconstruction,
        estimate.kl,
        bits_per_dimension,
    ))
}

fn print(out: &mut StandardOutput, summary: &Summary<'_>) -> anyhow::Result<()> {
    out.line(format_args!(
        "{} on {}, {} each, seed {}, binarisation {}",
        summary.model_id,
        count(summary.frames, "frame"),
        count(summary.samples, "importance sample"),
        summary.seed,
        summary.binarise,
    ))?;
    for (name, value, unit) in [
        ("-log p(x)", summary.negative_log_likelihood, "nats"),
        (
            "-ELBO",
            Mean {
                mean: -summary.elbo.mean,
                ..summary.elbo
            },
            "nats",
        ),
        (
            "-reconstruction",
            Mean {
                mean: -summary.reconstruction.mean,
                ..summary.reconstruction
            },
            "nats",
        ),
        ("KL", summary.kl, "nats"),
        ("bits/dimension", summary.bits_per_dimension, ""),
        ("effective samples", summary.effective_sample_size, ""),
    ] {
        let error = value
            .standard_error
            .map_or_else(String::new, |error| format!(" ± {error:.4}"));
        out.line(format_args!(
            "{name:<18} {:>12.4}{error}{}{unit}",
            value.mean,
            if unit.is_empty() { "" } else { " " }
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_a_mean() {
        // Deviations −1.5, −0.5, 0.5, 1.5: s² = 5/3, s/√4 = 0.6455.
        let found = mean([1.0, 2.0, 3.0, 4.0].into_iter());
        assert_eq!(found.mean, 2.5);
        assert!((found.standard_error.unwrap() - (5.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean([7.0].into_iter()).standard_error, None);
    }

    #[test]
    fn batches_suit_the_pictures_and_the_work() {
        assert_eq!(batch(784, 5000, 10_000), 32);
        assert_eq!(batch(784, 3, 2), 6);
        assert_eq!(batch(64, 5000, 10), 256);
        assert_eq!(batch(3 * 256 * 256, 5000, 10), 1);
    }
}
