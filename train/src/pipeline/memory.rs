//! What a fit takes of the memory, and how it keeps within a bound.

use std::thread::available_parallelism;

use anyhow::{Result, bail};
use edge_vae::dataset::Dataset;

use super::Job;
use crate::{
    data,
    features::{FeatureMemory, density::Room},
    options::{FitOptions, Preset},
    run_folder::run_folder,
    selection,
};

/// Bytes that parts of a fit take, rounded up: those of a training step by measurement, the others
/// by the sizes of what is kept, which has been enough at 64 to 256 pixels.
#[derive(Debug)]
struct MemoryParams {
    /// Program and small things.
    program: u64,
    /// A model that runs, for each pixel of its tensor: its layers' outputs.
    of_model_pixel: u64,
    /// The densities of all candidates for one split, and what they are fitted with.
    densities: u64,
    /// Pixels of a tensor up to which they grow with it: then the grid has all its cells.
    of_full_grid: u64,
    /// Splits whose densities are there at once: selection is by so many folds of few frames.
    splits: u64,
    /// Maps of a frame or sample on its way, for each pixel of its tensor.
    of_map_pixel: u64,
    /// Frame and augmented samples that a thread works on together at most.
    samples: u64,
    /// A pixel of a step's frames, in a training step of each network.
    of_step_pixel: fn(Preset) -> u64,
}

const PARAMS: MemoryParams = MemoryParams {
    program: 64 << 20,
    of_model_pixel: 700,
    densities: 120 << 20,
    of_full_grid: 128 * 128,
    splits: 3,
    of_map_pixel: 6,
    samples: 17,
    of_step_pixel: |preset| match preset {
        Preset::Small28 | Preset::Tiny | Preset::Edge => 1600,
        Preset::Balanced => 2200,
        Preset::Best => 2900,
    },
};

/// Bytes of a value.
const FLOAT: u64 = size_of::<f32>() as u64;

/// Rounds that are tried, the largest first.
const ROUNDS: [u64; 4] = [8, 4, 2, 1];

/// Share of what is left that frames on their way may take.
const ON_THEIR_WAY: u64 = 4;

/// What a user sees of [`within`].
pub(super) fn say_bound(memory: &FeatureMemory, job: &Job) {
    if let Some(bound) = job.memory {
        job.reporter.line(format_args!(
            "--memory {}: {} for features, the rest of them will lie in a file",
            size(bound),
            size(memory.room.left())
        ));
    }
}

/// How features are kept so that the job's process keeps within its bound.
///
/// # Errors
/// A bound that is too small, with what it would take.
pub(super) fn within(job: &Job, dataset: &Dataset, options: &FitOptions) -> Result<FeatureMemory> {
    let Some(bound) = job.memory else {
        return Ok(FeatureMemory::default());
    };
    let needs = Needs::of(job, dataset, options)?;
    let least = needs.without_round() + needs.round;
    let Some(left) = bound.checked_sub(least) else {
        bail!(
            "--memory {} is too little: {} frames take at least {}, {} of it for the frames \
             themselves, {} for synthetic defects, {} to train the VAE: give at least \
             --memory {}MiB, fewer frames, a smaller --size, or --colour grey",
            size(bound),
            dataset.train.len(),
            size(least),
            size(needs.frames),
            size(needs.defects),
            size(needs.training),
            (least >> 20) + 1
        );
    };
    let affordable = |round: &u64| (round - 1) * needs.round <= left / ON_THEIR_WAY;
    let round = ROUNDS.into_iter().find(affordable).unwrap_or(1);
    let room = left - (round - 1) * needs.round;
    Ok(FeatureMemory {
        room: Room::new(usize::try_from(room)?, run_folder(&job.out)?),
        round: usize::try_from(round)?,
    })
}

/// Bytes that a fit takes whatever is kept of the features.
struct Needs {
    frames: u64,
    defects: u64,
    models: u64,
    densities: u64,
    training: u64,
    /// What each further frame of a round takes on all processors.
    round: u64,
}

impl Needs {
    fn of(job: &Job, dataset: &Dataset, options: &FitOptions) -> Result<Self> {
        let count = dataset.train.len() as u64;
        let mask = data::read_mask(options)?;
        let preprocess = data::input(dataset, options, mask.as_deref())?.preprocess;
        let of_canvas = preprocess.canvas_shape().iter().product::<usize>() as u64 * FLOAT;
        let [channels, height, width] = preprocess.shape().map(|length| length as u64);
        let pixels = height * width;
        let threads = available_parallelism().map_or(1, usize::from) as u64;
        let networks = u64::from(options.backbone.is_some()) + u64::from(job.vae);
        let cropped = data::crop(options).map_or(pixels, |side| (side * side) as u64);
        let step = options.batch as u64 * cropped.min(pixels) * options.importance_samples as u64;
        Ok(Self {
            frames: count * of_canvas,
            defects: selection::validation_bytes(preprocess.canvas_shape())
                + count.min(selection::INPUT_SIZE.frames as u64) / 3 * of_canvas,
            models: networks * threads * pixels * PARAMS.of_model_pixel,
            densities: PARAMS.splits * PARAMS.densities * pixels.min(PARAMS.of_full_grid)
                / PARAMS.of_full_grid,
            training: match job.vae {
                true => step * (PARAMS.of_step_pixel)(options.preset),
                false => 0,
            },
            round: threads * PARAMS.samples * pixels * (PARAMS.of_map_pixel + channels * FLOAT),
        })
    }

    /// All but rounds. A VAE is trained after what reads features is fitted.
    fn without_round(&self) -> u64 {
        let fitting = self.defects + self.models;
        PARAMS.program + self.frames + self.densities + fitting.max(self.training)
    }
}

/// Says what the process took at most; warns where that is more than the bound.
pub(super) fn say_peak(peak: Option<u64>, job: &Job) {
    let Some(peak) = peak else { return };
    match job.memory {
        Some(bound) if peak > bound => job.reporter.warn(format_args!(
            "peak memory: {}, more than --memory {}",
            size(peak),
            size(bound)
        )),
        _ => job
            .reporter
            .line(format_args!("peak memory: {}", size(peak))),
    }
}

/// `900 MiB`, `4.1 GiB`.
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..1024 => format!("{mib} MiB"),
        mib => format!("{:.1} GiB", mib as f64 / 1024.0),
    }
}
