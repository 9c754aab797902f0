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
    directions: usize,
    cells: Vec<Cell>,
}

/// Differences from an origin: their sum, and their products (lower triangle).
struct Cell {
    origin: Vec<f64>,
    sum: Vec<f64>,
    products: Vec<f64>,
}

/// Mean and covariance of a cell.
struct Moments {
    mean: Vec<f64>,
    covariance: DMatrix<f64>,
}

impl CellSums {
    /// Sums of differences from `origins` (directions×cells).
    pub(super) fn new(origins: &DMatrix<f64>) -> Self {
        let directions = origins.nrows();
        Self {
            frames: 0,
            directions,
            cells: origins
                .column_iter()
                .map(|origin| Cell {
                    origin: origin.iter().copied().collect(),
                    sum: vec![0.0; directions],
                    products: vec![0.0; triangle::length(directions)],
                })
                .collect(),
        }
    }

    /// Adds frames (directions×cells each), in their order.
    pub(super) fn add(&mut self, frames: &[DMatrix<f32>]) {
        self.frames += frames.len();
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
                    triangle::add_outer(&mut cell.products, &difference);
                }
            });
    }

    /// Means of the cells, directions×cells.
    pub(super) fn means(&self) -> DMatrix<f64> {
        let frames = self.frames as f64;
        let values = self.cells.iter().flat_map(|cell| {
            let pairs = cell.origin.iter().zip(&cell.sum);
            pairs.map(move |(origin, sum)| origin + sum / frames)
        });
        DMatrix::from_iterator(self.directions, self.cells.len(), values)
    }

    /// Mean and covariance (divisor n − 1) of a cell.
    fn moments(&self, place: usize) -> Moments {
        let cell = &self.cells[place];
        let frames = self.frames as f64;
        let mean: Vec<f64> = cell.sum.iter().map(|sum| sum / frames).collect();
        let mut covariance = triangle::symmetric(&cell.products, self.directions);
        for j in 0..self.directions {
            for i in 0..self.directions {
                covariance[(i, j)] -= frames * mean[i] * mean[j];
            }
        }
        Moments {
            mean: cell.origin.iter().zip(&mean).map(|(o, m)| o + m).collect(),
            covariance: covariance / (frames - 1.0),
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
        let count = self.cells.len() as f64;
        let mut pooled = DMatrix::zeros(self.directions, self.directions);
        for place in 0..self.cells.len() {
            pooled += self.moments(place).covariance / count;
        }

        let tried = TRIED_CELLS.min(self.cells.len());
        let frames = held_out.frames as f64;
        let places: Vec<Place> = (0..tried)
            .map(|i| i * self.cells.len() / tried)
            .map(|place| Place {
                own: self.moments(place).covariance,
                // Not about the mean of the held-out frames: that it is elsewhere is what counts.
                held_out: triangle::symmetric(&held_out.cells[place].products, self.directions)
                    / frames,
                weight: frames,
            })
            .collect();
        let (shrinkage, log_likelihood) = selection::choose(&places, &pooled)?;

        let each: Vec<(Vec<f64>, Vec<f16>)> = (0..self.cells.len())
            .into_par_iter()
            .map(|place| {
                let Moments { mean, covariance } = self.moments(place);
                let whitening = Whitening::of(shrinkage.covariance(&covariance, &pooled))?;
                Ok((mean, whitening.rows().map(f16::from_f64).collect()))
            })
            .collect::<Result<_>>()?;
        Ok(CellGaussians {
            directions: self.directions,
            mean: each
                .iter()
                .flat_map(|(mean, _)| mean.iter().map(|&m| m as f32))
                .collect(),
            whitening: each.iter().flat_map(|(_, w)| w.iter().copied()).collect(),
            shrinkage,
            log_likelihood,
        })
    }
}

/// A Gaussian for each cell, as it is stored.
#[derive(Clone, Debug)]
pub(super) struct CellGaussians {
    /// r.
    pub(super) directions: usize,
    /// μₚ, cells×r. As f32: where the cells differ much from each other, f16 would round their
    /// means by a good part of a small deviation.
    pub(super) mean: Vec<f32>,
    /// Wₚ, cells×r(r + 1)/2: lower triangles.
    pub(super) whitening: Vec<f16>,
    pub(super) shrinkage: Shrinkage,
    /// Mean log-likelihood of a held-out vector, without −½·ln 2π for each direction.
    pub(super) log_likelihood: f64,
}

/// [`CellGaussians`] with the stored values widened.
#[derive(Clone, Debug)]
pub(super) struct Widened {
    directions: usize,
    mean: Vec<f32>,
    whitening: Vec<f32>,
}

impl CellGaussians {
    pub(super) fn widen(&self) -> Widened {
        Widened {
            directions: self.directions,
            mean: self.mean.clone(),
            whitening: self.whitening.iter().map(|w| w.to_f32()).collect(),
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
        let whitening = part(&self.whitening, cell, triangle::length(self.directions));
        triangle::squared_norm(whitening, difference)
    }
}

/// The values of `cell`, of which each has `length`.
fn part(values: &[f32], cell: usize, length: usize) -> &[f32] {
    &values[cell * length..][..length]
}
