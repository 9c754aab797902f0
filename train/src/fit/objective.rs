//! The loss: negative ELBO with a weighted KL divergence, or the negative importance-weighted
//! bound.

use candle_core::{Result, Tensor};
use edge_vae::vae::Likelihood;

use crate::{
    network::{Mode, Network, Observation, Parameters},
    ops,
};

/// Weights of the loss in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    /// β of the β-VAE (Higgins et al. 2017), times the warm-up.
    pub kl: f64,
    /// Nats of KL divergence a latent channel may spend for nothing (Kingma et al. 2016, λ).
    pub free_bits: f64,
    /// K of the importance-weighted bound; with 1 the loss is the negative ELBO. Above, the other
    /// weights have no meaning.
    pub importance_samples: usize,
}

/// The loss of a batch and its parts.
#[derive(Debug)]
pub(super) struct Loss {
    /// What is minimised: (−log p(x|z) + weighted KL) / D or −(importance-weighted bound) / D,
    /// mean over the batch.
    pub objective: Tensor,
    /// −log p(x|z) in nats a frame, mean over the batch and the samples of z.
    pub negative_log_likelihood: Tensor,
    /// KL(q‖N(0, I)) in nats a frame, mean over the batch, without weight or free bits.
    pub divergence: Tensor,
}

/// Loss of the batch `x` (N×H×W×C) with the reparameterisation noise `noise`: of the shape of z,
/// with K·N in place of N where the bound is importance-weighted (first one sample of each frame,
/// then the second of each, and so on).
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn loss(
    network: &Network,
    parameters: &Parameters,
    mode: &mut Mode,
    x: &Tensor,
    noise: &Tensor,
    weights: Weights,
) -> Result<Loss> {
    let dimensions = network.spec().dimensions() as f64;
    let samples = weights.importance_samples;
    let (mean, log_variance) = network.encode(x, parameters, mode)?;
    let divergence = ops::kl_standard_normal(&mean, &log_variance)?.mean_all()?;
    if samples > 1 {
        let (mean, log_variance) = (repeat(&mean, samples)?, repeat(&log_variance, samples)?);
        let z = ops::reparameterise(&mean, &log_variance, noise)?;
        let observation = network.decode(&z, parameters, mode)?;
        let nll = negative_log_likelihood(network, &repeat(x, samples)?, &observation)?;
        let log_weights = ops::importance_log_weights(&nll, &z, &log_variance, noise)?;
        let bound = ops::importance_weighted_bound(&log_weights.reshape((samples, ()))?)?;
        return Ok(Loss {
            objective: (bound.mean_all()? / -dimensions)?,
            negative_log_likelihood: nll.mean_all()?.detach(),
            divergence: divergence.detach(),
        });
    }
    let z = ops::reparameterise(&mean, &log_variance, noise)?;
    let observation = network.decode(&z, parameters, mode)?;
    let nll = negative_log_likelihood(network, x, &observation)?.mean_all()?;
    let penalty = if weights.free_bits > 0.0 {
        free_bits(&mean, &log_variance, weights.free_bits)?
    } else {
        divergence.clone()
    };
    let objective = ((&nll + (penalty * weights.kl)?)? / dimensions)?;
    Ok(Loss {
        objective,
        negative_log_likelihood: nll.detach(),
        divergence: divergence.detach(),
    })
}

/// −log p(x|z) of each frame in nats: `N`.
fn negative_log_likelihood(
    network: &Network,
    x: &Tensor,
    observation: &Observation,
) -> Result<Tensor> {
    match (network.spec().likelihood, &observation.log_variance) {
        (Likelihood::Bernoulli, _) => ops::bernoulli_nll_with_logits(x, &observation.location),
        (Likelihood::Gaussian { sigma }, _) => {
            let fixed = 2.0 * f64::from(sigma).ln();
            let log_variance = (observation.location.zeros_like()? + fixed)?;
            ops::gaussian_nll(x, &observation.location, &log_variance)
        }
        (Likelihood::GaussianLearned, Some(log_variance)) => {
            ops::gaussian_nll(x, &observation.location, log_variance)
        }
        (Likelihood::GaussianLearned, None) => {
            candle_core::bail!("the decoder gives no log-variance")
        }
    }
}

/// The batch `count` times, one after the other: N×… becomes (count·N)×….
fn repeat(t: &Tensor, count: usize) -> Result<Tensor> {
    Tensor::cat(&vec![t; count], 0)
}

/// Σ_j max(λ, E[KL_j]) over latent channels j, the expectation over the batch (Kingma et al.
/// 2016, eq. 15); a channel of a map counts as one.
fn free_bits(mean: &Tensor, log_variance: &Tensor, lambda: f64) -> Result<Tensor> {
    let each = ((mean.sqr()? + log_variance.exp()?)? - log_variance)?;
    let each = ((each - 1.0)? * 0.5)?;
    let batch = each.dim(0)? as f64;
    let channels = each.dim(candle_core::D::Minus1)?;
    let by_channel = (each.reshape(((), channels))?.sum(0)? / batch)?;
    by_channel.maximum(lambda)?.sum_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Preset;
    use candle_core::Device;

    fn value(t: &Tensor) -> f64 {
        f64::from(t.to_scalar::<f32>().unwrap())
    }

    /// Held against the log-weights of each sample computed one by one.
    #[test]
    fn importance_weighted_loss_agrees_with_single_samples() {
        let spec = Preset::Small28.spec(1, Likelihood::Bernoulli, None);
        let network = Network::new(Preset::Small28, spec.clone());
        let parameters = network.parameters(5, &Device::Cpu).unwrap();
        let x = Tensor::rand(0.0_f32, 1.0, (2, 28, 28, 1), &Device::Cpu).unwrap();
        let noises: Vec<Tensor> = (0..3)
            .map(|_| Tensor::randn(0.0_f32, 1.0, (2, 512), &Device::Cpu).unwrap())
            .collect();
        let loss = |noise: &Tensor, importance_samples| {
            let weights = Weights {
                kl: 1.0,
                free_bits: 0.0,
                importance_samples,
            };
            let mode = &mut Mode::Evaluate;
            loss(&network, &parameters, mode, &x, noise, weights).unwrap()
        };
        let log_weights = |noise: &Tensor| -> Vec<f64> {
            let mode = &mut Mode::Evaluate;
            let (mean, log_variance) = network.encode(&x, &parameters, mode).unwrap();
            let z = ops::reparameterise(&mean, &log_variance, noise).unwrap();
            let observation = network.decode(&z, &parameters, mode).unwrap();
            let nll = negative_log_likelihood(&network, &x, &observation).unwrap();
            let all = |t: &Tensor| -> Vec<f32> { t.flatten_all().unwrap().to_vec1().unwrap() };
            let (z, log_variance, noise, nll) =
                (all(&z), all(&log_variance), all(noise), all(&nll));
            (0..2)
                .map(|frame| {
                    let ratio: f64 = (512 * frame..512 * (frame + 1))
                        .map(|i| {
                            f64::from(noise[i]).powi(2) + f64::from(log_variance[i])
                                - f64::from(z[i]).powi(2)
                        })
                        .sum();
                    0.5 * ratio - f64::from(nll[frame])
                })
                .collect()
        };
        let dimensions = spec.dimensions() as f64;
        let each: Vec<Vec<f64>> = noises.iter().map(log_weights).collect();
        let wanted: f64 = (0..2)
            .map(|frame| {
                let largest = each
                    .iter()
                    .map(|w| w[frame])
                    .fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = each.iter().map(|w| (w[frame] - largest).exp()).sum();
                largest + (sum / 3.0).ln()
            })
            .sum::<f64>()
            / -2.0;
        let noise = Tensor::cat(&noises, 0).unwrap();
        let found = value(&loss(&noise, 3).objective) * dimensions;
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found} for {wanted}");

        let same = Tensor::cat(&[&noises[0]; 3], 0).unwrap();
        let (three, one) = (loss(&same, 3), loss(&noises[0], 1));
        let wanted = each[0].iter().sum::<f64>() / -2.0;
        let found = value(&three.objective) * dimensions;
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found} for {wanted}");
        let (three, one) = (
            value(&three.negative_log_likelihood),
            value(&one.negative_log_likelihood),
        );
        assert!((three / one - 1.0).abs() < 1e-5, "{three} for {one}");
    }
}
