//! log p(x) of frames, estimated by importance samples of their posteriors.

use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::{
    Decoded, ImportanceBound, Likelihood, Posterior, Vae, VaeError, bernoulli, check_length, elbo,
    gaussian_log_likelihood, gaussian_log_likelihood_fixed,
};

/// What [`MarginalEstimator`] says of a frame, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarginalEstimate {
    /// Mean of log p(x|z) over the samples.
    pub reconstruction: f64,
    /// KL(q(z|x) ‖ p(z)), exact.
    pub kl: f64,
    /// The importance-weighted bound log 1/K Σ p(x|z) p(z)/q(z|x) on log p(x).
    pub log_likelihood: f64,
    /// [`ImportanceBound::effective_sample_size`], from 1 to K: far below K, the bound is loose.
    pub effective_sample_size: f64,
}

impl MarginalEstimate {
    /// The evidence lower bound: reconstruction − KL.
    pub fn elbo(&self) -> f64 {
        elbo(self.reconstruction, self.kl)
    }
}

/// Estimates log p(x) by the importance-weighted bound (Burda, Grosse & Salakhutdinov, Importance
/// Weighted Autoencoders, ICLR 2016, equation 8): with z₁ … z_K of the posterior q(z|x),
///
/// log p(x) ≥ E\[log 1/K Σₖ p(x|zₖ) p(zₖ)/q(zₖ|x)\],
///
/// which grows with K towards log p(x). The latents of several frames share the decoder's batches;
/// all buffers are kept from call to call.
pub struct MarginalEstimator {
    vae: Vae,
    dimensions: usize,
    latent: usize,
    /// `N×C×H×W`.
    inputs: Vec<f32>,
    /// `N×L`, as the next three.
    means: Vec<f32>,
    log_variances: Vec<f32>,
    deviations: Vec<f32>,
    latents: Vec<f32>,
    decoded: Decoded,
    states: Vec<FrameState>,
    /// For each latent of the batch, its frame in `states` and log p(z) − log q(z|x).
    filled: Vec<(usize, f64)>,
}

/// A frame that is being estimated.
struct FrameState {
    kl: f64,
    /// Σ log σ².
    log_variance: f64,
    /// Σ log p(x|z).
    sum: f64,
    bound: ImportanceBound,
}

impl MarginalEstimator {
    /// With a model of any batch size N, which is the number of latents decoded at once and the
    /// most frames of a call.
    pub fn new(vae: Vae) -> Self {
        let spec = vae.spec();
        let (dimensions, latent) = (spec.dimensions(), spec.latent.dimensions());
        let batch = vae.batch();
        Self {
            dimensions,
            latent,
            inputs: vec![0.0; batch * dimensions],
            means: vec![0.0; batch * latent],
            log_variances: vec![0.0; batch * latent],
            deviations: vec![0.0; batch * latent],
            latents: vec![0.0; batch * latent],
            decoded: Decoded::default(),
            states: Vec::with_capacity(batch),
            filled: Vec::with_capacity(batch),
            vae,
        }
    }

    /// Most frames of a call, N.
    pub fn batch(&self) -> usize {
        self.vae.batch()
    }

    /// Estimates `frames`, M×C×H×W with M ≤ N, each with `samples` latents (K, at least 1) drawn by
    /// its own of the M `generators`: what is found for a frame depends on no other, but for the
    /// rounding of the engine at another place of the batch.
    ///
    /// Under a Bernoulli likelihood the frames hold 0 and 1. Values between make it the customary
    /// cross-entropy, and the bound one of no probability.
    ///
    /// # Errors
    /// Frames of another length than M·C·H·W, more than N of them, no sample, values that are not
    /// finite, and failures of the engine.
    pub fn estimate(
        &mut self,
        frames: &[f32],
        samples: usize,
        generators: &mut [Pcg64],
    ) -> Result<Vec<MarginalEstimate>, VaeError> {
        let estimates = self.estimate_while(frames, samples, generators, |_| true)?;
        Ok(estimates.unwrap_or_default())
    }

    /// [`estimate`](Self::estimate) that can be watched and given up: `go_on` gets the number of
    /// latents of each batch that was decoded, and ends everything by `false`; then there is no
    /// estimate. What it says of the last batch does not matter.
    ///
    /// # Errors
    /// Those of [`estimate`](Self::estimate).
    pub fn estimate_while(
        &mut self,
        frames: &[f32],
        samples: usize,
        generators: &mut [Pcg64],
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<MarginalEstimate>>, VaeError> {
        let count = generators.len();
        if count > self.batch() {
            return Err(VaeError::OutOfRange {
                what: "frames of an estimate",
                found: count as f64,
                expected: "at most the model's batch size",
            });
        }
        if samples == 0 {
            return Err(VaeError::OutOfRange {
                what: "importance samples",
                found: 0.0,
                expected: "at least 1",
            });
        }
        check_length("frames", frames.len(), count * self.dimensions)?;
        self.states.clear();
        self.filled.clear();
        // What is left of an earlier call is encoded too, and nobody looks at it.
        self.inputs[..frames.len()].copy_from_slice(frames);
        self.encode(count)?;
        for (index, generator) in generators.iter_mut().enumerate() {
            for sample in 0..samples {
                self.draw(index, generator);
                let last = index + 1 == count && sample + 1 == samples;
                if self.filled.len() == self.batch() || last {
                    let decoded = self.decode()?;
                    if !go_on(decoded) && !last {
                        return Ok(None);
                    }
                }
            }
        }
        let estimates = self.states.iter().map(|state| MarginalEstimate {
            reconstruction: state.sum / samples as f64,
            kl: state.kl,
            // At least one sample was pushed.
            log_likelihood: state.bound.value().unwrap_or(f64::NEG_INFINITY),
            effective_sample_size: state.bound.effective_sample_size(),
        });
        Ok(Some(estimates.collect()))
    }

    /// Posteriors of the first `count` rows of `inputs`.
    fn encode(&mut self, count: usize) -> Result<(), VaeError> {
        if count == 0 {
            return Ok(());
        }
        self.vae
            .encode_into(&self.inputs, &mut self.means, &mut self.log_variances)?;
        for index in 0..count {
            let row = index * self.latent..(index + 1) * self.latent;
            let posterior =
                Posterior::new(&self.means[row.clone()], &self.log_variances[row.clone()])?;
            let log_variance = posterior.log_variance().iter().copied().map(f64::from);
            self.states.push(FrameState {
                kl: posterior.kl()?,
                log_variance: log_variance.sum(),
                sum: 0.0,
                bound: ImportanceBound::new(),
            });
            for (slot, deviation) in self.deviations[row]
                .iter_mut()
                .zip(posterior.standard_deviation())
            {
                *slot = deviation;
            }
        }
        Ok(())
    }

    /// Draws z = μ + σ·ε of the frame at `index` into the next row of `latents`, and keeps
    /// log p(z) − log q(z|x) = ½ Σ (ε² + log σ² − z²), in which (2π)^(L/2) cancels.
    fn draw(&mut self, index: usize, generator: &mut Pcg64) {
        let row = index * self.latent..(index + 1) * self.latent;
        let target = self.filled.len() * self.latent;
        let latents = &mut self.latents[target..target + self.latent];
        let mut squares = 0.0_f64;
        for ((z, &mean), &deviation) in latents
            .iter_mut()
            .zip(&self.means[row.clone()])
            .zip(&self.deviations[row])
        {
            let noise: f64 = StandardNormal.sample(generator);
            let value = f64::from(mean) + f64::from(deviation) * noise;
            squares += noise * noise - value * value;
            *z = value as f32;
        }
        let log_ratio = 0.5 * (squares + self.states[index].log_variance);
        self.filled.push((index, log_ratio));
    }

    /// Decodes the filled rows, adds their weights to their frames, and returns their number.
    fn decode(&mut self) -> Result<usize, VaeError> {
        self.vae.decode_into(&self.latents, &mut self.decoded)?;
        let size = self.dimensions;
        for (slot, &(index, log_ratio)) in self.filled.iter().enumerate() {
            let row = slot * size..(slot + 1) * size;
            let x = &self.inputs[index * size..(index + 1) * size];
            let decoded = &self.decoded;
            let log_likelihood = match self.vae.spec().likelihood {
                Likelihood::Bernoulli => bernoulli::log_likelihood(x, &decoded.logits[row]),
                Likelihood::Gaussian { sigma } => {
                    gaussian_log_likelihood_fixed(x, &decoded.reconstruction[row], sigma)?
                }
                Likelihood::GaussianLearned => gaussian_log_likelihood(
                    x,
                    &decoded.reconstruction[row.clone()],
                    &decoded.log_variance[row],
                )?,
            };
            let state = &mut self.states[index];
            state.sum += log_likelihood;
            state.bound.push(log_likelihood + log_ratio)?;
        }
        let decoded = self.filled.len();
        self.filled.clear();
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use rand::SeedableRng;

    use super::*;
    use crate::{
        backend::{Graph, test_graphs::FakeGraph},
        vae::{Latent, VaeSpec},
    };

    const PIXELS: usize = 3;
    /// x|z has the means WEIGHTS·z + SHIFTS, or these logits.
    const WEIGHTS: [f64; PIXELS] = [0.8, -1.5, 2.0];
    const SHIFTS: [f64; PIXELS] = [-0.3, 0.4, 0.1];
    const SIGMA: f32 = 0.7;

    /// A graph over one-dimensional latents that is a function of each row.
    fn by_rows(
        batch: usize,
        (input, shape): (&str, &[usize]),
        outputs: &[(&str, &[usize])],
        row: fn(&[f32]) -> [Vec<f32>; 2],
    ) -> Box<dyn Graph> {
        let batched = |shape: &[usize]| [&[batch], shape].concat();
        let shapes: Vec<_> = outputs.iter().map(|(_, shape)| batched(shape)).collect();
        let names = outputs.iter().map(|(name, _)| *name);
        let outputs: Vec<_> = names.zip(shapes.iter().map(Vec::as_slice)).collect();
        let compute = move |inputs: &[&[f32]], outputs: &mut [&mut [f32]]| {
            let rows = inputs[0].chunks_exact(inputs[0].len() / batch);
            for (index, input) in rows.enumerate() {
                for (output, values) in outputs.iter_mut().zip(row(input)) {
                    output[index * values.len()..][..values.len()].copy_from_slice(&values);
                }
            }
        };
        FakeGraph::boxed(&[(input, &batched(shape))], &outputs, compute)
    }

    fn affine(z: f64) -> [f64; PIXELS] {
        std::array::from_fn(|i| WEIGHTS[i] * z + SHIFTS[i])
    }

    fn estimator(batch: usize, likelihood: Likelihood) -> MarginalEstimator {
        let spec = VaeSpec {
            channels: 1,
            height: 1,
            width: PIXELS,
            latent: Latent::Vector { length: 1 },
            likelihood,
        };
        let (code, picture): (&[usize], &[usize]) = (&[1], &[1, 1, PIXELS]);
        // Near the true posteriors, and none of them.
        let encoder = by_rows(
            batch,
            ("input", picture),
            &[("mean", code), ("log_variance", code)],
            |x| [vec![0.2 * (x[0] - x[1] + x[2])], vec![-0.5]],
        );
        let decoder = match likelihood {
            Likelihood::Bernoulli => by_rows(
                batch,
                ("latent", code),
                &[("reconstruction", picture), ("logits", picture)],
                |z| {
                    let logits = affine(z[0].into());
                    [
                        logits.map(|l| (1.0 / (1.0 + (-l).exp())) as f32).to_vec(),
                        logits.map(|l| l as f32).to_vec(),
                    ]
                },
            ),
            Likelihood::Gaussian { .. } => by_rows(
                batch,
                ("latent", code),
                &[("reconstruction", picture)],
                |z| [affine(z[0].into()).map(|v| v as f32).to_vec(), Vec::new()],
            ),
            Likelihood::GaussianLearned => by_rows(
                batch,
                ("latent", code),
                &[("reconstruction", picture), ("log_variance", picture)],
                |z| {
                    [
                        affine(z[0].into()).map(|v| v as f32).to_vec(),
                        vec![2.0 * SIGMA.ln(); PIXELS],
                    ]
                },
            ),
        };
        MarginalEstimator::new(Vae::new(spec, encoder, decoder).unwrap())
    }

    fn generators(count: u64) -> Vec<Pcg64> {
        (0..count).map(Pcg64::seed_from_u64).collect()
    }

    /// log ∫ N(z; 0, 1) p(x|z) dz by the trapezoidal rule.
    fn log_marginal(log_likelihood: impl Fn([f64; PIXELS]) -> f64) -> f64 {
        let (steps, reach) = (40_000, 12.0);
        let width = 2.0 * reach / f64::from(steps);
        let sum: f64 = (0..=steps)
            .map(|i| -reach + width * f64::from(i))
            .map(|z| (log_likelihood(affine(z)) - 0.5 * (z * z + TAU.ln())).exp() * width)
            .sum();
        sum.ln()
    }

    #[test]
    fn estimates_meet_the_integral_over_all_latents() {
        let frames: [[f32; PIXELS]; 2] = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]];
        for likelihood in [
            Likelihood::Bernoulli,
            Likelihood::Gaussian { sigma: SIGMA },
            Likelihood::GaussianLearned,
        ] {
            let mut estimator = estimator(64, likelihood);
            let found = estimator
                .estimate(frames.as_flattened(), 40_000, &mut generators(2))
                .unwrap();
            for (found, x) in found.iter().zip(frames) {
                let exact = log_marginal(|means| {
                    let pixels = x.iter().zip(means);
                    let each = pixels.map(|(&x, mean)| match likelihood {
                        Likelihood::Bernoulli => {
                            let p = 1.0 / (1.0 + (-mean).exp());
                            if x > 0.5 { p.ln() } else { (1.0 - p).ln() }
                        }
                        _ => {
                            let sigma = f64::from(SIGMA);
                            let distance = (f64::from(x) - mean) / sigma;
                            -0.5 * (TAU.ln() + distance * distance) - sigma.ln()
                        }
                    });
                    each.sum()
                });
                let text = format!("{likelihood:?}: {found:?} {exact}");
                // Some thousand effective samples.
                assert!((found.log_likelihood - exact).abs() < 0.05, "{text}");
                assert!(found.elbo() < exact && found.kl > 0.0, "{text}");
                assert!(found.effective_sample_size > 2000.0, "{text}");
                assert!(found.effective_sample_size < 40_000.0, "{text}");
            }
        }
    }

    #[test]
    fn a_frame_has_its_estimate_whatever_the_batch_and_its_neighbours() {
        let frames = [0.1, 0.9, 0.4, -0.3, 0.2, 0.8, 1.0, 0.0, 0.5];
        let likelihood = Likelihood::Gaussian { sigma: SIGMA };
        let together = estimator(7, likelihood)
            .estimate(&frames, 37, &mut generators(3))
            .unwrap();
        let mut alone = estimator(1, likelihood);
        for (index, frame) in frames.chunks_exact(PIXELS).enumerate() {
            let own = &mut generators(3)[index..=index];
            assert_eq!(alone.estimate(frame, 37, own).unwrap(), [together[index]]);
        }
        assert_eq!(alone.estimate(&[], 37, &mut []).unwrap(), []);
    }

    #[test]
    fn batches_are_told_and_can_be_the_last() {
        let mut estimator = estimator(4, Likelihood::GaussianLearned);
        let frames = [0.5; 2 * PIXELS];
        for (most, expected) in [(9, vec![4, 4, 2]), (2, vec![4, 4]), (3, vec![4, 4, 2])] {
            let mut told = Vec::new();
            let found = estimator.estimate_while(&frames, 5, &mut generators(2), |latents| {
                told.push(latents);
                told.len() < most
            });
            assert_eq!(told, expected);
            assert_eq!(found.unwrap().is_some(), most != 2);
        }
    }

    #[test]
    fn what_can_not_be_estimated_is_refused() {
        let mut estimator = estimator(2, Likelihood::GaussianLearned);
        let frame = [0.5; PIXELS];
        let mut refused = |frames: &[f32], samples, count| {
            let found = estimator.estimate(frames, samples, &mut generators(count));
            found.unwrap_err().to_string()
        };
        assert!(refused(&[0.5; 3 * PIXELS], 5, 3).contains("at most the model's batch"));
        assert!(refused(&frame, 0, 1).contains("at least 1"));
        assert!(refused(&frame, 5, 2).contains("frames: found 3 values, expected 6"));
        assert!(refused(&[f32::INFINITY; PIXELS], 5, 1).contains("`input` hold"));
    }
}
