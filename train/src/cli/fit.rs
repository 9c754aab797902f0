//! `fit`: from flags to a training run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, ValueEnum};
use edge_vae::{
    dataset::{Dataset, DatasetError, DatasetOptions, Grouping},
    preprocess::{Colour, Crop, Denoise, Normalise, ResizeFilter},
    vae::Likelihood,
};

use super::interrupt;
use crate::{
    data,
    options::{
        Augmentation, BackboneOptions, Budget, CalibrationChoice, FitOptions, Golden, HeadOptions,
        IMPORTANCE_SHARE, LatentChoice, Preset, Score, TileChoice,
    },
    pipeline::{self, Job},
    reporter::Reporter,
};

/// Flags of `fit`.
#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  edge-vae-train fit frames/good --out models/part --minutes 20
  edge-vae-train fit mvtec/screw --preset best --size 256 --colour grey --out models/screw
  edge-vae-train fit mnist --preset 28x28 --likelihood bernoulli --out models/digits
  edge-vae-train fit frames/good --out models/part --resume

DATASET is a folder of normal pictures, a folder in MVTec AD layout (train/good, test/KIND,
ground_truth/KIND), or a folder of IDX files (MNIST). Only normal frames are looked at.
Beside the bundle OUT, the folder OUT.training keeps the checkpoint, the metrics and the loss
curve."
)]
pub(super) struct FitArgs {
    /// Folder with the training frames.
    dataset: PathBuf,
    /// The bundle to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue the run whose checkpoint lies beside OUT, bit for bit; another budget, score or
    /// calibration may be given
    #[arg(long)]
    resume: bool,
    /// Where to train.
    #[arg(long, value_enum, default_value_t = TrainDevice::Cpu)]
    device: TrainDevice,
    /// Picture with known expected outputs that every engine must reproduce: a PNG file, or
    /// «glyph» for a drawn digit; by default one of the calibration frames.
    #[arg(long, value_name = "FILE|glyph")]
    golden: Option<String>,
    #[command(flatten)]
    training: TrainingArgs,
}

/// The flags that decide the bits of the model.
#[derive(Debug, Args)]
pub(super) struct TrainingArgs {
    /// Network [default: 28x28 for frames of at most 32 pixels, else edge]
    #[arg(long, value_enum)]
    preset: Option<PresetArg>,
    /// Side of the tensor in pixels; auto: 128 where frames are at most 96 pixels wide
    /// or high, 256 (best: 384) up to 320; from there on that or 512, whichever tells synthetic defects
    /// better (512 in doubt, with fewer than 24 frames or 10 minutes), but for --features own
    /// [default: 28 for 28x28, else auto]
    #[arg(long, value_enum)]
    size: Option<SizeArg>,
    /// A head that is trained on synthetic defects [default: off for 28x28, else on]
    #[arg(long, value_enum)]
    head: Option<Switch>,
    /// Weight of the negative ELBO per pixel beside the head's losses [default: 0.15]
    #[arg(long, value_name = "WEIGHT", value_parser = non_negative)]
    elbo_weight: Option<f64>,
    /// Weights of the head's losses: focal, soft Dice, whole picture [default: 20,0.3,0.2]
    #[arg(long, value_name = "F,D,P", value_parser = parse_weights)]
    head_weights: Option<[f64; 3]>,
    /// Share of the training pictures that get no synthetic defect [default: 0.4]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    clean_share: Option<f64>,
    /// What frames are judged by; auto: what finds synthetic defects in held-out frames best
    /// [default: auto]
    #[arg(long, value_enum)]
    score: Option<Score>,
    /// Whose feature maps are compared with normal ones. shipped: those of EfficientNet-lite0, trained
    /// on photographs, which comes with this program; own: those of the network that is trained;
    /// or of any network of yours: an ONNX file with one input N×C×H×W of the tensor's size and
    /// maps N×c×h×w among its outputs, of which those called `detail…` only say where a defect is
    /// [default: own for 28x28, else shipped]
    #[arg(long, value_name = "shipped|own|ONNX", value_parser = parse_features)]
    features: Option<FeaturesArg>,
    /// Outputs of --features that are taken [default: all maps]
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "features"
    )]
    feature_maps: Vec<String>,
    /// What --features was trained with: imagenet, or none for values in [0, 1] [default: imagenet]
    #[arg(long, value_enum, requires = "features")]
    feature_normalise: Option<FeatureNormalise>,
    /// Bring every frame to one exposure [default: off for 28x28, else on]
    #[arg(long, value_enum)]
    exposure: Option<Switch>,
    /// Bring every frame to the training frames' local contrast [default: off for 28x28, else on]
    #[arg(long, value_enum)]
    contrast: Option<Switch>,
    /// Colour of the input [default: grey where the training frames are grey]
    #[arg(long, value_enum)]
    colour: Option<ColourArg>,
    /// Latent: vector:LENGTH or map:CHANNELS [default: the preset's]
    #[arg(long, value_name = "KIND:SIZE", value_parser = parse_latent)]
    latent: Option<LatentChoice>,
    /// Observation model p(x|z); «gaussian» learns a variance for each pixel,
    /// «gaussian:SIGMA» fixes it (in units of the normalised input)
    #[arg(long, value_name = "MODEL", default_value = "gaussian", value_parser = parse_likelihood)]
    likelihood: Likelihood,
    /// Weight of the KL divergence (β-VAE).
    #[arg(long, default_value_t = 1.0, value_parser = non_negative)]
    beta: f64,
    /// Share of the run over which the KL weight rises from 0 [default: 0.1 for 28x28, else 0.3]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    kl_warm_up: Option<f64>,
    /// Nats of KL divergence that each latent channel may spend for nothing.
    #[arg(long, value_name = "NATS", default_value_t = 0.0, value_parser = non_negative)]
    free_bits: f64,
    /// Train on the bound of this many importance-weighted samples in place of the ELBO (IWAE) at
    /// the end of the run; takes --beta 1, --free-bits 0 and a budget of epochs or steps
    /// [default: 5 for 28x28 with a Bernoulli likelihood where it can, else 1]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1000))]
    importance_samples: Option<u64>,
    /// Share of the steps, at the end of the run, that --importance-samples is for.
    #[arg(long, value_name = "SHARE", default_value_t = IMPORTANCE_SHARE, value_parser = whole_share)]
    importance_share: f64,
    /// Stop after this many minutes of the whole command [default: 20, or the preset's epochs]
    #[arg(long, group = "budget", value_parser = positive)]
    minutes: Option<f64>,
    /// Stop after this many passes over the training frames.
    #[arg(long, group = "budget", value_parser = positive)]
    epochs: Option<f64>,
    /// Stop after this many optimiser steps.
    #[arg(long, group = "budget", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Frames in a step [default: the preset's]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65536))]
    batch: Option<u64>,
    /// Peak learning rate of AdamW.
    #[arg(long, value_name = "RATE", default_value_t = 2e-3, value_parser = positive)]
    learning_rate: f64,
    /// Decoupled weight decay.
    #[arg(long, value_name = "DECAY", default_value_t = 1e-4, value_parser = non_negative)]
    weight_decay: f64,
    /// Largest norm of the gradient.
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = positive)]
    clip: f64,
    /// Decay of the exponential moving average of the weights [default: 0.999 for 28x28, else 0.995]
    #[arg(long, value_name = "DECAY", value_parser = share)]
    average: Option<f64>,
    /// Mirrored copies in training [default: none for 28x28, else both]
    #[arg(long, value_enum)]
    flip: Option<Flip>,
    /// Largest random shift as a share of the side [default: 0 for 28x28, else 0.03]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    shift: Option<f64>,
    /// Largest random enlargement, less one [default: 0 for 28x28, else 0.12]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    zoom: Option<f64>,
    /// Largest random rotation, in degrees [default: 0 for 28x28, else 2]
    #[arg(long, value_name = "DEGREES", value_parser = non_negative)]
    rotation: Option<f64>,
    /// Largest random change of brightness, relative [default: 0 for 28x28, else 0.15]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    brightness: Option<f64>,
    /// Largest random gamma, as a power of two [default: 0 for 28x28, else 0.3]
    #[arg(long, value_name = "EXPONENT", value_parser = non_negative)]
    gamma: Option<f64>,
    /// Validations without improvement after which training stops early.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// Region of interest as fractions of the frame: LEFT,TOP,RIGHT,BOTTOM
    #[arg(long, value_name = "L,T,R,B", value_parser = parse_crop)]
    crop: Option<Crop>,
    /// PNG, laid over the whole frame: white where to look, black what to ignore
    #[arg(long, value_name = "PNG")]
    mask: Option<PathBuf>,
    /// Resize frames to a canvas of WIDTHxHEIGHT and judge it in tiles of the tensor's size that
    /// overlap by a quarter; auto: where the shorter side of frames is above 1536 pixels, at half
    /// their size, or less so that there are at most 16 tiles, unless whole frames tell defects drawn on
    /// some of them better; off: whole frames, as always at 28x28 and with a vector latent
    #[arg(long, value_name = "auto|off|WxH", default_value = "auto", value_parser = parse_tiles)]
    tiles: TileChoice,
    /// Noise filter before resizing: median:RADIUS or gaussian:SIGMA, in frame pixels
    #[arg(long, value_name = "KIND:SIZE", value_parser = parse_denoise)]
    denoise: Option<Denoise>,
    /// Resampling filter.
    #[arg(long, value_enum, default_value_t = FilterArg::Area)]
    filter: FilterArg,
    /// Take this class of an IDX data set for normal, all others for anomalous.
    #[arg(long, value_name = "LABEL")]
    pub(super) class: Option<u8>,
    /// Promised probability that a normal frame is called anomalous.
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    false_alarm_rate: f64,
    /// Frames that the threshold comes from [default: auto]
    #[arg(long, value_enum)]
    calibration: Option<CalibrationChoice>,
    /// Which frames belong together, as those of one part, tray or shift: `parent` for the folder that they lie
    /// in, or a regular expression with one (...), which is looked for in the path. Groups are never parted
    /// between frames to train, to choose by and to calibrate, and the promise is for frames of new groups
    #[arg(long, value_name = "PATTERN", value_parser = group_by)]
    group_by: Option<String>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The training flags alone, to learn what they are when none is given.
#[derive(Debug, Parser)]
struct Untouched {
    #[command(flatten)]
    training: TrainingArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TrainDevice {
    Cpu,
    /// An NVIDIA GPU; needs a build with `--features cuda`.
    Cuda,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PresetArg {
    /// 28×28: digits, small stamps
    #[value(name = "28x28")]
    Small28,
    /// For small processors
    Edge,
    /// About twice the time of edge
    Balanced,
    /// About four times the time of edge
    Best,
    /// edge at --size 128
    #[value(name = "128x128", alias = "128")]
    Edge128,
    /// edge at --size 256
    #[value(name = "256x256", alias = "256")]
    Edge256,
}

impl PresetArg {
    /// The preset, and the size that the name implies.
    fn resolve(self) -> (Preset, Option<usize>) {
        match self {
            Self::Small28 => (Preset::Small28, Some(28)),
            Self::Edge => (Preset::Edge, None),
            Self::Balanced => (Preset::Balanced, None),
            Self::Best => (Preset::Best, None),
            Self::Edge128 => (Preset::Edge, Some(128)),
            Self::Edge256 => (Preset::Edge, Some(256)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SizeArg {
    Auto,
    #[value(name = "128")]
    Side128,
    #[value(name = "256")]
    Side256,
    #[value(name = "384")]
    Side384,
    #[value(name = "512")]
    Side512,
}

impl SizeArg {
    /// In pixels; none to ask the training frames.
    fn side(self) -> Option<usize> {
        match self {
            Self::Auto => None,
            Self::Side128 => Some(128),
            Self::Side256 => Some(256),
            Self::Side384 => Some(384),
            Self::Side512 => Some(512),
        }
    }
}

/// Whose features are compared.
#[derive(Clone, Debug, PartialEq)]
enum FeaturesArg {
    Shipped,
    Own,
    File(PathBuf),
}

fn parse_features(text: &str) -> Result<FeaturesArg, String> {
    match text {
        "" => Err("wanted shipped, own or an ONNX file".to_owned()),
        "shipped" => Ok(FeaturesArg::Shipped),
        "own" => Ok(FeaturesArg::Own),
        path => Ok(FeaturesArg::File(path.into())),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FeatureNormalise {
    Imagenet,
    None,
}

impl FeatureNormalise {
    fn resolve(self) -> Option<Normalise> {
        match self {
            Self::Imagenet => Some(Normalise {
                mean: vec![0.485, 0.456, 0.406],
                std: vec![0.229, 0.224, 0.225],
            }),
            Self::None => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColourArg {
    Grey,
    Rgb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Flip {
    None,
    Horizontal,
    Vertical,
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FilterArg {
    Area,
    Bilinear,
    Cubic,
    Lanczos3,
}

/// Minutes of a run whose user names no budget.
const MINUTES: f64 = 20.0;
/// Epochs of such a run at 28×28, where frames are many and steps short.
const SMALL_EPOCHS: f64 = 40.0;
/// Importance-weighted samples that such a run of a Bernoulli model ends with.
const SMALL_SAMPLES: usize = 5;

pub(super) fn run(args: &FitArgs, reporter: &Reporter) -> Result<()> {
    let class = match args.training.class {
        None if args.resume => pipeline::resumed_class(&args.out)?,
        class => class,
    };
    let (dataset, small) = open(&args.dataset, class, &args.training)?;
    let options = resolve(&args.training, small)?;
    if options.importance_samples > 1 {
        let what = "--importance-samples trains on a bound of its own";
        if options.beta != 1.0 || options.free_bits != 0.0 {
            bail!("{what}: leave --beta at 1 and --free-bits at 0");
        }
        if matches!(options.budget, Budget::Minutes(_)) {
            bail!(
                "{what}, whose steps take longer: give --epochs or --steps in place of --minutes"
            );
        }
    }
    let untouched = Untouched::try_parse_from(["fit"]).context("the defaults do not parse")?;
    let training = &args.training;
    let mut untouched = resolve(&untouched.training, small)?;
    untouched.budget = options.budget;
    if training.importance_samples.is_none() {
        // Its default depends on the kind of budget.
        untouched.importance_samples = options.importance_samples;
    }
    untouched.score = options.score;
    untouched.calibration = options.calibration;
    let job = Job {
        out: args.out.clone(),
        resume: args.resume,
        untouched: options == untouched,
        score_given: training.score.is_some(),
        calibration_given: training.calibration.is_some(),
        budget_given: training.minutes.is_some()
            || training.epochs.is_some()
            || training.steps.is_some(),
        golden: args.golden.as_deref().map(|golden| match golden {
            "glyph" => Golden::Glyph,
            path => Golden::File(path.into()),
        }),
        device: device(args.device)?,
        options,
        interrupted: interrupt::watch()?,
        reporter,
    };
    pipeline::fit(&dataset, &job)
}

/// The data set, and whether its network is that of 28×28.
pub(super) fn open(
    path: &Path,
    class: Option<u8>,
    training: &TrainingArgs,
) -> Result<(Dataset, bool)> {
    let dataset = Dataset::open(
        path,
        &DatasetOptions {
            class,
            ..DatasetOptions::default()
        },
    )?;
    let small = match training.preset {
        Some(preset) => preset == PresetArg::Small28,
        None => data::is_small(&dataset),
    };
    Ok((dataset, small))
}

/// The options that the flags ask for; `small` for the network of 28×28.
pub(super) fn resolve(args: &TrainingArgs, small: bool) -> Result<FitOptions> {
    let preset = args.preset.unwrap_or(if small {
        PresetArg::Small28
    } else {
        PresetArg::Edge
    });
    let (preset, implied) = preset.resolve();
    let size = match (args.size, implied) {
        (None, size) => size,
        (Some(size), None) => size.side(),
        (Some(size), Some(side)) if size.side() == Some(side) => Some(side),
        (Some(_), Some(side)) => bail!(
            "--size: the preset's name says {side}: give one of the two, or --preset edge, balanced or best"
        ),
    };
    let defaults = HeadOptions::default();
    let [focal, dice, image] =
        args.head_weights
            .unwrap_or([defaults.focal, defaults.dice, defaults.image]);
    let head = HeadOptions {
        elbo: args.elbo_weight.unwrap_or(defaults.elbo),
        focal,
        dice,
        image,
        clean: args.clean_share.unwrap_or(defaults.clean),
    };
    let head = match args.head {
        None => preset.detects().then_some(head),
        Some(Switch::Off) => None,
        Some(Switch::On) if preset.detects() => Some(head),
        Some(Switch::On) => bail!(
            "--head on: the network {} has no feature maps for a head: give --preset edge, balanced or best",
            preset.name()
        ),
    };
    let small = preset == Preset::Small28;
    let budget = match (args.minutes, args.epochs, args.steps) {
        (Some(minutes), _, _) => Budget::Minutes(minutes),
        (_, Some(epochs), _) => Budget::Epochs(epochs),
        (_, _, Some(steps)) => Budget::Steps(steps),
        _ if small => Budget::Epochs(SMALL_EPOCHS),
        _ => Budget::Minutes(MINUTES),
    };
    let flip = args
        .flip
        .unwrap_or(if small { Flip::None } else { Flip::Both });
    let plain = args.beta == 1.0 && args.free_bits == 0.0 && !matches!(budget, Budget::Minutes(_));
    let samples = match args.importance_samples {
        Some(samples) => samples as usize,
        None if small && plain && args.likelihood == Likelihood::Bernoulli => SMALL_SAMPLES,
        None => 1,
    };
    let by_size = |of_small, of_others| if small { of_small } else { of_others };
    Ok(FitOptions {
        preset,
        size,
        head,
        latent: args.latent,
        likelihood: args.likelihood,
        colour: args.colour.map(|colour| match colour {
            ColourArg::Grey => Colour::Grey,
            ColourArg::Rgb => Colour::Rgb,
        }),
        crop: args.crop,
        mask: args.mask.clone(),
        tiles: match args.tiles {
            TileChoice::Auto if small => TileChoice::Off,
            tiles => tiles,
        },
        denoise: args.denoise,
        filter: match args.filter {
            FilterArg::Area => ResizeFilter::Area,
            FilterArg::Bilinear => ResizeFilter::Bilinear,
            FilterArg::Cubic => ResizeFilter::Cubic,
            FilterArg::Lanczos3 => ResizeFilter::Lanczos3,
        },
        exposure: args.exposure.map_or(!small, |switch| switch == Switch::On),
        contrast: args.contrast.map_or(!small, |switch| switch == Switch::On),
        class: args.class,
        budget,
        batch: args.batch.map_or(preset.batch(), |batch| batch as usize),
        learning_rate: args.learning_rate,
        weight_decay: args.weight_decay,
        clip: args.clip,
        average: args.average.unwrap_or(by_size(0.999, 0.995)),
        beta: args.beta,
        kl_warm_up: args.kl_warm_up.unwrap_or(by_size(0.1, 0.3)),
        free_bits: args.free_bits,
        importance_samples: samples,
        importance_share: args.importance_share,
        augmentation: Augmentation {
            flip_horizontal: matches!(flip, Flip::Horizontal | Flip::Both),
            flip_vertical: matches!(flip, Flip::Vertical | Flip::Both),
            shift: args.shift.unwrap_or(by_size(0.0, 0.03)),
            zoom: args.zoom.unwrap_or(by_size(0.0, 0.12)),
            rotation: args.rotation.unwrap_or(by_size(0.0, 2.0)),
            brightness: args.brightness.unwrap_or(by_size(0.0, 0.15)),
            gamma: args.gamma.unwrap_or(by_size(0.0, 0.3)),
            binarise: args.likelihood == Likelihood::Bernoulli,
        },
        patience: args.patience as usize,
        seed: args.seed,
        false_alarm_rate: args.false_alarm_rate,
        calibration: args.calibration.unwrap_or_default(),
        group_by: args.group_by.clone(),
        score: args.score.unwrap_or_default(),
        backbone: backbone(args, preset)?,
    })
}

/// The second network that the flags ask for.
fn backbone(args: &TrainingArgs, preset: Preset) -> Result<Option<BackboneOptions>> {
    let features = match &args.features {
        None if preset.detects() => FeaturesArg::Shipped,
        None => FeaturesArg::Own,
        Some(features) => features.clone(),
    };
    let path = match features {
        FeaturesArg::File(path) => Some(path),
        FeaturesArg::Shipped | FeaturesArg::Own
            if !args.feature_maps.is_empty() || args.feature_normalise.is_some() =>
        {
            bail!("--feature-maps and --feature-normalise are for --features FILE.onnx")
        }
        FeaturesArg::Own => return Ok(None),
        FeaturesArg::Shipped if preset.fixed_side().is_some() => bail!(
            "--features shipped: the shipped network sees nothing in frames of {0}: give --preset \
             edge, balanced or best, or --features own",
            preset.name()
        ),
        FeaturesArg::Shipped => None,
    };
    let normalise = args.feature_normalise.unwrap_or(FeatureNormalise::Imagenet);
    Ok(Some(BackboneOptions {
        normalise: path.as_ref().and(normalise.resolve()),
        maps: args.feature_maps.clone(),
        path,
    }))
}

fn device(device: TrainDevice) -> Result<candle_core::Device> {
    match device {
        TrainDevice::Cpu => Ok(candle_core::Device::Cpu),
        TrainDevice::Cuda if cfg!(feature = "cuda") => {
            candle_core::Device::new_cuda(0).context("--device cuda: cannot open the GPU")
        }
        TrainDevice::Cuda => bail!(
            "--device cuda: this program was built without CUDA; \
             build it with `cargo build --release -p edge-vae-train --features cuda`"
        ),
    }
}

fn parse_latent(text: &str) -> Result<LatentChoice, String> {
    let size = |size: &str| match size.parse::<usize>() {
        Ok(size) if (1..=4096).contains(&size) => Ok(size),
        _ => Err(format!("{size:?} is not a size from 1 to 4096")),
    };
    match text.split_once(':') {
        Some(("vector", length)) => Ok(LatentChoice::Vector(size(length)?)),
        Some(("map", channels)) => Ok(LatentChoice::Map(size(channels)?)),
        _ => Err("wanted vector:LENGTH or map:CHANNELS".to_owned()),
    }
}

fn parse_likelihood(text: &str) -> Result<Likelihood, String> {
    match text.split_once(':') {
        None if text == "gaussian" => Ok(Likelihood::GaussianLearned),
        None if text == "bernoulli" => Ok(Likelihood::Bernoulli),
        Some(("gaussian", sigma)) => match sigma.parse::<f32>() {
            Ok(sigma) if (1e-3..=1e3).contains(&sigma) => Ok(Likelihood::Gaussian { sigma }),
            _ => Err(format!("{sigma:?} is not a deviation from 0.001 to 1000")),
        },
        _ => Err("wanted gaussian, gaussian:SIGMA or bernoulli".to_owned()),
    }
}

fn parse_crop(text: &str) -> Result<Crop, String> {
    let numbers: Vec<f64> = text
        .split(',')
        .map(|part| {
            part.trim()
                .parse()
                .map_err(|_| format!("{part:?} is not a number"))
        })
        .collect::<Result<_, _>>()?;
    match numbers[..] {
        [left, top, right, bottom]
            if 0.0 <= left
                && left < right
                && right <= 1.0
                && 0.0 <= top
                && top < bottom
                && bottom <= 1.0 =>
        {
            Ok(Crop {
                left,
                top,
                right,
                bottom,
            })
        }
        _ => Err(
            "wanted LEFT,TOP,RIGHT,BOTTOM with 0 ≤ left < right ≤ 1, 0 ≤ top < bottom ≤ 1"
                .to_owned(),
        ),
    }
}

fn parse_tiles(text: &str) -> Result<TileChoice, String> {
    let wanted = || "wanted auto, off, or WIDTHxHEIGHT in pixels".to_owned();
    match text {
        "auto" => Ok(TileChoice::Auto),
        "off" => Ok(TileChoice::Off),
        _ => {
            let (width, height) = text.split_once('x').ok_or_else(wanted)?;
            let side = |side: &str| side.parse().map_err(|_| wanted());
            Ok(TileChoice::Canvas {
                width: side(width)?,
                height: side(height)?,
            })
        }
    }
}

fn parse_weights(text: &str) -> Result<[f64; 3], String> {
    let wanted = || "wanted three weights of 0 or more: FOCAL,DICE,PICTURE".to_owned();
    let weights: Vec<f64> = text
        .split(',')
        .map(|part| non_negative(part.trim()).map_err(|_| wanted()))
        .collect::<Result<_, _>>()?;
    weights.try_into().map_err(|_| wanted())
}

fn parse_denoise(text: &str) -> Result<Denoise, String> {
    match text.split_once(':') {
        Some(("median", radius)) => match radius.parse() {
            Ok(radius) if (1..=16).contains(&radius) => Ok(Denoise::Median { radius }),
            _ => Err(format!("{radius:?} is not a radius from 1 to 16")),
        },
        Some(("gaussian", sigma)) => match sigma.parse::<f32>() {
            Ok(sigma) if sigma > 0.0 && sigma <= 32.0 => Ok(Denoise::Gaussian { sigma }),
            _ => Err(format!(
                "{sigma:?} is not a deviation above 0 and at most 32"
            )),
        },
        _ => Err("wanted median:RADIUS or gaussian:SIGMA".to_owned()),
    }
}

fn number(text: &str, wanted: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && fits(value) => Ok(value),
        _ => Err(format!("wanted {wanted}")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |v| v > 0.0)
}

fn non_negative(text: &str) -> Result<f64, String> {
    number(text, "a number of 0 or more", |v| v >= 0.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1, 1 excluded", |v| {
        (0.0..1.0).contains(&v)
    })
}

fn whole_share(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v))
}

fn group_by(text: &str) -> Result<String, String> {
    match Grouping::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(DatasetError::Grouping { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, "a number between 0 and 1", |v| v > 0.0 && v < 1.0)
}
