//! A score map from each score source, neither smoothed nor standardised.

use crate::{
    model::{GraphShapes, ModelOutputs},
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
    spec: VaeSpec,
    shape: [usize; 2],
    residual: ResidualMap,
    /// A value for each element of the tensor.
    elements: Vec<f32>,
    /// A value for each latent dimension.
    latents: Vec<f64>,
}

impl ScoreMap {
    /// For the frames of `spec`.
    ///
    /// # Errors
    /// A source whose graph is not there, and what [`ResidualMap::new`] refuses.
    pub fn new(
        source: ScoreSource,
        spec: &VaeSpec,
        graphs: GraphShapes,
    ) -> Result<Self, ScoringError> {
        let residual = ResidualMap::new(spec)?;
        let made = |shape: Option<[usize; 2]>, tensor| {
            shape.ok_or(ScoringError::MissingTensor {
                source_name: source.name(),
                tensor,
            })
        };
        let shape = match source {
            ScoreSource::Residual | ScoreSource::Likelihood => [spec.height, spec.width],
            ScoreSource::Latent => latent_positions(spec),
            ScoreSource::Head => made(graphs.head, "head_logits")?,
            ScoreSource::Features => made(graphs.distance, "distance")?,
            ScoreSource::Details => made(graphs.detail_distance, "detail_distance")?,
            ScoreSource::Reconstruction => {
                made(graphs.reconstruction_distance, "reconstruction_distance")?
            }
        };
        let (elements, latents) = match source {
            ScoreSource::Likelihood => (spec.dimensions(), spec.latent.dimensions()),
            ScoreSource::Latent => (0, spec.latent.dimensions()),
            ScoreSource::Residual
            | ScoreSource::Reconstruction
            | ScoreSource::Head
            | ScoreSource::Features
            | ScoreSource::Details => (0, 0),
        };
        Ok(Self {
            source,
            spec: spec.clone(),
            shape,
            residual,
            elements: vec![0.0; elements],
            latents: vec![0.0; latents],
        })
    }

    /// The source.
    pub fn source(&self) -> ScoreSource {
        self.source
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
        match self.source {
            ScoreSource::Residual => Ok(self.residual.compute(
                outputs.input,
                outputs.reconstruction,
                outputs.reconstruction_log_variance,
                map,
            )?),
            ScoreSource::Likelihood => {
                map.fill(0.0);
                self.add_likelihood(outputs, map)?;
                self.add_divergence(outputs, map)
            }
            ScoreSource::Latent => {
                map.fill(0.0);
                self.add_divergence(outputs, map)
            }
            ScoreSource::Head => copy("logits of the head", outputs.head, map),
            ScoreSource::Features => copy("distances of the features", outputs.distance, map),
            ScoreSource::Details => copy(
                "distances of the finest features",
                outputs.detail_distance,
                map,
            ),
            ScoreSource::Reconstruction => copy(
                "distances of the residual",
                outputs.reconstruction_distance,
                map,
            ),
        }
    }

    fn add_likelihood(
        &mut self,
        outputs: &ModelOutputs,
        map: &mut [f32],
    ) -> Result<(), ScoringError> {
        let x = outputs.input;
        check_length("input", x.len(), self.elements.len())?;
        let out = &mut self.elements;
        match self.spec.likelihood {
            Likelihood::Gaussian { sigma } => {
                gaussian_log_likelihood_fixed_map(x, outputs.reconstruction, sigma, out)
            }
            Likelihood::GaussianLearned => gaussian_log_likelihood_map(
                x,
                outputs.reconstruction,
                outputs.reconstruction_log_variance,
                out,
            ),
            Likelihood::Bernoulli => bernoulli_log_likelihood_map(x, outputs.logits, out),
        }?;
        for plane in self.elements.chunks_exact(map.len()) {
            for (value, log_likelihood) in map.iter_mut().zip(plane) {
                *value -= log_likelihood;
            }
        }
        Ok(())
    }

    /// Adds the KL divergence of each latent position, spread evenly over the part of the map that
    /// it covers.
    fn add_divergence(
        &mut self,
        outputs: &ModelOutputs,
        map: &mut [f32],
    ) -> Result<(), ScoringError> {
        check_length("posterior mean", outputs.mean.len(), self.latents.len())?;
        kl_standard_normal_per_dimension(outputs.mean, outputs.log_variance, &mut self.latents)?;
        let [rows, columns] = latent_positions(&self.spec);
        let [height, width] = self.shape;
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

fn latent_positions(spec: &VaeSpec) -> [usize; 2] {
    match spec.latent {
        Latent::Vector { .. } => [1, 1],
        Latent::Map { height, width, .. } => [height, width],
    }
}

fn copy(what: &'static str, values: &[f32], map: &mut [f32]) -> Result<(), ScoringError> {
    check_length(what, values.len(), map.len())?;
    map.copy_from_slice(values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn the_likelihood_map_sums_to_the_negative_elbo() {
        let (x, location, spread) = (values(48, 1.0), values(48, 1.3), values(48, -0.7));
        let (mean, log_variance) = (values(12, 2.0), values(12, -1.0));
        let outputs = ModelOutputs {
            input: &x,
            mean: &mean,
            log_variance: &log_variance,
            reconstruction: &location,
            logits: &location,
            reconstruction_log_variance: &spread,
            ..ModelOutputs::default()
        };
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
            let mut score_map =
                ScoreMap::new(ScoreSource::Likelihood, &spec, GraphShapes::default()).unwrap();
            let mut map = vec![f32::NAN; 24];
            score_map.compute(&outputs, &mut map).unwrap();
            let sum: f64 = map.iter().map(|&v| f64::from(v)).sum();
            assert!((sum - (divergence - log_likelihood)).abs() < 1e-4, "{sum}");
        }
    }

    #[test]
    fn divergence_lies_where_its_latents_are() {
        let spec = spec(Likelihood::Gaussian { sigma: 1.0 });
        let mut latent = ScoreMap::new(ScoreSource::Latent, &spec, GraphShapes::default()).unwrap();
        assert_eq!(latent.shape(), [2, 2]);
        let mut mean = [0.0; 12];
        // Channel 1 of the upper right position: KL = mean²/2.
        mean[4 + 1] = 2.0;
        let outputs = ModelOutputs {
            mean: &mean,
            log_variance: &[0.0; 12],
            ..ModelOutputs::default()
        };
        let mut map = [f32::NAN; 4];
        latent.compute(&outputs, &mut map).unwrap();
        assert_eq!(map, [0.0, 2.0, 0.0, 0.0]);

        let picture = ModelOutputs {
            input: &[0.5; 48],
            reconstruction: &[0.5; 48],
            ..outputs
        };
        let mut spread =
            ScoreMap::new(ScoreSource::Likelihood, &spec, GraphShapes::default()).unwrap();
        let mut map = [f32::NAN; 24];
        spread.compute(&picture, &mut map).unwrap();
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
        let graphs = GraphShapes {
            head: Some([2, 3]),
            ..GraphShapes::default()
        };
        let mut head = ScoreMap::new(ScoreSource::Head, &spec, graphs).unwrap();
        let mut map = [0.0; 6];
        let outputs = ModelOutputs {
            head: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            ..ModelOutputs::default()
        };
        head.compute(&outputs, &mut map).unwrap();
        assert_eq!(map, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(head.compute(&ModelOutputs::default(), &mut map).is_err());
        let missing = ScoreMap::new(ScoreSource::Features, &spec, graphs).unwrap_err();
        assert!(missing.to_string().contains("`distance`"), "{missing}");
    }
}
