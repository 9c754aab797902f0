//! What a network makes of the held-out frames, with the same draws each time.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use super::{
    network::Network,
    noise::{Draw, Noise},
    objective::{self, Weights},
};
use crate::{
    data::augmentation::Batches,
    nn::{Mode, Parameters},
    options::FitOptions,
    random::Purpose,
};

/// How much is validated.
struct ValidationParams {
    /// Most frames: a thousand tell the loss to a percent or so, more take time from training.
    frames: usize,
    /// Frames that go through the network at once: what fits into memory at 512 pixels.
    at_once: usize,
    /// Pictures with a synthetic defect, and as many clean ones, where there is a head: few frames
    /// are seen several times, in other places and with other defects. Ninety-six tell an AUROC to
    /// about 3 %.
    defects: usize,
}

const PARAMS: ValidationParams = ValidationParams {
    frames: 1000,
    at_once: 50,
    defects: 96,
};

/// Counters of the streams of random numbers: each kind of use has its own range.
const NOISE_COUNTER: u64 = 1 << 40;
const DEFECT_COUNTER: u64 = 1 << 41;

/// A network and what it is validated with.
#[derive(Debug)]
pub(super) struct Validator<'a> {
    /// Structure.
    pub network: &'a Network,
    /// Values.
    pub parameters: &'a Parameters,
    /// The frames held out.
    pub frames: &'a [usize],
    /// Makes tensors of them.
    pub batches: Batches<'a>,
    /// Draws latents.
    pub noise: Noise<'a>,
    /// The run's options.
    pub options: &'a FitOptions,
    /// Frames in a step of training.
    pub batch: usize,
    /// Where the network is.
    pub device: &'a Device,
}

/// Sums over the pictures of a validation.
#[derive(Debug, Default)]
pub(super) struct Validation {
    /// Pictures.
    pub count: f64,
    /// What is minimised, with all weights as at the end of the run.
    pub objective: f64,
    /// −log p(x|z), nats.
    pub nll: f64,
    /// KL divergence, nats.
    pub divergence: f64,
    /// The negative importance-weighted bound, nats.
    pub bound: f64,
    /// The head's loss.
    pub head: f64,
    /// The head's scores of the clean pictures.
    pub normal: Vec<f64>,
    /// Those of the pictures with a defect.
    pub defective: Vec<f64>,
}

impl Validator<'_> {
    /// Runs the network.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn run(&self) -> Result<Validation> {
        let with_defects = self.options.head.is_some();
        let pictures: Vec<usize> = if with_defects {
            self.frames
                .iter()
                .copied()
                .cycle()
                .take(PARAMS.defects)
                .collect()
        } else {
            self.frames.iter().copied().take(PARAMS.frames).collect()
        };
        let mut sums = Validation::default();
        let size = PARAMS.at_once.min(2 * self.batch);
        for (batch, indices) in pictures.chunks(size).enumerate() {
            let counter = (batch * size) as u64;
            self.add(indices, counter, false, &mut sums)?;
            if with_defects {
                self.add(indices, counter, true, &mut sums)?;
            }
        }
        Ok(sums)
    }

    /// Adds what the network makes of the frames `indices`, with or without defects, to `sums`.
    fn add(
        &self,
        indices: &[usize],
        counter: u64,
        defects: bool,
        sums: &mut Validation,
    ) -> Result<()> {
        let options = self.options;
        let binarise = options.augmentation.binarise;
        let batch = if defects {
            let counter = DEFECT_COUNTER + counter;
            self.batches
                .validate_defects(indices, counter, binarise, self.device)?
        } else {
            self.batches
                .validate(indices, counter, binarise, self.device)?
        };
        let noise = self.noise.draw(Draw {
            purpose: Purpose::Validate,
            counter: NOISE_COUNTER + counter,
            frames: indices.len(),
            samples: options.importance_samples,
        })?;
        let weights = Weights {
            kl: options.beta,
            free_bits: 0.0,
            importance_samples: options.importance_samples,
            head: options.head.unwrap_or_default(),
            warm_up: 1.0,
        };
        let mode = &mut Mode::Evaluate;
        let loss = objective::loss(self.network, self.parameters, mode, &batch, &noise, weights)?;
        let count = indices.len() as f64;
        sums.count += count;
        sums.objective += scalar(&loss.objective)? * count;
        sums.nll += scalar(&loss.negative_log_likelihood)? * count;
        sums.divergence += scalar(&loss.divergence)? * count;
        if let Some(bound) = &loss.negative_bound {
            sums.bound += scalar(bound)? * count;
        }
        if let Some(head) = &loss.head {
            sums.head += scalar(&head.loss)? * count;
            let scores = head.scores.to_vec1::<f32>()?.into_iter().map(f64::from);
            if defects {
                sums.defective.extend(scores);
            } else {
                sums.normal.extend(scores);
            }
        }
        Ok(())
    }
}

/// The number that a tensor of one holds.
///
/// # Errors
/// It holds another number of values.
pub(super) fn scalar(t: &Tensor) -> Result<f64> {
    let value = t.to_dtype(DType::F32)?.to_scalar::<f32>();
    Ok(f64::from(value.context("cannot read the loss")?))
}
