//! KL(q(z|x) ‖ N(0, I)), what free bits make of it, and which latent dimensions carry anything.

use super::{VaeError, check_length, not_nan};

/// Variance of the posterior mean over frames above which a latent dimension counts as active
/// (Burda et al. 2016, section 5.2).
pub const ACTIVE_UNIT_VARIANCE: f64 = 0.01;

const WHAT: &str = "KL divergence";

/// KL(N(mean, exp(log_variance)) ‖ N(0, I)) = ½ Σ (μ² + σ² − 1 − log σ²) of one frame, in nats
/// (Kingma & Welling 2014, appendix B).
///
/// # Errors
/// Slices of different lengths; NaN among the values.
pub fn kl_standard_normal(mean: &[f32], log_variance: &[f32]) -> Result<f64, VaeError> {
    check_length("log-variance", log_variance.len(), mean.len())?;
    let sum = mean
        .iter()
        .zip(log_variance)
        .map(|(&mean, &log_variance)| kl(mean, log_variance))
        .sum();
    not_nan(WHAT, sum)
}

/// The KL divergence of each latent dimension of one frame into `out`, in nats.
///
/// # Errors
/// Slices of different lengths; NaN among the values.
pub fn kl_standard_normal_per_dimension(
    mean: &[f32],
    log_variance: &[f32],
    out: &mut [f64],
) -> Result<(), VaeError> {
    check_length("log-variance", log_variance.len(), mean.len())?;
    check_length("divergences", out.len(), mean.len())?;
    for ((&mean, &log_variance), out) in mean.iter().zip(log_variance).zip(out) {
        *out = not_nan(WHAT, kl(mean, log_variance))?;
    }
    Ok(())
}

/// Σ_j max(λ, KL_j): the divergence with `minimum` λ nats free in each dimension (Kingma et al.
/// 2016, equation 15). `kl_per_dimension` holds KL_j averaged over a minibatch, for it is the mean
/// that is held above λ, not each frame's own divergence.
///
/// # Errors
/// A minimum below 0 or not finite; NaN among the divergences.
pub fn free_bits(kl_per_dimension: &[f64], minimum: f64) -> Result<f64, VaeError> {
    if !(minimum >= 0.0 && minimum.is_finite()) {
        return Err(VaeError::OutOfRange {
            what: "free bits",
            found: minimum,
            expected: "0 or more nats in each dimension",
        });
    }
    let mut sum = 0.0;
    for &kl in kl_per_dimension {
        sum += not_nan(WHAT, kl)?.max(minimum);
    }
    Ok(sum)
}

/// Number of active latent dimensions: those whose posterior mean has a variance above
/// [`ACTIVE_UNIT_VARIANCE`] over frames (Burda et al. 2016, section 5.2). `means` holds the
/// posterior means of all frames, `frames × dimensions`, row by row.
///
/// # Errors
/// No dimension; a length that is no multiple of `dimensions`; NaN or an infinity in a mean.
pub fn active_units(means: &[f32], dimensions: usize) -> Result<usize, VaeError> {
    if dimensions == 0 {
        return Err(VaeError::OutOfRange {
            what: "latent dimensions",
            found: 0.0,
            expected: "at least 1",
        });
    }
    let frames = means.len() / dimensions;
    check_length("posterior means", means.len(), frames * dimensions)?;
    if let Some(value) = means.iter().find(|value| !value.is_finite()) {
        return Err(VaeError::NotFinite {
            what: "posterior mean",
            found: f64::from(*value),
        });
    }
    let n = frames as f64;
    Ok((0..dimensions)
        .filter(|&dimension| {
            let values = || {
                means
                    .iter()
                    .skip(dimension)
                    .step_by(dimensions)
                    .map(|&value| f64::from(value))
            };
            let mean = values().sum::<f64>() / n;
            let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            variance > ACTIVE_UNIT_VARIANCE
        })
        .count())
}

/// `exp_m1` keeps the digits of σ² − 1 where σ² ≈ 1, the state of every inactive dimension.
fn kl(mean: f32, log_variance: f32) -> f64 {
    let (mean, log_variance) = (f64::from(mean), f64::from(log_variance));
    0.5 * (mean * mean + (log_variance.exp_m1() - log_variance))
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// ∫ q(z) log(q(z)/p(z)) dz by Simpson's rule over ±12 standard deviations of q.
    fn kl_by_integration(mean: f64, log_variance: f64) -> f64 {
        let deviation = (0.5 * log_variance).exp();
        let log_q =
            |z: f64| -0.5 * (TAU.ln() + log_variance + (z - mean).powi(2) * (-log_variance).exp());
        let log_p = |z: f64| -0.5 * (TAU.ln() + z * z);
        let integrand = |z: f64| log_q(z).exp() * (log_q(z) - log_p(z));
        let steps = 4000;
        let width = 24.0 * deviation / f64::from(steps);
        (0..=steps)
            .map(|i| {
                let weight = match i {
                    0 => 1.0,
                    i if i == steps => 1.0,
                    i if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * integrand(mean - 12.0 * deviation + width * f64::from(i))
            })
            .sum::<f64>()
            * width
            / 3.0
    }

    #[test]
    fn closed_form_is_the_integral() {
        let cases = [
            (0.0f32, 0.0f32),
            (1.0, 0.0),
            (-2.5, -4.0),
            (0.3, 2.0),
            (0.0, -7.5),
        ];
        for (mean, log_variance) in cases {
            let expected = kl_by_integration(mean.into(), log_variance.into());
            let found = kl_standard_normal(&[mean], &[log_variance]).unwrap();
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        let (mean, log_variance): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        let mut each = [0.0; 5];
        kl_standard_normal_per_dimension(&mean, &log_variance, &mut each).unwrap();
        let expected: Vec<f64> = cases
            .iter()
            .map(|&(m, v)| kl_by_integration(m.into(), v.into()))
            .collect();
        for (found, expected) in each.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-9);
        }
        let found = kl_standard_normal(&mean, &log_variance).unwrap();
        assert!((found - expected.iter().sum::<f64>()).abs() < 1e-8);
    }

    #[test]
    fn nearly_standard_posteriors_keep_their_digits() {
        // ½(e^v − 1 − v) = v²/4 + v³/12 + … for small v.
        let v = 1e-6f32;
        let exact = f64::from(v).powi(2) / 4.0 + f64::from(v).powi(3) / 12.0;
        let found = kl_standard_normal(&[0.0], &[v]).unwrap();
        assert!((found / exact - 1.0).abs() < 1e-3, "{found} {exact}");
    }

    #[test]
    fn free_bits_raise_small_divergences_only() {
        assert_eq!(free_bits(&[0.1, 0.5, 2.0], 0.5).unwrap(), 3.0);
        assert_eq!(free_bits(&[0.125, 0.5, 2.0], 0.0).unwrap(), 2.625);
        assert!(free_bits(&[0.1], -1.0).is_err());
        assert!(free_bits(&[f64::NAN], 0.5).is_err());
    }

    #[test]
    fn active_units_are_those_whose_mean_varies() {
        // Variances over four frames: 0, 1, 0.0144 and 0.0064.
        let means = [
            5.0, 1.0, 0.12, 0.08, //
            5.0, -1.0, -0.12, -0.08, //
            5.0, 1.0, 0.12, 0.08, //
            5.0, -1.0, -0.12, -0.08,
        ];
        assert_eq!(active_units(&means, 4).unwrap(), 2);
        assert_eq!(active_units(&[], 4).unwrap(), 0);
        assert!(active_units(&means, 5).is_err());
        assert!(active_units(&means, 0).is_err());
        assert!(active_units(&[f32::NAN], 1).is_err());
    }

    #[test]
    fn unusable_values_are_refused() {
        assert!(kl_standard_normal(&[0.0; 2], &[0.0]).is_err());
        assert!(matches!(
            kl_standard_normal(&[f32::NAN], &[0.0]),
            Err(VaeError::NotFinite { .. })
        ));
    }
}
