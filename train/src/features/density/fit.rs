//! From feature maps of normal frames to models, in two passes and one over held-out frames.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use nalgebra::DMatrix;
use rand::seq::index;
use rayon::prelude::*;

use super::{
    ComponentSubset, DensityKind, FeatureSource, FitOptions, FittedDensity,
    cells::Cells,
    components::{ChannelStatistics, ChannelSums, Projection},
    feature_vae::{self, FeatureVae, TrainingFrames},
    grid::Grid,
    model::{Density, Fitted},
    source::evenly_spaced,
    store::Store,
    vectors::Vectors,
};
use crate::random::{Purpose, stream};

/// Frames that are worked on together.
const BATCH: usize = 8;

/// Fits a density of each of `kinds` to the normal frames `train`, but no VAE where the grid does
/// not suit one ([`DensityKind::Vae`]), and no prototypes, which are not of maps. The number of a
/// mixture's Gaussians, and how far their covariances are shrunk towards the pooled one, are chosen
/// by the likelihood of the normal frames `held_out`.
///
/// The same frames, options and seed give the same bits, whatever the number of threads. Memory:
/// cells × components² × 4 bytes twice, cells × components × covariate × 8 bytes, channels² × 100
/// bytes, for a mixture 110,000 vectors, for a VAE those of 1200 frames.
///
/// # Errors
/// Fewer than two training frames or no held-out one; features that are NaN, infinite or never
/// vary; maps that differ between frames or suit no grid; the errors of the sources.
pub fn fit(
    train: &mut dyn FeatureSource,
    held_out: &mut dyn FeatureSource,
    kinds: &[DensityKind],
    options: &FitOptions,
) -> Result<Vec<FittedDensity>> {
    check(train, held_out, kinds, options)?;
    let mut grid = None;
    train.visit(&[0], &mut |maps| {
        grid = Some(Grid::choose(maps, options.grid)?);
        Ok(())
    })?;
    let grid = grid.context("the source of feature maps gave none for its first frame")?;
    let (statistics, mut kept) = channel_statistics(train, &grid, options)?;

    let mut cells = Cells::new(kinds, &grid, train, &statistics, options);
    let mut vectors = Vectors::new(kinds, &grid, &statistics, options);
    let mut whole = None;
    if kinds.contains(&DensityKind::Vae) && feature_vae::suits(grid.size) {
        let count = grid.channels().min(options.most_components);
        whole = Some(Whole {
            projection: statistics.within().projection(0..count),
            chosen: evenly_spaced(train.frames(), feature_vae::PARAMS.most_frames)
                .into_iter()
                .collect(),
            frames: Vec::new(),
            weights: Vec::new(),
        });
    }
    drop(statistics);

    let all: Vec<usize> = (0..train.frames()).collect();
    let mixture_weights: Vec<f64> = all.iter().map(|&f| train.mixture_weight(f)).collect();
    let mut pass = Pass {
        cells: cells.as_mut(),
        vectors: vectors.as_mut(),
        whole: whole.as_mut(),
        of_weight_one: options.mixture_vectors[0] as f64
            / mixture_weights.iter().sum::<f64>().max(1.0),
        weights: weights_of(train, &all),
        mixture_weights,
        seed: options.seed,
        part: 0,
    };
    let seen: BTreeSet<usize> = kept.frames.iter().copied().collect();
    let rest: Vec<usize> = (0..train.frames()).filter(|f| !seen.contains(f)).collect();
    let places: Vec<usize> = (0..kept.frames.len()).collect();
    for places in places.chunks(BATCH) {
        let vectors = |&place: &usize| kept.take(place, &grid);
        let batch = places.iter().map(vectors).collect::<Result<Vec<_>>>()?;
        let frames = places.iter().map(|&place| kept.frames[place]);
        pass.add(frames.collect(), batch)?;
    }
    drop(kept);
    batches(train, &rest, &grid, &mut |first, batch| {
        pass.add(rest[first..first + batch.len()].to_vec(), batch)
    })?;
    let cells = cells.map(Cells::fit).transpose()?.unwrap_or_default();
    let mixtures = match vectors {
        Some(vectors) => {
            let mut tested = vectors.emptied();
            let frames = evenly_spaced(held_out.frames(), options.statistics_frames);
            let weights = vec![1.0; held_out.frames()];
            let mixture_weights = weights.clone();
            let mut pass = Pass {
                cells: None,
                vectors: Some(&mut tested),
                whole: None,
                of_weight_one: options.mixture_vectors[1] as f64 / frames.len().max(1) as f64,
                weights,
                mixture_weights,
                seed: options.seed,
                part: 1,
            };
            batches(held_out, &frames, &grid, &mut |first, batch| {
                pass.add(frames[first..first + batch.len()].to_vec(), batch)
            })?;
            vectors.fit(&tested, options)?
        }
        None => Vec::new(),
    };
    let mut step = |done| train.step(done, options.steps);
    let whole = whole.map(|whole| whole.fit(&grid, options, &mut step));
    let whole = whole.transpose()?;
    let of = |fitted: &[Fitted], wanted: ComponentSubset| {
        let mut fitted = fitted.iter();
        fitted.find(|(subset, ..)| *subset == wanted).cloned()
    };
    let model = |kind: &DensityKind| {
        let (subset, projection, density) = match *kind {
            DensityKind::Mixture(subset) => of(&mixtures, subset)?,
            DensityKind::PerLocation(subset) | DensityKind::LocalNeighbourhood(subset) => {
                of(&cells, subset)?
            }
            DensityKind::Vae => {
                let (projection, density) = whole.clone()?;
                (ComponentSubset::All, projection, density)
            }
            DensityKind::Prototypes { .. } => return None,
        };
        let density = match (density, kind) {
            (
                Density::Cells {
                    stored, widened, ..
                },
                DensityKind::LocalNeighbourhood(_),
            ) => Density::Cells {
                stored,
                widened,
                reach: options.reach,
            },
            (density, _) => density,
        };
        Some(FittedDensity {
            grid: grid.clone(),
            subset,
            projection,
            density,
        })
    };
    Ok(kinds.iter().filter_map(model).collect())
}

fn check(
    train: &dyn FeatureSource,
    held_out: &dyn FeatureSource,
    kinds: &[DensityKind],
    options: &FitOptions,
) -> Result<()> {
    ensure!(
        train.frames() >= 2,
        "found {} normal frames to fit Gaussians on, at least 2 are needed",
        train.frames()
    );
    ensure!(
        held_out.frames() >= 1 || !kinds.iter().any(|k| matches!(k, DensityKind::Mixture(_))),
        "the mixture of Gaussians is chosen on held-out normal frames, and there is none"
    );
    ensure!(
        options.components != Some(0),
        "Gaussians need at least 1 component"
    );
    ensure!(
        options.reach >= 1,
        "the local-neighbourhood minimum needs a reach of at least 1 cell"
    );
    Ok(())
}

/// Feature vectors that the first pass keeps for the second.
struct FirstPass {
    frames: Vec<usize>,
    /// Of each of these, channels×cells.
    vectors: Store,
}

impl FirstPass {
    /// Those of the frame at `place`, once.
    fn take(&mut self, place: usize, grid: &Grid) -> Result<DMatrix<f32>> {
        let values = self.vectors.take(place)?;
        Ok(DMatrix::from_vec(grid.channels(), grid.cells(), values))
    }
}

/// Also the vectors of the frames that it looked at, as many as are kept.
fn channel_statistics(
    source: &mut dyn FeatureSource,
    grid: &Grid,
    options: &FitOptions,
) -> Result<(ChannelStatistics, FirstPass)> {
    let frames = evenly_spaced(source.frames(), options.statistics_frames);
    let weights = weights_of(source, &frames);
    let mut sums: Option<ChannelSums> = None;
    let most = options.kept_bytes / (grid.cells() * grid.channels() * size_of::<f32>()).max(1);
    let mut kept = FirstPass {
        frames: Vec::new(),
        vectors: Store::new(&options.room),
    };
    batches(source, &frames, grid, &mut |place, batch| {
        let Some(first) = batch.first() else {
            return Ok(());
        };
        let sums = sums.get_or_insert_with(|| ChannelSums::new(first));
        let contributions: Vec<_> = batch
            .par_iter()
            .map(|vectors| sums.contribution(vectors))
            .collect();
        for (contribution, &weight) in contributions.into_iter().zip(&weights[place..]) {
            sums.add(contribution, weight);
        }
        for (&frame, vectors) in frames[place..].iter().zip(batch) {
            if kept.frames.len() < most {
                kept.frames.push(frame);
                kept.vectors.push(vectors.data.into())?;
            }
        }
        Ok(())
    })?;
    let sums = sums.context("the source of feature maps gave no frame")?;
    Ok((sums.finish()?, kept))
}

fn weights_of(source: &dyn FeatureSource, frames: &[usize]) -> Vec<f64> {
    frames.iter().map(|&frame| source.weight(frame)).collect()
}

/// Gives `work` the feature vectors of `frames`, some frames at a time, with the index of the first
/// of them in `frames`.
fn batches(
    source: &mut dyn FeatureSource,
    frames: &[usize],
    grid: &Grid,
    work: &mut dyn FnMut(usize, Vec<DMatrix<f32>>) -> Result<()>,
) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut done = 0;
    source.visit(frames, &mut |maps| {
        let place = done + batch.len();
        let frame = frames.get(place).copied().unwrap_or(place);
        let pooled = grid.pool(maps);
        batch.push(pooled.with_context(|| format!("normal frame {frame}"))?);
        if batch.len() == BATCH {
            work(done, std::mem::take(&mut batch))?;
            done += BATCH;
        }
        Ok(())
    })?;
    let seen = done + batch.len();
    work(done, batch)?;
    ensure!(
        seen == frames.len(),
        "the source of feature maps gave {seen} frames, {} were asked for",
        frames.len()
    );
    Ok(())
}

/// Adds feature vectors of frames to what is being fitted.
struct Pass<'a> {
    cells: Option<&'a mut Cells>,
    vectors: Option<&'a mut Vectors>,
    whole: Option<&'a mut Whole>,
    /// Of every frame of the source.
    weights: Vec<f64>,
    mixture_weights: Vec<f64>,
    /// Vectors for the mixture of a frame of weight 1.
    of_weight_one: f64,
    seed: u64,
    /// Keeps the choice of vectors in training and in held-out frames apart.
    part: usize,
}

impl Pass<'_> {
    fn add(&mut self, frames: Vec<usize>, batch: Vec<DMatrix<f32>>) -> Result<()> {
        let weights: Vec<f64> = frames.iter().map(|&frame| self.weights[frame]).collect();
        if let Some(cells) = &mut self.cells {
            cells.add(&frames, &batch, &weights)?;
        }
        if let Some(whole) = &mut self.whole {
            whole.add(&frames, &batch, &weights);
        }
        let Some(vectors) = &mut self.vectors else {
            return Ok(());
        };
        for (frame, of_frame) in frames.into_iter().zip(batch) {
            let weight = self.mixture_weights[frame];
            let counter = 2 * frame + self.part;
            let mut random = stream(self.seed, Purpose::Features, counter as u64);
            let each = (self.of_weight_one * weight).ceil() as usize;
            let each = each.min(of_frame.ncols());
            let chosen = index::sample(&mut random, of_frame.ncols(), each).into_vec();
            vectors.add(of_frame.select_columns(&chosen));
        }
        Ok(())
    }
}

/// Feature vectors of whole frames for a VAE.
struct Whole {
    projection: Projection,
    /// The frames that it is trained on.
    chosen: BTreeSet<usize>,
    frames: Vec<DMatrix<f32>>,
    weights: Vec<f64>,
}

impl Whole {
    fn add(&mut self, frames: &[usize], batch: &[DMatrix<f32>], weights: &[f64]) {
        for ((frame, vectors), &weight) in frames.iter().zip(batch).zip(weights) {
            if self.chosen.contains(frame) {
                self.frames.push(self.projection.apply(vectors.clone()));
                self.weights.push(weight);
            }
        }
    }

    fn fit(
        self,
        grid: &Grid,
        options: &FitOptions,
        step: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<(Arc<Projection>, Density)> {
        let vae = FeatureVae::fit(
            &TrainingFrames {
                vectors: &self.frames,
                weights: &self.weights,
            },
            grid.size,
            options,
            step,
        )?;
        let density = Density::Vae(Arc::new(vae));
        Ok((Arc::new(self.projection), density))
    }
}
