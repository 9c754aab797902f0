//! The loss: negative ELBO with a weighted KL divergence.

use candle_core::{Result, Tensor};
use edge_vae::vae::Likelihood;

use crate::{
    network::{Mode, Network, Parameters},
    ops,
};

/// Weights of the loss in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    /// β of the β-VAE (Higgins et al. 2017), times the warm-up.
    pub kl: f64,
    /// Nats of KL divergence a latent channel may spend for nothing (Kingma et al. 2016, λ).
    pub free_bits: f64,
}

/// The loss of a batch and its parts.
#[derive(Debug)]
pub(super) struct Loss {
    /// What is minimised: (−log p(x|z) + weighted KL) / D, mean over the batch.
    pub objective: Tensor,
    /// −log p(x|z) in nats a frame, mean over the batch.
    pub negative_log_likelihood: Tensor,
    /// KL(q‖N(0, I)) in nats a frame, mean over the batch, without weight or free bits.
    pub divergence: Tensor,
}

/// Loss of the batch `x` (N×H×W×C) with the reparameterisation noise `noise` (shape of z).
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
    let encoded = network.encode(x, parameters, mode)?;
    let (mean, log_variance) = (&encoded.mean, &encoded.log_variance);
    let z = ops::reparameterise(mean, log_variance, noise)?;
    let observation = network.decode(&z, parameters, mode)?;
    let nll = match (network.spec().likelihood, &observation.log_variance) {
        (Likelihood::Bernoulli, _) => ops::bernoulli_nll_with_logits(x, &observation.location)?,
        (Likelihood::Gaussian { sigma }, _) => {
            let fixed = 2.0 * f64::from(sigma).ln();
            let log_variance = (observation.location.zeros_like()? + fixed)?;
            ops::gaussian_nll(x, &observation.location, &log_variance)?
        }
        (Likelihood::GaussianLearned, Some(log_variance)) => {
            ops::gaussian_nll(x, &observation.location, log_variance)?
        }
        (Likelihood::GaussianLearned, None) => {
            candle_core::bail!("the decoder gives no log-variance")
        }
    };
    let nll = nll.mean_all()?;
    let divergence = ops::kl_standard_normal(mean, log_variance)?.mean_all()?;
    let penalty = if weights.free_bits > 0.0 {
        free_bits(mean, log_variance, weights.free_bits)?
    } else {
        divergence.clone()
    };
    let dimensions = network.spec().dimensions() as f64;
    let objective = ((&nll + (penalty * weights.kl)?)? / dimensions)?;
    Ok(Loss {
        objective,
        negative_log_likelihood: nll.detach(),
        divergence: divergence.detach(),
    })
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
