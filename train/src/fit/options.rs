//! What a training run is told, resolved from the flags once.

use edge_vae::{
    preprocess::{Colour, Crop, Denoise, ResizeFilter},
    vae::Likelihood,
};
use serde::{Deserialize, Serialize};

use crate::network::{LatentChoice, Preset};

/// Everything that decides the bits of a trained model, besides its frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitOptions {
    /// Network.
    pub preset: Preset,
    /// Latent in place of the preset's.
    pub latent: Option<LatentChoice>,
    /// p(x|z).
    pub likelihood: Likelihood,
    /// Colour of the tensor; without it, what the training frames have.
    pub colour: Option<Colour>,
    /// Region of interest.
    pub crop: Option<Crop>,
    /// Noise filter.
    pub denoise: Option<Denoise>,
    /// Resampling filter.
    pub filter: ResizeFilter,
    /// Only this class of an IDX data set is normal.
    pub class: Option<u8>,
    /// When to stop.
    pub budget: Budget,
    /// Frames in a step.
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub clip: f64,
    /// Decay of the average of the weights.
    pub average: f64,
    /// β of the β-VAE.
    pub beta: f64,
    /// Share of the run over which the KL weight rises.
    pub kl_warm_up: f64,
    /// Free nats for each latent channel.
    pub free_bits: f64,
    /// K of the importance-weighted bound; 1 trains on the ELBO throughout.
    pub importance_samples: usize,
    /// Share of the steps, at the end of the run, that train on that bound.
    pub importance_share: f64,
    /// Changes of the training frames.
    pub augmentation: Augmentation,
    /// Validations without improvement after which training ends.
    pub patience: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Promised false-alarm rate.
    pub false_alarm_rate: f64,
}

/// When training stops.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// Wall-clock minutes of the whole command.
    Minutes(f64),
    /// Passes over the training frames.
    Epochs(f64),
    /// Optimiser steps.
    Steps(u64),
}

/// Random changes of the training frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Mirror left and right, every second frame.
    pub flip_horizontal: bool,
    /// Mirror up and down, every second frame.
    pub flip_vertical: bool,
    /// Largest shift, as a share of the side; the border is mirrored.
    pub shift: f64,
    /// Largest relative change of gain; the offset changes by a quarter as much of full scale.
    pub brightness: f64,
    /// Draw each pixel from the Bernoulli distribution that its value is (Salakhutdinov & Murray
    /// 2008), anew in each step.
    pub binarise: bool,
}
