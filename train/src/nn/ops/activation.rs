//! Activation functions, fused into the operation before them where the derivative allows it.

use super::real::Real;

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

/// Gradient before an activation whose result was `y`: `grad · act'`, into `out`.
pub(crate) fn through_result<T: Real>(activation: Activation, y: &[T], grad: &[T], out: &mut [T]) {
    for ((out, &y), &grad) in out.iter_mut().zip(y).zip(grad) {
        *out = grad * activation.derivative_from_result(y);
    }
}
