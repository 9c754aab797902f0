//! q(z|x) of one frame, and seeded samples from it and from the prior.

use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::{VaeError, check_length, gaussian_log_likelihood, kl_standard_normal};

/// The posterior q(z|x) = N(mean, diag(exp(log_variance))) of one frame, over the encoder's
/// outputs: `L` or `L×h×w` values each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior<'a> {
    mean: &'a [f32],
    log_variance: &'a [f32],
}

impl<'a> Posterior<'a> {
    /// Joins the encoder's two outputs for one frame.
    ///
    /// # Errors
    /// Slices of different lengths; NaN or an infinity in either.
    pub fn new(mean: &'a [f32], log_variance: &'a [f32]) -> Result<Self, VaeError> {
        check_length(
            "log-variance of the posterior",
            log_variance.len(),
            mean.len(),
        )?;
        for (what, values) in [
            ("posterior mean", mean),
            ("log-variance of the posterior", log_variance),
        ] {
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(VaeError::NotFinite {
                    what,
                    found: f64::from(*value),
                });
            }
        }
        Ok(Self { mean, log_variance })
    }

    /// Number of latent dimensions.
    pub fn dimensions(&self) -> usize {
        self.mean.len()
    }

    /// Posterior mean μ.
    pub fn mean(&self) -> &'a [f32] {
        self.mean
    }

    /// log σ².
    pub fn log_variance(&self) -> &'a [f32] {
        self.log_variance
    }

    /// σ² = exp(log σ²) of each dimension.
    pub fn variance(&self) -> impl ExactSizeIterator<Item = f32> + 'a {
        self.log_variance
            .iter()
            .map(|&log_variance| f64::from(log_variance).exp() as f32)
    }

    /// Standard deviation σ = exp(½ log σ²) of each dimension.
    pub fn standard_deviation(&self) -> impl ExactSizeIterator<Item = f32> + 'a {
        self.log_variance
            .iter()
            .map(|&log_variance| deviation(log_variance) as f32)
    }

    /// Draws z = μ + σ·ε with ε ~ N(0, I) (the reparameterisation of Kingma & Welling 2014,
    /// section 2.4) into `z`. The same state of `rng` gives the same bits.
    ///
    /// # Errors
    /// `z` of another length.
    pub fn sample_into(&self, rng: &mut Pcg64, z: &mut [f32]) -> Result<(), VaeError> {
        check_length("sample of the posterior", z.len(), self.mean.len())?;
        for ((z, &mean), &log_variance) in z.iter_mut().zip(self.mean).zip(self.log_variance) {
            let noise: f64 = StandardNormal.sample(rng);
            *z = (f64::from(mean) + deviation(log_variance) * noise) as f32;
        }
        Ok(())
    }

    /// log q(z|x) in nats.
    ///
    /// # Errors
    /// `z` of another length; NaN in it.
    pub fn log_density(&self, z: &[f32]) -> Result<f64, VaeError> {
        gaussian_log_likelihood(z, self.mean, self.log_variance)
    }

    /// KL(q(z|x) ‖ N(0, I)) in nats.
    ///
    /// # Errors
    /// None for values that [`Posterior::new`] let in, unless the variance overflows `f64`.
    pub fn kl(&self) -> Result<f64, VaeError> {
        kl_standard_normal(self.mean, self.log_variance)
    }
}

/// Draws z ~ N(0, I), the prior, into `z`. The same state of `rng` gives the same bits.
pub fn sample_prior(rng: &mut Pcg64, z: &mut [f32]) {
    for z in z {
        let noise: f64 = StandardNormal.sample(rng);
        *z = noise as f32;
    }
}

fn deviation(log_variance: f32) -> f64 {
    (0.5 * f64::from(log_variance)).exp()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Mean, variance and fourth central moment.
    fn moments(values: &[f32]) -> (f64, f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let central = |power| {
            values
                .iter()
                .map(|&v| (f64::from(v) - mean).powi(power))
                .sum::<f64>()
                / n
        };
        (mean, central(2), central(4))
    }

    #[test]
    fn variance_and_deviation_follow_from_the_log_variance() {
        let log_variance = [0.0, 4.0f32.ln(), 0.25f32.ln()];
        let posterior = Posterior::new(&[1.0, 2.0, 3.0], &log_variance).unwrap();
        for (found, expected) in posterior.variance().zip([1.0, 4.0, 0.25]) {
            assert!((found / expected - 1.0f32).abs() < 1e-6);
        }
        for (found, expected) in posterior.standard_deviation().zip([1.0, 2.0, 0.5]) {
            assert!((found / expected - 1.0f32).abs() < 1e-6);
        }
    }

    #[test]
    fn samples_have_the_moments_of_the_posterior() {
        const N: usize = 40_000;
        let mut rng = Pcg64::seed_from_u64(7);
        let (mean, log_variance) = (vec![1.5f32; N], vec![2.0 * 0.3f32.ln(); N]);
        let mut z = vec![0.0; N];
        Posterior::new(&mean, &log_variance)
            .unwrap()
            .sample_into(&mut rng, &mut z)
            .unwrap();
        let (found_mean, found_variance, fourth) = moments(&z);
        // Four standard errors: σ/√n for the mean, σ²√(2/n) for the variance, σ⁴√(96/n) for the
        // fourth moment.
        let root = (N as f64).sqrt();
        assert!((found_mean - 1.5).abs() < 4.0 * 0.3 / root);
        assert!((found_variance / 0.09 - 1.0).abs() < 4.0 * 2f64.sqrt() / root);
        assert!((fourth / 0.0081 - 3.0).abs() < 4.0 * 96f64.sqrt() / root);

        sample_prior(&mut rng, &mut z);
        let (found_mean, found_variance, fourth) = moments(&z);
        assert!(found_mean.abs() < 4.0 / root);
        assert!((found_variance - 1.0).abs() < 4.0 * 2f64.sqrt() / root);
        assert!((fourth - 3.0).abs() < 4.0 * 96f64.sqrt() / root);
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let draw = |seed| {
            let mut rng = Pcg64::seed_from_u64(seed);
            let mut z = [0.0f32; 16];
            Posterior::new(&[0.5; 16], &[-1.0; 16])
                .unwrap()
                .sample_into(&mut rng, &mut z)
                .unwrap();
            z.map(f32::to_bits)
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn a_sample_of_no_variance_is_the_mean() {
        let mut z = [0.0f32; 2];
        Posterior::new(&[0.25, -3.0], &[-200.0; 2])
            .unwrap()
            .sample_into(&mut Pcg64::seed_from_u64(1), &mut z)
            .unwrap();
        assert_eq!(z, [0.25, -3.0]);
    }

    #[test]
    fn unusable_values_are_refused() {
        assert!(matches!(
            Posterior::new(&[0.0; 3], &[0.0; 2]),
            Err(VaeError::Length { .. })
        ));
        assert!(matches!(
            Posterior::new(&[0.0], &[f32::INFINITY]),
            Err(VaeError::NotFinite { .. })
        ));
        assert!(matches!(
            Posterior::new(&[f32::NAN], &[0.0]),
            Err(VaeError::NotFinite { .. })
        ));
        let posterior = Posterior::new(&[0.0; 2], &[0.0; 2]).unwrap();
        assert!(
            posterior
                .sample_into(&mut Pcg64::seed_from_u64(0), &mut [0.0; 3])
                .is_err()
        );
    }
}
