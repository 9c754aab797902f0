//! A Gaussian for each cell of the grid.

use anyhow::Result;
use half::f16;
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::triangle::{self, Whitening};

/// Variance added in every direction, in units of a channel's variance over all cells and frames, so
/// that a direction in which the frames of a cell hardly differ does not outweigh all others.
///
/// Covariances are not drawn towards a common one, however few the frames: what is normal at one
/// place and not at another is what a cell of its own is for. Held-out likelihood would shrink
/// them, and finds defects worse by one or two points (`docs/design/detection.md`).
pub(super) const FLOOR: f64 = 0.005;

/// Sums over the projected vectors of each cell.
pub(super) struct CellSums {
    /// Sum of the frames' weights.
    weight: f64,
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
            weight: 0.0,
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

    /// Adds frames (directions×cells each), in their order, each with its weight.
    pub(super) fn add(&mut self, frames: &[DMatrix<f32>], weights: &[f64]) {
        self.weight += weights.iter().sum::<f64>();
        self.cells
            .par_iter_mut()
            .enumerate()
            .for_each(|(place, cell)| {
                let mut difference = vec![0.0; cell.origin.len()];
                for (frame, weight) in frames.iter().zip(weights) {
                    let column = frame.column(place);
                    let root = weight.sqrt();
                    for ((d, &y), &origin) in difference.iter_mut().zip(&column).zip(&cell.origin) {
                        *d = root * (f64::from(y) - origin);
                    }
                    for (sum, d) in cell.sum.iter_mut().zip(&difference) {
                        *sum += root * d;
                    }
                    triangle::add_outer(&mut cell.products, &difference);
                }
            });
    }

    /// Mean and covariance (divisor n − 1, n being the sum of the weights) of a cell.
    fn moments(&self, place: usize) -> Moments {
        let cell = &self.cells[place];
        let frames = self.weight;
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

    /// The Gaussians of the cells.
    ///
    /// # Errors
    /// Covariances that are not positive definite, for instance because of huge features.
    pub(super) fn fit(&self) -> Result<CellGaussians> {
        let each: Vec<(Vec<f64>, Vec<f16>)> = (0..self.cells.len())
            .into_par_iter()
            .map(|place| {
                let Moments {
                    mean,
                    mut covariance,
                } = self.moments(place);
                for i in 0..self.directions {
                    covariance[(i, i)] += FLOOR;
                }
                let whitening = Whitening::of(covariance)?;
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
