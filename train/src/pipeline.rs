//! From a data set to a bundle.

mod input_size;
mod resume;

use std::{collections::BTreeSet, path::PathBuf, sync::atomic::AtomicBool, time::Instant};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use edge_vae::{
    Frame,
    backend::{BackendKind, Engine, EngineOptions},
    bundle::Bundle,
    dataset::{Dataset, SplitFractions},
    vae::Likelihood,
};

use crate::{
    data::{self, Groups, Input},
    detection,
    export::{Export, SecondNetwork},
    options::{FitOptions, Golden, Score},
    reporter::Reporter,
    vae::{self, Network, Start, State, Training},
};
pub use resume::resumed_class;

/// One call of `fit`.
#[derive(Debug)]
pub struct Job<'a> {
    /// The bundle to write.
    pub out: PathBuf,
    /// Continue from the checkpoint beside it.
    pub resume: bool,
    /// How to train.
    pub options: FitOptions,
    /// Whether no flag of training but budget, score and calibration was given: a resumed run then follows its
    /// checkpoint.
    pub untouched: bool,
    /// Whether a budget was given: a resumed run then ends by it.
    pub budget_given: bool,
    /// Whether a score was given: a resumed run then has it.
    pub score_given: bool,
    /// Whether calibration frames were chosen: a resumed run then has that choice.
    pub calibration_given: bool,
    /// The golden frame; without it the checkpoint's, or one of the calibration frames.
    pub golden: Option<Golden>,
    /// Where to train.
    pub device: Device,
    /// Set by Ctrl-C and SIGTERM.
    pub interrupted: &'a AtomicBool,
    /// Says how far it is.
    pub reporter: &'a Reporter,
}

/// Trains on the normal frames of `dataset`, exports, calibrates, and writes the bundle.
///
/// # Errors
/// Frames, checkpoints or folders that can't be used, Ctrl-C, and an export that disagrees with
/// what was trained.
pub fn fit(dataset: &Dataset, job: &Job) -> Result<()> {
    let began = Instant::now();
    let reporter = job.reporter;
    // What would fail after hours of training fails now.
    Bundle::check_target(&job.out)?;
    let folder = resume::run_folder(&job.out)?;
    let checkpoint = resume::find_checkpoint(&folder, job)?;
    let golden = match &checkpoint {
        Some(checkpoint) => job
            .golden
            .clone()
            .unwrap_or(checkpoint.state.golden.clone()),
        None => job.golden.clone().unwrap_or(Golden::CalibrationFrame),
    };
    if let Golden::File(path) = &golden {
        Frame::open(path)?;
    }
    let backbone = job.options.backbone.as_ref();
    if let Some(path) = backbone.and_then(|backbone| backbone.path.as_ref()) {
        std::fs::metadata(path).with_context(|| format!("{}: no backbone", path.display()))?;
    }
    let mut options = match &checkpoint {
        Some(checkpoint) => checkpoint.state.options.clone(),
        None => job.options.clone(),
    };

    let mask = data::read_mask(&options)?;
    if checkpoint.is_none() && options.size.is_none() {
        let (interrupted, reporter) = (job.interrupted, job.reporter);
        let chosen = input_size::choose(dataset, &options, mask.as_deref(), interrupted, reporter)?;
        if let Some(chosen) = chosen {
            options.size = Some(chosen.side);
            options.tiles = chosen.tiles;
        }
    }
    let Input {
        spec,
        mut preprocess,
    } = data::input(dataset, &options, mask.as_deref())?;
    if options.score == Score::FeaturesVae
        && (preprocess.tiles.is_some() || (!options.preset.detects() && options.backbone.is_none()))
    {
        bail!(
            "--score {} needs whole frames (--tiles off) and a network with feature maps, which 28x28 \
             has not",
            options.score
        );
    }
    reporter.line(format_args!(
        "reading {} frames of {}",
        dataset.train.len(),
        dataset.name
    ));
    let mut loaded = data::load(
        &dataset.train,
        &preprocess,
        mask.as_deref(),
        job.interrupted,
        reporter,
    )?;
    let groups = Groups::of(&loaded.samples, options.group_by.as_deref())?;
    if options.group_by.is_some() {
        groups.check()?;
    }
    let parts = data::split(&groups, &options)?;
    let tiled = loaded.layout.tiles().count() > 1;
    let (calibrating, share) = match options.may_fold() && !tiled {
        true => (groups.count(), 1.0),
        false => {
            let held_out = parts.calibration.iter();
            let held_out: BTreeSet<_> = held_out.map(|&frame| groups.numbers()[frame]).collect();
            (held_out.len(), SplitFractions::default().calibration)
        }
    };
    groups.warn_of_rate(calibrating, share, options.false_alarm_rate, reporter);
    if options.likelihood != Likelihood::Bernoulli {
        let interior = loaded.layout.interior(loaded.layout.tiles().canvas_size());
        let found = loaded.frames.normalisation(&parts.train, interior.as_ref());
        preprocess.normalise = found;
        loaded.frames.normalise(&preprocess.normalise);
    }
    if let Some(checkpoint) = &checkpoint
        && checkpoint.state.dataset != loaded.digest
    {
        bail!(
            "{}: the checkpoint was trained on other frames than those of {}: \
                 resume with the same data set",
            folder.display(),
            dataset.name
        );
    }

    let (preset, crop) = (options.preset, data::crop(options.preset, &spec));
    let network = match options.head {
        Some(_) => Network::with_head(preset, spec),
        None => Network::new(preset, spec),
    };
    let engine = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        ..EngineOptions::default()
    })?;
    let spec = network.spec();
    let second_network = match &options.backbone {
        Some(backbone) => Some(SecondNetwork::read(backbone, spec, &engine)?),
        None => None,
    };
    let afterwards = match &second_network {
        Some(second) => {
            let pass = second.seconds(&engine, spec, &preprocess.normalise)?;
            detection::seconds(
                &parts,
                groups.numbers(),
                loaded.layout.tiles().count(),
                pass,
            )
        }
        None => 0.0,
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    let training = Training {
        network: &network,
        frames: &loaded.frames,
        normalise: &preprocess.normalise,
        train: &parts.train,
        validation: &parts.validation,
        crop,
        began,
        afterwards,
        folder: &folder,
        device: &job.device,
        interrupted: job.interrupted,
        reporter,
    };
    reporter.line(format_args!(
        "{} frames: {} to train, {} to choose by, {} held out; {:?}, seed {}",
        loaded.frames.count(),
        parts.train.len(),
        parts.validation.len(),
        parts.calibration.len(),
        preprocess.shape(),
        options.seed
    ));
    if let Some(tiles) = preprocess.tiles {
        reporter.line(format_args!(
            "{} tiles of a canvas of {}×{} pixels",
            loaded.layout.tiles().count(),
            tiles.width,
            tiles.height
        ));
    }
    let start = match checkpoint {
        Some(checkpoint) => Start::Resumed(Box::new(checkpoint)),
        None => Start::New(State::new(options, golden.clone(), loaded.digest.clone())),
    };
    let trained = vae::train(&training, start)?;

    Export {
        dataset: &dataset.name,
        network: &network,
        values: &trained.best,
        state: &trained.state,
        preprocess: &preprocess,
        mask: mask.as_deref(),
        frames: &loaded.frames,
        layout: &loaded.layout,
        samples: &loaded.samples,
        split: &parts,
        groups: groups.numbers(),
        golden: &golden,
        second_network: second_network.as_ref(),
        interrupted: job.interrupted,
        reporter,
        device: &job.device,
    }
    .write(&job.out)
    .context("training is finished and kept, `--resume` exports it again")
}
