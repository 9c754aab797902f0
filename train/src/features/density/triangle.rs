//! Lower triangular matrices without their zeros: row i holds i + 1 elements, row after row.

use std::ops::Range;

use anyhow::{Context, Result};
use nalgebra::{Cholesky, DMatrix};

/// Number of elements of a lower triangle.
pub(super) fn length(side: usize) -> usize {
    side * (side + 1) / 2
}

/// The rows and columns `part` of the symmetric matrix whose lower triangle is `packed`.
pub(super) fn block(packed: &[f64], part: &Range<usize>) -> DMatrix<f64> {
    DMatrix::from_fn(part.len(), part.len(), |i, j| {
        let (i, j) = (part.start + i.max(j), part.start + i.min(j));
        packed[length(i) + j]
    })
}

/// Adds x·xᵀ to the lower triangle `sum`.
pub(super) fn add_outer(sum: &mut [f64], x: &[f64]) {
    let mut rest = sum;
    for (i, &xi) in x.iter().enumerate() {
        let (row, after) = rest.split_at_mut(i + 1);
        for (s, &xj) in row.iter_mut().zip(x) {
            *s += xi * xj;
        }
        rest = after;
    }
}

/// |W·x − e|² for the lower triangle W.
pub(super) fn squared_distance(w: &[f32], x: &[f32], e: &[f32]) -> f32 {
    let mut rest = w;
    let mut sum = 0.0;
    for (i, expected) in e.iter().enumerate() {
        let (row, after) = rest.split_at(i + 1);
        let y = dot(row, &x[..=i]) - expected;
        sum += y * y;
        rest = after;
    }
    sum
}

/// Σ aᵢ·bᵢ by sixteen partial sums, which the compiler can keep in vector registers.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut lanes = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            lanes[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// A whitening W = L⁻¹ of Σ = L·Lᵀ, so that |W·x|² = xᵀ·Σ⁻¹·x.
pub(super) struct Whitening {
    /// L⁻¹, lower triangular.
    pub(super) matrix: DMatrix<f64>,
    /// ln det Σ.
    pub(super) log_determinant: f64,
}

impl Whitening {
    /// Of the covariance Σ.
    ///
    /// # Errors
    /// Σ is not positive definite.
    pub(super) fn of(covariance: DMatrix<f64>) -> Result<Self> {
        let side = covariance.nrows();
        let factor = Cholesky::new(covariance)
            .context("a covariance of the features is not positive definite")?
            .unpack();
        let matrix = factor
            .solve_lower_triangular(&DMatrix::identity(side, side))
            .context("a covariance of the features cannot be inverted")?;
        let log_determinant = 2.0 * factor.diagonal().iter().map(|d| d.ln()).sum::<f64>();
        Ok(Self {
            matrix,
            log_determinant,
        })
    }

    /// tr(Σ⁻¹·S) = Σᵢⱼ (W·S)ᵢⱼ·Wᵢⱼ for a symmetric S.
    pub(super) fn trace(&self, scatter: &DMatrix<f64>) -> f64 {
        (&self.matrix * scatter).dot(&self.matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitening_by_hand() {
        // Σ = L·Lᵀ with L = [[2, 0], [1, 3]].
        let whitening = Whitening::of(block(&[4.0, 2.0, 10.0], &(0..2))).unwrap();
        let expected = DMatrix::from_row_slice(2, 2, &[0.5, 0.0, -1.0 / 6.0, 1.0 / 3.0]);
        assert!((&whitening.matrix - expected).amax() < 1e-15);
        assert!((whitening.log_determinant - 36.0_f64.ln()).abs() < 1e-14);
        // Σ⁻¹ = [[10, −2], [−2, 4]]/36.
        let scatter = block(&[1.0, 0.5, 2.0], &(0..2));
        let trace = (10.0 * 1.0 - 2.0 * 0.5 * 2.0 + 4.0 * 2.0) / 36.0;
        assert!((whitening.trace(&scatter) - trace).abs() < 1e-14);
        assert!(Whitening::of(block(&[1.0, 2.0, 1.0], &(0..2))).is_err());
    }

    #[test]
    fn distance_of_a_product() {
        let side = 37;
        let w: Vec<f32> = (0..length(side)).map(|i| (i as f32 * 0.7).sin()).collect();
        let x: Vec<f32> = (0..side).map(|i| (i as f32 * 1.3).cos()).collect();
        let e: Vec<f32> = (0..side).map(|i| (i as f32 * 0.3).sin()).collect();
        let mut expected = 0.0_f64;
        for i in 0..side {
            let row: f64 = (0..=i)
                .map(|j| f64::from(w[length(i) + j]) * f64::from(x[j]))
                .sum();
            expected += (row - f64::from(e[i])).powi(2);
        }
        let found = f64::from(squared_distance(&w, &x, &e));
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
    }

    #[test]
    fn outer_products_add_up() {
        let mut sum = vec![0.0; length(3)];
        add_outer(&mut sum, &[1.0, 2.0, 3.0]);
        add_outer(&mut sum, &[0.0, 1.0, -1.0]);
        assert_eq!(sum, [1.0, 2.0, 5.0, 3.0, 5.0, 10.0]);
        assert_eq!(block(&sum, &(0..3))[(0, 2)], 3.0);
        assert_eq!(block(&sum, &(1..3)).as_slice(), [5.0, 5.0, 5.0, 10.0]);
    }
}
