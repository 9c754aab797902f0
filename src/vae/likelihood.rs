//! log p(x|z) in nats: independent Gaussian or Bernoulli pixels, summed over the frame or for each
//! tensor element.
//!
//! The functions that end in `_map` write one value for each element of the tensor (`C×H×W`); the
//! sum of a map is what the function without that ending returns.

use std::f64::consts::TAU;

use super::{VaeError, check_length, not_nan};

const WHAT: &str = "log-likelihood";

/// log N(x; mean, exp(log_variance)), summed over all elements, in nats.
///
/// Serves for p(x|z) with a learned variance (`C×H×W`) and for log q(z|x) (`L` or `L×h×w`).
///
/// # Errors
/// Slices of different lengths; NaN among the values.
pub fn gaussian_log_likelihood(
    x: &[f32],
    mean: &[f32],
    log_variance: &[f32],
) -> Result<f64, VaeError> {
    check_length("mean", mean.len(), x.len())?;
    check_length("log-variance", log_variance.len(), x.len())?;
    let sum = x
        .iter()
        .zip(mean)
        .zip(log_variance)
        .map(|((&x, &mean), &log_variance)| gaussian(x, mean, log_variance))
        .sum();
    not_nan(WHAT, sum)
}

/// log N(x; mean, exp(log_variance)) of each element into `out`, in nats.
///
/// # Errors
/// Slices of different lengths; NaN among the values.
pub fn gaussian_log_likelihood_map(
    x: &[f32],
    mean: &[f32],
    log_variance: &[f32],
    out: &mut [f32],
) -> Result<(), VaeError> {
    check_length("mean", mean.len(), x.len())?;
    check_length("log-variance", log_variance.len(), x.len())?;
    check_length("log-likelihood map", out.len(), x.len())?;
    for (((&x, &mean), &log_variance), out) in x.iter().zip(mean).zip(log_variance).zip(out) {
        *out = not_nan(WHAT, gaussian(x, mean, log_variance))? as f32;
    }
    Ok(())
}

/// log N(x; mean, sigma²), summed over all elements, in nats; `sigma` in units of the tensor.
///
/// # Errors
/// Slices of different lengths; NaN among the values; `sigma` not positive and finite.
pub fn gaussian_log_likelihood_fixed(x: &[f32], mean: &[f32], sigma: f32) -> Result<f64, VaeError> {
    check_length("mean", mean.len(), x.len())?;
    let fixed = FixedGaussian::new(sigma)?;
    let squares: f64 = x
        .iter()
        .zip(mean)
        .map(|(&x, &mean)| (f64::from(x) - f64::from(mean)).powi(2))
        .sum();
    not_nan(
        WHAT,
        fixed.log_normaliser * x.len() as f64 - squares * fixed.half_precision,
    )
}

/// log N(x; mean, sigma²) of each element into `out`, in nats.
///
/// # Errors
/// Slices of different lengths; NaN among the values; `sigma` not positive and finite.
pub fn gaussian_log_likelihood_fixed_map(
    x: &[f32],
    mean: &[f32],
    sigma: f32,
    out: &mut [f32],
) -> Result<(), VaeError> {
    check_length("mean", mean.len(), x.len())?;
    check_length("log-likelihood map", out.len(), x.len())?;
    let fixed = FixedGaussian::new(sigma)?;
    for ((&x, &mean), out) in x.iter().zip(mean).zip(out) {
        let square = (f64::from(x) - f64::from(mean)).powi(2);
        *out = not_nan(WHAT, fixed.log_normaliser - square * fixed.half_precision)? as f32;
    }
    Ok(())
}

/// log p(x|z) of independent Bernoulli pixels with p = sigmoid(logits), summed over all elements,
/// in nats: Σ x·log p + (1 − x)·log(1 − p), for x anywhere in [0, 1].
///
/// For binary x it is a log-probability; for x between, the cross-entropy that is customary as a
/// loss, and no density (the continuous Bernoulli's normaliser is left out).
///
/// # Errors
/// Slices of different lengths; x outside of [0, 1]; NaN among the values.
pub fn bernoulli_log_likelihood(x: &[f32], logits: &[f32]) -> Result<f64, VaeError> {
    check_length("logits", logits.len(), x.len())?;
    let mut sum = 0.0;
    for (&x, &logit) in x.iter().zip(logits) {
        sum += bernoulli(x, logit)?;
    }
    not_nan(WHAT, sum)
}

/// log p(x|z) of each Bernoulli pixel into `out`, in nats.
///
/// # Errors
/// Slices of different lengths; x outside of [0, 1]; NaN among the values.
pub fn bernoulli_log_likelihood_map(
    x: &[f32],
    logits: &[f32],
    out: &mut [f32],
) -> Result<(), VaeError> {
    check_length("logits", logits.len(), x.len())?;
    check_length("log-likelihood map", out.len(), x.len())?;
    for ((&x, &logit), out) in x.iter().zip(logits).zip(out) {
        *out = not_nan(WHAT, bernoulli(x, logit)?)? as f32;
    }
    Ok(())
}

/// log N(z; 0, I) of one latent, in nats: log p(z) of the prior.
///
/// # Errors
/// NaN among the values.
pub fn standard_normal_log_density(z: &[f32]) -> Result<f64, VaeError> {
    let squares: f64 = z.iter().map(|&z| f64::from(z).powi(2)).sum();
    not_nan(
        "log-density of the prior",
        -0.5 * (squares + TAU.ln() * z.len() as f64),
    )
}

fn gaussian(x: f32, mean: f32, log_variance: f32) -> f64 {
    let log_variance = f64::from(log_variance);
    let difference = f64::from(x) - f64::from(mean);
    -0.5 * (TAU.ln() + log_variance + difference * difference * (-log_variance).exp())
}

/// x·l − softplus(l), written as −(w·|l| + log(1 + exp(−|l|))) with w the share of the improbable
/// outcome: 1 − x for l > 0, else x. Nothing cancels, so that the small remainder of a certain and
/// right pixel keeps all its digits.
fn bernoulli(x: f32, logit: f32) -> Result<f64, VaeError> {
    if !(0.0..=1.0).contains(&x) {
        return Err(VaeError::OutOfRange {
            what: "pixel under a Bernoulli likelihood",
            found: f64::from(x),
            expected: "a value in [0, 1]; do not normalise the input of such a model",
        });
    }
    let (x, logit) = (f64::from(x), f64::from(logit));
    let improbable = if logit > 0.0 { 1.0 - x } else { x };
    // 0·∞ would be NaN where the likelihood is defined.
    let linear = if improbable == 0.0 {
        0.0
    } else {
        improbable * logit.abs()
    };
    Ok(-(linear + (-logit.abs()).exp().ln_1p()))
}

struct FixedGaussian {
    /// −½ log(2πσ²).
    log_normaliser: f64,
    /// 1/(2σ²).
    half_precision: f64,
}

impl FixedGaussian {
    fn new(sigma: f32) -> Result<Self, VaeError> {
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(VaeError::OutOfRange {
                what: "sigma of the Gaussian likelihood",
                found: f64::from(sigma),
                expected: "a positive, finite standard deviation",
            });
        }
        let sigma = f64::from(sigma);
        Ok(Self {
            log_normaliser: -0.5 * TAU.ln() - sigma.ln(),
            half_precision: 0.5 / (sigma * sigma),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ∫ exp(log-density) by the trapezoidal rule, which converges exponentially for densities
    /// that vanish at both ends.
    fn integral(log_density: impl Fn(f32) -> f64, centre: f64, reach: f64) -> f64 {
        let steps = 20_000;
        let width = 2.0 * reach / f64::from(steps);
        (0..=steps)
            .map(|i| log_density((centre - reach + width * f64::from(i)) as f32).exp() * width)
            .sum()
    }

    #[test]
    fn gaussians_integrate_to_one() {
        for (mean, log_variance) in [(0.0f32, 0.0f32), (0.3, -3.0), (-2.0, 1.5)] {
            let reach = 12.0 * f64::from(log_variance / 2.0).exp();
            let learned = integral(
                |x| gaussian_log_likelihood(&[x], &[mean], &[log_variance]).unwrap(),
                mean.into(),
                reach,
            );
            assert!((learned - 1.0).abs() < 1e-5, "{learned}");
            let fixed = integral(
                |x| {
                    gaussian_log_likelihood_fixed(&[x], &[mean], (log_variance / 2.0).exp())
                        .unwrap()
                },
                mean.into(),
                reach,
            );
            assert!((fixed - 1.0).abs() < 1e-5, "{fixed}");
        }
    }

    #[test]
    fn gaussian_has_the_values_of_scipy() {
        // scipy.stats.norm.logpdf([0.5, -1, 2], [0, 0.25, 3], [1, 0.5, 2]).sum()
        let log_variance = [0.0, 2.0 * 0.5f32.ln(), 2.0 * 2.0f32.ln()];
        let found =
            gaussian_log_likelihood(&[0.5, -1.0, 2.0], &[0.0, 0.25, 3.0], &log_variance).unwrap();
        assert!((found - -6.131_815_599_614_019).abs() < 1e-6, "{found}");
        // scipy.stats.norm.logpdf([0.5, -1, 2], [0, 0.25, 3], 0.5).sum()
        let found =
            gaussian_log_likelihood_fixed(&[0.5, -1.0, 2.0], &[0.0, 0.25, 3.0], 0.5).unwrap();
        assert!((found - -6.302_374_057_934_182).abs() < 1e-12, "{found}");
    }

    #[test]
    fn bernoulli_is_the_direct_formula() {
        for logit in [-8.0f32, -1.5, -0.01, 0.0, 0.3, 2.0, 9.0] {
            let p = 1.0 / (1.0 + (-f64::from(logit)).exp());
            for x in [0.0f32, 0.125, 0.5, 0.9, 1.0] {
                let direct = f64::from(x) * p.ln() + (1.0 - f64::from(x)) * (1.0 - p).ln();
                let found = bernoulli_log_likelihood(&[x], &[logit]).unwrap();
                assert!(
                    (found - direct).abs() < 1e-11,
                    "{x} {logit}: {found} {direct}"
                );
            }
        }
    }

    #[test]
    fn bernoulli_keeps_its_digits_for_large_logits() {
        // log sigmoid(60) = −exp(−60) up to exp(−120).
        for (x, logit) in [(1.0, 60.0), (0.0, -60.0)] {
            let found = bernoulli_log_likelihood(&[x], &[logit]).unwrap();
            assert!((found / -(-60f64).exp() - 1.0).abs() < 1e-12, "{found}");
        }
        for (x, logit) in [(0.0, 1e30), (1.0, -1e30)] {
            let found = bernoulli_log_likelihood(&[x], &[logit]).unwrap();
            assert!((found / -1e30 - 1.0).abs() < 1e-6, "{found}");
        }
        for (x, logit) in [(1.0, f32::INFINITY), (0.0, f32::NEG_INFINITY)] {
            assert_eq!(bernoulli_log_likelihood(&[x], &[logit]).unwrap(), 0.0);
        }
        for (x, logit) in [(0.0, f32::INFINITY), (0.5, f32::NEG_INFINITY)] {
            let found = bernoulli_log_likelihood(&[x], &[logit]).unwrap();
            assert_eq!(found, f64::NEG_INFINITY);
        }
    }

    #[test]
    fn maps_sum_to_the_frame() {
        let x: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin().abs()).collect();
        let other: Vec<f32> = (0..50).map(|i| (i as f32 * 1.3).cos()).collect();
        let mut map = vec![0.0f32; 50];
        let sum = |map: &[f32]| map.iter().map(|&v| f64::from(v)).sum::<f64>();
        gaussian_log_likelihood_map(&x, &other, &other, &mut map).unwrap();
        let frame = gaussian_log_likelihood(&x, &other, &other).unwrap();
        assert!((sum(&map) - frame).abs() < 1e-4);
        gaussian_log_likelihood_fixed_map(&x, &other, 0.3, &mut map).unwrap();
        let frame = gaussian_log_likelihood_fixed(&x, &other, 0.3).unwrap();
        assert!((sum(&map) - frame).abs() < 1e-3);
        bernoulli_log_likelihood_map(&x, &other, &mut map).unwrap();
        let frame = bernoulli_log_likelihood(&x, &other).unwrap();
        assert!((sum(&map) - frame).abs() < 1e-4);
    }

    #[test]
    fn prior_density_has_the_value_of_scipy() {
        // scipy.stats.norm.logpdf([0.5, -1, 2]).sum()
        let found = standard_normal_log_density(&[0.5, -1.0, 2.0]).unwrap();
        assert!((found - -5.381_815_599_614_018).abs() < 1e-12, "{found}");
    }

    #[test]
    fn unusable_values_are_refused() {
        assert!(matches!(
            gaussian_log_likelihood(&[0.0; 3], &[0.0; 3], &[0.0; 2]),
            Err(VaeError::Length {
                found: 2,
                expected: 3,
                ..
            })
        ));
        assert!(matches!(
            gaussian_log_likelihood(&[f32::NAN], &[0.0], &[0.0]),
            Err(VaeError::NotFinite { .. })
        ));
        assert!(matches!(
            bernoulli_log_likelihood(&[0.5], &[f32::NAN]),
            Err(VaeError::NotFinite { .. })
        ));
        for x in [-0.001, 1.001, f32::NAN] {
            assert!(matches!(
                bernoulli_log_likelihood(&[x], &[0.0]),
                Err(VaeError::OutOfRange { .. })
            ));
        }
        for sigma in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(gaussian_log_likelihood_fixed(&[0.0], &[0.0], sigma).is_err());
        }
    }
}
