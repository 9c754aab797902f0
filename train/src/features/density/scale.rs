//! Scale correction (heteroscedasticity): how much further frames of a covariate are from normal as
//! a whole.

use anyhow::{Context as _, Result};
use nalgebra::{DMatrix, DVector};

/// How the correction is fitted.
#[derive(Debug)]
pub(super) struct ScaleParams {
    /// Frames that it is fitted to, evenly spaced: a handful of numbers asks for no more.
    pub(super) frames: usize,
    /// Ridge of the regression, in frames: what a covariate says of the scale is shrunk towards
    /// nothing as if so many frames, each a deviation off in every component, had said nothing.
    ridge: f64,
}

pub(super) const PARAMS: ScaleParams = ScaleParams {
    frames: 400,
    ridge: 200.0,
};

/// A frame that the scale is fitted to.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// a.
    pub(super) covariate: DVector<f64>,
    /// Mean of d² over its cells, above 0.
    pub(super) mean_squared: f64,
    /// How much it counts.
    pub(super) weight: f64,
}

/// β for distances d·exp(−β·a): blur, saturation and noise move all cells of a frame further from
/// their Gaussians, and where the covariate tells of them they are no sign of a defect. Ridge
/// regression of ½·ln mean d² on the covariate (Harvey 1976: multiplicative heteroscedasticity),
/// `frames` being the weight of all frames, of which those `seen` are some.
///
/// # Errors
/// Covariates that are not finite.
pub(super) fn fit(seen: &[Seen], frames: f64) -> Result<Vec<f32>> {
    let components = seen.first().map_or(0, |seen| seen.covariate.len());
    let weight: f64 = seen.iter().map(|seen| seen.weight).sum();
    if components == 0 || weight <= 0.0 {
        return Ok(vec![0.0; components]);
    }
    let level = |seen: &Seen| 0.5 * seen.mean_squared.max(f64::MIN_POSITIVE).ln();
    let mut mean = DVector::zeros(components);
    let mut mean_level = 0.0;
    for frame in seen {
        mean.axpy(frame.weight / weight, &frame.covariate, 1.0);
        mean_level += frame.weight / weight * level(frame);
    }
    let ridge = PARAMS.ridge * weight / frames.max(weight);
    let mut products = DMatrix::identity(components, components) * ridge;
    let mut cross = DVector::zeros(components);
    for frame in seen {
        let a = &frame.covariate - &mean;
        products.ger(frame.weight, &a, &a, 1.0);
        cross.axpy(frame.weight * (level(frame) - mean_level), &a, 1.0);
    }
    let solved = products.cholesky().map(|factor| factor.solve(&cross));
    let solved = solved.context("the covariates of normal frames are not finite")?;
    Ok(solved.iter().map(|&b| b as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(weight: f64) -> Vec<Seen> {
        (0..400)
            .map(|i| {
                let covariate =
                    DVector::from_vec(vec![(f64::from(i)).sin(), (1.7 * f64::from(i)).cos()]);
                let level = 2.0 + 0.6 * covariate[0] - 0.3 * covariate[1];
                Seen {
                    mean_squared: (2.0 * level).exp(),
                    covariate,
                    weight,
                }
            })
            .collect()
    }

    #[test]
    fn many_frames_tell_the_spread_and_few_do_not() {
        // Frames that count for a million: the ridge is nothing beside them.
        let found = fit(&seen(2500.0), 1e6).unwrap();
        assert!(
            (found[0] - 0.6).abs() < 1e-3 && (found[1] + 0.3).abs() < 1e-3,
            "{found:?}"
        );
        // The same frames are some of a million.
        let some = fit(&seen(1.0), 1e6).unwrap();
        assert!((found[0] - some[0]).abs() < 1e-6, "{some:?}");
        // 400 frames of variance ½ against a ridge of 200: half is believed.
        let found = fit(&seen(1.0), 400.0).unwrap();
        assert!((found[0] - 0.3).abs() < 0.01, "{found:?}");
        let few = fit(&seen(1.0)[..20], 20.0).unwrap();
        assert!(few[0].abs() < 0.05, "{few:?}");
        assert_eq!(fit(&[], 0.0).unwrap(), Vec::<f32>::new());
    }
}
