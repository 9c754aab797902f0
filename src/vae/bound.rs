//! Lower bounds on log p(x): the ELBO, the importance-weighted bound, and bits per dimension.

use super::{VaeError, check_length, not_nan};

/// ELBO = log p(x|z) − KL(q(z|x) ‖ p(z)), in nats (Kingma & Welling 2014, equation 10); with one
/// or the mean of several samples z for the first term, an unbiased estimate of it.
pub fn elbo(log_likelihood: f64, kl: f64) -> f64 {
    log_likelihood - kl
}

/// The loss of a β-VAE, −log p(x|z) + β·KL, in nats (Higgins et al. 2017, equation 4); with β = 1
/// the negative ELBO.
pub fn beta_vae_loss(log_likelihood: f64, kl: f64, beta: f64) -> f64 {
    beta * kl - log_likelihood
}

/// log w = log p(x|z) + log p(z) − log q(z|x) for a sample z of the posterior and the prior
/// N(0, I), in nats (Burda et al. 2016, equation 7). `log_likelihood` is log p(x|z).
///
/// # Errors
/// Slices of different lengths; NaN among the values.
pub fn importance_log_weight(
    log_likelihood: f64,
    z: &[f32],
    mean: &[f32],
    log_variance: &[f32],
) -> Result<f64, VaeError> {
    check_length("posterior mean", mean.len(), z.len())?;
    check_length("log-variance of the posterior", log_variance.len(), z.len())?;
    // log N(z; 0, I) − log N(z; μ, σ²): the normalisers (2π)^(L/2) cancel.
    let ratio: f64 = z
        .iter()
        .zip(mean)
        .zip(log_variance)
        .map(|((&z, &mean), &log_variance)| {
            let (z, mean, log_variance) = (f64::from(z), f64::from(mean), f64::from(log_variance));
            0.5 * ((z - mean).powi(2) * (-log_variance).exp() + log_variance - z * z)
        })
        .sum();
    not_nan("importance weight", log_likelihood + ratio)
}

/// Accumulates the importance-weighted bound log (1/K) Σ_k w_k ≤ log p(x) (Burda et al. 2016,
/// equation 8) from log w_k, one at a time and in constant memory, as a log-sum-exp whose largest
/// exponent is always 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceBound {
    count: u64,
    /// Largest log w so far; meaningless while `sum` is 0.
    largest: f64,
    /// Σ exp(log w − largest).
    sum: f64,
    /// Σ exp(2(log w − largest)).
    sum_of_squares: f64,
}

impl ImportanceBound {
    /// No weight yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds log w in nats; −∞ is a weight of 0 that counts.
    ///
    /// # Errors
    /// NaN or +∞; the bound is as before.
    pub fn push(&mut self, log_weight: f64) -> Result<(), VaeError> {
        if log_weight.is_nan() || log_weight == f64::INFINITY {
            return Err(VaeError::NotFinite {
                what: "importance weight",
                found: log_weight,
            });
        }
        self.count += 1;
        if log_weight == f64::NEG_INFINITY {
            return Ok(());
        }
        if self.sum == 0.0 || log_weight > self.largest {
            let shrink = if self.sum == 0.0 {
                0.0
            } else {
                (self.largest - log_weight).exp()
            };
            self.sum = self.sum * shrink + 1.0;
            self.sum_of_squares = self.sum_of_squares * shrink * shrink + 1.0;
            self.largest = log_weight;
        } else {
            let weight = (log_weight - self.largest).exp();
            self.sum += weight;
            self.sum_of_squares += weight * weight;
        }
        Ok(())
    }

    /// Number of weights, K.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// log (1/K) Σ w_k in nats: −∞ where every weight is 0, `None` without any.
    pub fn value(&self) -> Option<f64> {
        match self.count {
            0 => None,
            _ if self.sum == 0.0 => Some(f64::NEG_INFINITY),
            count => Some(self.largest + (self.sum.ln() - (count as f64).ln())),
        }
    }

    /// Kish's effective sample size (Σ w)²/Σ w², from 1 (one weight outweighs all) to K (all are
    /// equal); 0 where every weight is 0. Far below K, the bound is loose.
    pub fn effective_sample_size(&self) -> f64 {
        if self.sum == 0.0 {
            0.0
        } else {
            self.sum * self.sum / self.sum_of_squares
        }
    }
}

/// log (1/K) Σ_k exp(log w_k) of all K weights, in nats (Burda et al. 2016, equation 8).
///
/// # Errors
/// No weight; NaN or +∞ among them.
pub fn importance_weighted_bound(log_weights: &[f64]) -> Result<f64, VaeError> {
    let mut bound = ImportanceBound::new();
    for &log_weight in log_weights {
        bound.push(log_weight)?;
    }
    bound.value().ok_or(VaeError::OutOfRange {
        what: "importance samples",
        found: 0.0,
        expected: "at least 1",
    })
}

/// Bits per dimension of a frame from the log-density of its normalised tensor.
///
/// The tensor is t = (v − mean_c)/std_c with v = level/(levels − 1), so a step of one grey level is
/// 1/((levels − 1)·std_c) in t, and the density in units of levels is
/// log p(levels) = log p(t) − (D/C) Σ_c ln std_c − D·ln(levels − 1). Returned is
/// −log p(levels)/(D·ln 2), where D = `dimensions` and C = `std.len()`. As the density of a level
/// stands for its probability, compare with other models only where the input was dequantised by
/// uniform noise of one level (Theis et al. 2016, section 3.1).
///
/// # Errors
/// No dimension, or not a multiple of the channels; a `std` not positive and finite; fewer than
/// two levels; a log-likelihood that is NaN.
pub fn bits_per_dimension(
    log_likelihood: f64,
    dimensions: usize,
    std: &[f32],
    levels: u32,
) -> Result<f64, VaeError> {
    check_dimensions(dimensions)?;
    if std.is_empty() || !dimensions.is_multiple_of(std.len()) {
        return Err(VaeError::OutOfRange {
            what: "channels of the normalisation",
            found: std.len() as f64,
            expected: "a divisor of the number of dimensions",
        });
    }
    if levels < 2 {
        return Err(VaeError::OutOfRange {
            what: "quantisation levels",
            found: f64::from(levels),
            expected: "at least 2",
        });
    }
    let mut log_std = 0.0;
    for &std in std {
        if !(std > 0.0 && std.is_finite()) {
            return Err(VaeError::OutOfRange {
                what: "std of the normalisation",
                found: f64::from(std),
                expected: "a positive, finite number",
            });
        }
        log_std += f64::from(std).ln();
    }
    let log_std = log_std / std.len() as f64;
    let per_dimension = not_nan("log-likelihood", log_likelihood)? / dimensions as f64;
    let log_density = per_dimension - log_std - f64::from(levels - 1).ln();
    Ok(-log_density / std::f64::consts::LN_2)
}

/// Bits per dimension of a Bernoulli model: −log p(x)/(D·ln 2), for its log-likelihood is a
/// log-probability already.
///
/// # Errors
/// No dimension; a log-likelihood that is NaN.
pub fn bits_per_dimension_bernoulli(
    log_likelihood: f64,
    dimensions: usize,
) -> Result<f64, VaeError> {
    check_dimensions(dimensions)?;
    let nats = -not_nan("log-likelihood", log_likelihood)?;
    Ok(nats / (dimensions as f64 * std::f64::consts::LN_2))
}

fn check_dimensions(dimensions: usize) -> Result<(), VaeError> {
    if dimensions == 0 {
        return Err(VaeError::OutOfRange {
            what: "dimensions of the tensor",
            found: 0.0,
            expected: "at least 1",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;
    use crate::vae::{
        Posterior, gaussian_log_likelihood_fixed, kl_standard_normal, standard_normal_log_density,
    };

    /// z ~ N(0, 1), x|z ~ N(A·z + B, S²): log p(x) and p(z|x) are known.
    const A: f64 = 0.8;
    const B: f64 = -0.3;
    const S: f32 = 0.5;
    const X: f32 = 1.1;

    fn log_marginal() -> f64 {
        let variance = A * A + f64::from(S).powi(2);
        -0.5 * ((TAU * variance).ln() + (f64::from(X) - B).powi(2) / variance)
    }

    fn exact_posterior() -> (f32, f32) {
        let precision = 1.0 + A * A / f64::from(S).powi(2);
        let mean = A * (f64::from(X) - B) / f64::from(S).powi(2) / precision;
        (mean as f32, -precision.ln() as f32)
    }

    fn log_likelihood(z: f32) -> f64 {
        let mean = (A * f64::from(z) + B) as f32;
        gaussian_log_likelihood_fixed(&[X], &[mean], S).unwrap()
    }

    fn log_weights(mean: f32, log_variance: f32, samples: usize, seed: u64) -> Vec<f64> {
        let mut rng = Pcg64::seed_from_u64(seed);
        let (mean, log_variance) = ([mean], [log_variance]);
        let posterior = Posterior::new(&mean, &log_variance).unwrap();
        (0..samples)
            .map(|_| {
                let mut z = [0.0];
                posterior.sample_into(&mut rng, &mut z).unwrap();
                importance_log_weight(log_likelihood(z[0]), &z, &mean, &log_variance).unwrap()
            })
            .collect()
    }

    /// E_q[log p(x|z)] of the Gaussian model, in closed form.
    fn expected_log_likelihood(mean: f64, log_variance: f64) -> f64 {
        let variance = f64::from(S).powi(2);
        let difference = f64::from(X) - A * mean - B;
        -0.5 * ((TAU * variance).ln()
            + (difference * difference + A * A * log_variance.exp()) / variance)
    }

    #[test]
    fn elbo_is_below_the_marginal_and_equal_at_the_exact_posterior() {
        let bound = |mean: f32, log_variance: f32| {
            elbo(
                expected_log_likelihood(mean.into(), log_variance.into()),
                kl_standard_normal(&[mean], &[log_variance]).unwrap(),
            )
        };
        let (mean, log_variance) = exact_posterior();
        assert!((bound(mean, log_variance) - log_marginal()).abs() < 1e-9);
        for (mean, log_variance) in [(0.0, 0.0), (mean, 0.0), (mean + 0.1, log_variance)] {
            assert!(bound(mean, log_variance) < log_marginal() - 1e-3);
        }
    }

    #[test]
    fn the_exact_posterior_gives_the_marginal_for_every_number_of_samples() {
        let (mean, log_variance) = exact_posterior();
        let weights = log_weights(mean, log_variance, 64, 11);
        for k in 1..=64 {
            let bound = importance_weighted_bound(&weights[..k]).unwrap();
            assert!((bound - log_marginal()).abs() < 1e-5, "{k}: {bound}");
        }
    }

    #[test]
    fn a_wrong_posterior_converges_from_below() {
        // Wider than the exact posterior, so the weights are bounded.
        let weights = log_weights(0.6, -0.2, 200_000, 5);
        let mean_of_bounds = |k: usize| {
            let bounds: Vec<f64> = weights
                .chunks_exact(k)
                .map(|weights| importance_weighted_bound(weights).unwrap())
                .collect();
            bounds.iter().sum::<f64>() / bounds.len() as f64
        };
        let (one, ten, thousand) = (mean_of_bounds(1), mean_of_bounds(10), mean_of_bounds(1000));
        let elbo = expected_log_likelihood(0.6, f64::from(-0.2f32))
            - kl_standard_normal(&[0.6], &[-0.2]).unwrap();
        assert!((one - elbo).abs() < 0.02, "{one} {elbo}");
        assert!(one < ten && ten < thousand, "{one} {ten} {thousand}");

        let mut all = ImportanceBound::new();
        for weight in weights {
            all.push(weight).unwrap();
        }
        // By the delta method the standard error of the logarithm is √(1/ESS − 1/K).
        let error = (1.0 / all.effective_sample_size() - 1.0 / 200_000.0).sqrt();
        let difference = all.value().unwrap() - log_marginal();
        assert!(
            error < 3e-3 && difference.abs() < 3.0 * error,
            "{difference} {error}"
        );
        // The bias of the bound is about half the variance of one weight over K.
        assert!(
            (thousand - log_marginal()).abs() < 5.0 * error,
            "{thousand}"
        );
    }

    #[test]
    fn the_weight_is_the_sum_of_its_three_densities() {
        let (z, mean, log_variance) = ([0.3f32, -1.2], [0.1f32, 0.4], [-0.5f32, 0.7]);
        let direct = -12.5 + standard_normal_log_density(&z).unwrap()
            - Posterior::new(&mean, &log_variance)
                .unwrap()
                .log_density(&z)
                .unwrap();
        let found = importance_log_weight(-12.5, &z, &mean, &log_variance).unwrap();
        assert!((found - direct).abs() < 1e-12);
    }

    #[test]
    fn streaming_is_the_direct_sum() {
        let weights = [0.3, -1.0, 2.5, -7.0, 2.4, 0.0];
        let direct = (weights.iter().map(|w: &f64| w.exp()).sum::<f64>() / 6.0).ln();
        assert!((importance_weighted_bound(&weights).unwrap() - direct).abs() < 1e-14);

        let mut bound = ImportanceBound::new();
        for weight in weights {
            bound.push(weight).unwrap();
        }
        let sum: f64 = weights.iter().map(|w| w.exp()).sum();
        let squares: f64 = weights.iter().map(|w| (2.0 * w).exp()).sum();
        assert_eq!(bound.count(), 6);
        assert!((bound.effective_sample_size() - sum * sum / squares).abs() < 1e-12);
    }

    #[test]
    fn huge_and_empty_weights_are_stable() {
        // log ½(e^(−1e6) + e^(−1e6 + 1)) = −1e6 + log ½(1 + e).
        let found = importance_weighted_bound(&[-1e6, -1e6 + 1.0]).unwrap();
        let expected = -1e6 + (0.5 * (1.0 + 1f64.exp())).ln();
        assert!((found - expected).abs() < 1e-9, "{found}");

        let infinite = f64::NEG_INFINITY;
        let found = importance_weighted_bound(&[infinite, -2e5, infinite, infinite]).unwrap();
        assert!((found - (-2e5 - 4f64.ln())).abs() < 1e-9, "{found}");
        assert_eq!(
            importance_weighted_bound(&[infinite; 3]).unwrap(),
            f64::NEG_INFINITY
        );

        let mut bound = ImportanceBound::new();
        assert_eq!(bound.value(), None);
        assert_eq!(bound.effective_sample_size(), 0.0);
        for _ in 0..8 {
            bound.push(-900.0).unwrap();
        }
        assert!((bound.effective_sample_size() - 8.0).abs() < 1e-12);
        assert!(bound.push(f64::NAN).is_err());
        assert!(bound.push(f64::INFINITY).is_err());
        assert_eq!(bound.count(), 8);
        assert!(importance_weighted_bound(&[]).is_err());
    }

    #[test]
    fn equal_probability_of_all_levels_is_eight_bits() {
        // 256 bins of width 1/255 in v, so 256/(255·std) in the tensor; the density is its inverse.
        let (std, pixels) = ([0.25f32, 0.5, 2.0], 10);
        let log_density: f64 = std
            .iter()
            .map(|&std| f64::from(pixels) * (255.0 * f64::from(std) / 256.0).ln())
            .sum();
        let found = bits_per_dimension(log_density, 30, &std, 256).unwrap();
        assert!((found - 8.0).abs() < 1e-12, "{found}");
        let fair_coins = 784.0 * 0.5f64.ln();
        assert!((bits_per_dimension_bernoulli(fair_coins, 784).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_loss_is_the_negative_elbo_for_beta_one() {
        assert_eq!(beta_vae_loss(-80.0, 25.0, 1.0), -elbo(-80.0, 25.0));
        assert_eq!(beta_vae_loss(-80.0, 25.0, 4.0), 180.0);
    }

    #[test]
    fn impossible_dimensions_are_refused() {
        assert!(bits_per_dimension(-1.0, 0, &[1.0], 256).is_err());
        assert!(bits_per_dimension(-1.0, 10, &[1.0; 3], 256).is_err());
        assert!(bits_per_dimension(-1.0, 10, &[], 256).is_err());
        assert!(bits_per_dimension(-1.0, 10, &[0.0], 256).is_err());
        assert!(bits_per_dimension(-1.0, 10, &[1.0], 1).is_err());
        assert!(bits_per_dimension(f64::NAN, 10, &[1.0], 256).is_err());
        assert!(bits_per_dimension_bernoulli(-1.0, 0).is_err());
    }
}
