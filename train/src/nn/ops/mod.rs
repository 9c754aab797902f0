//! The operations of the training graph, with exact gradients, fast on a CPU.
//!
//! Activations are contiguous tensors of the layout `N×H×W×C` (batch, height, width, channels)
//! everywhere, `f32` in training and `f64` where gradients are checked. On a device that is not
//! the CPU every operation falls back on candle's own differentiable operations
//! ([`mod@reference`]), which also serve the tests as a second opinion.
//!
//! Equal input gives equal bits, whatever the number of threads: work is split by the shapes
//! alone, and partial sums are added in a fixed order.

mod activate;
mod activation;
mod convolution;
mod detection;
mod exponential;
mod geometry;
mod importance;
mod latent;
mod likelihood;
mod linear;
mod matmul;
mod microkernel;
mod norm;
mod patches;
mod real;
pub mod reference;
mod shuffle;

#[cfg(test)]
mod check;

pub use activate::activate;
pub use activation::{Activation, LEAKY_SLOPE};
pub use convolution::{conv_transpose2d, conv2d};
pub use detection::{
    cross_entropy_with_logits, focal_loss_with_logits, mean_of_largest, soft_dice_with_logits,
};
pub use importance::{importance_log_weights, importance_weighted_bound};
pub use latent::{reparameterise, soft_clamp};
pub use likelihood::{bernoulli_nll_with_logits, gaussian_nll, kl_standard_normal};
pub use linear::linear;
pub use norm::{batch_norm, batch_norm_residual};
pub use shuffle::{pixel_shuffle, space_to_depth};

/// Runs `$body` with `$real` as the number type of `$tensor`: `f32` or `f64`.
macro_rules! by_type {
    ($tensor:expr, $operation:expr, $real:ident => $body:expr) => {{
        #[allow(unused_imports, reason = "not every body needs each of these traits")]
        use candle_core::{WithDType as _, backend::BackendStorage as _};
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $real = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $real = f64;
                $body
            }
            other => candle_core::bail!("{}: f32 or f64 wanted, found {other:?}", $operation),
        }
    }};
}
use by_type;
pub(crate) use real::read;
