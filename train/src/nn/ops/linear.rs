//! Dense layers.

use super::{Activation, conv2d};
use candle_core::{Result, Tensor};

/// Dense layer: `x` (`N×I`) times `w` (`O×I`) transposed, plus `b` (`O`), then `act`: `N×O`.
///
/// It is the pointwise convolution of one picture of `N×1` positions: one product forwards and
/// two backwards, each split over its result.
///
/// # Errors
/// Shapes that don't fit together.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let (outputs, kernel_inputs) = w.dims2()?;
    let picture = x.reshape((1, rows, 1, inputs))?;
    let kernel = w.reshape((outputs, 1, 1, kernel_inputs))?;
    conv2d(&picture, &kernel, b, 1, 0, act)?.reshape((rows, outputs))
}
