//! From feature maps of normal frames to models, in two passes and one over held-out frames.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use nalgebra::{DMatrix, DVector};
use rand::seq::index;
use rayon::prelude::*;

use super::{
    FeatureSource, Kind, Model, Options,
    autoencoder::{self, Autoencoder},
    context::{self, Context},
    directions::{ChannelStatistics, ChannelSums, Projection},
    grid::Grid,
    mixture::Mixture,
    model::Density,
    position::CellSums,
    spread::{self, Seen},
    triangle,
};
use crate::random::{Purpose, stream};

/// Frames, evenly spaced, from which scales and directions are estimated, and held-out frames that
/// a mixture is chosen by. Both are shared by all cells, so that more would change little.
const MOST_FRAMES: usize = 512;

/// Bytes of feature vectors that are kept from the first pass for the second.
const KEPT_BYTES: usize = 512 << 20;

/// Frames that are worked on together.
const BATCH: usize = 8;

/// Feature vectors to which a mixture is fitted, and by which the number of its components is
/// chosen.
const MIXTURE_VECTORS: [usize; 2] = [100_000, 10_000];

/// Most directions of a cell where they are not given: with 48, 64 or 96 of 152 magnetic tiles and drawn
/// parts are found alike, and few frames of cloth better with 64 (`docs/design/detection.md`).
const MOST_DIRECTIONS: usize = 64;

/// The same for a mixture. What tells a strange place of an object that lies as it falls are directions
/// that hardly vary: with 64 of 152 a third of what all find is missed.
const MOST_MIXTURE_DIRECTIONS: usize = 160;

/// Bytes that nodes and small constants of a graph may take.
const GRAPH_BYTES: usize = 16_384;

/// Fits one model of each of `kinds` to the normal frames `train`, but no VAE where the grid does not
/// suit one ([`Kind::Vae`]); the number of a mixture's
/// components, and how far their covariances are drawn towards the pooled one, are chosen by the
/// likelihood of the normal frames `held_out`.
///
/// The same frames, options and seed give the same bits, whatever the number of threads. Memory:
/// cells × directions² × 4 bytes twice, cells × directions × context × 8 bytes, channels² × 100 bytes, for a
/// mixture 110,000 vectors, for a VAE those of 1200 frames.
///
/// # Errors
/// Fewer than two training frames or no held-out one; features that are NaN, infinite or never
/// vary; maps that differ between frames or suit no grid; the errors of the sources.
pub fn fit(
    train: &mut dyn FeatureSource,
    held_out: &mut dyn FeatureSource,
    kinds: &[Kind],
    options: &Options,
) -> Result<Vec<Model>> {
    check(train, held_out, kinds, options)?;
    let mut grid = None;
    train.visit(&[0], &mut |maps| {
        grid = Some(Grid::choose(maps, options.grid)?);
        Ok(())
    })?;
    let grid = grid.context("the source of feature maps gave none for its first frame")?;
    let (statistics, kept) = channel_statistics(train, &grid)?;

    let mut cells = None;
    let of_cells = [Kind::PerPosition, Kind::ShiftTolerant];
    if kinds.iter().any(|kind| of_cells.contains(kind)) {
        let count = directions_of_cells(&grid, train.originals(), options);
        cells = Some(Cells {
            projection: statistics.project(&statistics.within, count),
            context: match options.context.unwrap_or(usize::MAX) {
                0 => Context::none(grid.channels()),
                most => statistics.context(context::directions(train.originals()).min(most)),
            },
            originals: train.originals(),
            sums: None,
            looked_at: evenly_spaced(train.frames(), spread::FRAMES)
                .into_iter()
                .collect(),
            seen: Vec::new(),
        });
    }
    let mut vectors = None;
    if kinds.contains(&Kind::PositionFree) {
        let count = directions_of_mixture(&grid, options);
        vectors = Some(Vectors {
            projection: statistics.project(&statistics.total, count),
            columns: Vec::new(),
        });
    }
    let mut whole = None;
    if kinds.contains(&Kind::Vae) && autoencoder::suits(grid.size) {
        let count = grid.channels().min(MOST_DIRECTIONS);
        whole = Some(Whole {
            projection: statistics.project(&statistics.within, count),
            chosen: evenly_spaced(train.frames(), autoencoder::MOST_FRAMES)
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
        of_weight_one: MIXTURE_VECTORS[0] as f64 / mixture_weights.iter().sum::<f64>().max(1.0),
        weights: weights_of(train, &all),
        mixture_weights,
        seed: options.seed,
        part: 0,
    };
    let seen: BTreeSet<usize> = kept.iter().map(|(frame, _)| *frame).collect();
    let rest: Vec<usize> = (0..train.frames()).filter(|f| !seen.contains(f)).collect();
    let mut kept = kept.into_iter().peekable();
    while kept.peek().is_some() {
        let (frames, batch): (Vec<_>, Vec<_>) = kept.by_ref().take(BATCH).unzip();
        pass.add(frames, batch);
    }
    batches(train, &rest, &grid, &mut |first, batch| {
        pass.add(rest[first..first + batch.len()].to_vec(), batch);
        Ok(())
    })?;
    let cells = cells.map(Cells::fit).transpose()?;
    let mixture = match vectors {
        Some(vectors) => {
            let mut tested = vectors.emptied();
            let frames = evenly_spaced(held_out.frames(), MOST_FRAMES);
            let weights = vec![1.0; held_out.frames()];
            let mixture_weights = weights.clone();
            let mut pass = Pass {
                cells: None,
                vectors: Some(&mut tested),
                whole: None,
                of_weight_one: MIXTURE_VECTORS[1] as f64 / frames.len().max(1) as f64,
                weights,
                mixture_weights,
                seed: options.seed,
                part: 1,
            };
            batches(held_out, &frames, &grid, &mut |first, batch| {
                pass.add(frames[first..first + batch.len()].to_vec(), batch);
                Ok(())
            })?;
            Some(vectors.fit(&tested, options)?)
        }
        None => None,
    };
    let mut step = |done| train.step(done, options.steps);
    let whole = whole.map(|whole| whole.fit(&grid, options, &mut step));
    let whole = whole.transpose()?;
    let model = |kind: &Kind| {
        let (projection, density) = match kind {
            Kind::PositionFree => mixture.clone()?,
            Kind::PerPosition | Kind::ShiftTolerant => cells.clone()?,
            Kind::Vae => whole.clone()?,
        };
        let density = match (density, kind) {
            (
                Density::Cells {
                    stored, widened, ..
                },
                Kind::ShiftTolerant,
            ) => Density::Cells {
                stored,
                widened,
                reach: options.reach,
            },
            (density, _) => density,
        };
        Some(Model {
            grid: grid.clone(),
            projection,
            density,
        })
    };
    Ok(kinds.iter().filter_map(model).collect())
}

fn check(
    train: &dyn FeatureSource,
    held_out: &dyn FeatureSource,
    kinds: &[Kind],
    options: &Options,
) -> Result<()> {
    ensure!(
        train.frames() >= 2,
        "found {} normal frames to fit Gaussians on, at least 2 are needed",
        train.frames()
    );
    ensure!(
        held_out.frames() >= 1 || !kinds.contains(&Kind::PositionFree),
        "the mixture of Gaussians is chosen on held-out normal frames, and there is none"
    );
    ensure!(
        options.directions != Some(0),
        "Gaussians need at least 1 direction"
    );
    ensure!(
        options.reach >= 1,
        "shift-tolerant Gaussians need a reach of at least 1 cell"
    );
    Ok(())
}

/// At most `most` of `count` indices, evenly spaced.
pub(super) fn evenly_spaced(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|i| i * count / taken).collect()
}

/// Number of directions for Gaussians of the cells.
pub(super) fn directions_of_cells(grid: &Grid, originals: usize, options: &Options) -> usize {
    let context = context::directions(originals).min(options.context.unwrap_or(usize::MAX));
    // Lower triangles as f16, means and scales as f32, what the context lets expect as bytes; places
    // of a triangle; the context's own directions.
    let bytes = |directions| {
        let cell = 2 * (triangle::length(directions) + 1) + (8 + context) * directions;
        grid.cells() * cell + 4 * directions * directions + 4 * context * grid.channels()
    };
    choose_directions(grid, options, MOST_DIRECTIONS, bytes)
}

/// Number of directions for a mixture.
fn directions_of_mixture(grid: &Grid, options: &Options) -> usize {
    let components = options.components.iter().copied().max().unwrap_or(1);
    let bytes = |directions| components * (2 * triangle::length(directions) + 4 * directions);
    choose_directions(grid, options, MOST_MIXTURE_DIRECTIONS, bytes)
}

/// As many directions as fit where they are not given; `bytes` tells what that many take beside
/// the projection.
fn choose_directions(
    grid: &Grid,
    options: &Options,
    most: usize,
    bytes: impl Fn(usize) -> usize,
) -> usize {
    let channels = grid.channels();
    let fits = |directions: usize| {
        let projection = 4 * channels * (directions + 1);
        bytes(directions) + projection + GRAPH_BYTES <= options.bytes
    };
    match options.directions {
        Some(directions) => directions.min(channels),
        None => (1..=channels.min(most))
            .rev()
            .filter(|&directions| directions == channels || is_round(directions))
            .find(|&directions| fits(directions))
            .unwrap_or(1),
    }
}

/// Numbers that fill the engines' registers.
fn is_round(directions: usize) -> bool {
    match directions {
        0..=8 => true,
        9..=64 => directions.is_multiple_of(8),
        _ => directions.is_multiple_of(32),
    }
}

/// A frame and its feature vectors, channels×cells.
type OfFrame = (usize, DMatrix<f32>);

/// Also the vectors of the frames that it looked at, as many as there is room for, each with its frame.
fn channel_statistics(
    source: &mut dyn FeatureSource,
    grid: &Grid,
) -> Result<(ChannelStatistics, Vec<OfFrame>)> {
    let frames = evenly_spaced(source.frames(), MOST_FRAMES);
    let weights = weights_of(source, &frames);
    let mut sums: Option<ChannelSums> = None;
    let room = KEPT_BYTES / (grid.cells() * grid.channels() * size_of::<f32>()).max(1);
    let mut kept = Vec::new();
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
        kept.extend(frames[place..].iter().copied().zip(batch));
        kept.truncate(room);
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
    fn add(&mut self, frames: Vec<usize>, batch: Vec<DMatrix<f32>>) {
        let weights: Vec<f64> = frames.iter().map(|&frame| self.weights[frame]).collect();
        if let Some(cells) = &mut self.cells {
            cells.add(&frames, &batch, &weights);
        }
        if let Some(whole) = &mut self.whole {
            whole.add(&frames, &batch, &weights);
        }
        let Some(vectors) = &mut self.vectors else {
            return;
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
    }
}

/// Gaussians of the cells in the making.
struct Cells {
    projection: Projection,
    context: Context,
    /// Frames that are no copies.
    originals: usize,
    sums: Option<CellSums>,
    /// The frames that the spread is fitted to.
    looked_at: BTreeSet<usize>,
    /// Their vectors, contexts and weights.
    seen: Vec<(DMatrix<f32>, DVector<f32>, f64)>,
}

impl Cells {
    fn add(&mut self, frames: &[usize], batch: &[DMatrix<f32>], weights: &[f64]) {
        let projected: Vec<_> = batch
            .par_iter()
            .map(|vectors| {
                let context = self.context.of(vectors);
                (self.projection.apply(vectors.clone()), context)
            })
            .collect();
        if let Some((first, _)) = projected.first() {
            let context = self.context.directions();
            self.sums
                .get_or_insert_with(|| CellSums::new(&first.map(f64::from), context))
                .add(&projected, weights);
        }
        if self.context.directions() == 0 {
            return;
        }
        for ((frame, (vectors, context)), &weight) in frames.iter().zip(projected).zip(weights) {
            if self.looked_at.contains(frame) {
                self.seen.push((vectors, context, weight));
            }
        }
    }

    fn fit(self) -> Result<(Arc<Projection>, Density)> {
        let sums = self.sums.as_ref();
        let sums = sums.context("the source of feature maps gave no frame")?;
        let mut stored = sums.fit(self.context.clone(), self.originals)?;
        let widened = stored.widen();
        let seen: Vec<Seen> = self
            .seen
            .par_iter()
            .map(|(vectors, context, weight)| Seen {
                context: context.map(f64::from),
                mean_squared: widened.mean_squared(vectors, context.as_slice()),
                weight: *weight,
            })
            .collect();
        stored.spread = spread::fit(&seen, sums.weight())?;
        let gaussians = Density::Cells {
            widened: Arc::new(stored.widen()),
            stored: Arc::new(stored),
            reach: 0,
        };
        Ok((Arc::new(self.projection), gaussians))
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
        options: &Options,
        step: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<(Arc<Projection>, Density)> {
        let autoencoder = Autoencoder::fit(
            (&self.frames, &self.weights),
            grid.size,
            (options.steps, options.seed),
            step,
        )?;
        let density = Density::Vae(Arc::new(autoencoder));
        Ok((Arc::new(self.projection), density))
    }
}

/// Feature vectors for a mixture.
struct Vectors {
    projection: Projection,
    columns: Vec<DMatrix<f32>>,
}

impl Vectors {
    fn add(&mut self, vectors: DMatrix<f32>) {
        self.columns.push(self.projection.apply(vectors));
    }

    fn emptied(&self) -> Self {
        Self {
            projection: self.projection.clone(),
            columns: Vec::new(),
        }
    }

    fn matrix(&self) -> DMatrix<f32> {
        let count = self.columns.iter().map(DMatrix::ncols).sum();
        let values = self.columns.iter().flat_map(DMatrix::iter).copied();
        DMatrix::from_iterator(self.projection.directions(), count, values)
    }

    fn fit(self, held_out: &Self, options: &Options) -> Result<(Arc<Projection>, Density)> {
        let mixture = Mixture::fit(
            &self.matrix(),
            &held_out.matrix(),
            (&options.components, options.shrinkage),
            options.seed,
        )?;
        Ok((Arc::new(self.projection), Density::Mixture(mixture)))
    }
}
