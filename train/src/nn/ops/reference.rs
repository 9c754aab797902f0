//! The same operations made of candle's own, for devices other than the CPU.
//!
//! Slower on the CPU (candle's convolutions have naive gradients), but written independently of
//! the fused operations: the tests hold one against the other. Two limits of candle 0.11.1 stand:
//! `conv2d` of stride 2 has no gradient where height and width differ in parity, and `maximum`
//! halves the gradient at ties.

use super::activation::{Activation, LEAKY_SLOPE};
use candle_core::{D, Result, Tensor};

/// As [`super::activate`].
///
/// # Errors
/// Those of candle's operations.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::LeakyRelu => (x.relu()? * (1.0 - LEAKY_SLOPE))? + (x * LEAKY_SLOPE)?,
        Activation::Silu => x.silu(),
    }
}

fn to_channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

fn finish(y: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    let y = y.permute((0, 2, 3, 1))?.contiguous()?;
    let y = match b {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    };
    activate(&y, act)
}

/// As [`super::conv2d`].
///
/// # Errors
/// Those of candle's operations.
pub fn conv2d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    stride: usize,
    padding: usize,
    act: Activation,
) -> Result<Tensor> {
    let y = to_channels_first(x)?.conv2d(&to_channels_first(w)?, padding, stride, 1, 1)?;
    finish(&y, b, act)
}

/// As [`super::conv_transpose2d`].
///
/// # Errors
/// Those of candle's operations.
pub fn conv_transpose2d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    stride: usize,
    padding: usize,
    act: Activation,
) -> Result<Tensor> {
    let kernel = to_channels_first(w)?;
    let y = to_channels_first(x)?.conv_transpose2d(&kernel, padding, 0, stride, 1)?;
    finish(&y, b, act)
}

/// As [`super::batch_norm`], and with a shortcut as [`super::batch_norm_residual`].
///
/// # Errors
/// Those of candle's operations.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    shortcut: Option<&Tensor>,
    act: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    let rows = x.reshape(((), x.dim(D::Minus1)?))?;
    let mean = rows.mean(0)?;
    let centred = rows.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean(0)?;
    let y = centred
        .broadcast_div(&(&variance + eps)?.sqrt()?)?
        .broadcast_mul(gamma)?
        .broadcast_add(beta)?
        .reshape(x.shape())?;
    let y = match shortcut {
        Some(shortcut) => (y + shortcut)?,
        None => y,
    };
    Ok((activate(&y, act)?, mean.detach(), variance.detach()))
}

/// As [`super::pixel_shuffle`].
///
/// # Errors
/// Those of candle's operations.
pub fn pixel_shuffle(x: &Tensor, r: usize) -> Result<Tensor> {
    let (images, height, width, depth) = x.dims4()?;
    let channels = depth / (r * r);
    x.reshape(&[images, height, width, channels, r, r])?
        .permute([0, 1, 4, 2, 5, 3])?
        .contiguous()?
        .reshape((images, height * r, width * r, channels))
}

fn per_sample(terms: &Tensor) -> Result<Tensor> {
    terms.reshape((terms.dim(0)?, ()))?.sum(1)
}

fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// As [`super::gaussian_nll`].
///
/// # Errors
/// Those of candle's operations.
pub fn gaussian_nll(x: &Tensor, mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    let squares = ((x.detach() - mean)?.sqr()? * log_variance.neg()?.exp()?)?;
    let terms = ((log_variance + squares)? + std::f64::consts::TAU.ln())?;
    per_sample(&(terms * 0.5)?)
}

/// As [`super::bernoulli_nll_with_logits`].
///
/// # Errors
/// Those of candle's operations.
pub fn bernoulli_nll_with_logits(x: &Tensor, logits: &Tensor) -> Result<Tensor> {
    per_sample(&(softplus(logits)? - (x.detach() * logits)?)?)
}

/// As [`super::kl_standard_normal`].
///
/// # Errors
/// Those of candle's operations.
pub fn kl_standard_normal(mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    let terms = ((mean.sqr()? + log_variance.exp()?)? - (log_variance + 1.0)?)?;
    per_sample(&(terms * 0.5)?)
}

/// As [`super::reparameterise`].
///
/// # Errors
/// Those of candle's operations.
pub fn reparameterise(mean: &Tensor, log_variance: &Tensor, noise: &Tensor) -> Result<Tensor> {
    mean + ((log_variance * 0.5)?.exp()? * noise.detach())?
}

/// As [`super::soft_clamp`].
///
/// # Errors
/// Those of candle's operations.
pub fn soft_clamp(x: &Tensor, lo: f64, hi: f64) -> Result<Tensor> {
    let (middle, half) = ((lo + hi) / 2.0, (hi - lo) / 2.0);
    x.affine(1.0 / half, -middle / half)?
        .tanh()?
        .affine(half, middle)
}
