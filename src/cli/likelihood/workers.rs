//! Estimates of many frames on several threads.

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
    runtime::{load_preprocessor, load_vae},
    vae::{MarginalEstimate, MarginalEstimator},
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::{Binarise, source::FrameSource};
use crate::cli::{interrupt, reporter::Progress};

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

/// The estimate of a frame, or why there is none.
type FrameOutcome = anyhow::Result<MarginalEstimate>;

enum Event {
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
    let (sender, events) = mpsc::channel();
    let mut workers = (0..workers)
        .map(|_| Worker::new(bundle, engine, plan))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut outcomes = Vec::with_capacity(chosen.len());
    let mut failure = None;
    let (mut estimated, mut sum) = (0_u32, 0.0);
    thread::scope(|scope| {
        for worker in &mut workers {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                let halt = || stop.load(Ordering::Relaxed) || interrupt::requested();
                while !halt() {
                    let begin = next.fetch_add(part, Ordering::Relaxed);
                    let Some(rest) = chosen.get(begin..).filter(|rest| !rest.is_empty()) else {
                        break;
                    };
                    let indices = &rest[..part.min(rest.len())];
                    // The receiver lives until all workers are gone.
                    let send = |event| drop(sender.send(event));
                    if let Err(error) = worker.estimate(frames, indices, plan, &send, &halt) {
                        send(Event::Failed(error));
                        break;
                    }
                }
            });
        }
        drop(sender);
        for event in events {
            match event {
                Event::Samples(samples) => progress.advance(samples),
                Event::Frame(index, outcome) => {
                    match &outcome {
                        Ok(estimate) => {
                            estimated += 1;
                            sum += estimate.log_likelihood;
                            let mean = -sum / f64::from(estimated);
                            progress.detail(format!(
                                "; -log p {mean:.3} on {estimated} of {} frames",
                                chosen.len()
                            ));
                        }
                        Err(_) => progress.skip(plan.samples),
                    }
                    outcomes.push((index, outcome));
                }
                Event::Failed(error) => {
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
    estimator: MarginalEstimator,
    dimensions: usize,
    /// `M×C×H×W` of the frames that could be read, their indices, and their random numbers.
    inputs: Vec<f32>,
    indices: Vec<usize>,
    generators: Vec<Pcg64>,
}

impl Worker {
    fn new(bundle: &Bundle, engine: &Engine, plan: &Plan) -> anyhow::Result<Self> {
        Ok(Self {
            preprocessor: load_preprocessor(bundle)?,
            estimator: MarginalEstimator::new(load_vae(bundle, engine, plan.batch)?),
            dimensions: bundle.vae()?.dimensions(),
            inputs: Vec::new(),
            indices: Vec::new(),
            generators: Vec::new(),
        })
    }

    /// Estimates up to a batch of frames.
    ///
    /// An error is one of the model; a frame's own is sent.
    fn estimate(
        &mut self,
        frames: &[FrameSource],
        indices: &[usize],
        plan: &Plan,
        send: &impl Fn(Event),
        halt: &impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        self.read(frames, indices, plan, send);
        let estimates = self.estimator.estimate_while(
            &self.inputs,
            plan.samples,
            &mut self.generators,
            |samples| {
                send(Event::Samples(samples));
                !halt()
            },
        )?;
        for (&index, estimate) in self.indices.iter().zip(estimates.into_iter().flatten()) {
            send(Event::Frame(index, Ok(estimate)));
        }
        Ok(())
    }

    /// Prepares the frames, binarised.
    fn read(
        &mut self,
        frames: &[FrameSource],
        indices: &[usize],
        plan: &Plan,
        send: &impl Fn(Event),
    ) {
        self.inputs.clear();
        self.indices.clear();
        self.generators.clear();
        for &index in indices {
            let begin = self.inputs.len();
            self.inputs.resize(begin + self.dimensions, 0.0);
            let input = &mut self.inputs[begin..];
            let source = &frames[index];
            let read = source.frame().and_then(|frame| {
                self.preprocessor
                    .prepare(&frame, input)
                    .map_err(|error| anyhow!(error).context(source.name().to_owned()))
            });
            if let Err(error) = read {
                self.inputs.truncate(begin);
                send(Event::Frame(index, Err(error)));
                continue;
            }
            let mut rng = generator(plan.seed, index);
            binarise(input, plan.binarise, &mut rng);
            self.indices.push(index);
            self.generators.push(rng);
        }
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
