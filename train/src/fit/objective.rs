//! The loss: negative ELBO with a weighted KL divergence, and the head's losses.

use candle_core::{Result, Tensor};
use edge_vae::vae::Likelihood;

use super::{augment::Batch, options::HeadOptions};
use crate::{
    network::{Encoded, INPUT, LOGITS, Mode, Network, Parameters, RECONSTRUCTION},
    ops,
};

/// Weights of the loss in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    /// β of the β-VAE (Higgins et al. 2017), times the warm-up.
    pub kl: f64,
    /// Nats of KL divergence a latent channel may spend for nothing (Kingma et al. 2016, λ).
    pub free_bits: f64,
    /// Weights of the head's losses and of the ELBO beside them.
    pub head: HeadOptions,
    /// The warm-up alone, 0–1.
    pub warm_up: f64,
}

/// The loss of a batch and its parts.
#[derive(Debug)]
pub(super) struct Loss {
    /// What is minimised: (−log p(x|z) + weighted KL) / D, mean over the batch; with a head its
    /// weighted sum with the head's losses.
    pub objective: Tensor,
    /// −log p(x|z) in nats a frame, mean over the batch.
    pub negative_log_likelihood: Tensor,
    /// KL(q‖N(0, I)) in nats a frame, mean over the batch, without weight or free bits.
    pub divergence: Tensor,
    /// What the head adds.
    pub head: Option<HeadLoss>,
}

/// The head's part of the loss.
#[derive(Debug)]
pub(super) struct HeadLoss {
    /// The weighted sum of its losses.
    pub loss: Tensor,
    /// Mean of the largest logits of each frame: N.
    pub scores: Tensor,
}

/// Logits whose mean is a frame's score.
const LARGEST: usize = 20;
/// α of the focal loss: defects are rare, and what is missed counts more.
const POSITIVE: f64 = 0.75;

/// Loss of `batch` with the reparameterisation noise `noise` (shape of z): the clean pictures
/// given the posterior of the defective ones (a denoising VAE, Im et al. 2017), and the head's
/// losses against where the defects are.
///
/// # Errors
/// Shapes that do not fit.
pub(super) fn loss(
    network: &Network,
    parameters: &Parameters,
    mode: &mut Mode,
    batch: &Batch,
    noise: &Tensor,
    weights: Weights,
) -> Result<Loss> {
    let encoded = network.encode(&batch.input, parameters, mode)?;
    let (mean, log_variance) = (&encoded.mean, &encoded.log_variance);
    let z = ops::reparameterise(mean, log_variance, noise)?;
    let observation = network.decode(&z, parameters, mode)?;
    let x = &batch.target;
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
    let dimensions = (x.elem_count() / x.dim(0)?) as f64;
    let negative_elbo = ((&nll + (penalty * weights.kl)?)? / dimensions)?;
    let reconstruction = observation.reconstruction(network.spec().likelihood)?;
    let head = head_loss(
        network,
        parameters,
        mode,
        batch,
        encoded,
        &reconstruction,
        weights,
    )?;
    let objective = match &head {
        Some(head) => ((negative_elbo * weights.head.elbo)? + &head.loss)?,
        None => negative_elbo,
    };
    Ok(Loss {
        objective,
        negative_log_likelihood: nll.detach(),
        divergence: divergence.detach(),
        head,
    })
}

/// The head's losses; none where network or batch have nothing for it.
fn head_loss(
    network: &Network,
    parameters: &Parameters,
    mode: &mut Mode,
    batch: &Batch,
    encoded: Encoded,
    reconstruction: &Tensor,
    weights: Weights,
) -> Result<Option<HeadLoss>> {
    let (Some(head), Some(masks)) = (network.head(), &batch.masks) else {
        return Ok(None);
    };
    let mut tensors = encoded.features;
    tensors.insert(INPUT, batch.input.clone());
    // The decoder answers for the likelihood alone: through here it would learn to leave the
    // differences that the head likes to see.
    tensors.insert(RECONSTRUCTION, reconstruction.detach());
    head.forward(&mut tensors, parameters, mode)?;
    let Some(logits) = tensors.get(LOGITS) else {
        candle_core::bail!("the head gives no {LOGITS}");
    };
    // «Has a defect»: 0 or 1 for each frame.
    let defective = masks.reshape((masks.dim(0)?, ()))?.max(1)?.detach();
    let count = defective.sum_all()?.to_dtype(candle_core::DType::F64)?;
    let count = count.to_scalar::<f64>()?.max(1.0);
    let focal = ops::focal_loss_with_logits(logits, masks, POSITIVE)?;
    let dice = ops::soft_dice_with_logits(logits, masks)?;
    let dice = ((dice * &defective)?.sum_all()? / count)?;
    let scores = ops::mean_of_largest(logits, LARGEST)?;
    let image = ops::cross_entropy_with_logits(&scores, &defective)?;
    let HeadOptions {
        focal: by_focal,
        dice: by_dice,
        image: by_image,
        ..
    } = weights.head;
    let loss = ((focal * by_focal)? + (dice * by_dice)?)?;
    let loss = (loss + (image * (by_image * weights.warm_up))?)?;
    Ok(Some(HeadLoss {
        loss,
        scores: scores.detach(),
    }))
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
