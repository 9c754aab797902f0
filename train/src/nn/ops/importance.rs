//! The importance-weighted bound on log p(x) as an objective of training (Burda et al. 2016).

use candle_core::{Result, Tensor, bail};

/// log w = log p(x|z) + log p(z) − log q(z|x) of each sample z of the posterior, in nats (Burda et
/// al. 2016, equation 7): `M`, differentiable in `nll`, `z` and `log_variance`.
///
/// `nll` (`M`) is −log p(x|z); `z`, `log_variance` and `noise` have one shape `M×…`, and
/// z = mean + exp(log_variance / 2) · noise, so that log q follows from the noise. The normalisers
/// of both Gaussians cancel: log w = −nll + ½·Σ (noise² + log_variance − z²).
///
/// # Errors
/// Shapes that do not fit.
pub fn importance_log_weights(
    nll: &Tensor,
    z: &Tensor,
    log_variance: &Tensor,
    noise: &Tensor,
) -> Result<Tensor> {
    let samples = nll.dims1()?;
    if z.dims() != noise.dims()
        || z.dims() != log_variance.dims()
        || z.dims().first() != Some(&samples)
    {
        bail!(
            "importance_log_weights: {samples} likelihoods do not fit shapes {:?}, {:?} and {:?}",
            z.dims(),
            log_variance.dims(),
            noise.dims()
        );
    }
    let ratio = ((noise.detach().sqr()? + log_variance)? - z.sqr()?)?;
    let ratio = (ratio.reshape((samples, ()))?.sum(1)? * 0.5)?;
    ratio - nll
}

/// log (1/K) Σ_k w_k ≤ log p(x) of each frame (Burda et al. 2016, equation 8): `K×N` log-weights
/// become `N`. The gradient by log w_k is the normalised weight w_k / Σ w (equation 14).
///
/// # Errors
/// Not a matrix.
pub fn importance_weighted_bound(log_weights: &Tensor) -> Result<Tensor> {
    let (samples, _) = log_weights.dims2()?;
    log_weights.log_sum_exp(0)? - (samples as f64).ln()
}
