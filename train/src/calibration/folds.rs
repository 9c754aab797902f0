//! Out-of-fold distances: each normal frame's from a density that was fitted to the others.
//!
//! Held-out frames calibrate without a doubt, and teach the density nothing. Where nothing but
//! Gaussians over a frozen backbone's features was fitted to the frames, a fit is quick enough to
//! be made once for each of some folds and once for all: the score of a frame comes from the
//! density of the folds that it is not in (cross-conformal prediction, Vovk 2015), the bundle's
//! density knows them all.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use edge_vae::model::{ModelOutputs, Tensor, TensorShapes};
use ndarray::Array3;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::{
    candidates::{MapSource, Member},
    features::{
        AugmentedTile, FeatureDensity, Features, FitData, FrameFeatures, ModelPool,
        density::{self, DensityKind, FitOptions, FittedDensity, Kept},
    },
    random::{Purpose, stream},
    selection::{MapStatistics, SelectionParams},
};

/// How frames are calibrated out of fold.
#[derive(Debug)]
struct FoldParams {
    /// Folds: so many that a density of the others knows nearly as much as the one of all.
    folds: usize,
    /// Most bytes of feature vectors that are kept for the fits.
    most_bytes: usize,
    /// Frames whose distances are compared with those of the bundle's graph.
    compared: usize,
}

const PARAMS: FoldParams = FoldParams {
    folds: 20,
    most_bytes: 1 << 30,
    compared: 8,
};

/// Each frame's distances under the density of the frames of other folds.
#[derive(Clone, Debug)]
pub struct Folds {
    /// What the bundle calls the distances.
    source: MapSource,
    /// Number of folds.
    count: usize,
    /// The fold of each frame.
    of: Vec<usize>,
    /// Shape of the distances, 1×h×w.
    shape: [usize; 3],
    /// Of each frame.
    distances: Vec<Vec<f32>>,
    /// What the bundle's statistics of the distance are in each fold: those of the frames of all
    /// others. Empty where nothing that scores asks for them.
    statistics: Vec<Array3<f32>>,
    /// Some frames, and their distances under the bundle's own density.
    compared: Vec<(usize, Vec<f32>)>,
}

impl Folds {
    /// What the bundle calls the distances.
    pub fn source(&self) -> MapSource {
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

    /// Some frames, and their distances under the density of all frames.
    pub(super) fn compared(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let each = self.compared.iter();
        each.map(|(frame, distances)| (*frame, &distances[..]))
    }

    /// The fold whose statistics a frame is scored by: one for all where they have none of their
    /// own.
    pub(super) fn fold(&self, frame: usize) -> usize {
        match self.statistics.is_empty() {
            true => 0,
            false => self.of[frame],
        }
    }

    /// The statistics of each fold, where those of the bundle are `all`.
    pub(super) fn statistics(
        &self,
        all: &BTreeMap<String, Array3<f32>>,
    ) -> Vec<BTreeMap<String, Array3<f32>>> {
        if self.statistics.is_empty() {
            return vec![all.clone()];
        }
        let of_fold = |own: &Array3<f32>| {
            let mut statistics = all.clone();
            statistics.insert(self.source.name.to_owned(), own.clone());
            statistics
        };
        self.statistics.iter().map(of_fold).collect()
    }

    /// `shapes` with that of the distances.
    pub(super) fn add_shape(&self, shapes: &mut TensorShapes) {
        shapes.insert(self.source.tensor(), &self.shape);
    }

    /// The out-of-fold distances of `frame`, in the place of the tensor that its graph makes.
    pub(super) fn tensors(&self, frame: usize) -> [(&str, Tensor<'_>); 1] {
        let distances = Tensor {
            shape: &self.shape,
            values: &self.distances[frame],
        };
        [(self.source.tensor(), distances)]
    }

    /// The distances among `outputs`.
    pub(super) fn map_of<'a>(&self, outputs: &ModelOutputs<'a>) -> &'a [f32] {
        outputs.values(self.source.tensor())
    }
}

/// Why a density like that of `member` is not fitted in folds, held-out frames being the better
/// way; `None` where it is.
pub fn obstacle(member: &Member, data: &FitData) -> Option<&'static str> {
    let (Some(of), Some(density)) = (member.candidate.density, &member.density) else {
        return Some("what scores was trained on the others");
    };
    if !matches!(of.features, Features::Patch | Features::Fine) {
        return Some("what scores was trained on the others");
    }
    let tiles = of.sampling.augmented(data, &all_frames(data));
    let originals = tiles.iter().filter(|tile| tile.number == 0).count();
    if data.is_one_picture(&all_frames(data)) {
        Some("there are no others")
    } else if data.tiles() > 1 {
        Some("frames are cut into tiles")
    } else if density.kind() == DensityKind::Vae {
        Some("a VAE takes long to train")
    } else if originals < data.frames.count() {
        Some("a density of parts at any angle takes no more frames than it has")
    } else if tiles.len() * density.bytes_of_frame() > PARAMS.most_bytes {
        Some("the features of all frames are too large to be kept")
    } else {
        None
    }
}

fn all_frames(data: &FitData) -> Vec<usize> {
    (0..data.frames.count()).collect()
}

/// A density of all frames, statistics of its distances, and out-of-fold distances.
#[derive(Debug)]
pub struct FittedInFolds {
    /// The bundle's density.
    pub density: FittedDensity,
    /// Statistics of its distances over all frames.
    pub statistics: MapStatistics,
    /// Distances of each frame under the density of the others.
    pub folds: Folds,
}

/// Fits a density like that of `member` to all frames, and one to those of all folds but one for
/// each fold. Where the score is `standardised`, folds have statistics of their own.
///
/// # Errors
/// Ctrl-C, what can't be fitted, and what has an [`obstacle`].
pub fn fit_in_folds(
    member: &Member,
    statistics: &MapStatistics,
    standardised: bool,
    data: &FitData,
    pool: &ModelPool,
    params: &SelectionParams,
) -> Result<FittedInFolds> {
    let (Some(of), Some(like)) = (member.candidate.density, &member.density) else {
        bail!("{} is not fitted in folds", member.candidate.name);
    };
    let refit = Refit::read(of, like, data, pool)?;
    let frames = data.frames.count();
    let statistics_of = |density: &FittedDensity, frames: Vec<usize>| {
        let mut of_frames = statistics.emptied();
        if data.is_one_picture(&frames) {
            for distance in refit.augmented_distances(density, &frames)? {
                of_frames.push(&distance)?;
            }
            return Ok(of_frames);
        }
        let stride = frames.len().div_ceil(params.statistics_frames).max(1);
        for (_, distance) in refit.distances(density, frames.into_iter().step_by(stride))? {
            of_frames.push(&distance)?;
        }
        Ok::<_, anyhow::Error>(of_frames)
    };
    let mut distances = vec![Vec::new(); frames];
    let mut own = Vec::new();
    let mut bar = data
        .reporter
        .bar(refit.count, "folds scored by a density of the others");
    for fold in 0..refit.count {
        data.check_interrupted()?;
        bar.set(fold);
        let others = refit.without(Some(fold))?;
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            (0..frames).partition(|&frame| refit.fold_of[frame] == fold);
        for (frame, distance) in refit.distances(&others, inside)? {
            distances[frame] = distance;
        }
        if standardised {
            // Distances are not smoothed.
            own.push(
                statistics_of(&others, outside)?
                    .standardisation(0.0)?
                    .to_array(),
            );
        }
    }
    let all = refit.without(None)?;
    let [rows, columns] = like.grid();
    let compared = data.split.calibration.iter().take(PARAMS.compared).copied();
    Ok(FittedInFolds {
        statistics: statistics_of(&all, (0..frames).collect())?,
        folds: Folds {
            source: member.candidate.source,
            count: refit.count,
            shape: [1, rows, columns],
            distances,
            statistics: own,
            compared: refit.distances(&all, compared)?,
            of: refit.fold_of,
        },
        density: refit.kept.of_maps(all)?,
    })
}

/// The features of all frames, and how densities are fitted to some of them.
struct Refit {
    kept: Kept,
    tiles: Vec<AugmentedTile>,
    kind: DensityKind,
    options: FitOptions,
    /// Number of folds.
    count: usize,
    /// The fold of each frame.
    fold_of: Vec<usize>,
}

impl Refit {
    fn read(
        of: FeatureDensity,
        like: &FittedDensity,
        data: &FitData,
        pool: &ModelPool,
    ) -> Result<Self> {
        let all = all_frames(data);
        let mut source = FrameFeatures::augmented(pool, data, of.features, of.sampling, &all);
        let tiles = source.tiles().to_vec();
        let kept = Kept::read(&mut source, Some(like.grid()), &data.memory.room)?;
        let fold_of = deal(data.groups, data.seed);
        let count = fold_of.iter().max().map_or(0, |most| most + 1);
        // Every density has what the one of the fewest frames can have: else distances would
        // differ.
        let of_fold = (0..count).map(|fold| fold_of.iter().filter(|&&of| of == fold).count());
        let fewest = all.len() - of_fold.max().unwrap_or(0);
        let options = like.options(
            fewest,
            &FitOptions {
                seed: data.seed,
                room: data.memory.room.clone(),
                ..FitOptions::default()
            },
        );
        Ok(Self {
            kept,
            tiles,
            kind: like.kind(),
            options,
            count,
            fold_of,
        })
    }

    /// The density of all frames, or of those that are not in `fold`.
    fn without(&self, fold: Option<usize>) -> Result<FittedDensity> {
        let taken = |tile: &usize| fold != Some(self.fold_of[self.tiles[*tile].frame]);
        let places: Vec<usize> = (0..self.tiles.len()).filter(taken).collect();
        let originals = places
            .iter()
            .filter(|&&tile| self.tiles[tile].number == 0)
            .count();
        let mut train = self.kept.part(places, originals);
        // All that held-out frames would choose was chosen before.
        let mut held_out = train.clone();
        let fitted = density::fit(&mut train, &mut held_out, &[self.kind], &self.options)?;
        fitted.into_iter().next().context("a fit without a density")
    }

    /// The distances of `frames` and of their augmented samples under `density`.
    fn augmented_distances(
        &self,
        density: &FittedDensity,
        frames: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let taken = |tile: &usize| frames.contains(&self.tiles[*tile].frame);
        let tiles: Vec<usize> = (0..self.tiles.len()).filter(taken).collect();
        let each = tiles.into_par_iter();
        each.map(|tile| self.kept.distance(tile, density)).collect()
    }

    /// The distances of `frames` under `density`, each with its frame.
    fn distances(
        &self,
        density: &FittedDensity,
        frames: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<(usize, Vec<f32>)>> {
        // In the order of the frames.
        let originals: Vec<usize> = (0..self.tiles.len())
            .filter(|&tile| self.tiles[tile].number == 0)
            .collect();
        let frames: Vec<usize> = frames.into_iter().collect();
        let each = frames.into_par_iter();
        each.map(|frame| Ok((frame, self.kept.distance(originals[frame], density)?)))
            .collect()
    }
}

/// The fold of each frame by the number of its group, at random; folds differ by one group at most.
fn deal(groups: &[usize], seed: u64) -> Vec<usize> {
    let count = groups.iter().max().map_or(0, |last| last + 1);
    let folds = PARAMS.folds.min(count);
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
