//! The residual of the reconstruction as a map, in units of the decoder's standard deviation.

use crate::vae::{Likelihood, VaeSpec};

use crate::value::{ValueError, check_length};

/// Variance added to p(1 − p) of a Bernoulli pixel: an error of 0.01, two or three of 256 grey
/// levels, is no more than one deviation where the decoder is certain, instead of infinitely many.
const BERNOULLI_VARIANCE_FLOOR: f32 = 1e-4;

/// Computes the residual map `H×W` of a frame, neither smoothed nor standardised.
///
/// a = mean over channels of |x − r|/σ, where r is the reconstruction and σ:
/// - Gaussian: the likelihood's fixed standard deviation;
/// - Gaussian with learned variance: exp(½·log-variance) of the decoder;
/// - Bernoulli: √(p(1 − p) + 10⁻⁴) with p = r, so that a is the magnitude of the Pearson residual.
#[derive(Clone, Debug)]
pub struct ResidualMap {
    likelihood: Likelihood,
    channels: usize,
    positions: usize,
}

impl ResidualMap {
    /// For frames of `spec`.
    ///
    /// # Errors
    /// A standard deviation of the likelihood outside of its domain; no channel or no pixel.
    pub fn new(spec: &VaeSpec) -> Result<Self, ValueError> {
        if let Likelihood::Gaussian { sigma } = spec.likelihood
            && !(sigma > 0.0 && sigma.is_finite())
        {
            return Err(ValueError::Setting {
                setting: "sigma of the likelihood",
                found: f64::from(sigma),
                expected: "a positive, finite standard deviation",
            });
        }
        if spec.dimensions() == 0 {
            return Err(ValueError::Setting {
                setting: "dimensions of the input",
                found: 0.0,
                expected: "at least one channel, row and column",
            });
        }
        Ok(Self {
            likelihood: spec.likelihood,
            channels: spec.channels,
            positions: spec.height * spec.width,
        })
    }

    /// Number of values of a map: H·W.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Computes the map of one frame into `map` (`H×W`) from the tensor `input` and the decoder's
    /// `reconstruction` and, for a learned variance only, `log_variance` (each `C×H×W`; any length
    /// will do where it is not used). Allocates nothing.
    ///
    /// NaN in the inputs makes NaN in the map, which no score is then made of.
    ///
    /// # Errors
    /// A slice of another length.
    pub fn compute(
        &self,
        input: &[f32],
        reconstruction: &[f32],
        log_variance: &[f32],
        map: &mut [f32],
    ) -> Result<(), ValueError> {
        let dimensions = self.channels * self.positions;
        check_length("input", input.len(), dimensions)?;
        check_length("reconstruction", reconstruction.len(), dimensions)?;
        check_length("anomaly map", map.len(), self.positions)?;
        match self.likelihood {
            Likelihood::Gaussian { sigma } => {
                let precision = 1.0 / sigma;
                self.mean_over_channels(map, |i| (input[i] - reconstruction[i]).abs() * precision);
            }
            Likelihood::GaussianLearned => {
                check_length(
                    "log-variance of the reconstruction",
                    log_variance.len(),
                    dimensions,
                )?;
                self.mean_over_channels(map, |i| {
                    (input[i] - reconstruction[i]).abs() * (-0.5 * log_variance[i]).exp()
                });
            }
            Likelihood::Bernoulli => self.mean_over_channels(map, |i| {
                let p = reconstruction[i];
                (input[i] - p).abs() / (p * (1.0 - p) + BERNOULLI_VARIANCE_FLOOR).sqrt()
            }),
        }
        Ok(())
    }

    fn mean_over_channels(&self, map: &mut [f32], residual: impl Fn(usize) -> f32) {
        let share = 1.0 / self.channels as f32;
        for (position, value) in map.iter_mut().enumerate() {
            *value = (0..self.channels)
                .map(|channel| residual(channel * self.positions + position))
                .sum::<f32>()
                * share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vae::Latent;

    fn spec(channels: usize, likelihood: Likelihood) -> VaeSpec {
        VaeSpec {
            channels,
            height: 1,
            width: 2,
            latent: Latent::Vector { length: 1 },
            likelihood,
        }
    }

    fn computed(spec: &VaeSpec, x: &[f32], r: &[f32], log_variance: &[f32]) -> [f32; 2] {
        let mut map = [f32::NAN; 2];
        ResidualMap::new(spec)
            .unwrap()
            .compute(x, r, log_variance, &mut map)
            .unwrap();
        map
    }

    fn assert_close(found: [f32; 2], expected: [f32; 2]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-5 * expected.max(1.0),
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn each_likelihood_has_its_own_unit() {
        let (x, r) = ([0.5, 0.25, 1.0, 0.0], [0.25, 0.75, 0.5, 0.0]);
        // Two channels: the residuals are (0.25, 0.5) and (0.5, 0).
        let fixed = spec(2, Likelihood::Gaussian { sigma: 0.25 });
        assert_close(computed(&fixed, &x, &r, &[]), [1.5, 1.0]);
        // Deviations 0.5, 2 and 0.1, 1.
        let log_variance = [0.5f32, 2.0, 0.1, 1.0].map(|deviation| 2.0 * deviation.ln());
        let learned = spec(2, Likelihood::GaussianLearned);
        assert_close(computed(&learned, &x, &r, &log_variance), [2.75, 0.125]);
        // p = 0.2: |1 − 0.2|/√(0.16 + 0.0001); p = 1: 0.01/√0.0001.
        let bernoulli = spec(1, Likelihood::Bernoulli);
        let map = computed(&bernoulli, &[1.0, 0.99], &[0.2, 1.0], &[]);
        assert_close(map, [1.999_375_3, 1.0]);
    }

    #[test]
    fn unusable_values_are_refused() {
        let learned = spec(1, Likelihood::GaussianLearned);
        let residual = ResidualMap::new(&learned).unwrap();
        let mut map = [0.0; 2];
        for (input, reconstruction, log_variance, positions) in
            [(1, 2, 2, 2), (2, 1, 2, 2), (2, 2, 0, 2), (2, 2, 2, 1)]
        {
            let result = residual.compute(
                &[0.0; 2][..input],
                &[0.0; 2][..reconstruction],
                &[0.0; 2][..log_variance],
                &mut map[..positions],
            );
            assert!(matches!(result, Err(ValueError::Length { .. })));
        }
        for sigma in [0.0, -1.0, f32::NAN] {
            assert!(ResidualMap::new(&spec(1, Likelihood::Gaussian { sigma })).is_err());
        }
        assert!(ResidualMap::new(&spec(0, Likelihood::Bernoulli)).is_err());
    }
}
