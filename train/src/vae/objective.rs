//! The loss: negative ELBO with a weighted KL divergence, or the negative importance-weighted
//! bound, and the head's losses.

use candle_core::{Result, Tensor};
use edge_vae::vae::Likelihood;

use super::network::{Encoded, INPUT, LOGITS, Network, Observation, RECONSTRUCTION};
use crate::{
    data::augmentation::Batch,
    nn::{Mode, Parameters, ops},
    options::HeadOptions,
};

/// Weights of the loss in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    /// β of the β-VAE (Higgins et al. 2017), times the warm-up.
    pub kl: f64,
    /// Nats of KL divergence a latent channel may spend for nothing (Kingma et al. 2016, λ).
    pub free_bits: f64,
    /// K of the importance-weighted bound; with 1 the loss is the negative ELBO. Above, `kl` and
    /// `free_bits` have no meaning.
    pub importance_samples: usize,
    /// Weights of the head's losses and of the ELBO or the bound beside them.
    pub head: HeadOptions,
    /// The warm-up alone, 0–1.
    pub warm_up: f64,
}

/// The loss of a batch and its parts.
#[derive(Debug)]
pub(super) struct Loss {
    /// What is minimised: (−log p(x|z) + weighted KL) / D or −(importance-weighted bound) / D,
    /// mean over the batch; with a head its weighted sum with the head's losses.
    pub objective: Tensor,
    /// −log p(x|z) in nats a frame, mean over the batch and the samples of z.
    pub negative_log_likelihood: Tensor,
    /// KL(q‖N(0, I)) in nats a frame, mean over the batch, without weight or free bits.
    pub divergence: Tensor,
    /// Negative importance-weighted bound in nats a frame, mean over the batch, where it is
    /// minimised.
    pub negative_bound: Option<Tensor>,
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

/// Loss of `batch` with the reparameterisation noise `noise`: the clean pictures given the
/// posterior of the defective ones (a denoising VAE, Im et al. 2017), and the head's losses against
/// where the defects are.
///
/// The noise has the shape of z, with K·N in place of N where the bound is importance-weighted
/// (first one sample of each frame, then the second of each, and so on); the head sees the
/// reconstructions of the first.
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
    let x = &batch.target;
    let frames = x.dim(0)?;
    let dimensions = (x.elem_count() / frames) as f64;
    let samples = weights.importance_samples;
    let divergence = ops::kl_standard_normal(&encoded.mean, &encoded.log_variance)?.mean_all()?;
    let mean = repeat(&encoded.mean, samples)?;
    let log_variance = repeat(&encoded.log_variance, samples)?;
    let z = ops::reparameterise(&mean, &log_variance, noise)?;
    let observation = network.decode(&z, parameters, mode)?;
    let each_nll = negative_log_likelihood(network, &repeat(x, samples)?, &observation)?;
    let nll = each_nll.mean_all()?;
    let (nats, negative_bound) = if samples > 1 {
        let log_weights = ops::importance_log_weights(&each_nll, &z, &log_variance, noise)?;
        let bound = ops::importance_weighted_bound(&log_weights.reshape((samples, ()))?)?;
        let negative = bound.mean_all()?.neg()?;
        (negative.clone(), Some(negative.detach()))
    } else {
        let penalty = if weights.free_bits > 0.0 {
            free_bits(&mean, &log_variance, weights.free_bits)?
        } else {
            divergence.clone()
        };
        ((&nll + (penalty * weights.kl)?)?, None)
    };
    let generative = (nats / dimensions)?;
    let head = head_loss(
        network,
        parameters,
        mode,
        batch,
        encoded,
        &observation,
        weights,
    )?;
    let objective = match &head {
        Some(head) => ((generative * weights.head.elbo)? + &head.loss)?,
        None => generative,
    };
    Ok(Loss {
        objective,
        negative_log_likelihood: nll.detach(),
        divergence: divergence.detach(),
        negative_bound,
        head,
    })
}

/// The head's losses against the first of the reconstructions that `observation` has of each
/// frame; none where network or batch have nothing for it.
fn head_loss(
    network: &Network,
    parameters: &Parameters,
    mode: &mut Mode,
    batch: &Batch,
    encoded: Encoded,
    observation: &Observation,
    weights: Weights,
) -> Result<Option<HeadLoss>> {
    let (Some(head), Some(masks)) = (network.head(), &batch.masks) else {
        return Ok(None);
    };
    let reconstruction = observation.reconstruction(network.spec().likelihood)?;
    let reconstruction = reconstruction.narrow(0, 0, batch.input.dim(0)?)?;
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
    use crate::options::Preset;
    use candle_core::Device;

    fn weights(importance_samples: usize) -> Weights {
        Weights {
            kl: 1.0,
            free_bits: 0.0,
            importance_samples,
            head: HeadOptions::default(),
            warm_up: 1.0,
        }
    }

    fn value(t: &Tensor) -> f64 {
        f64::from(t.to_scalar::<f32>().unwrap())
    }

    /// Held against the log-weights of each sample computed one by one.
    #[test]
    fn importance_weighted_loss_agrees_with_single_samples() {
        let spec = Preset::Small28.spec([28; 2], 1, Likelihood::Bernoulli, None);
        let network = Network::new(Preset::Small28, spec.clone());
        let parameters = network.parameters(5, &Device::Cpu).unwrap();
        let x = Tensor::rand(0.0_f32, 1.0, (2, 28, 28, 1), &Device::Cpu).unwrap();
        let batch = Batch {
            input: x.clone(),
            target: x.clone(),
            masks: None,
        };
        let noises: Vec<Tensor> = (0..3)
            .map(|_| Tensor::randn(0.0_f32, 1.0, (2, 512), &Device::Cpu).unwrap())
            .collect();
        let loss = |noise: &Tensor, importance_samples| {
            let mode = &mut Mode::Evaluate;
            let weights = weights(importance_samples);
            loss(&network, &parameters, mode, &batch, noise, weights).unwrap()
        };
        let log_weights = |noise: &Tensor| -> Vec<f64> {
            let mode = &mut Mode::Evaluate;
            let encoded = network.encode(&x, &parameters, mode).unwrap();
            let log_variance = encoded.log_variance;
            let z = ops::reparameterise(&encoded.mean, &log_variance, noise).unwrap();
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
        let together = loss(&noise, 3);
        let found = value(&together.objective) * dimensions;
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found} for {wanted}");
        let found = value(&together.negative_bound.unwrap());
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

    /// The head sees the reconstructions of the first samples, whatever the others are, and its
    /// losses come beside the bound.
    #[test]
    fn a_head_is_trained_beside_the_bound() {
        let spec = Preset::Edge.spec([32; 2], 1, Likelihood::GaussianLearned, None);
        let network = Network::with_head(Preset::Edge, spec.clone());
        let parameters = network.parameters(6, &Device::Cpu).unwrap();
        let pictures = || Tensor::rand(0.0_f32, 1.0, (2, 32, 32, 1), &Device::Cpu).unwrap();
        let masks = Tensor::rand(0.0_f32, 1.0, (2, 16, 16, 1), &Device::Cpu).unwrap();
        let batch = Batch {
            input: pictures(),
            target: pictures(),
            masks: Some(masks.round().unwrap()),
        };
        let noise = || Tensor::randn(0.0_f32, 1.0, (2, 2, 2, 16), &Device::Cpu).unwrap();
        let (first, second) = (noise(), noise());
        let loss = |noise: &Tensor, samples| {
            let mode = &mut Mode::Evaluate;
            loss(&network, &parameters, mode, &batch, noise, weights(samples)).unwrap()
        };
        let (one, two) = (
            loss(&first, 1),
            loss(&Tensor::cat(&[&first, &second], 0).unwrap(), 2),
        );
        assert!(one.negative_bound.is_none());
        let of_head = |loss: &Loss| value(&loss.head.as_ref().unwrap().loss);
        let (alone, beside) = (of_head(&one), of_head(&two));
        assert!((beside / alone - 1.0).abs() < 1e-5, "{beside} for {alone}");
        let bound = value(two.negative_bound.as_ref().unwrap());
        let wanted = HeadOptions::default().elbo * bound / spec.dimensions() as f64 + beside;
        let found = value(&two.objective);
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found} for {wanted}");
    }
}
