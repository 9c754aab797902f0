//! One step of training: its frames, its noise and its gradients.

use std::{ops::Range, path::Path, sync::atomic::AtomicBool, time::Instant};

use anyhow::Result;
use candle_core::Device;
use edge_vae::preprocess::Normalise;
use rand::seq::SliceRandom;

use super::{
    gradients::{Gradients, Losses},
    network::Network,
    noise::{Draw, Noise},
    objective::{self, Weights},
    schedule,
    validation::scalar,
};
use crate::{
    data::{Frames, augmentation::Batches},
    nn::{Mode, Parameters},
    options::FitOptions,
    random::{Purpose, stream},
    reporter::Reporter,
};

/// A network and what it is trained on.
#[derive(Debug)]
pub struct Training<'a> {
    /// Structure of the network.
    pub network: &'a Network,
    /// All prepared frames.
    pub frames: &'a Frames,
    /// Their normalisation.
    pub normalise: &'a Normalise,
    /// Frames trained on.
    pub train: &'a [usize],
    /// Frames watched for early stopping.
    pub validation: &'a [usize],
    /// Side of the crops to train on; without it whole frames.
    pub crop: Option<usize>,
    /// When the command began.
    pub began: Instant,
    /// Seconds that what follows training takes, roughly; 0 where that is not known.
    pub afterwards: f64,
    /// Folder of checkpoints, metrics and loss curve.
    pub folder: &'a Path,
    /// Where to train, one at least; the first also validates.
    pub devices: &'a [Device],
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
    /// Says how far it is.
    pub reporter: &'a Reporter,
}

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrainingStep {
    /// From 0.
    pub number: u64,
    /// Steps of the run, at least 1.
    pub total: u64,
}

/// A part of a batch, and where it goes through the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard<'a> {
    /// From 0.
    pub number: usize,
    /// Shards of the batch, no more than it has frames.
    pub count: usize,
    /// Where the network is.
    pub device: &'a Device,
}

impl Shard<'_> {
    /// Its frames in a batch of `frames`.
    fn places(self, frames: usize) -> Range<usize> {
        let Self { number, count, .. } = self;
        number * frames / count..(number + 1) * frames / count
    }
}

impl Training<'_> {
    /// What a shard of a step's batch finds, with a network of these values. Changes nothing.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn gradients(
        &self,
        options: &FitOptions,
        step: TrainingStep,
        shard: Shard,
        parameters: &Parameters,
    ) -> Result<Gradients> {
        let TrainingStep { number, total } = step;
        let device = shard.device;
        let batch = self.batch_indices(options, number);
        let places = shard.places(batch.len());
        // Each frame has random numbers of its own, whatever shard it is in.
        let counter = number * batch.len() as u64 + places.start as u64;
        let indices = &batch[places];
        let batches = self.batches(options);
        let batch = batches.train(indices, &options.augmentation, counter, device)?;
        let samples = schedule::importance_samples(
            number,
            total,
            options.importance_share,
            options.importance_samples,
        );
        let noise = self.noise(options, device).draw(Draw {
            purpose: Purpose::Noise,
            counter,
            frames: indices.len(),
            samples,
        })?;
        let weigh = |full| schedule::kl_weight(number, total, options.kl_warm_up, full);
        let weights = Weights {
            kl: weigh(options.beta),
            free_bits: options.free_bits,
            importance_samples: samples,
            head: options.head.unwrap_or_default(),
            warm_up: weigh(1.0),
        };
        let mut mode = Mode::Train(Vec::new());
        let loss = objective::loss(self.network, parameters, &mut mode, &batch, &noise, weights)?;
        let gradients = loss.objective.backward()?;
        let statistics = match mode {
            Mode::Train(statistics) => statistics,
            Mode::Evaluate => Vec::new(),
        };
        Ok(Gradients {
            gradients,
            statistics,
            losses: Losses {
                nll: scalar(&loss.negative_log_likelihood)?,
                divergence: scalar(&loss.divergence)?,
                head: match &loss.head {
                    Some(head) => scalar(&head.loss)?,
                    None => 0.0,
                },
            },
        })
    }

    /// Share of the frames of a batch that a shard has.
    pub(super) fn share(&self, options: &FitOptions, shard: Shard) -> f64 {
        let batch = self.batch(options);
        shard.places(batch).len() as f64 / batch as f64
    }

    /// The frames of step `number`: each epoch is a permutation of its own, a rest shorter than a
    /// batch is left out. Fewer frames than a batch come as often as they are needed.
    fn batch_indices(&self, options: &FitOptions, number: u64) -> Vec<usize> {
        let batch = self.batch(options);
        let per_epoch = self.steps_per_epoch(options);
        let (epoch, place) = (number / per_epoch, (number % per_epoch) as usize);
        let repeats = batch.div_ceil(self.train.len());
        let mut order = self.train.repeat(repeats);
        order.shuffle(&mut stream(options.seed, Purpose::Order, epoch));
        order[place * batch..(place + 1) * batch].to_vec()
    }

    /// Where what is done once is done.
    pub(super) fn device(&self) -> &Device {
        &self.devices[0]
    }

    /// Frames in a step.
    pub(super) fn batch(&self, options: &FitOptions) -> usize {
        let wanted = options.batch;
        match options.head {
            // No two pictures of a batch are alike.
            Some(_) => wanted,
            None => wanted.min(self.train.len()),
        }
    }

    /// Steps in a pass over the training frames.
    pub(super) fn steps_per_epoch(&self, options: &FitOptions) -> u64 {
        (self.train.len() / self.batch(options)).max(1) as u64
    }

    /// Makes batches of the frames.
    pub(super) fn batches(&self, options: &FitOptions) -> Batches<'_> {
        Batches {
            frames: self.frames,
            normalise: self.normalise,
            donors: self.train,
            crop: self.crop,
            tensor: [self.network.spec().height, self.network.spec().width],
            head: options.head,
            seed: options.seed,
        }
    }

    /// Draws the noise of the run.
    pub(super) fn noise<'b>(&'b self, options: &FitOptions, device: &'b Device) -> Noise<'b> {
        Noise {
            spec: self.network.spec(),
            crop: self.crop,
            seed: options.seed,
            device,
        }
    }
}
