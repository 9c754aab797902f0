//! The importance-weighted estimate for many frames on several threads.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::anyhow;
use edge_vae::{
    backend::Engine,
    bundle::Bundle,
    preprocess::Preprocessor,
    vae::{
        Decoded, ImportanceBound, Likelihood, Posterior, Vae, VaeError, elbo,
        gaussian_log_likelihood, gaussian_log_likelihood_fixed,
    },
};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::{Binarise, bernoulli, progress::Progress, source::FrameSource};
use crate::cli::interrupt;

/// How the estimate is made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Importance samples for each frame, K.
    pub(super) samples: usize,
    pub(super) seed: u64,
    /// Latents decoded at once.
    pub(super) batch: usize,
    pub(super) workers: usize,
    pub(super) binarise: Binarise,
}

/// What was estimated for a frame, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// Mean of log p(x|z) over the samples.
    pub(super) reconstruction: f64,
    /// KL(q(z|x) ‖ p(z)), exact.
    pub(super) kl: f64,
    /// Importance-weighted bound on log p(x).
    pub(super) log_likelihood: f64,
    pub(super) effective_sample_size: f64,
}

impl Estimate {
    pub(super) fn elbo(&self) -> f64 {
        elbo(self.reconstruction, self.kl)
    }
}

/// The estimate of a frame, or why there is none.
type FrameOutcome = anyhow::Result<Estimate>;

enum News {
    Samples(usize),
    Frame(usize, FrameOutcome),
    /// The engine failed, which ends everything.
    Failed(anyhow::Error),
}

/// Estimates the frames of the indices `chosen`. The outcomes come in that order; when interrupted,
/// some are missing.
pub(super) fn run(
    bundle: &Bundle,
    engine: &Engine,
    frames: &[FrameSource],
    chosen: &[usize],
    plan: &Plan,
    progress: &mut Progress,
) -> anyhow::Result<Vec<(usize, FrameOutcome)>> {
    let workers = plan.workers.min(chosen.len()).max(1);
    // Frames are encoded a batch at a time; smaller parts where there are few, so that the workers
    // end together.
    let part = chosen.len().div_ceil(workers * 8).clamp(1, plan.batch);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (sender, news) = mpsc::channel();
    let mut workers = (0..workers)
        .map(|_| Worker::new(bundle, engine, plan))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut outcomes = Vec::with_capacity(chosen.len());
    let mut failure = None;
    thread::scope(|scope| {
        for worker in &mut workers {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                let halt = || stop.load(Ordering::Relaxed) || interrupt::asked();
                while !halt() {
                    let begin = next.fetch_add(part, Ordering::Relaxed);
                    let Some(rest) = chosen.get(begin..).filter(|rest| !rest.is_empty()) else {
                        break;
                    };
                    let indices = &rest[..part.min(rest.len())];
                    // The receiver lives until all workers are gone.
                    let tell = |news| drop(sender.send(news));
                    if let Err(error) = worker.estimate(frames, indices, plan, &tell, &halt) {
                        tell(News::Failed(error));
                        break;
                    }
                }
            });
        }
        drop(sender);
        for news in news {
            match news {
                News::Samples(samples) => progress.samples(samples),
                News::Frame(index, outcome) => {
                    match &outcome {
                        Ok(estimate) => progress.frame(estimate),
                        Err(_) => progress.skip(plan.samples),
                    }
                    outcomes.push((index, outcome));
                }
                News::Failed(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None => {
            outcomes.sort_unstable_by_key(|(index, _)| *index);
            Ok(outcomes)
        }
    }
}

/// Random numbers of one frame, the same whatever else is estimated.
fn generator(seed: u64, index: usize) -> Pcg64 {
    // An odd multiplier keeps the states of all frames apart; 2⁶⁴/φ spreads them. The seeding
    // itself mixes all bits.
    Pcg64::seed_from_u64(seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// One model on one thread, with all buffers.
struct Worker {
    preprocessor: Preprocessor,
    vae: Vae,
    dimensions: usize,
    latent: usize,
    /// `N×C×H×W`.
    inputs: Vec<f32>,
    /// `N×L`, as the next three.
    means: Vec<f32>,
    log_variances: Vec<f32>,
    deviations: Vec<f32>,
    latents: Vec<f32>,
    decoded: Decoded,
    states: Vec<FrameState>,
    /// For each latent of the batch, its frame in `states` and log p(z) − log q(z|x).
    filled: Vec<(usize, f64)>,
}

/// A frame that is being estimated.
struct FrameState {
    index: usize,
    rng: Pcg64,
    kl: f64,
    /// Σ log σ².
    log_variance: f64,
    /// Σ log p(x|z).
    sum: f64,
    bound: ImportanceBound,
}

impl Worker {
    fn new(bundle: &Bundle, engine: &Engine, plan: &Plan) -> anyhow::Result<Self> {
        let spec = &bundle.manifest().vae;
        let (dimensions, latent) = (spec.dimensions(), spec.latent.dimensions());
        let batch = plan.batch;
        Ok(Self {
            preprocessor: bundle.preprocessor()?,
            vae: bundle.vae(engine, batch)?,
            dimensions,
            latent,
            inputs: vec![0.0; batch * dimensions],
            means: vec![0.0; batch * latent],
            log_variances: vec![0.0; batch * latent],
            deviations: vec![0.0; batch * latent],
            latents: vec![0.0; batch * latent],
            decoded: Decoded::default(),
            states: Vec::with_capacity(batch),
            filled: Vec::with_capacity(batch),
        })
    }

    /// Estimates up to a batch of frames.
    ///
    /// An error is one of the model; a frame's own is told.
    fn estimate(
        &mut self,
        frames: &[FrameSource],
        indices: &[usize],
        plan: &Plan,
        tell: &impl Fn(News),
        halt: &impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        self.read(frames, indices, plan, tell);
        self.encode()?;
        for place in 0..self.states.len() {
            for _ in 0..plan.samples {
                self.draw(place);
                if self.filled.len() == plan.batch {
                    self.decode(tell)?;
                    if halt() {
                        return Ok(());
                    }
                }
            }
        }
        self.decode(tell)?;
        for state in self.states.drain(..) {
            let estimate = Estimate {
                reconstruction: state.sum / plan.samples as f64,
                kl: state.kl,
                // At least one sample was pushed.
                log_likelihood: state.bound.value().unwrap_or(f64::NEG_INFINITY),
                effective_sample_size: state.bound.effective_sample_size(),
            };
            tell(News::Frame(state.index, Ok(estimate)));
        }
        Ok(())
    }

    /// Prepares the frames into the first rows of `inputs`, binarised.
    fn read(
        &mut self,
        frames: &[FrameSource],
        indices: &[usize],
        plan: &Plan,
        tell: &impl Fn(News),
    ) {
        self.states.clear();
        self.filled.clear();
        for &index in indices {
            let row = self.states.len() * self.dimensions;
            let input = &mut self.inputs[row..row + self.dimensions];
            let source = &frames[index];
            let read = source.frame().and_then(|frame| {
                self.preprocessor
                    .prepare(&frame, input)
                    .map_err(|error| anyhow!(error).context(source.name().to_owned()))
            });
            if let Err(error) = read {
                tell(News::Frame(index, Err(error)));
                continue;
            }
            let mut rng = generator(plan.seed, index);
            binarise(input, plan.binarise, &mut rng);
            self.states.push(FrameState {
                index,
                rng,
                kl: 0.0,
                log_variance: 0.0,
                sum: 0.0,
                bound: ImportanceBound::new(),
            });
        }
        // What is left of an earlier part is encoded too, and nobody looks at it.
    }

    fn encode(&mut self) -> Result<(), VaeError> {
        if self.states.is_empty() {
            return Ok(());
        }
        self.vae
            .encode_into(&self.inputs, &mut self.means, &mut self.log_variances)?;
        for (place, state) in self.states.iter_mut().enumerate() {
            let row = place * self.latent..(place + 1) * self.latent;
            let posterior =
                Posterior::new(&self.means[row.clone()], &self.log_variances[row.clone()])?;
            state.kl = posterior.kl()?;
            state.log_variance = posterior
                .log_variance()
                .iter()
                .copied()
                .map(f64::from)
                .sum();
            for (place, deviation) in self.deviations[row]
                .iter_mut()
                .zip(posterior.standard_deviation())
            {
                *place = deviation;
            }
        }
        Ok(())
    }

    /// Draws z = μ + σ·ε of the frame at `place` into the next row of `latents`, and keeps
    /// log p(z) − log q(z|x) = ½ Σ (ε² + log σ² − z²), in which (2π)^(L/2) cancels.
    fn draw(&mut self, place: usize) {
        let state = &mut self.states[place];
        let row = place * self.latent..(place + 1) * self.latent;
        let target = self.filled.len() * self.latent;
        let latents = &mut self.latents[target..target + self.latent];
        let mut squares = 0.0_f64;
        for ((z, &mean), &deviation) in latents
            .iter_mut()
            .zip(&self.means[row.clone()])
            .zip(&self.deviations[row])
        {
            let noise: f64 = StandardNormal.sample(&mut state.rng);
            let value = f64::from(mean) + f64::from(deviation) * noise;
            squares += noise * noise - value * value;
            *z = value as f32;
        }
        self.filled
            .push((place, 0.5 * (squares + state.log_variance)));
    }

    /// Decodes the filled rows and adds their weights to their frames.
    fn decode(&mut self, tell: &impl Fn(News)) -> Result<(), VaeError> {
        if self.filled.is_empty() {
            return Ok(());
        }
        self.vae.decode_into(&self.latents, &mut self.decoded)?;
        let size = self.dimensions;
        for (slot, &(place, log_ratio)) in self.filled.iter().enumerate() {
            let row = slot * size..(slot + 1) * size;
            let x = &self.inputs[place * size..(place + 1) * size];
            let decoded = &self.decoded;
            let log_likelihood = match self.vae.spec().likelihood {
                Likelihood::Bernoulli => bernoulli::log_likelihood(x, &decoded.logits[row]),
                Likelihood::Gaussian { sigma } => {
                    gaussian_log_likelihood_fixed(x, &decoded.reconstruction[row.clone()], sigma)?
                }
                Likelihood::GaussianLearned => gaussian_log_likelihood(
                    x,
                    &decoded.reconstruction[row.clone()],
                    &decoded.log_variance[row],
                )?,
            };
            let state = &mut self.states[place];
            state.sum += log_likelihood;
            state.bound.push(log_likelihood + log_ratio)?;
        }
        tell(News::Samples(self.filled.len()));
        self.filled.clear();
        Ok(())
    }
}

fn binarise(x: &mut [f32], how: Binarise, rng: &mut Pcg64) {
    match how {
        Binarise::None => {}
        Binarise::Threshold => {
            for x in x {
                *x = f32::from(*x > 0.5);
            }
        }
        Binarise::Dynamic => {
            for x in x {
                *x = f32::from(rng.random::<f32>() < *x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binarisation_is_by_probability_or_threshold() {
        let grey: Vec<f32> = (0..30_000).map(|i| [0.0, 0.3, 1.0][i % 3]).collect();
        let mut dynamic = grey.clone();
        binarise(&mut dynamic, Binarise::Dynamic, &mut generator(1, 0));
        let share = |offset: usize| dynamic.iter().skip(offset).step_by(3).sum::<f32>() / 1e4;
        assert_eq!(share(0), 0.0);
        // Four standard deviations of a share of 10⁴ draws.
        assert!((share(1) - 0.3).abs() < 4.0 * (0.3_f32 * 0.7 / 1e4).sqrt());
        assert_eq!(share(2), 1.0);
        let mut sharp = vec![0.0, 0.5, 0.51, 1.0];
        binarise(&mut sharp, Binarise::Threshold, &mut generator(1, 0));
        assert_eq!(sharp, [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn frames_have_random_numbers_of_their_own() {
        let first = |seed, index| generator(seed, index).random::<u64>();
        assert_eq!(first(7, 3), first(7, 3));
        let mut all: Vec<u64> = (0..100)
            .flat_map(|index| [first(7, index), first(8, index)])
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}
