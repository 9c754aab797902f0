//! From a data set to a bundle, a function for each stage: plan, load, train, export.

mod bundle;
mod detector;
mod input_size;
mod models;
mod report;
mod resume;
mod trim;

use std::{collections::BTreeSet, path::PathBuf, sync::atomic::AtomicBool, time::Instant};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use edge_vae::{
    Frame,
    backend::{BackendKind, Engine, EngineOptions},
    bundle::Bundle,
    dataset::{Dataset, Sample, Split, SplitFractions},
    vae::Likelihood,
};

use crate::{
    data::{self, Groups, Input, Loaded},
    features::{FitData, PretrainedBackbone},
    options::{FitOptions, FitOverrides, Golden, Score, Size},
    reporter::Reporter,
    run_folder::run_folder,
    selection::{self, SelectionParams},
    vae::{self, Checkpoint, Network, Start, State, Trained, Training},
};
use bundle::Finished;
pub use detector::ScoreComparison;
pub use report::FitReport;

/// One call of `fit`.
#[derive(Debug)]
pub struct Job<'a> {
    /// The training frames.
    pub dataset: PathBuf,
    /// The bundle to write.
    pub out: PathBuf,
    /// Continue from the checkpoint beside it.
    pub resume: bool,
    /// What the user asks for.
    pub overrides: FitOverrides,
    /// Share of the training frames, those that look least normal, to leave out.
    pub trim: Option<f64>,
    /// The golden frame; without it the checkpoint's, or one of the calibration frames.
    pub golden: Option<Golden>,
    /// Where to train, one at least; the first does what is done once.
    pub devices: Vec<Device>,
    /// Set by Ctrl-C and SIGTERM.
    pub interrupted: &'a AtomicBool,
    /// Says how far it is.
    pub reporter: &'a Reporter,
}

impl Job<'_> {
    /// The same with another bundle and other options.
    fn with(&self, out: PathBuf, overrides: FitOverrides) -> Self {
        Self {
            dataset: self.dataset.clone(),
            out,
            overrides,
            golden: self.golden.clone(),
            devices: self.devices.clone(),
            ..*self
        }
    }
}

/// Trains on normal frames, exports, calibrates, and writes the bundle; where there is a
/// `review_rate`, with the threshold for it.
///
/// # Errors
/// Frames, checkpoints or folders that can't be used, Ctrl-C, and an export that disagrees with
/// what was trained.
pub fn fit(job: &Job, review_rate: Option<f64>) -> Result<FitReport> {
    let began = Instant::now();
    let overrides = match job.trim {
        Some(share) => trim::overrides(job, share)?,
        None => job.overrides.clone(),
    };
    let job = &job.with(job.out.clone(), overrides);
    train_and(job, began, |finished, _| {
        let written = finished.write(&job.out, review_rate);
        let written =
            written.context("training is finished and kept, `--resume` exports it again")?;
        written.report(finished.dataset, finished.data, &run_folder(&job.out)?)
    })
}

/// Trains on normal frames, and sets what every candidate makes of the synthetic validation set
/// against what it makes of the test frames. Nothing is written but the run's folder.
///
/// # Errors
/// As [`fit`].
pub fn compare(job: &Job) -> Result<Vec<ScoreComparison>> {
    train_and(job, Instant::now(), |finished, test| finished.compare(test))
}

/// Trains the network, and does `then` with it and with the test frames. The minutes of a budget
/// count from `began`.
fn train_and<T>(
    job: &Job,
    began: Instant,
    then: impl FnOnce(&Finished, &[Sample]) -> Result<T>,
) -> Result<T> {
    let engine = Engine::open(&EngineOptions {
        backend: Some(BackendKind::Tract),
        ..EngineOptions::default()
    })?;
    let mut plan = plan(job, &engine)?;
    let checkpoint = plan.checkpoint.take();
    let material = load(job, &plan)?;
    if let Some(checkpoint) = &checkpoint
        && checkpoint.state.dataset != material.loaded.digest
    {
        bail!(
            "{}: the checkpoint was trained on other frames than those of {}: resume with the \
             same data set",
            plan.folder.display(),
            plan.dataset.name
        );
    }
    let spec = &material.input.spec;
    let backbone = plan.options.backbone.as_ref();
    let backbone = backbone
        .map(|options| PretrainedBackbone::read(options, spec.input_shape(), &engine))
        .transpose()?;
    let afterwards = match &backbone {
        Some(backbone) => {
            let prepared = &material.input.preprocess.normalise;
            let pass = backbone.seconds(&engine, spec.input_shape(), prepared)?;
            let tiles = material.loaded.layout.tiles().count();
            let groups = material.groups.numbers();
            let params = SelectionParams::default();
            selection::seconds(&material.parts, groups, tiles, pass, &params)
        }
        None => 0.0,
    };
    let network = match plan.options.head {
        Some(_) => Network::with_head(plan.options.preset, spec.clone()),
        None => Network::new(plan.options.preset, spec.clone()),
    };
    let start = match checkpoint {
        Some(checkpoint) => Start::Resumed(Box::new(Checkpoint {
            state: State {
                options: plan.options.clone(),
                ..checkpoint.state
            },
            ..checkpoint
        })),
        None => Start::New(Box::new(State::new(
            plan.options.clone(),
            plan.golden.clone(),
            material.loaded.digest.clone(),
        ))),
    };
    let time = Time { began, afterwards };
    let trained = train(job, &plan, &material, &network, time, start)?;
    let data = FitData {
        frames: &material.loaded.frames,
        layout: &material.loaded.layout,
        samples: &material.loaded.samples,
        preprocess: &material.input.preprocess,
        mask: material.mask.as_deref(),
        split: &material.parts,
        groups: material.groups.numbers(),
        steps: trained.state.step,
        seed: trained.state.options.seed,
        interrupted: job.interrupted,
        reporter: job.reporter,
    };
    let finished = Finished {
        dataset: &plan.dataset.name,
        network: &network,
        values: &trained.best,
        state: &trained.state,
        data: &data,
        pictures: &material.loaded.pictures,
        golden: &plan.golden,
        backbone: backbone.as_ref(),
        engine: &engine,
        device: &job.devices[0],
        trimmed: trim::trimmed(plan.options.exclude.as_deref(), &plan.folder)?,
    };
    then(&finished, &plan.dataset.test)
}

/// What a run is about, before any frame is prepared.
struct Plan {
    /// Folder of checkpoint, metrics and loss curve.
    folder: PathBuf,
    dataset: Dataset,
    options: FitOptions,
    golden: Golden,
    /// Where an earlier call stopped.
    checkpoint: Option<Checkpoint>,
}

/// Opens what the job names and settles the options; what would fail after hours of training fails
/// now.
fn plan(job: &Job, engine: &Engine) -> Result<Plan> {
    Bundle::check_target(&job.out)?;
    let folder = run_folder(&job.out)?;
    let checkpoint = resume::find_checkpoint(&folder, job.resume, &job.out)?;
    let kept = checkpoint.as_ref().map(|checkpoint| &checkpoint.state);
    let earlier = kept.map(|kept| &kept.options);
    let dataset = data::open(&job.dataset, &job.overrides, earlier, job.reporter)?;
    let mut options = match kept {
        Some(kept) => {
            let merged = job.overrides.over_checkpoint(&kept.options);
            merged.with_context(|| folder.display().to_string())?
        }
        None => {
            let mut overrides = job.overrides.clone();
            overrides.shards.get_or_insert(job.devices.len() as u64);
            overrides.over_defaults(data::usual_preset(&dataset))?
        }
    };
    let golden = job.golden.clone();
    let golden = golden.or(kept.map(|kept| kept.golden.clone()));
    let golden = golden.unwrap_or(Golden::CalibrationFrame);
    if let Golden::File(path) = &golden {
        Frame::open(path)?;
    }
    let file = options
        .backbone
        .as_ref()
        .and_then(|backbone| backbone.path.as_ref());
    if let Some(path) = file {
        let own = PretrainedBackbone::size_of(path, engine)?;
        if options.size == Size::Auto {
            options.size = own;
        }
    }
    let mut plan = Plan {
        folder,
        dataset,
        options,
        golden,
        checkpoint,
    };
    if plan.checkpoint.is_none() && plan.options.size == Size::Auto {
        let mask = data::read_mask(&plan.options)?;
        let chosen = input_size::choose(
            &plan.dataset,
            &plan.options,
            mask.as_deref(),
            job.interrupted,
            job.reporter,
        )?;
        if let Some(chosen) = chosen {
            plan.options.size = chosen.size;
            plan.options.tiles = chosen.tiles;
        }
    }
    Ok(plan)
}

/// The frames in memory, and what each serves.
struct Material<'a> {
    input: Input,
    /// PNG of the region of interest.
    mask: Option<Vec<u8>>,
    loaded: Loaded<'a>,
    groups: Groups,
    parts: Split,
}

/// Reads, groups, splits and normalises the frames.
fn load<'a>(job: &Job, plan: &'a Plan) -> Result<Material<'a>> {
    let (options, dataset, reporter) = (&plan.options, &plan.dataset, job.reporter);
    let mask = data::read_mask(options)?;
    let mut input = data::input(dataset, options, mask.as_deref())?;
    let preprocess = &mut input.preprocess;
    let has_maps = options.preset.detects() || options.backbone.is_some();
    if options.score == Score::FeaturesVae && (preprocess.tiles.is_some() || !has_maps) {
        bail!(
            "--score {} needs whole frames (--tiles off) and a network with feature maps, which \
             28x28 has not",
            options.score
        );
    }
    let (count, name) = (dataset.train.len(), &dataset.name);
    reporter.line(format_args!("reading {count} frames of {name}"));
    let mut loaded = data::load(
        &dataset.train,
        preprocess,
        mask.as_deref(),
        job.interrupted,
        reporter,
    )?;
    let groups = Groups::of_loaded(&loaded, options.group_by.as_deref(), reporter)?;
    let parts = data::split(&groups, options)?;
    let tiles = loaded.layout.tiles();
    let may_fold = options.may_fold() && tiles.count() == 1;
    let calibrating = match groups.count() {
        1 => 0,
        count if may_fold => count,
        _ if data::is_shared(&parts) => 0,
        _ => {
            let held_out = parts.calibration.iter();
            let held_out: BTreeSet<_> = held_out.map(|&frame| groups.numbers()[frame]).collect();
            held_out.len()
        }
    };
    let share = match may_fold {
        true => 1.0,
        false => SplitFractions::default().calibration,
    };
    groups.warn_of_rate(calibrating, share, options.false_alarm_rate, reporter)?;
    if options.likelihood != Likelihood::Bernoulli {
        let interior = loaded.layout.interior(tiles.canvas_size());
        preprocess.normalise = loaded.frames.normalisation(&parts.train, interior.as_ref());
        loaded.frames.normalise(&preprocess.normalise);
    }
    reporter.line(format_args!(
        "{} frames: {} to train, {} to select by, {} held out; {:?}, seed {}",
        loaded.frames.count(),
        parts.train.len(),
        parts.validation.len(),
        parts.calibration.len(),
        preprocess.shape(),
        options.seed
    ));
    if let Some([least, most]) = input.squeezed {
        reporter.line(format_args!(
            "the frames' proportions differ (width : height from {least:.2} to {most:.2}): all are \
             squeezed into a square"
        ));
    }
    if let Some(canvas) = preprocess.tiles {
        reporter.line(format_args!(
            "{} tiles of a canvas of {}×{} pixels",
            loaded.layout.tiles().count(),
            canvas.width,
            canvas.height
        ));
    }
    Ok(Material {
        input,
        mask,
        loaded,
        groups,
        parts,
    })
}

/// What training has to share its time with.
#[derive(Clone, Copy)]
struct Time {
    /// When the command began.
    began: Instant,
    /// Seconds that what follows training takes, roughly; 0 where that is not known.
    afterwards: f64,
}

/// Trains the VAE.
fn train(
    job: &Job,
    plan: &Plan,
    material: &Material,
    network: &Network,
    time: Time,
    start: Start,
) -> Result<Trained> {
    let folder = &plan.folder;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    let training = Training {
        network,
        frames: &material.loaded.frames,
        normalise: &material.input.preprocess.normalise,
        train: &material.parts.train,
        validation: &material.parts.validation,
        crop: data::crop(&plan.options),
        began: time.began,
        afterwards: time.afterwards,
        folder,
        devices: &job.devices,
        interrupted: job.interrupted,
        reporter: job.reporter,
    };
    vae::train(&training, start)
}
