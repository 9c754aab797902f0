//! The terms of the negative ELBO, each as one pass over its inputs: sums per sample, in nats.

use super::real::{Real, numbers, read};
use super::{by_type, reference};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `−log N(x; mean, exp(log_variance))` of each sample, summed over all its numbers: `N`.
///
/// All three have one shape `N×…`; `x` gets no gradient.
/// `½·Σ [ln 2π + log_variance + (x − mean)²·exp(−log_variance)]`
///
/// # Errors
/// The shapes differ.
pub fn gaussian_nll(x: &Tensor, mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    const NAME: &str = "gaussian_nll";
    samples(NAME, &[x, mean, log_variance])?;
    if !x.device().is_cpu() {
        return reference::gaussian_nll(x, mean, log_variance);
    }
    x.contiguous()?.detach().apply_op3(
        &mean.contiguous()?,
        &log_variance.contiguous()?,
        GaussianNll,
    )
}

/// `−log Bernoulli(x; σ(logits))` of each sample, summed over all its numbers: `N`.
///
/// Both have one shape `N×…`; `x` is in [0, 1] and gets no gradient.
/// `Σ [softplus(logits) − x·logits]`, which no logit overflows.
///
/// # Errors
/// The shapes differ.
pub fn bernoulli_nll_with_logits(x: &Tensor, logits: &Tensor) -> Result<Tensor> {
    const NAME: &str = "bernoulli_nll_with_logits";
    samples(NAME, &[x, logits])?;
    if !x.device().is_cpu() {
        return reference::bernoulli_nll_with_logits(x, logits);
    }
    x.contiguous()?
        .detach()
        .apply_op2(&logits.contiguous()?, Pairwise::<Bernoulli>::new(NAME))
}

/// `KL(N(mean, exp(log_variance)) ‖ N(0, I))` of each sample, summed over its latent dimensions:
/// `N` (Kingma and Welling 2014, appendix B).
///
/// Both have one shape `N×…`. `½·Σ [mean² + exp(log_variance) − 1 − log_variance]`
///
/// # Errors
/// The shapes differ.
pub fn kl_standard_normal(mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    const NAME: &str = "kl_standard_normal";
    samples(NAME, &[mean, log_variance])?;
    if !mean.device().is_cpu() {
        return reference::kl_standard_normal(mean, log_variance);
    }
    mean.contiguous()?
        .apply_op2(&log_variance.contiguous()?, Pairwise::<Kl>::new(NAME))
}

/// Checks that all tensors have one shape with at least one sample.
fn samples(name: &str, tensors: &[&Tensor]) -> Result<()> {
    let shapes: Vec<&[usize]> = tensors.iter().map(|t| t.dims()).collect();
    if shapes.iter().any(|shape| *shape != shapes[0]) || tensors[0].elem_count() == 0 {
        bail!("{name}: wants non-empty tensors of one shape N×…, found {shapes:?}");
    }
    if shapes[0].is_empty() {
        bail!("{name}: a scalar has no batch dimension");
    }
    Ok(())
}

/// Numbers added up in the type itself before the sum goes on in `f64`.
const SUM_CHUNK: usize = 1024;

/// A sum of terms in an order fixed by `count` alone: eight sums side by side (which the compiler
/// turns into vector instructions) within chunks, then `f64`.
#[inline(always)]
fn sum<T: Real>(count: usize, term: impl Fn(usize) -> T) -> f64 {
    let mut total = 0.0;
    for start in (0..count).step_by(SUM_CHUNK) {
        let end = (start + SUM_CHUNK).min(count);
        let mut sums = [T::ZERO; 8];
        let whole = start + (end - start) / 8 * 8;
        for index in (start..whole).step_by(8) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += term(index + lane);
            }
        }
        for index in whole..end {
            sums[index % 8] += term(index);
        }
        total += sums.iter().map(|sum| sum.to_f64()).sum::<f64>();
    }
    total
}

/// ln(1 + exp(x)) without overflow.
#[inline(always)]
fn softplus<T: Real>(x: T) -> T {
    Real::greater(x, T::ZERO) + Real::ln_1p(Real::exp(-Real::abs(x)))
}

struct GaussianNll;

impl CustomOp3 for GaussianNll {
    fn name(&self) -> &'static str {
        "gaussian_nll"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        mean: &CpuStorage,
        mean_layout: &Layout,
        log_variance: &CpuStorage,
        log_variance_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_type!(x, self.name(), T => {
            let batch = x_layout.dims()[0];
            let x = numbers::<T>(x, x_layout, self.name())?;
            let mean = numbers::<T>(mean, mean_layout, self.name())?;
            let log_variance = numbers::<T>(log_variance, log_variance_layout, self.name())?;
            let size = x.len() / batch;
            let constant = size as f64 * std::f64::consts::TAU.ln();
            let out = x
                .par_chunks(size)
                .zip(mean.par_chunks(size).zip(log_variance.par_chunks(size)))
                .map(|(x, (mean, log_variance))| {
                    let total = sum(size, |i| {
                        let distance = x[i] - mean[i];
                        log_variance[i] + distance * distance * Real::exp(-log_variance[i])
                    });
                    T::from_f64(0.5 * (constant + total))
                })
                .collect();
            Ok((T::to_cpu_storage_owned(out), Shape::from(batch)))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        mean: &Tensor,
        log_variance: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_type!(x, self.name(), T => {
            let name = CustomOp3::name(self);
            let half = T::from_f64(0.5);
            let (by_mean, by_log_variance) = read::<T, _>(x, name, |x| {
                read::<T, _>(mean, name, |mean| read::<T, _>(log_variance, name, |log_variance| {
                    read::<T, _>(grad, name, |grad| {
                        Ok(pairs(x.len(), grad, |i, grad| {
                            let precision = Real::exp(-log_variance[i]);
                            let distance = mean[i] - x[i];
                            let by_mean = distance * precision;
                            (grad * by_mean, grad * half * (T::ONE - distance * by_mean))
                        }))
                    })
                }))
            })?;
            Ok((
                None,
                Some(Tensor::from_vec(by_mean, x.shape(), x.device())?),
                Some(Tensor::from_vec(by_log_variance, x.shape(), x.device())?),
            ))
        })
    }
}

/// Two results per number, in parallel over samples; `grad` holds one number per sample.
fn pairs<T: Real>(
    count: usize,
    grad: &[T],
    result: impl Fn(usize, T) -> (T, T) + Sync,
) -> (Vec<T>, Vec<T>) {
    let size = count / grad.len();
    let mut first = vec![T::ZERO; count];
    let mut second = vec![T::ZERO; count];
    first
        .par_chunks_mut(size)
        .zip(second.par_chunks_mut(size))
        .enumerate()
        .for_each(|(sample, (first, second))| {
            for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
                (*first, *second) = result(sample * size + i, grad[sample]);
            }
        });
    (first, second)
}

/// A sum over terms of two numbers each.
trait Term: Send + Sync + 'static {
    fn term<T: Real>(a: T, b: T) -> T;
    /// Derivatives by both.
    fn slopes<T: Real>(a: T, b: T) -> (T, T);
}

struct Bernoulli;

impl Term for Bernoulli {
    #[inline(always)]
    fn term<T: Real>(x: T, logit: T) -> T {
        softplus(logit) - x * logit
    }

    #[inline(always)]
    fn slopes<T: Real>(x: T, logit: T) -> (T, T) {
        (T::ZERO, logit.sigmoid() - x)
    }
}

struct Kl;

impl Term for Kl {
    #[inline(always)]
    fn term<T: Real>(mean: T, log_variance: T) -> T {
        let half = T::from_f64(0.5);
        half * (mean * mean + Real::exp(log_variance) - T::ONE - log_variance)
    }

    #[inline(always)]
    fn slopes<T: Real>(mean: T, log_variance: T) -> (T, T) {
        (mean, T::from_f64(0.5) * (Real::exp(log_variance) - T::ONE))
    }
}

struct Pairwise<F> {
    name: &'static str,
    term: std::marker::PhantomData<F>,
}

impl<F> Pairwise<F> {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            term: std::marker::PhantomData,
        }
    }
}

impl<F: Term> CustomOp2 for Pairwise<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_type!(a, self.name, T => {
            let batch = a_layout.dims()[0];
            let a = numbers::<T>(a, a_layout, self.name)?;
            let b = numbers::<T>(b, b_layout, self.name)?;
            let size = a.len() / batch;
            let out = a
                .par_chunks(size)
                .zip(b.par_chunks(size))
                .map(|(a, b)| T::from_f64(sum(size, |i| F::term(a[i], b[i]))))
                .collect();
            Ok((T::to_cpu_storage_owned(out), Shape::from(batch)))
        })
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        by_type!(a, self.name, T => {
            let (by_a, by_b) = read::<T, _>(a, self.name, |a| {
                read::<T, _>(b, self.name, |b| read::<T, _>(grad, self.name, |grad| {
                    Ok(pairs(a.len(), grad, |i, grad| {
                        let (by_a, by_b) = F::slopes(a[i], b[i]);
                        (grad * by_a, grad * by_b)
                    }))
                }))
            })?;
            let by_a = match a.track_op() {
                true => Some(Tensor::from_vec(by_a, a.shape(), a.device())?),
                false => None,
            };
            Ok((by_a, Some(Tensor::from_vec(by_b, b.shape(), b.device())?)))
        })
    }
}
