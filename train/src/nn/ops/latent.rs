//! The latent variable: sampling it differentiably, and keeping log-variances in bounds.

use super::activate::ELEMENT_CHUNK;
use super::real::{Real, numbers, read};
use super::{by_type, reference};
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// A sample of the posterior, `mean + exp(log_variance / 2) · noise`, differentiable in mean and
/// log-variance (Kingma and Welling 2014). All three have one shape; `noise` gets no gradient.
///
/// # Errors
/// The shapes differ.
pub fn reparameterise(mean: &Tensor, log_variance: &Tensor, noise: &Tensor) -> Result<Tensor> {
    if mean.dims() != log_variance.dims() || mean.dims() != noise.dims() {
        bail!(
            "reparameterise: shapes {:?}, {:?} and {:?} differ",
            mean.dims(),
            log_variance.dims(),
            noise.dims()
        );
    }
    if !mean.device().is_cpu() {
        return reference::reparameterise(mean, log_variance, noise);
    }
    mean.contiguous()?.apply_op3(
        &log_variance.contiguous()?,
        &noise.contiguous()?.detach(),
        Reparameterise,
    )
}

/// A smooth bounded map: `m + s · tanh((x − m) / s)` with `m = (lo + hi)/2`, `s = (hi − lo)/2`.
///
/// It is the identity with slope 1 in the middle and never leaves [`lo`, `hi`], whatever the input
/// and the precision; the derivative `1/cosh²` is above zero on both sides, so a log-variance that
/// went too far finds back. In ONNX: `Sub`, `Div`, `Tanh`, `Mul`, `Add` with scalars, none of which
/// can overflow in half precision, as the exponential of a softplus does.
///
/// # Errors
/// `lo` is not below `hi`.
pub fn soft_clamp(x: &Tensor, lo: f64, hi: f64) -> Result<Tensor> {
    if !(lo < hi && (hi - lo).is_finite()) {
        bail!("soft_clamp: {lo} is not below {hi}");
    }
    if !x.device().is_cpu() {
        return reference::soft_clamp(x, lo, hi);
    }
    x.contiguous()?.apply_op1(SoftClamp {
        middle: (lo + hi) / 2.0,
        half: (hi - lo) / 2.0,
    })
}

struct Reparameterise;

impl CustomOp3 for Reparameterise {
    fn name(&self) -> &'static str {
        "reparameterise"
    }

    fn cpu_fwd(
        &self,
        mean: &CpuStorage,
        mean_layout: &Layout,
        log_variance: &CpuStorage,
        log_variance_layout: &Layout,
        noise: &CpuStorage,
        noise_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_type!(mean, self.name(), T => {
            let half = T::from_f64(0.5);
            let mean = numbers::<T>(mean, mean_layout, self.name())?;
            let log_variance = numbers::<T>(log_variance, log_variance_layout, self.name())?;
            let noise = numbers::<T>(noise, noise_layout, self.name())?;
            let sample = mean
                .iter()
                .zip(log_variance)
                .zip(noise)
                .map(|((&mean, &log_variance), &noise)| mean + (log_variance * half).exp() * noise)
                .collect();
            Ok((T::to_cpu_storage_owned(sample), mean_layout.shape().clone()))
        })
    }

    fn bwd(
        &self,
        _: &Tensor,
        log_variance: &Tensor,
        noise: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_type!(grad, self.name(), T => {
            let half = T::from_f64(0.5);
            let name = CustomOp3::name(self);
            let slope: Vec<T> = read::<T, _>(log_variance, name, |log_variance| {
                read::<T, _>(noise, name, |noise| read::<T, _>(grad, name, |grad| {
                    Ok(grad
                        .iter()
                        .zip(log_variance)
                        .zip(noise)
                        .map(|((&grad, &log_variance), &noise)| {
                            grad * noise * half * (log_variance * half).exp()
                        })
                        .collect())
                }))
            })?;
            let slope = Tensor::from_vec(slope, log_variance.shape(), log_variance.device())?;
            Ok((Some(grad.clone()), Some(slope), None))
        })
    }
}

struct SoftClamp {
    middle: f64,
    half: f64,
}

impl CustomOp1 for SoftClamp {
    fn name(&self) -> &'static str {
        "soft_clamp"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_type!(storage, self.name(), T => {
            let x = numbers::<T>(storage, layout, self.name())?;
            let (middle, half) = (T::from_f64(self.middle), T::from_f64(self.half));
            let mut y = vec![0.0; x.len()];
            y.par_chunks_mut(ELEMENT_CHUNK).zip(x.par_chunks(ELEMENT_CHUNK)).for_each(|(y, x)| {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = middle + half * Real::tanh((x - middle) / half);
                }
            });
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        by_type!(x, self.name(), T => {
            let (middle, half) = (T::from_f64(self.middle), T::from_f64(self.half));
            let (two, four) = (T::from_f64(2.0), T::from_f64(4.0));
            read::<T, _>(x, self.name(), |x_numbers| read::<T, _>(grad, self.name(), |grad| {
                let mut out = vec![0.0; grad.len()];
                out.par_chunks_mut(ELEMENT_CHUNK)
                    .zip(x_numbers.par_chunks(ELEMENT_CHUNK))
                    .zip(grad.par_chunks(ELEMENT_CHUNK))
                    .for_each(|((out, x), grad)| {
                        for ((out, &x), &grad) in out.iter_mut().zip(x).zip(grad) {
                            // 1/cosh²; 1 − tanh² would be rounded to 0 far outside.
                            let decay = Real::exp(-two * Real::abs((x - middle) / half));
                            *out = grad * four * decay / ((T::ONE + decay) * (T::ONE + decay));
                        }
                    });
                Tensor::from_vec(out, x.shape(), x.device()).map(Some)
            }))
        })
    }
}
