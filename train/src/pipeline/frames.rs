//! What a run is about, and its frames in memory.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, Result, bail};
use edge_vae::{
    Frame,
    backend::Engine,
    bundle::Bundle,
    dataset::{Dataset, Split, SplitFractions},
    vae::Likelihood,
};

use super::{Job, input_size, memory, resume};
use crate::{
    data::{self, Groups, Input, Loaded},
    features::{FeatureMemory, PretrainedBackbone},
    options::{FitOptions, Golden, Score, Size},
    run_folder::run_folder,
    vae::Checkpoint,
};

/// What a run is about, before any frame is prepared.
pub(super) struct Plan {
    /// Folder of checkpoint, metrics and loss curve.
    pub folder: PathBuf,
    pub dataset: Dataset,
    pub options: FitOptions,
    pub golden: Golden,
    /// Where an earlier call stopped.
    pub checkpoint: Option<Checkpoint>,
    /// How features are kept.
    pub memory: FeatureMemory,
}

/// Opens what the job names and settles the options; what would fail after hours of training fails
/// now.
pub(super) fn plan(job: &Job, engine: &Engine) -> Result<Plan> {
    Bundle::check_target(&job.out)?;
    let folder = run_folder(&job.out)?;
    let checkpoint = match job.vae {
        true => resume::find_checkpoint(&folder, job.resume, &job.out)?,
        false => None,
    };
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
        memory: FeatureMemory::default(),
    };
    plan.memory = memory::within(job, &plan.dataset, &plan.options)?;
    if plan.checkpoint.is_none() && plan.options.size == Size::Auto {
        let mask = data::read_mask(&plan.options)?;
        let chosen = input_size::choose(
            &plan.dataset,
            &plan.options,
            mask.as_deref(),
            &plan.memory,
            job.interrupted,
            job.reporter,
        )?;
        if let Some(chosen) = chosen {
            plan.options.size = chosen.size;
            plan.options.tiles = chosen.tiles;
            plan.memory = memory::within(job, &plan.dataset, &plan.options)?;
        }
    }
    memory::say_bound(&plan.memory, job);
    Ok(plan)
}

/// The frames in memory, and what each serves.
pub(super) struct Material<'a> {
    pub input: Input,
    /// PNG of the region of interest.
    pub mask: Option<Vec<u8>>,
    pub loaded: Loaded<'a>,
    pub groups: Groups,
    pub parts: Split,
}

/// Reads, groups, splits and normalises the frames.
pub(super) fn load<'a>(job: &Job, plan: &'a Plan) -> Result<Material<'a>> {
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
