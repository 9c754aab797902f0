//! One step of training: its frames, its noise and its gradients.

use std::{path::Path, sync::atomic::AtomicBool, time::Instant};

use anyhow::Result;
use candle_core::{Device, backprop::GradStore};
use edge_vae::preprocess::Normalise;
use rand::seq::SliceRandom;

use super::{
    network::Network,
    noise::{Draw, Noise},
    objective::{self, Weights},
    schedule,
    validation::scalar,
};
use crate::{
    data::{Frames, augmentation::Batches},
    nn::{Mode, NormStatistics, Parameters},
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
    /// Where to train.
    pub device: &'a Device,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
    /// Says how far it is.
    pub reporter: &'a Reporter,
}

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrainingStep<'a> {
    /// From 0.
    pub number: u64,
    /// Steps of the run, at least 1.
    pub total: u64,
    /// The run's options.
    pub options: &'a FitOptions,
}

/// What one step finds.
#[derive(Debug)]
pub(super) struct Gradients {
    /// Of the objective.
    pub gradients: GradStore,
    /// Of each batch normalisation.
    pub statistics: Vec<NormStatistics>,
    /// −log p(x|z) in nats a frame.
    pub nll: f64,
    /// KL divergence in nats a frame.
    pub divergence: f64,
    /// The head's weighted loss, 0 without a head.
    pub head: f64,
}

impl Training<'_> {
    /// What a step of a network with these values finds. Changes nothing.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn gradients(
        &self,
        step: TrainingStep,
        parameters: &Parameters,
    ) -> Result<Gradients> {
        let TrainingStep {
            number,
            total,
            options,
        } = step;
        let indices = self.batch_indices(step);
        let counter = number * indices.len() as u64;
        let batches = self.batches(options);
        let batch = batches.train(&indices, &options.augmentation, counter, self.device)?;
        let samples = schedule::importance_samples(
            number,
            total,
            options.importance_share,
            options.importance_samples,
        );
        let noise = self.noise(options).draw(Draw {
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
            nll: scalar(&loss.negative_log_likelihood)?,
            divergence: scalar(&loss.divergence)?,
            head: match &loss.head {
                Some(head) => scalar(&head.loss)?,
                None => 0.0,
            },
        })
    }

    /// The frames of a step: each epoch is a permutation of its own, a rest shorter than a batch
    /// is left out. Fewer frames than a batch come as often as they are needed.
    fn batch_indices(&self, step: TrainingStep) -> Vec<usize> {
        let batch = self.batch(step.options);
        let per_epoch = self.steps_per_epoch(step.options);
        let (epoch, place) = (step.number / per_epoch, (step.number % per_epoch) as usize);
        let repeats = batch.div_ceil(self.train.len());
        let mut order = self.train.repeat(repeats);
        order.shuffle(&mut stream(step.options.seed, Purpose::Order, epoch));
        order[place * batch..(place + 1) * batch].to_vec()
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
    pub(super) fn noise(&self, options: &FitOptions) -> Noise<'_> {
        Noise {
            spec: self.network.spec(),
            crop: self.crop,
            seed: options.seed,
            device: self.device,
        }
    }
}
