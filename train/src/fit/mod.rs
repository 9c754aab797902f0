//! `fit`: from a data set to a bundle.

mod augment;
mod checkpoint;
mod frames;
mod groups;
mod objective;
mod options;
mod preview;
mod progress;
mod record;
mod report;
mod run;
pub(crate) mod schedule;
mod size;
mod view;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use edge_vae::{
    Frame,
    backend::{BackendKind, Engine, EngineOptions},
    bundle::{Bundle, MANIFEST},
    dataset::{Dataset, SplitFractions, split_groups},
    preprocess::{Exposure, Mask, PreprocessSettings, Tiles},
    vae::{Latent, Likelihood, VaeSpec},
};

use crate::{
    detection::{self, Score},
    export::{Export, Golden, SecondNetwork},
    network::{Network, Preset},
};
use checkpoint::Checkpoint;
pub use checkpoint::State;
pub use frames::Frames;
use groups::Units;
pub use options::{
    Augmentation, BackboneOptions, Budget, CalibrationChoice, FitOptions, HeadOptions,
    IMPORTANCE_SHARE, TileChoice,
};
pub use preview::{PreviewJob, preview};
use run::Material;
pub(crate) use view::{Movement, View};

/// One call of `fit`.
#[derive(Debug)]
pub struct Job {
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
}

/// Set by Ctrl-C and SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Side of the crops that fully convolutional networks are trained on.
const CROP: usize = 128;

/// File of the bundle with the region of interest.
pub const MASK: &str = "mask.png";

/// Side of the largest frames for which the 28×28 network is the default, in pixels.
const SMALL_SIDE: u32 = 32;

/// The class that the run beside `out` takes for normal; none where there is no run.
///
/// # Errors
/// Its checkpoint is not usable.
pub fn resumed_class(out: &Path) -> Result<Option<u8>> {
    let folder = run_folder(out)?;
    if !folder.join(checkpoint::FILE).exists() {
        return Ok(None);
    }
    Ok(Checkpoint::load(&folder)?.state.options.class)
}

/// Whether the first readable frame is small enough for the 28×28 network.
pub fn is_small(dataset: &Dataset) -> bool {
    let first = dataset.train.iter().find_map(|sample| sample.frame().ok());
    first.is_some_and(|frame| frame.width().max(frame.height()) <= SMALL_SIDE)
}

/// Trains on the normal frames of `dataset`, exports, calibrates, and writes the bundle.
///
/// # Errors
/// Frames, checkpoints or folders that can't be used, Ctrl-C, and an export that disagrees with
/// what was trained.
pub fn fit(dataset: &Dataset, job: &Job) -> Result<()> {
    let began = Instant::now();
    // A second Ctrl-C does not wait for the end of a step.
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(2);
        }
    })
    .context("cannot watch for Ctrl-C")?;
    // What would fail after hours of training fails now.
    Bundle::check_target(&job.out)?;
    let folder = run_folder(&job.out)?;
    let checkpoint = find_checkpoint(&folder, job)?;
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

    let mask = mask(&options)?;
    if checkpoint.is_none() && options.size.is_none() {
        size::choose(dataset, &mut options, mask.as_deref(), &INTERRUPTED)?;
    }
    let (spec, mut preprocess) = input(dataset, &options, mask.as_deref())?;
    if options.score == Score::FeaturesVae
        && (preprocess.tiles.is_some() || (!options.preset.detects() && options.backbone.is_none()))
    {
        bail!(
            "--score {} needs whole frames (--tiles off) and a network with feature maps, which 28x28 has not",
            options.score
        );
    }
    eprintln!("reading {} frames of {}", dataset.train.len(), dataset.name);
    let mut loaded = frames::load(&dataset.train, &preprocess, mask.as_deref(), &INTERRUPTED)?;
    let count = loaded.frames.count();
    let groups = groups::of(&loaded.samples, options.group_by.as_deref())?;
    let units = Units::of(&groups);
    if options.group_by.is_some() {
        units.check(count)?;
    }
    let parts = split_groups(
        &groups,
        options.seed,
        fractions(units.count, options.false_alarm_rate),
    )?;
    let tiled = loaded.layout.tiles().count() > 1;
    match options.may_fold() && !tiled {
        true => units.warn_of_rate(units.count, 1.0, options.false_alarm_rate),
        false => {
            let of_part = parts.calibration.iter().map(|&frame| groups[frame]);
            let held_out = of_part.collect::<BTreeSet<_>>().len();
            let share = SplitFractions::default().calibration;
            units.warn_of_rate(held_out, share, options.false_alarm_rate);
        }
    }
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

    let (preset, crop) = (options.preset, crop(options.preset, &spec));
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
            detection::seconds(&parts, &groups, loaded.layout.tiles().count(), pass)
        }
        None => 0.0,
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    let material = Material {
        frames: &loaded.frames,
        normalise: &preprocess.normalise,
        train: &parts.train,
        validation: &parts.validation,
        crop,
        began,
        afterwards,
        interrupted: &INTERRUPTED,
    };
    eprintln!(
        "{} frames: {} to train, {} to choose by, {} held out; {:?}, seed {}",
        loaded.frames.count(),
        parts.train.len(),
        parts.validation.len(),
        parts.calibration.len(),
        preprocess.shape(),
        options.seed
    );
    if let Some(tiles) = preprocess.tiles {
        eprintln!(
            "{} tiles of a canvas of {}×{} pixels",
            loaded.layout.tiles().count(),
            tiles.width,
            tiles.height
        );
    }
    let state = State::new(options, golden.clone(), loaded.digest.clone());
    let trained = run::train(&network, &material, state, checkpoint, &folder, &job.device)?;

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
        groups: &groups,
        golden: &golden,
        second_network: second_network.as_ref(),
        interrupted: &INTERRUPTED,
        device: &job.device,
    }
    .write(&job.out)
    .context("training is finished and kept, `--resume` exports it again")
}

/// The mask's file, which is one for the crop of `options`.
///
/// # Errors
/// No file, and one that is no mask.
fn mask(options: &FitOptions) -> Result<Option<Vec<u8>>> {
    let Some(path) = &options.mask else {
        return Ok(None);
    };
    let name = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("--mask {name}: cannot read"))?;
    Mask::from_png(&bytes, &name, options.crop)?;
    Ok(Some(bytes))
}

/// Shapes of the model and the preprocessing before normalisation, of a run with `options` and the
/// mask's PNG.
///
/// # Errors
/// Tiles that the network can't be trained for; frames whose contrast can't be measured.
fn input(
    dataset: &Dataset,
    options: &FitOptions,
    mask: Option<&[u8]>,
) -> Result<(VaeSpec, PreprocessSettings)> {
    let colour = match options.colour {
        Some(colour) => colour,
        None => frames::colour_of(&dataset.train),
    };
    let preset = options.preset;
    let side = match preset.fixed_side().or(options.size) {
        Some(side) => side,
        None => {
            let sizing = frames::Sizing {
                usual: preset.usual_side(),
                enlarges: options.backbone.is_some(),
                tiles: options.tiles == TileChoice::Auto,
                channels: colour.channels(),
            };
            frames::side_of(&dataset.train, options.crop, sizing)
        }
    };
    let (likelihood, latent) = (options.likelihood, options.latent);
    let spec = preset.spec(side, colour.channels(), likelihood, latent);
    let tiles = match (options.tiles, crop(preset, &spec)) {
        (TileChoice::Auto, Some(_)) => frames::tiles_of(&dataset.train, options.crop, side),
        (TileChoice::Auto | TileChoice::Off, _) => None,
        (TileChoice::Canvas { width, height }, Some(_)) => Some(Tiles {
            width,
            height,
            overlap: frames::OVERLAP,
        }),
        (TileChoice::Canvas { .. }, None) => bail!(
            "--tiles: this network sees whole frames only: give --preset edge, balanced or best \
             and a map of latents"
        ),
    };
    let mut preprocess = PreprocessSettings {
        tiles,
        mask: mask.is_some().then(|| MASK.to_owned()),
        crop: options.crop,
        denoise: options.denoise,
        filter: options.filter,
        ..PreprocessSettings::new(spec.width, spec.height, colour)
    };
    if options.exposure {
        preprocess.exposure = Some(Exposure::default());
    }
    if options.contrast {
        preprocess.contrast = frames::contrast_of(&dataset.train, &preprocess, mask)?;
    }
    Ok((spec, preprocess))
}

/// Side of the crops that are trained on; none for a vector latent, which is made of the whole
/// frame, as the digits' is.
fn crop(preset: Preset, spec: &VaeSpec) -> Option<usize> {
    let convolutional = preset.fixed_side().is_none() && matches!(spec.latent, Latent::Map { .. });
    convolutional.then_some(CROP)
}

/// Most frames held out for early stopping and for calibration: beyond, they are of more use in
/// training.
const MOST_VALIDATION: f64 = 1000.0;
const MOST_CALIBRATION: f64 = 2000.0;

fn fractions(frames: usize, rate: f64) -> SplitFractions {
    let usual = SplitFractions::default();
    let most = MOST_CALIBRATION.max((1.0 / rate).ceil());
    let validation = usual.validation.min(MOST_VALIDATION / frames as f64);
    let calibration = usual.calibration.min(most / frames as f64);
    SplitFractions {
        train: 1.0 - validation - calibration,
        validation,
        calibration,
    }
}

/// `OUT.training`, where checkpoint, metrics and loss curve of the bundle `OUT` lie.
fn run_folder(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        bail!("{}: not a name for a bundle", out.display());
    };
    let mut name = name.to_owned();
    name.push(".training");
    Ok(out.with_file_name(name))
}

/// Makes two settings one: the wanted where it was given, else the kept.
fn settle<T: Copy>(given: bool, wanted: &mut T, kept: &mut T) {
    match given {
        true => *kept = *wanted,
        false => *wanted = *kept,
    }
}

/// The checkpoint to continue from. One that would be overwritten unfinished is an error.
fn find_checkpoint(folder: &Path, job: &Job) -> Result<Option<Checkpoint>> {
    let exists = folder.join(checkpoint::FILE).exists();
    match (job.resume, exists) {
        (false, false) => Ok(None),
        (true, false) => bail!(
            "{}: no checkpoint to resume: leave --resume away to start",
            folder.display()
        ),
        (resume, true) => {
            let found = Checkpoint::load(folder);
            if resume {
                let mut found = found?;
                // Training may end otherwise, and something else may judge: anything more would be
                // another run.
                let mut wanted = job.options.clone();
                let kept = &mut found.state.options;
                // Without a size one was chosen.
                wanted.size = wanted.size.or(kept.size);
                settle(job.budget_given, &mut wanted.budget, &mut kept.budget);
                settle(job.score_given, &mut wanted.score, &mut kept.score);
                let given = job.calibration_given;
                settle(given, &mut wanted.calibration, &mut kept.calibration);
                if !job.untouched && wanted != found.state.options {
                    bail!(
                        "{}: the checkpoint was made with other flags: resume with the same or \
                         with none, only budget, score and calibration may change (found {:?})",
                        folder.display(),
                        found.state.options
                    );
                }
                return Ok(Some(found));
            }
            let found = found.context("remove its folder to start anew")?;
            if !found.state.finished {
                bail!(
                    "{}: holds an unfinished run at step {} of {}: give --resume to continue it, \
                     or remove the folder to start anew",
                    folder.display(),
                    found.state.step,
                    found.state.total
                );
            }
            if !job.out.join(MANIFEST).exists() {
                bail!(
                    "{}: holds a finished run whose bundle was never written: give --resume to \
                     export it, or remove the folder to start anew",
                    folder.display()
                );
            }
            Ok(None)
        }
    }
}
