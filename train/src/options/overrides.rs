//! What a user asks for by the flags of `fit` and `preview`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use edge_vae::{
    preprocess::{Crop, Denoise},
    vae::Likelihood,
};

use super::{
    Budget, CalibrationChoice, LatentChoice, Preset, Score, Size, TileChoice,
    parse::{
        Features, HeadWeights, crop, denoise, features, group_by, head_weights, latent, likelihood,
        non_negative, positive, rate, share, tiles, whole_share,
    },
};

const FRAMES: &str = "Frames";
const DECISION: &str = "What decides";
const LENGTH: &str = "Length of training";
const NETWORK: &str = "Network and objective";
const OPTIMISER: &str = "Optimiser";
const AUGMENTATION: &str = "Augmentation";

/// Options of a run as far as the user names them: laid over the checkpoint's or the defaults.
#[derive(Args, Clone, Debug, Default)]
pub struct FitOverrides {
    /// Stop after this many minutes, everything included
    /// [default: 20; 40 epochs for 28x28]
    #[arg(long, group = "budget", value_parser = positive)]
    pub minutes: Option<f64>,
    /// Network: larger ones find more and take longer
    /// [default: edge; 28x28 for frames of at most 32 pixels]
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Input resolution: as many pixels as a square of SIDE has, in the frames' proportions; or
    /// WIDTHxHEIGHT [default: auto]
    ///
    /// The tensor has the proportions of the training frames where these are alike within 5 %, and
    /// is a square where they are not. auto takes 128 for frames of at most 96² pixels, 256 (best:
    /// 384) up to 320². For larger frames it tries that and 512, and keeps what separates synthetic
    /// defects better; 512 in doubt, with fewer than 24 frames, with less than 10 minutes, or with
    /// --features own.
    #[arg(long, value_name = "SIDE", value_parser = Size::parse)]
    pub size: Option<Size>,
    /// Target false-alarm rate: the share of normal frames that may be called anomalous
    /// [default: 0.01]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub false_alarm_rate: Option<f64>,
    /// Frames that belong together (one part, tray or shift): `parent` for their folder, or a
    /// regular expression with one (...) that is looked for in the path
    ///
    /// Groups are never divided between training, selection and calibration, and the target
    /// false-alarm rate is then for frames of new groups.
    #[arg(long, value_name = "PATTERN", value_parser = group_by)]
    pub group_by: Option<String>,
    /// Part of the frame to look at, as fractions: LEFT,TOP,RIGHT,BOTTOM
    #[arg(long, value_name = "L,T,R,B", value_parser = crop)]
    pub crop: Option<Crop>,
    /// PNG over the whole frame: white where to look, black what to ignore
    #[arg(long, value_name = "PNG")]
    pub mask: Option<PathBuf>,
    /// Leave out the frames of this list: paths below DATASET, one a line; # begins a comment
    #[arg(long, value_name = "LIST", hide_short_help = true, help_heading = FRAMES)]
    pub exclude: Option<PathBuf>,
    /// Bits that 16-bit samples use, 9-15, as of cameras with 10 or 12 bits [default: 16]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(9..=15),
          hide_short_help = true, help_heading = FRAMES)]
    pub bits: Option<u32>,
    /// Read pictures of up to N pixels, and let the model read them [default: 100 million]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          hide_short_help = true, help_heading = FRAMES)]
    pub max_pixels: Option<u64>,
    /// Seed of everything random: the same seed and frames give the same model [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,

    /// Take this class of an IDX data set for normal, all others for anomalous
    #[arg(long, value_name = "LABEL", hide_short_help = true, help_heading = FRAMES)]
    pub class: Option<u8>,
    /// Colour of the input [default: grey where the training frames are grey]
    #[arg(long, value_enum, hide_short_help = true, help_heading = FRAMES)]
    pub colour: Option<ColourChoice>,
    /// Cut frames into overlapping tiles: auto, off, or a canvas of WIDTHxHEIGHT pixels
    /// [default: auto]
    ///
    /// Frames are resized to the canvas, which is cut into square tiles of the input resolution
    /// that overlap by a quarter. auto does so where frames have more than 1536² pixels, at half
    /// their size or less, with at most 16 tiles, unless whole frames separate synthetic defects
    /// better. Networks for 28x28 and with a vector latent take whole frames.
    #[arg(long, value_name = "auto|off|WxH", value_parser = tiles, hide_short_help = true,
          help_heading = FRAMES)]
    pub tiles: Option<TileChoice>,
    /// Noise filter before resizing: median:RADIUS or gaussian:SIGMA, in frame pixels
    #[arg(long, value_name = "KIND:SIZE", value_parser = denoise, hide_short_help = true,
          help_heading = FRAMES)]
    pub denoise: Option<Denoise>,
    /// Resampling filter [default: area]
    #[arg(long, value_enum, hide_short_help = true, help_heading = FRAMES)]
    pub filter: Option<FilterChoice>,
    /// Exposure normalisation [default: on; off for 28x28]
    #[arg(long, value_enum, hide_short_help = true, help_heading = FRAMES)]
    pub exposure: Option<Switch>,
    /// Contrast normalisation, to that of the training frames [default: on; off for 28x28]
    #[arg(long, value_enum, hide_short_help = true, help_heading = FRAMES)]
    pub contrast: Option<Switch>,

    /// Score that decides; auto selects what separates synthetic defects from held-out normal
    /// frames best [default: auto]
    #[arg(long, value_enum, hide_short_help = true, help_heading = DECISION)]
    pub score: Option<Score>,
    /// Frames that the threshold comes from [default: auto]
    #[arg(long, value_enum, hide_short_help = true, help_heading = DECISION)]
    pub calibration: Option<CalibrationChoice>,
    /// Feature extractor: pretrained, own, or an ONNX file
    /// [default: pretrained; own for 28x28]
    ///
    /// pretrained is the EfficientNet-Lite0 that comes with this program; own the encoder that is
    /// trained; a file has one input N×C×H×W of the input resolution and maps N×c×h×w among its
    /// outputs, of which those called `detail…` only say where a defect is.
    #[arg(long, value_name = "pretrained|own|ONNX", value_parser = features,
          hide_short_help = true, help_heading = DECISION)]
    pub features: Option<Features>,
    /// Outputs of the ONNX file of --features to use [default: all maps]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "features",
          hide_short_help = true, help_heading = DECISION)]
    pub feature_maps: Option<Vec<String>>,
    /// Input normalisation that this file was trained with; none for values in [0, 1]
    /// [default: imagenet]
    #[arg(long, value_enum, requires = "features", hide_short_help = true,
          help_heading = DECISION)]
    pub feature_normalise: Option<FeatureNormalise>,

    /// Stop after this many passes over the training frames
    #[arg(long, group = "budget", value_parser = positive, hide_short_help = true,
          help_heading = LENGTH)]
    pub epochs: Option<f64>,
    /// Stop after this many optimiser steps
    #[arg(long, group = "budget", value_parser = clap::value_parser!(u64).range(1..),
          hide_short_help = true, help_heading = LENGTH)]
    pub steps: Option<u64>,
    /// Validations without improvement after which training stops early [default: 12]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          hide_short_help = true, help_heading = LENGTH)]
    pub patience: Option<u64>,

    /// Latent: vector:LENGTH or map:CHANNELS [default: map:16; vector:512 for 28x28]
    #[arg(long, value_name = "KIND:SIZE", value_parser = latent, hide_short_help = true,
          help_heading = NETWORK)]
    pub latent: Option<LatentChoice>,
    /// Observation model p(x|z) [default: gaussian]
    ///
    /// gaussian learns a variance for each pixel, gaussian:SIGMA fixes the deviation in units of
    /// the normalised input, bernoulli is for binary pictures.
    #[arg(long, value_name = "MODEL", value_parser = likelihood, hide_short_help = true,
          help_heading = NETWORK)]
    pub likelihood: Option<Likelihood>,
    /// Head that is trained on synthetic defects [default: on; off for 28x28]
    #[arg(long, value_enum, hide_short_help = true, help_heading = NETWORK)]
    pub head: Option<Switch>,
    /// Weight of the negative ELBO per pixel beside the head's losses [default: 0.15]
    #[arg(long, value_name = "WEIGHT", value_parser = non_negative, hide_short_help = true,
          help_heading = NETWORK)]
    pub elbo_weight: Option<f64>,
    /// Weights of the head's losses: focal, soft Dice, image-level cross-entropy
    /// [default: 20,0.3,0.2]
    #[arg(long, value_name = "F,D,I", value_parser = head_weights, hide_short_help = true,
          help_heading = NETWORK)]
    pub head_weights: Option<HeadWeights>,
    /// Share of the training samples that get no synthetic defect [default: 0.4]
    #[arg(long, value_name = "SHARE", value_parser = share, hide_short_help = true,
          help_heading = NETWORK)]
    pub clean_share: Option<f64>,
    /// Weight of the KL divergence (β-VAE) [default: 1]
    #[arg(long, value_parser = non_negative, hide_short_help = true, help_heading = NETWORK)]
    pub beta: Option<f64>,
    /// Share of the run over which the KL weight rises from 0 [default: 0.3; 0.1 for 28x28]
    #[arg(long, value_name = "SHARE", value_parser = share, hide_short_help = true,
          help_heading = NETWORK)]
    pub kl_warm_up: Option<f64>,
    /// Nats of KL divergence that each latent channel may spend for free [default: 0]
    #[arg(long, value_name = "NATS", value_parser = non_negative, hide_short_help = true,
          help_heading = NETWORK)]
    pub free_bits: Option<f64>,
    /// Samples of the importance-weighted bound (IWAE) that replaces the ELBO at the end of the run
    /// [default: 5 for 28x28 with a Bernoulli likelihood, else 1]
    ///
    /// Takes --beta 1, --free-bits 0 and a budget of epochs or steps.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1000),
          hide_short_help = true, help_heading = NETWORK)]
    pub importance_samples: Option<u64>,
    /// Share of the steps, at the end of the run, that --importance-samples is for [default: 0.15]
    #[arg(long, value_name = "SHARE", value_parser = whole_share, hide_short_help = true,
          help_heading = NETWORK)]
    pub importance_share: Option<f64>,

    /// Frames in a step [default: 16; 64 for 28x28]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65536), hide_short_help = true,
          help_heading = OPTIMISER)]
    pub batch: Option<u64>,
    /// Peak learning rate of AdamW [default: 0.002]
    #[arg(long, value_name = "RATE", value_parser = positive, hide_short_help = true,
          help_heading = OPTIMISER)]
    pub learning_rate: Option<f64>,
    /// Decoupled weight decay [default: 0.0001]
    #[arg(long, value_name = "DECAY", value_parser = non_negative, hide_short_help = true,
          help_heading = OPTIMISER)]
    pub weight_decay: Option<f64>,
    /// Largest norm of the gradient [default: 1]
    #[arg(long, value_name = "NORM", value_parser = positive, hide_short_help = true,
          help_heading = OPTIMISER)]
    pub clip: Option<f64>,
    /// Decay of the exponential moving average of the weights [default: 0.995; 0.999 for 28x28]
    #[arg(long, value_name = "DECAY", value_parser = share, hide_short_help = true,
          help_heading = OPTIMISER)]
    pub average: Option<f64>,

    /// Random mirroring [default: both; none for 28x28]
    #[arg(long, value_enum, hide_short_help = true, help_heading = AUGMENTATION)]
    pub flip: Option<Flip>,
    /// Largest random shift as a share of the side [default: 0.03; 0 for 28x28]
    #[arg(long, value_name = "SHARE", value_parser = share, hide_short_help = true,
          help_heading = AUGMENTATION)]
    pub shift: Option<f64>,
    /// Largest random enlargement, less one [default: 0.12; 0 for 28x28]
    #[arg(long, value_name = "SHARE", value_parser = share, hide_short_help = true,
          help_heading = AUGMENTATION)]
    pub zoom: Option<f64>,
    /// Largest random rotation in degrees [default: 2; 0 for 28x28]
    #[arg(long, value_name = "DEGREES", value_parser = non_negative, hide_short_help = true,
          help_heading = AUGMENTATION)]
    pub rotation: Option<f64>,
    /// Largest random change of brightness, relative [default: 0.15; 0 for 28x28]
    #[arg(long, value_name = "SHARE", value_parser = share, hide_short_help = true,
          help_heading = AUGMENTATION)]
    pub brightness: Option<f64>,
    /// Largest random gamma, as a power of two [default: 0.3; 0 for 28x28]
    #[arg(long, value_name = "EXPONENT", value_parser = non_negative, hide_short_help = true,
          help_heading = AUGMENTATION)]
    pub gamma: Option<f64>,
}

impl FitOverrides {
    /// The budget, where one is named; clap lets through one of the three.
    pub(super) fn budget(&self) -> Option<Budget> {
        let minutes = self.minutes.map(Budget::Minutes);
        let epochs = self.epochs.map(Budget::Epochs);
        minutes.or(epochs).or(self.steps.map(Budget::Steps))
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// With it.
    On,
    /// Without it.
    Off,
}

/// Colour of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColourChoice {
    /// One channel.
    Grey,
    /// Three channels.
    Rgb,
}

/// Axes along which frames may be mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flip {
    /// Neither.
    None,
    /// Left and right.
    Horizontal,
    /// Up and down.
    Vertical,
    /// Both.
    Both,
}

/// Resampling filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FilterChoice {
    /// Mean over the pixel's area.
    Area,
    /// Triangle.
    Bilinear,
    /// Catmull-Rom.
    Cubic,
    /// Windowed sinc.
    Lanczos3,
}

/// Input normalisation of a feature extractor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FeatureNormalise {
    /// Mean and deviation of ImageNet.
    Imagenet,
    /// None: values in [0, 1].
    None,
}
