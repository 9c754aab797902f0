//! How long the fit of a detector will take, before it begins.

use std::thread::available_parallelism;

use edge_vae::dataset::Split;

use super::{features, rehearsal, trials};

/// What everything takes, in passes of the second network: copies are made, models fitted, other graphs
/// run. Measured with the shipped one at 256 and 512 pixels.
const LONGER: f64 = 3.3;

/// Seconds, roughly, that a fit to frames of `tiles` tiles takes whose second network takes `pass` seconds for
/// a tensor; without the training of a VAE over features.
pub fn seconds(split: &Split, groups: &[usize], tiles: usize, pass: f64) -> f64 {
    let (train, validation) = (split.train.len(), split.validation.len());
    let all = train + validation + split.calibration.len();
    let rehearsed = rehearsal(split, groups);
    let passes = |frames| features::passes(frames, tiles) + features::detail_passes(frames, tiles);
    let rehearsal = rehearsed.map_or(0, |split| {
        passes(split.train.len()) + split.train.len() * tiles
    });
    let fitted = passes(train) + 2 * validation * tiles;
    let gathered = train.min(super::STATISTICS_FRAMES) * tiles;
    let last = features::passes(all, tiles) + all * tiles;
    let passes = rehearsal + fitted + gathered + trials::most(validation) * tiles + last;
    let processors = available_parallelism().map_or(1, usize::from) as f64;
    passes as f64 * pass * LONGER / processors
}
