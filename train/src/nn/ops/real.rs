//! The two number types that the operations are written for: `f32` to train with, `f64` to check
//! gradients with.

use super::exponential;
use super::microkernel::{self, Microkernel, Order};
use candle_core::{CpuStorage, Layout, Result, Tensor, WithDType, bail};
use std::cell::Cell;

/// A floating-point type that the kernels compute with.
pub(crate) trait Real:
    WithDType + std::ops::Neg<Output = Self> + std::iter::Sum + Default + std::fmt::Debug
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// e to the power of `self`.
    fn exp(self) -> Self;
    /// 1 / (1 + e^−`self`).
    fn sigmoid(self) -> Self;
    /// x·σ(x) of each number of `x` into `y`.
    fn silu(x: &[Self], y: &mut [Self]);
    /// `grad` times the derivative of x·σ(x), into `out`.
    fn silu_gradient(x: &[Self], grad: &[Self], out: &mut [Self]);
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// ln(1 + `self`), exact for small values.
    fn ln_1p(self) -> Self;
    /// The greater of two numbers.
    fn greater(self, other: Self) -> Self;
    /// Magnitude.
    fn abs(self) -> Self;

    /// The innermost loop of matrix products on this processor.
    fn microkernel(order: Order) -> Microkernel<Self>;

    /// Takes this thread's scratch memory away; [`Real::return_scratch`] gives it back.
    fn take_scratch() -> Vec<Self>;
    /// Keeps memory for the next [`Real::take_scratch`] on this thread.
    fn return_scratch(memory: Vec<Self>);
}

macro_rules! real {
    ($type:ident, $scratch:ident, $microkernel:path, $logistic:ident) => {
        thread_local! {
            static $scratch: Cell<Vec<$type>> = const { Cell::new(Vec::new()) };
        }

        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn exp(self) -> Self {
                $type::exp(self)
            }
            #[inline(always)]
            fn sigmoid(self) -> Self {
                $logistic::sigmoid(self)
            }
            fn silu(x: &[Self], y: &mut [Self]) {
                $logistic::silu(x, y);
            }
            fn silu_gradient(x: &[Self], grad: &[Self], out: &mut [Self]) {
                $logistic::silu_gradient(x, grad, out);
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $type::tanh(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                $type::ln_1p(self)
            }
            #[inline(always)]
            fn greater(self, other: Self) -> Self {
                $type::max(self, other)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $type::abs(self)
            }
            fn microkernel(order: Order) -> Microkernel<Self> {
                $microkernel(order)
            }
            fn take_scratch() -> Vec<Self> {
                $scratch.take()
            }
            fn return_scratch(memory: Vec<Self>) {
                $scratch.set(memory);
            }
        }
    };
}

/// As [`exponential`], for the checks of gradients.
mod plain {
    pub(super) fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    pub(super) fn silu(x: &[f64], y: &mut [f64]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * sigmoid(x);
        }
    }

    pub(super) fn silu_gradient(x: &[f64], grad: &[f64], out: &mut [f64]) {
        for ((out, &x), &grad) in out.iter_mut().zip(x).zip(grad) {
            let sigmoid = sigmoid(x);
            *out = grad * (sigmoid * (1.0 + x * (1.0 - sigmoid)));
        }
    }
}

real!(f32, SCRATCH_F32, microkernel::for_f32, exponential);
real!(f64, SCRATCH_F64, microkernel::for_f64, plain);

/// Runs `work` on `length` numbers of scratch memory whose content is arbitrary.
///
/// The memory is kept for the thread's next call: the pages of a fresh allocation of some
/// megabytes cost as much as filling them. A second call from within `work` (which rayon causes
/// when a waiting thread picks up another task) gets memory of its own.
pub(crate) fn with_scratch<T: Real, R>(length: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let mut memory = T::take_scratch();
    if memory.len() < length {
        memory.resize(length, T::ZERO);
    }
    let result = work(&mut memory[..length]);
    T::return_scratch(memory);
    result
}

/// The numbers of a tensor in memory order.
///
/// # Errors
/// The tensor is strided or of another number type.
pub(crate) fn numbers<'a, T: Real>(
    storage: &'a CpuStorage,
    layout: &Layout,
    operation: &'static str,
) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("{operation}: wants contiguous tensors, call contiguous() first");
    };
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// Hands the numbers of a tensor on the CPU to `work`, copying only if the tensor is strided.
pub(crate) fn read<T: Real, R>(
    tensor: &Tensor,
    operation: &'static str,
    work: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => work(numbers::<T>(storage, layout, operation)?),
        _ => bail!("{operation}: this path is for tensors on the CPU"),
    }
}
