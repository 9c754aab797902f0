//! A score map from each score source, neither smoothed nor standardised.

use crate::{
    model::{
        INPUT, LOG_VARIANCE, LOGITS, MEAN, ModelOutputs, RECONSTRUCTION,
        RECONSTRUCTION_LOG_VARIANCE, TensorShapes,
    },
    vae::{
        Latent, Likelihood, VaeSpec, bernoulli_log_likelihood_map,
        gaussian_log_likelihood_fixed_map, gaussian_log_likelihood_map,
        kl_standard_normal_per_dimension,
    },
    value::check_length,
};

use super::{ResidualMap, ScoreSource, ScoringError};

/// Computes the map of one source.
#[derive(Clone, Debug)]
pub struct ScoreMap {
    source: ScoreSource,
    shape: [usize; 2],
    made_of: MadeOf,
}

/// What a map is computed from, with all buffers.
#[derive(Clone, Debug)]
enum MadeOf {
    Residual(ResidualMap),
    Likelihood {
        likelihood: Likelihood,
        /// A value for each element of the tensor.
        elements: Vec<f32>,
        divergence: DivergenceMap,
    },
    Divergence(DivergenceMap),
    Tensor(String),
}

impl ScoreMap {
    /// For the tensors that a model's graphs make, and its VAE where it has one.
    ///
    /// # Errors
    /// A tensor that is not there or has several channels, what [`ResidualMap::new`] refuses, and
    /// what only a VAE makes of a model without one.
    pub fn new(
        source: &ScoreSource,
        vae: Option<&VaeSpec>,
        tensors: &TensorShapes,
    ) -> Result<Self, ScoringError> {
        let missing = |tensor: &str| ScoringError::MissingTensor {
            tensor: tensor.to_owned(),
        };
        let vae = vae.ok_or_else(|| missing(RECONSTRUCTION));
        let (shape, made_of) = match source {
            ScoreSource::Residual => {
                let vae = vae?;
                let residual = MadeOf::Residual(ResidualMap::new(vae)?);
                ([vae.height, vae.width], residual)
            }
            ScoreSource::Likelihood => {
                let vae = vae?;
                let likelihood = MadeOf::Likelihood {
                    likelihood: vae.likelihood,
                    elements: vec![0.0; vae.dimensions()],
                    divergence: DivergenceMap::new(vae.latent),
                };
                ([vae.height, vae.width], likelihood)
            }
            ScoreSource::Divergence => {
                let divergence = DivergenceMap::new(vae?.latent);
                (divergence.positions, MadeOf::Divergence(divergence))
            }
            ScoreSource::Tensor(name) => match tensors.get(name) {
                Some(&[1, height, width]) => ([height, width], MadeOf::Tensor(name.to_string())),
                Some(shape) => {
                    return Err(ScoringError::NoMap {
                        tensor: name.to_string(),
                        shape: shape.to_vec(),
                    });
                }
                None => return Err(missing(name)),
            },
        };
        Ok(Self {
            source: source.clone(),
            shape,
            made_of,
        })
    }

    /// The source.
    pub fn source(&self) -> &ScoreSource {
        &self.source
    }

    /// Rows and columns of the map.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Computes the map into `map` (`h×w` of [`ScoreMap::shape`]). Allocates nothing.
    ///
    /// # Errors
    /// A slice of another length; a likelihood that is not a number. NaN in a residual makes NaN in
    /// the map, which no score is then made of.
    pub fn compute(&mut self, outputs: &ModelOutputs, map: &mut [f32]) -> Result<(), ScoringError> {
        check_length("anomaly map", map.len(), self.shape[0] * self.shape[1])?;
        match &mut self.made_of {
            MadeOf::Residual(residual) => Ok(residual.compute(
                outputs.values(INPUT),
                outputs.values(RECONSTRUCTION),
                outputs.values(RECONSTRUCTION_LOG_VARIANCE),
                map,
            )?),
            MadeOf::Likelihood {
                likelihood,
                elements,
                divergence,
            } => {
                map.fill(0.0);
                add_likelihood(*likelihood, outputs, elements, map)?;
                divergence.add_to(outputs, map, self.shape)
            }
            MadeOf::Divergence(divergence) => {
                map.fill(0.0);
                divergence.add_to(outputs, map, self.shape)
            }
            MadeOf::Tensor(name) => {
                let values = outputs.values(name);
                check_length("tensor that is a score map", values.len(), map.len())?;
                map.copy_from_slice(values);
                Ok(())
            }
        }
    }
}

/// Subtracts the log-likelihood of each position, the sum over channels, from `map`; `elements` has
/// room for a value of each element of the tensor.
fn add_likelihood(
    likelihood: Likelihood,
    outputs: &ModelOutputs,
    elements: &mut [f32],
    map: &mut [f32],
) -> Result<(), ScoringError> {
    let x = outputs.values(INPUT);
    check_length("input", x.len(), elements.len())?;
    match likelihood {
        Likelihood::Gaussian { sigma } => {
            gaussian_log_likelihood_fixed_map(x, outputs.values(RECONSTRUCTION), sigma, elements)
        }
        Likelihood::GaussianLearned => gaussian_log_likelihood_map(
            x,
            outputs.values(RECONSTRUCTION),
            outputs.values(RECONSTRUCTION_LOG_VARIANCE),
            elements,
        ),
        Likelihood::Bernoulli => bernoulli_log_likelihood_map(x, outputs.values(LOGITS), elements),
    }?;
    for plane in elements.chunks_exact(map.len()) {
        for (value, log_likelihood) in map.iter_mut().zip(plane) {
            *value -= log_likelihood;
        }
    }
    Ok(())
}

/// The KL divergence of each latent position.
#[derive(Clone, Debug)]
struct DivergenceMap {
    /// Rows and columns of the latent.
    positions: [usize; 2],
    /// A value for each latent dimension.
    latents: Vec<f64>,
}

impl DivergenceMap {
    fn new(latent: Latent) -> Self {
        Self {
            positions: match latent {
                Latent::Vector { .. } => [1, 1],
                Latent::Map { height, width, .. } => [height, width],
            },
            latents: vec![0.0; latent.dimensions()],
        }
    }

    /// Adds it to a map of another size, spread evenly over the part that a position covers.
    fn add_to(
        &mut self,
        outputs: &ModelOutputs,
        map: &mut [f32],
        [height, width]: [usize; 2],
    ) -> Result<(), ScoringError> {
        let (mean, log_variance) = (outputs.values(MEAN), outputs.values(LOG_VARIANCE));
        check_length("posterior mean", mean.len(), self.latents.len())?;
        kl_standard_normal_per_dimension(mean, log_variance, &mut self.latents)?;
        let [rows, columns] = self.positions;
        let positions = rows * columns;
        for position in 0..positions {
            let divergence: f64 = self.latents.iter().skip(position).step_by(positions).sum();
            // Cells of the map whose centre lies in the latent position's part.
            let part = |index: usize, of: usize, side: usize| {
                index * side / of
                    ..((index + 1) * side / of)
                        .max(index * side / of + 1)
                        .min(side)
            };
            let vertical = part(position / columns, rows, height);
            let horizontal = part(position % columns, columns, width);
            let share = (divergence / (vertical.len() * horizontal.len()) as f64) as f32;
            for y in vertical {
                for value in &mut map[y * width..][horizontal.clone()] {
                    *value += share;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tensor;
    use crate::vae::{bernoulli_log_likelihood, gaussian_log_likelihood, kl_standard_normal};

    fn spec(likelihood: Likelihood) -> VaeSpec {
        VaeSpec {
            channels: 2,
            height: 4,
            width: 6,
            latent: Latent::Map {
                channels: 3,
                height: 2,
                width: 2,
            },
            likelihood,
        }
    }

    fn values(count: usize, scale: f32) -> Vec<f32> {
        (0..count)
            .map(|i| scale * ((i * 37 % 19) as f32 / 19.0))
            .collect()
    }

    fn tensor<'a>(name: &'a str, shape: &'a [usize], values: &'a [f32]) -> (&'a str, Tensor<'a>) {
        (name, Tensor { shape, values })
    }

    fn score_map(source: &ScoreSource, spec: &VaeSpec) -> ScoreMap {
        ScoreMap::new(source, Some(spec), &TensorShapes::default()).unwrap()
    }

    #[test]
    fn the_likelihood_map_sums_to_the_negative_elbo() {
        let (x, location, spread) = (values(48, 1.0), values(48, 1.3), values(48, -0.7));
        let (mean, log_variance) = (values(12, 2.0), values(12, -1.0));
        let tensors = [
            tensor(INPUT, &[2, 4, 6], &x),
            tensor(MEAN, &[3, 2, 2], &mean),
            tensor(LOG_VARIANCE, &[3, 2, 2], &log_variance),
            tensor(RECONSTRUCTION, &[2, 4, 6], &location),
            tensor(LOGITS, &[2, 4, 6], &location),
            tensor(RECONSTRUCTION_LOG_VARIANCE, &[2, 4, 6], &spread),
        ];
        let outputs = ModelOutputs::of(&tensors);
        let divergence = kl_standard_normal(&mean, &log_variance).unwrap();
        for (likelihood, log_likelihood) in [
            (
                Likelihood::GaussianLearned,
                gaussian_log_likelihood(&x, &location, &spread).unwrap(),
            ),
            (
                Likelihood::Bernoulli,
                bernoulli_log_likelihood(&x, &location).unwrap(),
            ),
        ] {
            let spec = spec(likelihood);
            let mut likelihood = score_map(&ScoreSource::Likelihood, &spec);
            let mut map = vec![f32::NAN; 24];
            likelihood.compute(&outputs, &mut map).unwrap();
            let sum: f64 = map.iter().map(|&v| f64::from(v)).sum();
            assert!((sum - (divergence - log_likelihood)).abs() < 1e-4, "{sum}");
        }
    }

    #[test]
    fn divergence_lies_where_its_latents_are() {
        let spec = spec(Likelihood::Gaussian { sigma: 1.0 });
        let mut latent = score_map(&ScoreSource::Divergence, &spec);
        assert_eq!(latent.shape(), [2, 2]);
        let mut mean = [0.0; 12];
        // Channel 1 of the upper right position: KL = mean²/2.
        mean[4 + 1] = 2.0;
        let tensors = [
            tensor(MEAN, &[3, 2, 2], &mean),
            tensor(LOG_VARIANCE, &[3, 2, 2], &[0.0; 12]),
            tensor(INPUT, &[2, 4, 6], &[0.5; 48]),
            tensor(RECONSTRUCTION, &[2, 4, 6], &[0.5; 48]),
        ];
        let outputs = ModelOutputs::of(&tensors);
        let mut map = [f32::NAN; 4];
        latent.compute(&outputs, &mut map).unwrap();
        assert_eq!(map, [0.0, 2.0, 0.0, 0.0]);

        let mut spread = score_map(&ScoreSource::Likelihood, &spec);
        let mut map = [f32::NAN; 24];
        spread.compute(&outputs, &mut map).unwrap();
        let constant = std::f32::consts::TAU.ln();
        for (place, value) in map.iter().enumerate() {
            let inside = place / 6 < 2 && place % 6 >= 3;
            let expected = constant + if inside { 2.0 / 6.0 } else { 0.0 };
            assert!((value - expected).abs() < 1e-6, "{place}: {value}");
        }
    }

    #[test]
    fn tensors_of_graphs_are_taken_as_they_are() {
        let spec = spec(Likelihood::GaussianLearned);
        let head = ScoreSource::tensor("head_logits");
        let shapes = TensorShapes::from_iter([("head_logits", [1, 2, 3]), ("maps", [2, 2, 3])]);
        let mut score_map = ScoreMap::new(&head, None, &shapes).unwrap();
        let mut map = [0.0; 6];
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let tensors = [tensor("head_logits", &[1, 2, 3], &values)];
        score_map
            .compute(&ModelOutputs::of(&tensors), &mut map)
            .unwrap();
        assert_eq!(map, values);
        let none = ModelOutputs::of(&[]);
        assert!(score_map.compute(&none, &mut map).is_err());
        for (name, problem) in [("distance", "no graph"), ("maps", "2×2×3")] {
            let refused = ScoreMap::new(&ScoreSource::tensor(name), Some(&spec), &shapes);
            let message = refused.unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains(problem),
                "{message}"
            );
        }
    }
}
