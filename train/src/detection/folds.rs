//! The last fit of features: to all normal frames, each of which is judged by a model of the others.
//!
//! Held-out frames calibrate without a doubt, and teach the model nothing. Where nothing but Gaussians
//! over a frozen network's features was fitted to the frames, a fit is quick enough to be made once for
//! each of some folds of the frames and once for all: the score of a frame comes from the model of
//! the folds that it is not in (cross-conformal prediction, Vovk 2015), the bundle's model
//! knows them all.

use std::{cell::RefCell, collections::BTreeMap, sync::atomic::Ordering};

use anyhow::{Context, Result, bail};
use edge_vae::scoring::ScoreSource;
use ndarray::Array3;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::{
    Material, STATISTICS_FRAMES,
    features::{self, Fitted, Of},
    gather::Field,
    progress::Progress,
    runner::Runner,
};
use crate::{
    features::{Kept, Kind, Model, Options},
    random::{Purpose, stream},
};

/// Folds: so many that a model of the others knows nearly as much as the one of all.
const FOLDS: usize = 20;

/// Most bytes of feature vectors that are kept for the fits.
const MOST_BYTES: usize = 1 << 30;

/// Frames whose distances are compared with those of the bundle's graph.
const COMPARED: usize = 8;

/// Each frame's distances under the model of the frames of other folds.
#[derive(Clone, Debug)]
pub struct Folds {
    /// Whose distances they are.
    source: ScoreSource,
    /// Number of folds.
    pub(super) count: usize,
    /// The fold of each frame.
    pub(super) of: Vec<usize>,
    /// Rows and columns of the distances.
    pub(super) shape: [usize; 2],
    /// Of each frame.
    pub(super) distances: Vec<Vec<f32>>,
    /// What the bundle's statistics of the distance are in each fold: those of the frames of all
    /// others. Empty where nothing that judges asks for them.
    pub(super) statistics: Vec<Array3<f32>>,
    /// Some frames, and their distances under the bundle's own model.
    compared: Vec<(usize, Vec<f32>)>,
}

impl Folds {
    /// Whose distances they are.
    pub fn source(&self) -> ScoreSource {
        self.source
    }

    /// Number of folds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All frames, those of a fold together.
    pub fn frames(&self) -> Vec<usize> {
        let mut frames: Vec<usize> = (0..self.of.len()).collect();
        frames.sort_by_key(|&frame| self.of[frame]);
        frames
    }

    /// Some frames, and their distances under the model of all frames.
    pub fn compared(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let each = self.compared.iter();
        each.map(|(frame, distances)| (*frame, &distances[..]))
    }

    /// The statistics by which frames of `fold` are judged, where those of the bundle are `all`.
    pub(super) fn statistics_of(
        &self,
        fold: usize,
        all: &BTreeMap<ScoreSource, Array3<f32>>,
    ) -> BTreeMap<ScoreSource, Array3<f32>> {
        let mut statistics = all.clone();
        if let Some(own) = self.statistics.get(fold) {
            statistics.insert(self.source, own.clone());
        }
        statistics
    }
}

/// Why a model like `chosen` is not fitted in folds, held-out frames being the better way; `None` where
/// it is.
pub(super) fn obstacle(chosen: Option<&Fitted>, material: &Material) -> Option<&'static str> {
    let Some(Fitted::OfMaps {
        model,
        pose,
        of: Of::Features | Of::Details,
    }) = chosen
    else {
        return Some("what judges was trained on the others");
    };
    let looks = features::all_looks(material, *pose);
    let originals = looks.iter().filter(|look| look.copy == 0).count();
    if material.layout.tiles().count() > 1 {
        Some("frames are cut into tiles")
    } else if model.kind() == Kind::Vae {
        Some("a VAE takes long to train")
    } else if originals < material.frames.count() {
        Some("a model of turned parts takes no more frames than it has")
    } else if looks.len() * model.bytes_of_frame() > MOST_BYTES {
        Some("the features of all frames are too large to be kept")
    } else {
        None
    }
}

/// Fits a model like `chosen` to all frames, and one to those of all folds but one for each fold; puts
/// statistics of the distance to all frames in `field`. Where the score is `standardised`, folds
/// have their own.
///
/// # Errors
/// Ctrl-C, what can't be fitted, and what has an [`obstacle`].
pub(super) fn fit(
    chosen: &Fitted,
    field: &mut Field,
    standardised: bool,
    material: &Material,
    runner: &RefCell<Runner>,
) -> Result<(Fitted, Folds)> {
    let Fitted::OfMaps { model, pose, of } = chosen else {
        bail!("prototypes are not fitted in folds");
    };
    let frames = material.frames.count();
    let looks = features::all_looks(material, *pose);
    let mut source = features::source(material, runner, looks.clone(), *pose, *of);
    let kept = Kept::read(&mut source, model)?;
    let fold_of = deal(material.groups, material.seed);
    let count = fold_of.iter().max().map_or(0, |most| most + 1);
    // Every model has what the one of the fewest frames can have: else their distances would differ.
    let most = (0..count).map(|fold| fold_of.iter().filter(|&&of| of == fold).count());
    let fewest = frames - most.max().unwrap_or(0);
    let options = model.options(
        fewest,
        &Options {
            seed: material.seed,
            ..Options::default()
        },
    );
    let fit_without = |fold: Option<usize>| {
        let taken = |look: &usize| fold != Some(fold_of[looks[*look].frame]);
        let places: Vec<usize> = (0..looks.len()).filter(taken).collect();
        let originals = places.iter().filter(|&&look| looks[look].copy == 0).count();
        let mut train = kept.part(places, originals);
        // All that held-out frames would choose was chosen before.
        let mut held_out = train.clone();
        let kind = [model.kind()];
        let fitted = crate::features::fit(&mut train, &mut held_out, &kind, &options)?;
        fitted.into_iter().next().context("a fit without a model")
    };
    // In the order of the frames.
    let originals: Vec<usize> = (0..looks.len())
        .filter(|&look| looks[look].copy == 0)
        .collect();
    let distances_of = |model: &Model, frames: Vec<usize>| {
        let each = frames.into_par_iter();
        each.map(|frame| Ok((frame, kept.distance(originals[frame], model)?)))
            .collect::<Result<Vec<_>>>()
    };
    let statistics = |model: &Model, frames: Vec<usize>| {
        let stride = frames.len().div_ceil(STATISTICS_FRAMES).max(1);
        let mut field = field.emptied();
        for (_, distance) in distances_of(model, frames.into_iter().step_by(stride).collect())? {
            field.push(&distance)?;
        }
        Ok::<_, anyhow::Error>(field)
    };

    let mut distances = vec![Vec::new(); frames];
    let mut own = Vec::new();
    let mut progress = Progress::new(count, "folds judged by a model of the others");
    for fold in 0..count {
        if material.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        progress.step(fold);
        let others = fit_without(Some(fold))?;
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            (0..frames).partition(|&frame| fold_of[frame] == fold);
        for (frame, distance) in distances_of(&others, inside)? {
            distances[frame] = distance;
        }
        if standardised {
            let field = statistics(&others, outside)?;
            own.push(field.standardisation(0)?.to_array());
        }
    }
    let all = fit_without(None)?;
    let of_all = statistics(&all, (0..frames).collect())?;
    let compared = material.split.calibration.iter().take(COMPARED);
    let compared = distances_of(&all, compared.copied().collect())?;
    *field = of_all;
    let fitted = Fitted::OfMaps {
        model: all.of_maps_of(model)?,
        pose: *pose,
        of: *of,
    };
    let folds = Folds {
        source: chosen.source(),
        count,
        of: fold_of,
        shape: model.grid(),
        distances,
        statistics: own,
        compared,
    };
    Ok((fitted, folds))
}

/// The fold of each frame by the number of its group, at random; folds differ by one group at most.
fn deal(groups: &[usize], seed: u64) -> Vec<usize> {
    let count = groups.iter().max().map_or(0, |last| last + 1);
    let folds = FOLDS.min(count);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut stream(seed, Purpose::Folds, 0));
    let mut of = vec![0; count];
    for (rank, group) in order.into_iter().enumerate() {
        of[group] = rank % folds;
    }
    groups.iter().map(|&group| of[group]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_of_one_size_and_drawn_at_random() {
        for (frames, folds) in [(4, 4), (19, 19), (30, 20), (762, 20)] {
            let alone: Vec<usize> = (0..frames).collect();
            let of = deal(&alone, 1);
            let mut sizes = vec![0; folds];
            of.iter().for_each(|&fold| sizes[fold] += 1);
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{sizes:?}");
            assert_eq!(of, deal(&alone, 1));
            assert_ne!(of, deal(&alone, 2));
            let in_threes: Vec<usize> = (0..3 * frames).map(|i| i / 3).collect();
            let of_threes: Vec<usize> = of.iter().flat_map(|&fold| [fold; 3]).collect();
            assert_eq!(deal(&in_threes, 1), of_threes);
        }
    }
}
