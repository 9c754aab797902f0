//! A Gaussian for each cell of the grid, conditional on the frame's covariate: where normal frames
//! differ from each other as a whole (another batch, another light), what is normal at a cell
//! depends on the frame.

use std::ops::Range;

use anyhow::{Context as _, Result};
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::{
    covariate::Covariate,
    triangle::{self, Whitening},
};

/// How Gaussians of the cells are fitted.
///
/// Their covariances are not shrunk towards a common one, however few the frames: what is normal at
/// one place and not at another is what a cell of its own is for. Held-out likelihood would shrink
/// them, and finds defects worse by one or two points.
#[derive(Debug)]
pub(super) struct GaussianParams {
    /// Variance added in every component, in units of a channel's variance over all cells and
    /// frames, so that a component in which the frames of a cell hardly differ does not outweigh
    /// all others.
    pub(super) floor: f64,
    /// Ridge of the regression on the covariate, in frames: what the covariate says of a cell is
    /// shrunk towards nothing as if so many frames, each a deviation off in every component, had
    /// said nothing.
    pub(super) ridge: f64,
}

pub(super) const PARAMS: GaussianParams = GaussianParams {
    floor: 0.005,
    ridge: 5.0,
};

/// Sums over the projected vectors of each cell and the covariates of their frames.
pub(super) struct CellSums {
    /// Sum of the frames' weights.
    weight: f64,
    cells: Vec<Cell>,
    /// Of the covariates.
    covariate: DVector<f64>,
    /// Of their products.
    covariate_products: DMatrix<f64>,
}

/// Differences from an origin: their sum, their products (lower triangle), and their products with
/// the covariates (components×covariate).
struct Cell {
    origin: Vec<f64>,
    sum: Vec<f64>,
    products: Vec<f64>,
    cross: DMatrix<f64>,
}

/// How a cell depends on the covariate a: y = mean + slope·a + e, with e of this covariance.
struct Moments {
    mean: Vec<f64>,
    slope: DMatrix<f64>,
    covariance: DMatrix<f64>,
}

impl CellSums {
    /// Sums of differences from `origins` (components×cells), with covariates of so many
    /// components.
    pub(super) fn new(origins: &DMatrix<f64>, covariate: usize) -> Self {
        let components = origins.nrows();
        Self {
            weight: 0.0,
            cells: origins
                .column_iter()
                .map(|origin| Cell {
                    origin: origin.iter().copied().collect(),
                    sum: vec![0.0; components],
                    products: vec![0.0; triangle::length(components)],
                    cross: DMatrix::zeros(components, covariate),
                })
                .collect(),
            covariate: DVector::zeros(covariate),
            covariate_products: DMatrix::zeros(covariate, covariate),
        }
    }

    /// Adds frames, in their order: the vectors of each (components×cells), its covariate and its
    /// weight.
    pub(super) fn add(&mut self, frames: &[(DMatrix<f32>, DVector<f32>)], weights: &[f64]) {
        self.weight += weights.iter().sum::<f64>();
        let covariates: Vec<DVector<f64>> = frames.iter().map(|(_, a)| a.map(f64::from)).collect();
        for (covariate, &weight) in covariates.iter().zip(weights) {
            self.covariate.axpy(weight, covariate, 1.0);
            self.covariate_products
                .ger(weight, covariate, covariate, 1.0);
        }
        self.cells
            .par_iter_mut()
            .enumerate()
            .for_each(|(place, cell)| {
                let mut difference = DVector::zeros(cell.origin.len());
                for (((frame, _), covariate), weight) in frames.iter().zip(&covariates).zip(weights)
                {
                    let column = frame.column(place);
                    let root = weight.sqrt();
                    for ((d, &y), &origin) in difference.iter_mut().zip(&column).zip(&cell.origin) {
                        *d = root * (f64::from(y) - origin);
                    }
                    for (sum, d) in cell.sum.iter_mut().zip(&difference) {
                        *sum += root * d;
                    }
                    triangle::add_outer(&mut cell.products, difference.as_slice());
                    cell.cross.ger(root, &difference, covariate, 1.0);
                }
            });
    }

    /// Number of cells.
    pub(super) fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Sum of the frames' weights.
    pub(super) fn weight(&self) -> f64 {
        self.weight
    }

    /// Regression of `components` on the covariate, and what it leaves (divisor
    /// (n − 1)(1 − f/m), n being the sum of the weights of m frames, f the degrees of freedom that
    /// the regression takes).
    fn moments(&self, place: usize, components: &Range<usize>, regression: &Regression) -> Moments {
        let cell = &self.cells[place];
        let frames = self.weight;
        let (first, count) = (components.start, components.len());
        let sum = DVector::from_column_slice(&cell.sum[components.clone()]);
        let mean = &sum / frames;
        let mut covariance = triangle::block(&cell.products, components);
        covariance.ger(-frames, &mean, &mean, 1.0);
        let given = regression.products.nrows();
        let cross = cell.cross.view((first, 0), (count, given));
        let total = self.covariate.rows(0, given);
        let cross = cross - &mean * total.transpose();
        let slope = &cross * &regression.inverse;
        // Σ(y − G·a)(y − G·a)ᵀ of differences from the means.
        let explained = &slope * cross.transpose();
        let left = covariance - &explained - explained.transpose()
            + &slope * &regression.products * slope.transpose();
        let origin = cell.origin[components.clone()].iter().zip(&mean);
        let offset = &slope * total / frames;
        Moments {
            mean: origin.zip(&offset).map(|((o, m), s)| o + m - s).collect(),
            slope,
            covariance: left / regression.divisor,
        }
    }

    /// What all cells share of their regression on the first `given` dimensions of the covariate;
    /// `originals` are the frames that are no augmented samples.
    fn regression(&self, given: usize, originals: usize) -> Result<Regression> {
        let (frames, originals) = (self.weight, originals.max(1) as f64);
        let products = self.covariate_products.view((0, 0), (given, given));
        let mut products = products.clone_owned();
        let sum = self.covariate.rows(0, given);
        products.ger(-1.0 / frames, &sum, &sum, 1.0);
        let side = products.nrows();
        let ridge = DMatrix::identity(side, side) * (PARAMS.ridge * frames / originals);
        let inverse = (&products + ridge).try_inverse();
        let inverse = inverse.context("the frames' covariates cannot be separated")?;
        let freedom = (&inverse * &products).trace();
        // Samples of light weight can make fewer than two frames of several.
        let divisor = (frames - 1.0).max(0.5 * frames) * (1.0 - freedom / originals).max(0.5);
        Ok(Regression {
            products,
            inverse,
            divisor,
        })
    }

    /// The Gaussians of the cells in some of the `components`, given a covariate of the first of
    /// those of the frames; `floors` is what is added to each component's variance, `originals` are
    /// the frames that are no augmented samples.
    ///
    /// # Errors
    /// Covariances that are not positive definite, for instance because of huge features.
    pub(super) fn fit(
        &self,
        components: Range<usize>,
        covariate: Covariate,
        floors: &[f64],
        originals: usize,
    ) -> Result<CellGaussians> {
        let regression = self.regression(covariate.components(), originals)?;
        let each: Vec<(Vec<f64>, Rows, Rows)> = (0..self.cells.len())
            .into_par_iter()
            .map(|place| {
                let Moments {
                    mean,
                    slope,
                    mut covariance,
                } = self.moments(place, &components, &regression);
                for (i, floor) in floors.iter().enumerate() {
                    covariance[(i, i)] += floor;
                }
                let whitening = Whitening::of(covariance)?;
                let expected = Rows::of(&(&whitening.matrix * slope));
                Ok((mean, Rows::of_triangle(&whitening), expected))
            })
            .collect::<Result<_>>()?;
        let mean = each.iter().flat_map(|(mean, _, _)| mean);
        Ok(CellGaussians {
            components: components.len(),
            weight: self.weight,
            floors: floors.to_vec(),
            covariate,
            mean: mean.map(|&m| m as f32).collect(),
            whitening: Rows::joined(each.iter().map(|(_, whitening, _)| whitening)),
            expected: Rows::joined(each.iter().map(|(_, _, expected)| expected)),
            scale_correction: Vec::new(),
        })
    }
}

/// What all cells share of their regression on the covariate.
struct Regression {
    /// Σ(a − ā)(a − ā)ᵀ.
    products: DMatrix<f64>,
    /// (Σ(a − ā)(a − ā)ᵀ + λ·I)⁻¹.
    inverse: DMatrix<f64>,
    divisor: f64,
}

/// Rows of matrices in bytes: element = scale of its row · value.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Of each row.
    pub(super) scale: Vec<f32>,
    /// Row after row.
    pub(super) values: Vec<i8>,
}

impl Rows {
    fn of(matrix: &DMatrix<f64>) -> Self {
        let mut rows = Self::default();
        for row in matrix.row_iter() {
            rows.push(row.iter().copied());
        }
        rows
    }

    /// A lower triangle without its zeros.
    fn of_triangle(whitening: &Whitening) -> Self {
        let mut rows = Self::default();
        for (i, row) in whitening.matrix.row_iter().enumerate() {
            rows.push(row.iter().copied().take(i + 1));
        }
        rows
    }

    fn joined<'a>(each: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for rows in each {
            all.scale.extend(&rows.scale);
            all.values.extend(&rows.values);
        }
        all
    }

    fn push(&mut self, row: impl Iterator<Item = f64> + Clone) {
        let largest = row
            .clone()
            .fold(0.0_f64, |most, value| most.max(value.abs()));
        let scale = (largest / f64::from(i8::MAX)) as f32;
        let one = f64::from(scale.max(f32::MIN_POSITIVE));
        self.scale.push(scale);
        self.values
            .extend(row.map(|value| (value / one).round().clamp(-127.0, 127.0) as i8));
    }

    /// The elements of row `place`, whose bytes are `values`.
    fn widen(&self, place: usize, values: &[i8]) -> impl Iterator<Item = f32> {
        let scale = self.scale[place];
        values.iter().map(move |&value| f32::from(value) * scale)
    }
}

/// A Gaussian for each cell, as it is stored.
#[derive(Clone, Debug)]
pub(super) struct CellGaussians {
    /// r.
    pub(super) components: usize,
    /// Sum of the weights of the frames that they were fitted to.
    pub(super) weight: f64,
    /// What was added to the variance of each component.
    pub(super) floors: Vec<f64>,
    /// μₚ, cells×r. As f32: where the cells differ much from each other, f16 would round their
    /// means by a good part of a small deviation.
    pub(super) mean: Vec<f32>,
    /// Wₚ: lower triangles of r(r + 1)/2 elements each.
    pub(super) whitening: Rows,
    /// What makes the covariate a of a frame, of c components.
    pub(super) covariate: Covariate,
    /// What the covariate lets expect, whitened: Bₚ of cells×r×c. A hundredth of a deviation is
    /// all that it has to tell.
    pub(super) expected: Rows,
    /// β of the [scale correction](super::scale), c values: distances count exp(−β·a) times.
    pub(super) scale_correction: Vec<f32>,
}

/// [`CellGaussians`] with the stored values widened.
#[derive(Clone, Debug)]
pub(super) struct Widened {
    components: usize,
    mean: Vec<f32>,
    whitening: Vec<f32>,
    covariate: usize,
    expected: Vec<f32>,
    scale_correction: Vec<f32>,
}

impl CellGaussians {
    pub(super) fn widen(&self) -> Widened {
        let covariate = self.covariate.components();
        let mut whitening = Vec::with_capacity(self.whitening.values.len());
        let mut rest = &self.whitening.values[..];
        for place in 0..self.whitening.scale.len() {
            let (row, after) = rest.split_at(place % self.components + 1);
            whitening.extend(self.whitening.widen(place, row));
            rest = after;
        }
        let expected = self.expected.values.chunks(covariate.max(1)).enumerate();
        Widened {
            components: self.components,
            mean: self.mean.clone(),
            whitening,
            covariate,
            expected: expected
                .flat_map(|(place, row)| self.expected.widen(place, row))
                .collect(),
            scale_correction: self.scale_correction.clone(),
        }
    }
}

impl Widened {
    /// What the covariate `a` of a frame lets expect of `cell`, whitened, into `expected`.
    pub(super) fn expect(&self, cell: usize, a: &[f32], expected: &mut [f32]) {
        if self.covariate == 0 {
            return expected.fill(0.0);
        }
        let rows = part(&self.expected, cell, self.components * self.covariate);
        for (expected, row) in expected.iter_mut().zip(rows.chunks_exact(self.covariate)) {
            *expected = triangle::dot(row, a);
        }
    }

    /// exp(−β·a) for the covariate `a` of a frame.
    pub(super) fn factor(&self, a: &[f32]) -> f32 {
        (-triangle::dot(&self.scale_correction, a)).exp()
    }

    /// Mean over the cells of d² of a frame's projected vectors (components×cells) with the
    /// covariate `a`, before [`Self::factor`].
    pub(super) fn mean_squared(&self, vectors: &DMatrix<f32>, a: &[f32]) -> f64 {
        let mut difference = vec![0.0; self.components];
        let mut expected = vec![0.0; self.components];
        let mut sum = 0.0;
        for (cell, vector) in vectors.column_iter().enumerate() {
            self.expect(cell, a, &mut expected);
            let squared =
                self.squared_distance(cell, vector.as_slice(), &expected, &mut difference);
            sum += f64::from(squared);
        }
        sum / vectors.ncols().max(1) as f64
    }

    /// d² of the vector `y` under the Gaussian of `cell` where that is `expected`; `difference` is
    /// room for as many values.
    pub(super) fn squared_distance(
        &self,
        cell: usize,
        y: &[f32],
        expected: &[f32],
        difference: &mut [f32],
    ) -> f32 {
        let mean = part(&self.mean, cell, self.components);
        for ((d, y), mean) in difference.iter_mut().zip(y).zip(mean) {
            *d = y - mean;
        }
        let whitening = part(&self.whitening, cell, triangle::length(self.components));
        triangle::squared_distance(whitening, difference, expected)
    }
}

/// The values of `cell`, of which each has `length`.
fn part(values: &[f32], cell: usize, length: usize) -> &[f32] {
    &values[cell * length..][..length]
}
