//! Activation functions, fused into the operation before them where the derivative allows it.

use super::by_type;
use super::real::{Real, numbers, read};
use super::reference;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Slope of [`Activation::LeakyRelu`] below zero.
pub const LEAKY_SLOPE: f64 = 0.1;

/// The function applied to each number of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// max(x, 0)
    Relu,
    /// x above 0, [`LEAKY_SLOPE`]·x below
    LeakyRelu,
    /// x·σ(x) (Hendrycks and Gimpel 2016; Elfwing et al. 2018)
    Silu,
}

impl Activation {
    /// The activation of one number.
    #[inline(always)]
    pub(crate) fn apply<T: Real>(self, x: T) -> T {
        match self {
            Self::Identity => x,
            Self::Relu => x.greater(T::ZERO),
            Self::LeakyRelu => x.greater(x * T::from_f64(LEAKY_SLOPE)),
            Self::Silu => x * x.sigmoid(),
        }
    }

    /// The derivative at `x`, 0 or the lower slope at a kink.
    #[inline(always)]
    pub(crate) fn derivative<T: Real>(self, x: T) -> T {
        match self {
            Self::Silu => {
                let sigmoid = x.sigmoid();
                sigmoid * (T::ONE + x * (T::ONE - sigmoid))
            }
            _ => self.derivative_from_result(x),
        }
    }

    /// The derivative where the activation gave `y`; [`Activation::Silu`] is not invertible and
    /// gives no such answer ([`Activation::fusible`]).
    #[inline(always)]
    pub(crate) fn derivative_from_result<T: Real>(self, y: T) -> T {
        let above = y > T::ZERO;
        match self {
            Self::Identity | Self::Silu => T::ONE,
            Self::Relu => {
                if above {
                    T::ONE
                } else {
                    T::ZERO
                }
            }
            Self::LeakyRelu => {
                if above {
                    T::ONE
                } else {
                    T::from_f64(LEAKY_SLOPE)
                }
            }
        }
    }

    /// Splits into the part whose derivative follows from its result, to be fused into the
    /// operation before, and the part to be applied as an operation of its own.
    pub(crate) fn fusible(self) -> (Activation, Activation) {
        match self {
            Self::Silu => (Self::Identity, Self::Silu),
            other => (other, Self::Identity),
        }
    }
}

/// Numbers handled by one task of an element-wise operation.
pub(crate) const ELEMENT_CHUNK: usize = 1 << 15;

/// Applies `activation` to every number of `x` (any shape).
///
/// # Errors
/// `x` is not floating point.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if activation == Activation::Identity {
        return Ok(x.clone());
    }
    if !x.device().is_cpu() {
        return reference::activate(x, activation);
    }
    x.contiguous()?.apply_op1(Activate(activation))
}

struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_type!(storage, self.name(), T => {
            let x = numbers::<T>(storage, layout, self.name())?;
            let mut y = vec![0.0; x.len()];
            y.par_chunks_mut(ELEMENT_CHUNK).zip(x.par_chunks(ELEMENT_CHUNK)).for_each(|(y, x)| {
                if self.0 == Activation::Silu {
                    return T::silu(x, y);
                }
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = self.0.apply(x);
                }
            });
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        by_type!(x, self.name(), T => {
            read::<T, _>(x, self.name(), |x_numbers| read::<T, _>(grad, self.name(), |grad| {
                let mut out = vec![0.0; grad.len()];
                out.par_chunks_mut(ELEMENT_CHUNK)
                    .zip(x_numbers.par_chunks(ELEMENT_CHUNK))
                    .zip(grad.par_chunks(ELEMENT_CHUNK))
                    .for_each(|((out, x), grad)| {
                        if self.0 == Activation::Silu {
                            return T::silu_gradient(x, grad, out);
                        }
                        for ((out, &x), &grad) in out.iter_mut().zip(x).zip(grad) {
                            *out = grad * self.0.derivative_from_result(x);
                        }
                    });
                Tensor::from_vec(out, x.shape(), x.device()).map(Some)
            }))
        })
    }
}

/// Gradient before an activation whose result was `y`: `grad · act'`, into `out`.
pub(crate) fn through_result<T: Real>(activation: Activation, y: &[T], grad: &[T], out: &mut [T]) {
    for ((out, &y), &grad) in out.iter_mut().zip(y).zip(grad) {
        *out = grad * activation.derivative_from_result(y);
    }
}
