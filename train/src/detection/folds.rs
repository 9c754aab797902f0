//! The last fit of features: to all normal frames, each of which is judged by a model of the others.
//!
//! Held-out frames calibrate without a doubt, and teach the model nothing. Where nothing but Gaussians
//! over a frozen network's features was fitted to the frames, a fit is quick enough to be made once for
//! each of some folds of the frames and once for all: the score of a frame comes from the model of
//! the folds that it is not in (cross-conformal prediction, Vovk 2015), the bundle's model
//! knows them all.

use std::{cell::RefCell, collections::BTreeMap, sync::atomic::Ordering};

use anyhow::{Context, Result, bail};
use edge_vae::anomaly::Source;
use ndarray::Array3;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::{
    Material,
    features::{self, Fitted},
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

/// Frames that are worth folds at least.
const LEAST_FRAMES: usize = 4;

/// Most bytes of feature vectors that are kept for the fits.
const KEPT_BYTES: usize = 1 << 30;

/// Each frame's distances under the model of the frames of other folds.
#[derive(Clone, Debug)]
pub struct Folds {
    /// Number of folds.
    pub(super) count: usize,
    /// The fold of each frame.
    pub(super) of: Vec<usize>,
    /// Rows and columns of the distances.
    pub(super) shape: [usize; 2],
    /// Of each frame.
    pub(super) distances: Vec<Vec<f32>>,
    /// What the bundle's statistics of the distance are in each fold: those of the frames of all
    /// others. Empty where no score asks for them.
    pub(super) statistics: Vec<Array3<f32>>,
}

impl Folds {
    /// Number of folds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The statistics by which frames of `fold` are judged, where those of the bundle are `all`.
    pub(super) fn statistics_of(
        &self,
        fold: usize,
        all: &BTreeMap<Source, Array3<f32>>,
    ) -> BTreeMap<Source, Array3<f32>> {
        let mut statistics = all.clone();
        if let Some(own) = self.statistics.get(fold) {
            statistics.insert(Source::Features, own.clone());
        }
        statistics
    }
}

/// Whether a model like `chosen` may be fitted in folds: not where held-out frames are the better way, of
/// very few or very many frames, of tiles, of a VAE.
pub(super) fn suit(chosen: &Fitted, material: &Material) -> bool {
    let Fitted::OfMaps { model, pose } = chosen else {
        return false;
    };
    let frames = material.frames.count();
    let whole = material.layout.tiles().count() == 1;
    whole
        && frames >= LEAST_FRAMES
        && model.kind() != Kind::Vae
        && features::all_looks(material, *pose).len() * model.bytes_of_frame() <= KEPT_BYTES
}

/// Fits a model like `chosen` to all frames, and one to those of all folds but one for each fold; puts
/// statistics of the distance to all frames in `field`. Where the score is `standardised`, folds
/// have their own.
///
/// # Errors
/// Ctrl-C, what can't be fitted, and what does not [`suit`].
pub(super) fn fit(
    chosen: &Fitted,
    field: &mut Field,
    standardised: bool,
    material: &Material,
    runner: &RefCell<Runner>,
) -> Result<(Fitted, Folds)> {
    let Fitted::OfMaps { model, pose } = chosen else {
        bail!("prototypes are not fitted in folds");
    };
    let frames = material.frames.count();
    let looks = features::all_looks(material, *pose);
    let mut source = features::source(material, runner, looks.clone(), *pose);
    let kept = Kept::read(&mut source, model)?;
    let fold_of = deal(frames, material.seed);
    let count = fold_of.iter().max().map_or(0, |most| most + 1);
    let options = model.options(Options {
        seed: material.seed,
        ..Options::default()
    });
    let fit_without = |fold: Option<usize>| {
        let taken = |frame: usize| fold != Some(fold_of[frame]);
        let places =
            (0..looks.len()).filter(|&look| looks[look].fitted && taken(looks[look].frame));
        let places: Vec<usize> = places.collect();
        let originals = places.iter().filter(|&&look| looks[look].copy == 0).count();
        let mut train = kept.part(places, originals);
        // All that held-out frames would choose was chosen before.
        let mut held_out = train.clone();
        let fitted = crate::features::fit(&mut train, &mut held_out, &[model.kind()], &options)?;
        fitted.into_iter().next().context("a fit without a model")
    };
    let originals: Vec<usize> = (0..looks.len())
        .filter(|&look| looks[look].copy == 0)
        .collect();
    let distances_of = |model: &Model, wanted: &(dyn Fn(usize) -> bool + Sync)| {
        let places = originals.par_iter().enumerate();
        places
            .filter(|&(frame, _)| wanted(frame))
            .map(|(frame, &look)| Ok((frame, kept.distance(look, model)?)))
            .collect::<Result<Vec<_>>>()
    };
    let statistics = |model: &Model, wanted: &(dyn Fn(usize) -> bool + Sync)| {
        let mut field = field.emptied();
        for (_, distance) in distances_of(model, wanted)? {
            field.push(&distance)?;
        }
        Ok::<_, anyhow::Error>(field)
    };

    let mut folds = Folds {
        count,
        shape: model.grid(),
        distances: vec![Vec::new(); frames],
        statistics: Vec::new(),
        of: fold_of.clone(),
    };
    let progress = Progress::new(count, "folds of the frames judged by a model of the others");
    for fold in 0..count {
        if material.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        progress.step(fold);
        let others = fit_without(Some(fold))?;
        for (frame, distance) in distances_of(&others, &|frame| fold_of[frame] == fold)? {
            folds.distances[frame] = distance;
        }
        if standardised {
            let field = statistics(&others, &|frame| fold_of[frame] != fold)?;
            folds.statistics.push(field.standardisation(0)?.to_array());
        }
    }
    let all = fit_without(None)?;
    let of_all = statistics(&all, &|_| true)?;
    *field = of_all;
    let fitted = Fitted::OfMaps {
        model: all.of_maps_of(model)?,
        pose: *pose,
    };
    Ok((fitted, folds))
}

/// The fold of each of `frames` frames, at random; folds differ by one frame at most.
fn deal(frames: usize, seed: u64) -> Vec<usize> {
    let folds = FOLDS.min(frames);
    let mut order: Vec<usize> = (0..frames).collect();
    order.shuffle(&mut stream(seed, Purpose::Folds, 0));
    let mut of = vec![0; frames];
    for (rank, frame) in order.into_iter().enumerate() {
        of[frame] = rank % folds;
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_of_one_size_and_drawn_at_random() {
        for (frames, folds) in [(4, 4), (19, 19), (30, 20), (762, 20)] {
            let of = deal(frames, 1);
            let mut sizes = vec![0; folds];
            of.iter().for_each(|&fold| sizes[fold] += 1);
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{sizes:?}");
            assert_eq!(of, deal(frames, 1));
            assert_ne!(of, deal(frames, 2));
        }
    }
}
