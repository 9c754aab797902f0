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
    /// Size to which frames are resized (input resolution): at most as many pixels as a square of
    /// SIDE has, in the frames' proportions; or WIDTHxHEIGHT [default: auto]
    ///
    /// The proportions are those of the training frames where these are alike within 5 %; else it
    /// is a square. auto takes 128 for frames of at most 96² pixels, 256 (preset best: 384) up to
    /// 320². For larger frames it tries that and 512, and keeps the one that separates frames with
    /// synthetic (drawn) defects from normal ones better; 512 in doubt, with fewer than 24 frames,
    /// with less than 10 minutes, or with --features own.
    #[arg(long, value_name = "SIDE", value_parser = Size::parse)]
    pub size: Option<Size>,
    /// Target false-alarm rate: the share of normal frames that may be called anomalous
    /// [default: 0.01]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub false_alarm_rate: Option<f64>,
    /// Frames that belong together (one part, tray or shift): `parent` for their folder, or a
    /// regular expression with one (...) that is looked for in the path
    ///
    /// A group is never divided between training, selection of the score, and calibration of the
    /// threshold. The target false-alarm rate is then for frames of new groups.
    #[arg(long, value_name = "PATTERN", value_parser = group_by)]
    pub group_by: Option<String>,
    /// Part of the frame to look at, as fractions: LEFT,TOP,RIGHT,BOTTOM
    #[arg(long, value_name = "L,T,R,B", value_parser = crop, hide_short_help = true)]
    pub crop: Option<Crop>,
    /// PNG over the whole frame: white where to look, black what to ignore
    #[arg(long, value_name = "PNG")]
    pub mask: Option<PathBuf>,
    /// Leave out the frames of this list: paths below DATASET, one a line; # begins a comment
    #[arg(long, value_name = "LIST", hide_short_help = true, help_heading = FRAMES)]
    pub exclude: Option<PathBuf>,
    /// Bits that 16-bit samples use, 9-15: 10 or 12 for cameras of 10 or 12 bits [default: 16]
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
    /// The canvas is the size to which frames are resized before they are cut into square tiles of
    /// the input resolution that overlap by a quarter. auto does so where frames have more than
    /// 1536² pixels, at half their size or less, with at most 16 tiles, unless whole frames
    /// separate synthetic defects better. Networks for 28x28 and with --latent vector take whole
    /// frames.
    #[arg(long, value_name = "auto|off|WxH", value_parser = tiles, hide_short_help = true,
          help_heading = FRAMES)]
    pub tiles: Option<TileChoice>,
    /// Noise filter before resizing: median:RADIUS or gaussian:SIGMA, in frame pixels
    #[arg(long, value_name = "KIND:SIZE", value_parser = denoise, hide_short_help = true,
          help_heading = FRAMES)]
    pub denoise: Option<Denoise>,
    /// Filter by which frames are resized [default: area]
    #[arg(long, value_enum, hide_short_help = true, help_heading = FRAMES)]
    pub filter: Option<FilterChoice>,
    /// Multiply each frame so that its median brightness is the same (exposure normalisation)
    /// [default: on; off for 28x28]
    #[arg(long, value_enum, hide_short_help = true, help_heading = FRAMES)]
    pub exposure: Option<Switch>,
    /// Bring each frame's local contrast to that of the training frames (contrast normalisation)
    /// [default: on; off for 28x28]
    #[arg(long, value_enum, hide_short_help = true, help_heading = FRAMES)]
    pub contrast: Option<Switch>,

    /// Score that decides; auto selects the one that separates synthetic (drawn) defects best from
    /// normal frames that trained nothing [default: auto]
    #[arg(long, value_enum, hide_short_help = true, help_heading = DECISION)]
    pub score: Option<Score>,
    /// Frames that the threshold comes from [default: auto]
    #[arg(long, value_enum, hide_short_help = true, help_heading = DECISION)]
    pub calibration: Option<CalibrationChoice>,
    /// Network that turns a frame into features, numbers for each place (feature extractor):
    /// pretrained, own, or an ONNX file [default: pretrained; own for 28x28]
    ///
    /// pretrained is the EfficientNet-Lite0 that comes with this program; own is the encoder that
    /// is trained here. A file has one input N×C×H×W (frames, channels, height, width) of the input
    /// resolution, and maps N×c×h×w among its outputs; maps called `detail…` only say where a
    /// defect is.
    #[arg(long, value_name = "pretrained|own|ONNX", value_parser = features,
          hide_short_help = true, help_heading = DECISION)]
    pub features: Option<Features>,
    /// Outputs of the ONNX file of --features to use, by name [default: all maps]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "features",
          hide_short_help = true, help_heading = DECISION)]
    pub feature_maps: Option<Vec<String>>,
    /// How pixel values were scaled where this file was trained; none for values in [0, 1]
    /// [default: imagenet]
    #[arg(long, value_enum, requires = "features", hide_short_help = true,
          help_heading = DECISION)]
    pub feature_normalise: Option<FeatureNormalise>,

    /// Stop after this many passes over the training frames
    #[arg(long, group = "budget", value_parser = positive, hide_short_help = true,
          help_heading = LENGTH)]
    pub epochs: Option<f64>,
    /// Stop after this many steps; each step changes the network once
    #[arg(long, group = "budget", value_parser = clap::value_parser!(u64).range(1..),
          hide_short_help = true, help_heading = LENGTH)]
    pub steps: Option<u64>,
    /// Stop early after this many checks on validation frames in a row without improvement
    /// [default: 12]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          hide_short_help = true, help_heading = LENGTH)]
    pub patience: Option<u64>,

    /// Code between the VAE's encoder and decoder (latent): one vector:LENGTH for the frame, or a
    /// map:CHANNELS with values for each place [default: map:16; vector:512 for 28x28]
    #[arg(long, value_name = "KIND:SIZE", value_parser = latent, hide_short_help = true,
          help_heading = NETWORK)]
    pub latent: Option<LatentChoice>,
    /// How pixels spread about what the decoder draws: p(x|z) [default: gaussian]
    ///
    /// gaussian learns a variance for each pixel, gaussian:SIGMA fixes the standard deviation in
    /// units of the normalised input, bernoulli is for pictures of black and white only.
    #[arg(long, value_name = "MODEL", value_parser = likelihood, hide_short_help = true,
          help_heading = NETWORK)]
    pub likelihood: Option<Likelihood>,
    /// Train a further network, the head, to find synthetic defects [default: on; off for 28x28]
    #[arg(long, value_enum, hide_short_help = true, help_heading = NETWORK)]
    pub head: Option<Switch>,
    /// Weight of the VAE's own goal, the negative ELBO per pixel, beside the head's goals
    /// [default: 0.15]
    #[arg(long, value_name = "WEIGHT", value_parser = non_negative, hide_short_help = true,
          help_heading = NETWORK)]
    pub elbo_weight: Option<f64>,
    /// Weights of the head's goals (losses): single pixels (focal), defect areas (soft Dice), whole
    /// frames (cross-entropy) [default: 20,0.3,0.2]
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
    /// KL divergence of each latent channel, in nats, up to which it costs no more (free bits)
    /// [default: 0]
    #[arg(long, value_name = "NATS", value_parser = non_negative, hide_short_help = true,
          help_heading = NETWORK)]
    pub free_bits: Option<f64>,
    /// Samples a frame of the importance-weighted bound (IWAE), which takes the place of the ELBO
    /// at the end of the run [default: 5 for 28x28 with --likelihood bernoulli, else 1]
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
    /// Parts that the frames of a step are cut into, each for one device [default: one for each
    /// device]
    ///
    /// The same shards give the same network on any number of devices, none of which may be
    /// without a shard: give as many as there may be devices later. Each is normalised by itself
    /// (batch normalisation), so another number is another training.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024), hide_short_help = true,
          help_heading = OPTIMISER)]
    pub shards: Option<u64>,
    /// Largest step size (peak learning rate) of the optimiser AdamW [default: 0.002]
    #[arg(long, value_name = "RATE", value_parser = positive, hide_short_help = true,
          help_heading = OPTIMISER)]
    pub learning_rate: Option<f64>,
    /// Pull of the network's weights towards 0 at each step (decoupled weight decay)
    /// [default: 0.0001]
    #[arg(long, value_name = "DECAY", value_parser = non_negative, hide_short_help = true,
          help_heading = OPTIMISER)]
    pub weight_decay: Option<f64>,
    /// Gradients that are longer (norm) are shortened to this [default: 1]
    #[arg(long, value_name = "NORM", value_parser = positive, hide_short_help = true,
          help_heading = OPTIMISER)]
    pub clip: Option<f64>,
    /// Share of the moving average of the network's weights that a step keeps (its decay)
    /// [default: 0.995; 0.999 for 28x28]
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
    /// Largest random enlargement: 0.12 for up to 1.12 times [default: 0.12; 0 for 28x28]
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
    /// Largest random change of gamma: G for gammas from 2^-G to 2^G [default: 0.3; 0 for 28x28]
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
