//! How far covariances are shrunk towards a common one, chosen by the likelihood of held-out
//! frames.

use anyhow::{Context, Result};
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::triangle::Whitening;

/// What is tried.
#[derive(Debug)]
struct ShrinkageParams {
    /// Weights of the pooled covariance. Under larger ones anomalies are separated worse, whatever
    /// the likelihood of normal frames.
    weights: [f64; 3],
    /// The variance added in every component, in units of a channel's variance over all cells and
    /// frames. Less of it makes sharpness and noise anomalous, more hides defects.
    floor: f64,
}

const PARAMS: ShrinkageParams = ShrinkageParams {
    weights: [0.02, 0.05, 0.1],
    floor: 0.02,
};

/// Regularisation of covariances: Σ = (1 − a)·S + a·S̄ + λ·I, with S the covariance of the place (a
/// cell, a Gaussian) and S̄ that of all places pooled. In frames, a = k/(n − 1 + k).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shrinkage {
    /// a, in [0, 1].
    pub share: f64,
    /// λ, in units of a channel's variance over all cells and frames.
    pub floor: f64,
}

impl Shrinkage {
    pub(super) fn covariance(&self, own: &DMatrix<f64>, pooled: &DMatrix<f64>) -> DMatrix<f64> {
        let mut sum = own * (1.0 - self.share) + pooled * self.share;
        for i in 0..sum.nrows() {
            sum[(i, i)] += self.floor;
        }
        sum
    }
}

/// What a place knows of itself, and what held-out vectors say of it.
pub(super) struct Place {
    /// Covariance of the training vectors.
    pub(super) own: DMatrix<f64>,
    /// Mean of (y − μ)·(y − μ)ᵀ over the held-out vectors, μ the mean of the training vectors.
    pub(super) held_out: DMatrix<f64>,
    /// How much the place counts, for instance its number of held-out vectors.
    pub(super) weight: f64,
}

/// The shrinkage under which the held-out vectors of `places` are likeliest, or the one that is
/// `given`, and their mean log-likelihood without its constant −½·ln 2π for each component.
///
/// # Errors
/// No shrinkage gives positive definite covariances, for instance because of infinite features.
pub(super) fn choose(
    places: &[Place],
    pooled: &DMatrix<f64>,
    given: Option<Shrinkage>,
) -> Result<(Shrinkage, f64)> {
    let weight: f64 = places.iter().map(|place| place.weight).sum();
    let mut best: Option<(Shrinkage, f64)> = None;
    let tried = PARAMS.weights.map(|share| Shrinkage {
        share,
        floor: PARAMS.floor,
    });
    let tried = given.map_or_else(|| tried.to_vec(), |given| vec![given]);
    for shrinkage in tried {
        let each: Vec<Option<f64>> = places
            .par_iter()
            .map(|place| {
                let whitening = Whitening::of(shrinkage.covariance(&place.own, pooled)).ok()?;
                let trace = whitening.trace(&place.held_out);
                Some(-0.5 * (whitening.log_determinant + trace) * place.weight)
            })
            .collect();
        // Added in order: rayon's own sum depends on the threads.
        let Some(sum) = each.into_iter().sum::<Option<f64>>() else {
            continue;
        };
        let likelihood = sum / weight;
        if likelihood.is_finite() && best.is_none_or(|(_, other)| likelihood > other) {
            best = Some((shrinkage, likelihood));
        }
    }
    best.context("no covariance of the features is positive definite: look for huge features")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place whose training covariance is `own` and whose held-out covariance is `held_out`.
    fn place(own: [f64; 2], held_out: [f64; 2]) -> Place {
        let diagonal = |v: [f64; 2]| DMatrix::from_diagonal(&nalgebra::DVector::from_row_slice(&v));
        Place {
            own: diagonal(own),
            held_out: diagonal(held_out),
            weight: 3.0,
        }
    }

    #[test]
    fn places_that_differ_keep_their_own() {
        let places = [place([4.0, 1.0], [4.0, 1.0]), place([1.0, 9.0], [1.0, 9.0])];
        let pooled = DMatrix::from_diagonal(&nalgebra::DVector::from_row_slice(&[2.5, 5.0]));
        let (found, likelihood) = choose(&places, &pooled, None).unwrap();
        assert_eq!((found.share, found.floor), (0.02, 0.02));
        // By hand: each component gives −½(ln v + s/v), on the average of two places.
        let mut expected = 0.0;
        for (own, held_out, pooled) in [
            (4.0, 4.0, 2.5),
            (1.0, 1.0, 5.0),
            (1.0, 1.0, 2.5),
            (9.0, 9.0, 5.0),
        ] {
            let v: f64 = 0.98 * own + 0.02 * pooled + 0.02;
            expected -= 0.5 * (v.ln() + held_out / v);
        }
        assert!((likelihood - expected / 2.0).abs() < 1e-12);
    }

    #[test]
    fn places_that_are_alike_share() {
        let places = [place([4.0, 1.0], [2.0, 3.0]), place([0.0, 5.0], [2.0, 3.0])];
        let pooled = DMatrix::from_diagonal(&nalgebra::DVector::from_row_slice(&[2.0, 3.0]));
        let (found, _) = choose(&places, &pooled, None).unwrap();
        assert_eq!(found.share, 0.1);
    }
}
