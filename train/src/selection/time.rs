//! How long selection and calibration will take, before they begin.

use std::thread::available_parallelism;

use edge_vae::dataset::Split;

use super::{SelectionParams, cross_validation, validation};
use crate::features::SamplingParams;

/// What everything takes, in passes of the pretrained backbone: samples are augmented, densities
/// fitted, other graphs run. Measured with the shipped one at 256 and 512 pixels.
const PASSES: f64 = 3.3;

/// Seconds, roughly, for frames of `tiles` tiles where the pretrained backbone takes `pass` seconds
/// for a tensor; without the training of a VAE over features.
pub fn seconds(
    split: &Split,
    groups: &[usize],
    tiles: usize,
    pass: f64,
    params: &SelectionParams,
) -> f64 {
    let (train, validation) = (split.train.len(), split.validation.len());
    let all = train + validation + split.calibration.len();
    let patch = |frames| {
        SamplingParams::PATCH.passes(frames, tiles) + SamplingParams::ROTATED.passes(frames, tiles)
    };
    let passes = |frames| patch(frames) + SamplingParams::FINE.passes(frames, tiles);
    let folds = cross_validation(split, groups, params);
    let of_fold = |split: &Split| passes(split.train.len()) + split.train.len() * tiles;
    let first: usize = folds.iter().map(of_fold).sum();
    let fitted = passes(train) + 2 * validation * tiles;
    let measured = train.min(params.statistics_frames) * tiles;
    let last = patch(all) + all * tiles;
    let passes = first + fitted + measured + validation::most(validation) * tiles + last;
    let processors = available_parallelism().map_or(1, usize::from) as f64;
    passes as f64 * pass * PASSES / processors
}
