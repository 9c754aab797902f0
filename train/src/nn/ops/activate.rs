//! An activation as an operation of its own.

use super::activation::Activation;
use super::real::{Real, numbers, read};
use super::{by_type, reference};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

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
