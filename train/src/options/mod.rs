//! What decides a training run: flags over the checkpoint over defaults, resolved once.

mod defaults;
mod merge;
mod overrides;
mod parse;
mod preset;
mod score;
mod size;

use std::path::PathBuf;

use edge_vae::{
    preprocess::{Colour, Crop, Denoise, Normalise, ResizeFilter},
    vae::Likelihood,
};
use serde::{Deserialize, Serialize};

pub use overrides::{ColourChoice, FeatureNormalise, FilterChoice, FitOverrides, Flip, Switch};
pub use parse::{Features, HeadWeights};
pub use preset::{LatentChoice, Preset};
pub use score::Score;
pub use size::{Size, multiple_of};

/// Everything that decides the bits of a trained model, besides its frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitOptions {
    /// Network.
    pub preset: Preset,
    /// How large the tensor is. The digits' network has a size of its own.
    pub size: Size,
    /// How to train a head on synthetic defects; without it there is none, and no defects.
    pub head: Option<HeadOptions>,
    /// Latent in place of the preset's.
    pub latent: Option<LatentChoice>,
    /// p(x|z).
    pub likelihood: Likelihood,
    /// Colour of the tensor; without it, what the training frames have.
    pub colour: Option<Colour>,
    /// List of training frames that are left out.
    pub exclude: Option<PathBuf>,
    /// Region of interest.
    pub crop: Option<Crop>,
    /// Bits that 16-bit samples use, where they are fewer.
    pub bits: Option<u32>,
    /// Most pixels of a picture, where more than usual are meant.
    pub max_pixels: Option<u64>,
    /// PNG with the region of interest in white.
    pub mask: Option<PathBuf>,
    /// Whether frames are cut into tiles.
    pub tiles: TileChoice,
    /// Noise filter.
    pub denoise: Option<Denoise>,
    /// Resampling filter.
    pub filter: ResizeFilter,
    /// Exposure normalisation.
    pub exposure: bool,
    /// Contrast normalisation, to that of the training frames.
    pub contrast: bool,
    /// Only this class of an IDX data set is normal.
    pub class: Option<u8>,
    /// When to stop.
    pub budget: Budget,
    /// Frames in a step.
    pub batch: usize,
    /// Parts of a step that are normalised by themselves, each on one device.
    pub shards: usize,
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
    /// Target false-alarm rate.
    pub false_alarm_rate: f64,
    /// Which frames the threshold comes from.
    pub calibration: CalibrationChoice,
    /// What makes frames one group, as [`edge_vae::dataset::Grouping::parse`] takes it; without it
    /// each is its own.
    pub group_by: Option<String>,
    /// The score that decides.
    pub score: Score,
    /// A feature extractor in place of the encoder that is trained.
    pub backbone: Option<BackboneOptions>,
}

impl FitOptions {
    /// Whether all frames may calibrate by out-of-fold scores: where features of a pretrained
    /// backbone may decide, and held-out frames were not asked for.
    pub fn may_fold(&self) -> bool {
        self.calibration == CalibrationChoice::Auto
            && self.backbone.is_some()
            && matches!(
                self.score,
                Score::Auto | Score::Features | Score::FineFeatures
            )
    }
}

/// Which frames the threshold comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CalibrationChoice {
    /// All, by out-of-fold scores, where features of a pretrained backbone decide; else a fifth
    /// that is held out
    #[default]
    Auto,
    /// A fifth that nothing is fitted to: the guarantee is then exact
    HeldOut,
}

/// How frames become tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TileChoice {
    /// In tiles where the training frames are large.
    Auto,
    /// Whole.
    Off,
    /// Resized to this canvas, and that in tiles.
    Canvas {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
}

/// A feature extractor in place of the encoder that is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackboneOptions {
    /// The user's ONNX file; without it the pretrained backbone that comes with the trainer.
    pub path: Option<PathBuf>,
    /// Outputs that are taken; none means all maps.
    pub maps: Vec<String>,
    /// What it was trained with: from [0, 1] to its input; without it, those values themselves.
    pub normalise: Option<Normalise>,
}

/// How a head is trained, on synthetic defects and together with the VAE.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadOptions {
    /// Weight of the negative ELBO per observed dimension, in nats.
    pub elbo: f64,
    /// Weight of the mean focal loss.
    pub focal: f64,
    /// Weight of the soft Dice loss, mean over the defective pictures.
    pub dice: f64,
    /// Weight of the cross-entropy of the mean of the largest logits against «has a defect»; it
    /// rises with the KL weight.
    pub image: f64,
    /// Share of the pictures that stay clean.
    pub clean: f64,
}

impl Default for HeadOptions {
    fn default() -> Self {
        Self {
            elbo: 0.15,
            focal: 20.0,
            dice: 0.3,
            image: 0.2,
            clean: 0.4,
        }
    }
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
    /// Largest shift, as a share of the side; the border is mirrored. Shift, zoom and rotation
    /// befall three frames in ten, together.
    pub shift: f64,
    /// Largest enlargement, less one.
    pub zoom: f64,
    /// Largest rotation, in degrees.
    pub rotation: f64,
    /// Largest relative change of gain; the offset changes by a quarter as much of full scale.
    pub brightness: f64,
    /// Largest exponent γ of v ← v^(2^γ), either way, for three frames in ten.
    pub gamma: f64,
    /// Draw each pixel from the Bernoulli distribution that its value is (Salakhutdinov & Murray
    /// 2008), anew in each step.
    pub binarise: bool,
}

/// The frame with known expected outputs that every engine must reproduce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Golden {
    /// One of the calibration frames.
    CalibrationFrame,
    /// A drawn digit.
    Glyph,
    /// A picture of the user's.
    File(PathBuf),
}
