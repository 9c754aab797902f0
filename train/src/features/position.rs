//! A Gaussian for each cell of the grid.

use anyhow::Result;
use half::f16;
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::{
    selection::{self, Place, Shrinkage},
    triangle::{self, Whitening},
};

/// Cells, evenly spaced, on which the shrinkage is chosen.
const TRIED_CELLS: usize = 32;

/// Sums over the projected vectors of each cell.
pub(super) struct CellSums {
    frames: usize,
    dense: usize,
    cells: Vec<Cell>,
}

/// Differences from an origin: their sum, their products in the dense directions (lower triangle),
/// their squares in the tail's.
#[derive(Clone)]
struct Cell {
    origin: Vec<f64>,
    sum: Vec<f64>,
    products: Vec<f64>,
    squares: Vec<f64>,
}

/// Mean and covariance of a cell, without correction for the number of frames.
struct Moments {
    mean: Vec<f64>,
    covariance: DMatrix<f64>,
    tail: Vec<f64>,
}

impl CellSums {
    /// Sums of differences from `origins` (directions×cells), full covariances in the first `dense`
    /// directions.
    pub(super) fn new(origins: &DMatrix<f64>, dense: usize) -> Self {
        let directions = origins.nrows();
        Self {
            frames: 0,
            dense,
            cells: origins
                .column_iter()
                .map(|origin| Cell {
                    origin: origin.iter().copied().collect(),
                    sum: vec![0.0; directions],
                    products: vec![0.0; triangle::length(dense)],
                    squares: vec![0.0; directions - dense],
                })
                .collect(),
        }
    }

    /// Adds frames (directions×cells each), in their order.
    pub(super) fn add(&mut self, frames: &[DMatrix<f32>]) {
        self.frames += frames.len();
        let dense = self.dense;
        self.cells
            .par_iter_mut()
            .enumerate()
            .for_each(|(place, cell)| {
                let mut difference = vec![0.0; cell.origin.len()];
                for frame in frames {
                    let column = frame.column(place);
                    for ((d, &y), &origin) in difference.iter_mut().zip(&column).zip(&cell.origin) {
                        *d = f64::from(y) - origin;
                    }
                    for (sum, d) in cell.sum.iter_mut().zip(&difference) {
                        *sum += d;
                    }
                    let (full, tail) = difference.split_at(dense);
                    triangle::add_outer(&mut cell.products, full);
                    for (square, d) in cell.squares.iter_mut().zip(tail) {
                        *square += d * d;
                    }
                }
            });
    }

    /// Means of the cells, directions×cells.
    pub(super) fn means(&self) -> DMatrix<f64> {
        let frames = self.frames as f64;
        let directions = self.cells.first().map_or(0, |cell| cell.sum.len());
        let values = self.cells.iter().flat_map(|cell| {
            let pairs = cell.origin.iter().zip(&cell.sum);
            pairs.map(move |(origin, sum)| origin + sum / frames)
        });
        DMatrix::from_iterator(directions, self.cells.len(), values)
    }

    fn moments(&self, place: usize) -> Moments {
        let cell = &self.cells[place];
        let frames = self.frames as f64;
        let mean: Vec<f64> = cell.sum.iter().map(|sum| sum / frames).collect();
        let mut covariance = triangle::symmetric(&cell.products, self.dense) / frames;
        for j in 0..self.dense {
            for i in 0..self.dense {
                covariance[(i, j)] -= mean[i] * mean[j];
            }
        }
        let tail = cell
            .squares
            .iter()
            .zip(&mean[self.dense..])
            .map(|(square, mean)| (square / frames - mean * mean).max(0.0))
            .collect();
        Moments {
            mean: cell.origin.iter().zip(&mean).map(|(o, m)| o + m).collect(),
            covariance,
            tail,
        }
    }

    /// The Gaussians of the cells, with the shrinkage under which the held-out frames are
    /// likeliest.
    ///
    /// `held_out` are sums over held-out frames whose origins are [`Self::means`].
    ///
    /// # Errors
    /// Covariances that can't be made positive definite.
    pub(super) fn fit(&self, held_out: &Self) -> Result<CellGaussians> {
        let unbiased = self.frames as f64 / (self.frames as f64 - 1.0);
        let own = |place| {
            let mut moments = self.moments(place);
            moments.covariance *= unbiased;
            moments.tail.iter_mut().for_each(|v| *v *= unbiased);
            moments
        };
        let (mut pooled, mut pooled_tail) = (DMatrix::zeros(self.dense, self.dense), Vec::new());
        let count = self.cells.len() as f64;
        for place in 0..self.cells.len() {
            let moments = own(place);
            pooled += moments.covariance / count;
            pooled_tail.resize(moments.tail.len(), 0.0);
            for (sum, v) in pooled_tail.iter_mut().zip(&moments.tail) {
                *sum += v / count;
            }
        }

        let tried = TRIED_CELLS.min(self.cells.len());
        let frames = held_out.frames as f64;
        let places: Vec<Place> = (0..tried)
            .map(|i| i * self.cells.len() / tried)
            .map(|place| {
                let moments = own(place);
                // Not about the mean of the held-out frames: that it is elsewhere is what counts.
                let cell = &held_out.cells[place];
                Place {
                    own: moments.covariance,
                    tail: moments.tail,
                    held_out: triangle::symmetric(&cell.products, self.dense) / frames,
                    held_out_tail: cell.squares.iter().map(|s| s / frames).collect(),
                    weight: frames,
                }
            })
            .collect();
        let (shrinkage, log_likelihood) = selection::choose(&places, &pooled, &pooled_tail)?;

        let each: Vec<CellGaussian> = (0..self.cells.len())
            .into_par_iter()
            .map(|place| {
                let moments = own(place);
                let covariance = shrinkage.covariance(&moments.covariance, &pooled);
                let whitening = Whitening::of(covariance)?;
                let variances = moments.tail.iter().zip(&pooled_tail);
                Ok(CellGaussian {
                    mean: moments.mean.iter().map(|&m| f16::from_f64(m)).collect(),
                    whitening: whitening.rows().map(f16::from_f64).collect(),
                    tail: variances
                        .map(|(&own, &pooled)| shrinkage.tail_variance(own, pooled))
                        .map(|variance| f16::from_f64(1.0 / variance.sqrt()))
                        .collect(),
                })
            })
            .collect::<Result<_>>()?;
        Ok(CellGaussians {
            dense: self.dense,
            mean: each.iter().flat_map(|g| g.mean.iter().copied()).collect(),
            whitening: each
                .iter()
                .flat_map(|g| g.whitening.iter().copied())
                .collect(),
            tail: each.iter().flat_map(|g| g.tail.iter().copied()).collect(),
            shrinkage,
            log_likelihood,
        })
    }
}

struct CellGaussian {
    mean: Vec<f16>,
    whitening: Vec<f16>,
    tail: Vec<f16>,
}

/// A Gaussian for each cell, as it is stored.
#[derive(Clone, Debug)]
pub(super) struct CellGaussians {
    /// Directions of full covariance, r.
    pub(super) dense: usize,
    /// μₚ, cells×(r + t).
    pub(super) mean: Vec<f16>,
    /// Wₚ, cells×r(r + 1)/2: lower triangles.
    pub(super) whitening: Vec<f16>,
    /// Inverse deviations in the tail, cells×t.
    pub(super) tail: Vec<f16>,
    pub(super) shrinkage: Shrinkage,
    /// Mean log-likelihood of a held-out vector, without −½·ln 2π for each direction.
    pub(super) log_likelihood: f64,
}

/// [`CellGaussians`] with the stored values widened.
#[derive(Clone, Debug)]
pub(super) struct Widened {
    dense: usize,
    directions: usize,
    mean: Vec<f32>,
    whitening: Vec<f32>,
    tail: Vec<f32>,
}

impl CellGaussians {
    pub(super) fn widen(&self, directions: usize) -> Widened {
        let widen = |values: &[f16]| values.iter().map(|v| v.to_f32()).collect();
        Widened {
            dense: self.dense,
            directions,
            mean: widen(&self.mean),
            whitening: widen(&self.whitening),
            tail: widen(&self.tail),
        }
    }
}

impl Widened {
    /// d² of the vector `y` under the Gaussian of `cell`; `difference` is room for as many values.
    pub(super) fn squared_distance(&self, cell: usize, y: &[f32], difference: &mut [f32]) -> f32 {
        let mean = part(&self.mean, cell, self.directions);
        for ((d, y), mean) in difference.iter_mut().zip(y).zip(mean) {
            *d = y - mean;
        }
        let (full, tail) = difference.split_at(self.dense);
        let scales = part(&self.tail, cell, self.directions - self.dense);
        let squares = tail.iter().zip(scales).map(|(d, s)| (d * s) * (d * s));
        let whitening = part(&self.whitening, cell, triangle::length(self.dense));
        triangle::squared_norm(whitening, full) + squares.sum::<f32>()
    }
}

/// The values of `cell`, of which each has `length`.
fn part(values: &[f32], cell: usize, length: usize) -> &[f32] {
    &values[cell * length..][..length]
}
