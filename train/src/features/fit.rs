//! Densities fitted to the features of the training frames and of their augmented samples.

use std::collections::BTreeSet;

use anyhow::Result;
use edge_vae::dataset::Split;

use super::{
    AugmentedTile, Features, FitData, FrameFeatures, ModelPool, SamplingParams,
    density::{self, DensityKind, FitOptions, FittedDensity, Kept},
};

/// A density over some features, and what it is fitted on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureDensity {
    /// The features.
    pub features: Features,
    /// The density.
    pub kind: DensityKind,
    /// Augmented samples beside the frames.
    pub sampling: &'static SamplingParams,
}

impl FeatureDensity {
    /// Whether one reading of the features serves both.
    fn shares_reading(&self, other: &Self) -> bool {
        (self.features, self.sampling) == (other.features, other.sampling)
    }
}

/// How long the VAE over features is trained.
#[derive(Debug)]
struct VaeSteps {
    /// Steps for each step of the network's training: who trains briefly does not wait for it. A
    /// step takes a tenth of one of the network's.
    per_step: usize,
    /// The most.
    most: usize,
}

const VAE_STEPS: VaeSteps = VaeSteps {
    per_step: 3,
    most: 3000,
};

/// Most bytes of feature vectors that are kept for the fits of several splits; larger ones are
/// extracted anew for each.
const MOST_KEPT: usize = 1 << 30;

/// Each of `densities` fitted to the training frames of each of `splits` of the frames of `data`,
/// whose features `pool` extracts; `None` for one that suits no maps as theirs. Features that
/// several read are extracted once.
///
/// # Errors
/// Ctrl-C, and what can't be fitted.
pub fn fit(
    densities: &[FeatureDensity],
    data: &FitData,
    splits: &[Split],
    pool: &ModelPool,
) -> Result<Vec<Vec<Option<FittedDensity>>>> {
    let mut fitted = vec![vec![None; densities.len()]; splits.len()];
    let mut left: Vec<usize> = (0..densities.len()).collect();
    while let Some(&first) = left.first() {
        let of = &densities[first];
        let shares = |place: &usize| densities[*place].shares_reading(of);
        let (together, others): (Vec<usize>, Vec<usize>) = left.into_iter().partition(shares);
        left = others;
        let frames = splits.first().map_or(0, |split| split.train.len());
        data.reporter.line(format_args!(
            "fitting densities of {} to {frames} frames{}",
            of.features,
            match splits.len() {
                0 | 1 => String::new(),
                count => format!(" in {count} folds"),
            }
        ));
        let reading = Reading {
            of,
            kinds: together.iter().map(|&p| densities[p].kind).collect(),
            data,
            pool,
        };
        for (models, fitted) in reading.fit(splits)?.iter().zip(&mut fitted) {
            for &place in &together {
                let mut models = models.iter();
                let own = models.find(|model| model.kind() == densities[place].kind);
                fitted[place] = own.cloned();
            }
        }
    }
    Ok(fitted)
}

/// Densities that share one reading of features.
struct Reading<'a> {
    of: &'a FeatureDensity,
    kinds: Vec<DensityKind>,
    data: &'a FitData<'a>,
    pool: &'a ModelPool<'a>,
}

impl Reading<'_> {
    /// Densities of each split.
    fn fit(&self, splits: &[Split]) -> Result<Vec<Vec<FittedDensity>>> {
        let one = |split| {
            let data = FitData {
                split,
                ..*self.data
            };
            match self.of.features {
                Features::Frame => fit_prototypes(&self.kinds, &data),
                _ => self.fit_to_maps(&data, splits.len()),
            }
        };
        match self.of.features {
            Features::Frame => splits.iter().map(one).collect(),
            _ if splits.len() < 2 => splits.iter().map(one).collect(),
            _ => match self.keep(splits)? {
                Some((kept, tiles)) => {
                    let of_split = |split| self.fit_to_kept(&kept, &tiles, split, splits.len());
                    splits.iter().map(of_split).collect()
                }
                None => splits.iter().map(one).collect(),
            },
        }
    }

    /// The features of the frames of all splits, where there is room for them, and their tiles.
    fn keep(&self, splits: &[Split]) -> Result<Option<(Kept, Vec<AugmentedTile>)>> {
        let frames = splits
            .iter()
            .flat_map(|s| s.train.iter().chain(&s.validation));
        let frames: BTreeSet<usize> = frames.copied().collect();
        let frames: Vec<usize> = frames.into_iter().collect();
        let FeatureDensity {
            features, sampling, ..
        } = *self.of;
        let (data, pool) = (self.data, self.pool);
        let mut source = FrameFeatures::augmented(pool, data, features, sampling, &frames);
        let tiles = source.tiles().to_vec();
        let options = self.options(splits.len())?;
        let bytes = Kept::bytes_of_frame(&mut source, options.grid)? * tiles.len();
        if bytes > MOST_KEPT {
            return Ok(None);
        }
        let kept = Kept::read(&mut source, options.grid, &data.memory.room)?;
        Ok(Some((kept, tiles)))
    }

    fn fit_to_kept(
        &self,
        kept: &Kept,
        tiles: &[AugmentedTile],
        split: &Split,
        splits: usize,
    ) -> Result<Vec<FittedDensity>> {
        let places = |wanted: &dyn Fn(&AugmentedTile) -> bool| -> Vec<usize> {
            let all = 0..tiles.len();
            all.filter(|&place| wanted(&tiles[place])).collect()
        };
        let (train, held_out): (BTreeSet<_>, BTreeSet<_>) = (
            split.train.iter().collect(),
            split.validation.iter().collect(),
        );
        let taken = places(&|tile| train.contains(&tile.frame));
        let originals = taken.iter().filter(|&&place| tiles[place].number == 0);
        let originals = originals.count();
        let plain = places(&|tile| tile.number == 0 && held_out.contains(&tile.frame));
        let of_plain = plain.len();
        self.data.check_interrupted()?;
        let models = density::fit(
            &mut kept.part(taken, originals),
            &mut kept.part(plain, of_plain),
            &self.kinds,
            &self.options(splits)?,
        )?;
        models
            .into_iter()
            .map(|model| kept.of_maps(model))
            .collect()
    }

    fn fit_to_maps(&self, data: &FitData, splits: usize) -> Result<Vec<FittedDensity>> {
        let FeatureDensity {
            features, sampling, ..
        } = *self.of;
        let (train, held_out) = (&data.split.train, &data.split.validation);
        density::fit(
            &mut FrameFeatures::augmented(self.pool, data, features, sampling, train),
            &mut FrameFeatures::plain(self.pool, data, features, sampling, held_out),
            &self.kinds,
            &self.options(splits)?,
        )
    }

    /// How densities of each of so many splits are fitted.
    fn options(&self, splits: usize) -> Result<FitOptions> {
        let steps = VAE_STEPS.per_step * usize::try_from(self.data.steps)?;
        let of_fine = self.of.features == Features::Fine;
        Ok(FitOptions {
            grid: self.pool.fine_grid().filter(|_| of_fine),
            steps: steps.min(VAE_STEPS.most) / splits.max(1),
            seed: self.data.seed,
            room: self.data.memory.room.clone(),
            ..FitOptions::default()
        })
    }
}

/// Prototypes of whole frames, more or less smoothed.
fn fit_prototypes(kinds: &[DensityKind], data: &FitData) -> Result<Vec<FittedDensity>> {
    let shape = data.preprocess.shape();
    let frames = |places: &[usize]| -> Vec<&[f32]> {
        let frames = places.iter().map(|&place| data.frames.get(place));
        frames.collect()
    };
    let (train, held_out) = (frames(&data.split.train), frames(&data.split.validation));
    let normalise = &data.preprocess.normalise;
    kinds
        .iter()
        .map(|kind| {
            data.check_interrupted()?;
            FittedDensity::prototypes(*kind, &train, &held_out, shape, normalise, data.seed)
        })
        .collect()
}
