//! Batch normalisation (Ioffe and Szegedy 2015) with activation and residual sum in the same pass.

use super::activation::Activation;
use super::real::{Real, numbers, read};
use super::{by_type, reference};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Normalises each channel of `x` (`…×C`) by the batch's own mean and biased variance:
/// `y = act(gamma · (x − mean) / √(variance + eps) + beta)`.
///
/// Gives `y`, the mean and the biased variance (`C` each, without gradient), for running averages.
///
/// # Errors
/// `gamma` or `beta` is not of shape `C`; `x` is empty.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    act: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    normalise(x, gamma, beta, eps, None, act)
}

/// As [`batch_norm`], with `shortcut` (of the shape of `x`) added before the activation:
/// `y = act(bn(x) + shortcut)`, the end of a residual block (He et al. 2016).
///
/// # Errors
/// As [`batch_norm`], and if `shortcut` has another shape than `x`.
pub fn batch_norm_residual(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    shortcut: &Tensor,
    act: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    normalise(x, gamma, beta, eps, Some(shortcut), act)
}

fn normalise(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    shortcut: Option<&Tensor>,
    act: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    const NAME: &str = "batch_norm";
    let channels = x.dims().last().copied().unwrap_or(0);
    if x.elem_count() == 0 || gamma.dims() != [channels] || beta.dims() != [channels] {
        bail!(
            "{NAME}: gamma {:?} and beta {:?} do not go with {:?}",
            gamma.dims(),
            beta.dims(),
            x.dims()
        );
    }
    if let Some(shortcut) = shortcut
        && shortcut.dims() != x.dims()
    {
        bail!(
            "{NAME}: shortcut {:?} does not go with {:?}",
            shortcut.dims(),
            x.dims()
        );
    }
    if !x.device().is_cpu() {
        return reference::batch_norm(x, gamma, beta, eps, shortcut, act);
    }
    let x = x.contiguous()?;
    let (mean, variance) =
        by_type!(x, NAME, T => read::<T, _>(&x, NAME, |x| Ok(moments(x, channels))))?;
    let statistic =
        |numbers: &[f64]| Tensor::from_slice(numbers, channels, x.device())?.to_dtype(x.dtype());
    let (mean_out, variance_out) = (statistic(&mean)?, statistic(&variance)?);
    let inverse_deviation = variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    let operation = BatchNorm {
        mean,
        inverse_deviation,
        act,
    };
    let scale_and_shift = Tensor::stack(&[gamma, beta], 0)?;
    let y = match shortcut {
        None => x.apply_op2(&scale_and_shift, operation)?,
        Some(shortcut) => x.apply_op3(&scale_and_shift, &shortcut.contiguous()?, operation)?,
    };
    Ok((y, mean_out, variance_out))
}

/// Rows of one part of the work: a part stays in the inner cache while it is read twice.
fn rows_at_a_time(channels: usize) -> usize {
    (1usize << 14).div_ceil(channels)
}

/// Mean and biased variance of each channel.
///
/// Within a part in two passes; parts are joined in `f64` by the formula of Chan, Golub and LeVeque
/// (1979), so that no difference of large sums is ever taken.
fn moments<T: Real>(x: &[T], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let parts: Vec<(usize, Vec<T>, Vec<T>)> = x
        .par_chunks(rows_at_a_time(channels) * channels)
        .map(|part| {
            let rows = part.len() / channels;
            let mut mean = vec![T::ZERO; channels];
            for row in part.chunks_exact(channels) {
                for (sum, &x) in mean.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            let share = T::ONE / T::from_f64(rows as f64);
            for mean in &mut mean {
                *mean *= share;
            }
            let mut squares = vec![T::ZERO; channels];
            for row in part.chunks_exact(channels) {
                for ((square, &mean), &x) in squares.iter_mut().zip(&mean).zip(row) {
                    let distance = x - mean;
                    *square += distance * distance;
                }
            }
            (rows, mean, squares)
        })
        .collect();
    let mut count = 0.0;
    let mut mean = vec![0.0; channels];
    let mut squares = vec![0.0; channels];
    for (rows, part_mean, part_squares) in parts {
        let rows = rows as f64;
        let total = count + rows;
        for channel in 0..channels {
            let distance = part_mean[channel].to_f64() - mean[channel];
            mean[channel] += distance * rows / total;
            squares[channel] +=
                part_squares[channel].to_f64() + distance * distance * count * rows / total;
        }
        count = total;
    }
    (mean, squares.into_iter().map(|s| s / count).collect())
}

/// The operation behind [`batch_norm`]: `x`, `gamma` above `beta` (`2×C`), and the shortcut.
struct BatchNorm {
    mean: Vec<f64>,
    /// 1/√(variance + eps)
    inverse_deviation: Vec<f64>,
    act: Activation,
}

struct Channels<T> {
    mean: Vec<T>,
    inverse_deviation: Vec<T>,
    /// gamma/√(variance + eps)
    scale: Vec<T>,
    beta: Vec<T>,
}

struct Gradients<T> {
    input: Vec<T>,
    /// Gradient before the activation, which is the shortcut's.
    inner: Vec<T>,
    scale_and_shift: Vec<T>,
}

impl BatchNorm {
    const NAME: &'static str = "batch_norm";

    fn channels<T: Real>(&self, scale_and_shift: &[T]) -> Channels<T> {
        let (gamma, beta) = scale_and_shift.split_at(self.mean.len());
        let convert = |numbers: &[f64]| numbers.iter().map(|&x| T::from_f64(x)).collect::<Vec<T>>();
        let inverse_deviation = convert(&self.inverse_deviation);
        Channels {
            mean: convert(&self.mean),
            scale: gamma
                .iter()
                .zip(&inverse_deviation)
                .map(|(&g, &i)| g * i)
                .collect(),
            inverse_deviation,
            beta: beta.to_vec(),
        }
    }

    fn forward<T: Real>(&self, x: &[T], scale_and_shift: &[T], shortcut: Option<&[T]>) -> Vec<T> {
        let channels = self.channels(scale_and_shift);
        let size = self.mean.len();
        let part = rows_at_a_time(size) * size;
        let mut y = vec![T::ZERO; x.len()];
        y.par_chunks_mut(part).enumerate().for_each(|(index, y)| {
            let range = index * part..index * part + y.len();
            channels.before_activation(&x[range.clone()], shortcut.map(|s| &s[range]), y);
            for y in y {
                *y = self.act.apply(*y);
            }
        });
        y
    }

    fn backward<T: Real>(
        &self,
        x: &[T],
        scale_and_shift: &[T],
        shortcut: Option<&[T]>,
        grad: &[T],
    ) -> Gradients<T> {
        let channels = self.channels(scale_and_shift);
        let size = self.mean.len();
        let part = rows_at_a_time(size) * size;
        let mut inner = vec![T::ZERO; x.len()];
        let sums: Vec<(Vec<T>, Vec<T>)> = inner
            .par_chunks_mut(part)
            .enumerate()
            .map(|(index, inner)| {
                let range = index * part..index * part + inner.len();
                let (x, grad) = (&x[range.clone()], &grad[range.clone()]);
                if self.act == Activation::Identity {
                    inner.copy_from_slice(grad);
                } else {
                    channels.before_activation(x, shortcut.map(|s| &s[range]), inner);
                    for (inner, &grad) in inner.iter_mut().zip(grad) {
                        *inner = grad * self.act.derivative(*inner);
                    }
                }
                channels.gradient_sums(x, inner)
            })
            .collect();
        let mut totals = vec![0.0; 2 * size];
        for (gamma, beta) in sums {
            for (total, number) in totals.iter_mut().zip(gamma.into_iter().chain(beta)) {
                *total += number.to_f64();
            }
        }
        let share = 1.0 / (x.len() / size) as f64;
        let mean_gradients: Vec<T> = totals.iter().map(|t| T::from_f64(t * share)).collect();
        let (mean_gamma, mean_beta) = mean_gradients.split_at(size);
        let mut input = vec![T::ZERO; x.len()];
        input
            .par_chunks_mut(part)
            .enumerate()
            .for_each(|(index, input)| {
                let range = index * part..index * part + input.len();
                let rows = x[range.clone()]
                    .chunks_exact(size)
                    .zip(inner[range].chunks_exact(size))
                    .zip(input.chunks_exact_mut(size));
                for ((x, inner), input) in rows {
                    for channel in 0..size {
                        let normalised = (x[channel] - channels.mean[channel])
                            * channels.inverse_deviation[channel];
                        input[channel] = channels.scale[channel]
                            * (inner[channel]
                                - mean_beta[channel]
                                - normalised * mean_gamma[channel]);
                    }
                }
            });
        Gradients {
            input,
            inner,
            scale_and_shift: totals.into_iter().map(T::from_f64).collect(),
        }
    }

    fn run(
        &self,
        x: (&CpuStorage, &Layout),
        scale_and_shift: (&CpuStorage, &Layout),
        shortcut: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        by_type!(x.0, Self::NAME, T => {
            let y = self.forward::<T>(
                numbers(x.0, x.1, Self::NAME)?,
                numbers(scale_and_shift.0, scale_and_shift.1, Self::NAME)?,
                shortcut.map(|(storage, layout)| numbers(storage, layout, Self::NAME)).transpose()?,
            );
            Ok((T::to_cpu_storage_owned(y), x.1.shape().clone()))
        })
    }

    fn gradients(
        &self,
        x: &Tensor,
        scale_and_shift: &Tensor,
        shortcut: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_type!(x, Self::NAME, T => {
            let gradients = read::<T, _>(x, Self::NAME, |x| {
                read::<T, _>(scale_and_shift, Self::NAME, |scale_and_shift| {
                    read::<T, _>(grad, Self::NAME, |grad| match shortcut {
                        None => Ok(self.backward(x, scale_and_shift, None, grad)),
                        Some(shortcut) => read::<T, _>(shortcut, Self::NAME, |shortcut| {
                            Ok(self.backward(x, scale_and_shift, Some(shortcut), grad))
                        }),
                    })
                })
            })?;
            let device = x.device();
            Ok((
                Some(Tensor::from_vec(gradients.input, x.shape(), device)?),
                Some(Tensor::from_vec(gradients.scale_and_shift, scale_and_shift.shape(), device)?),
                match shortcut {
                    None => None,
                    Some(_) => Some(Tensor::from_vec(gradients.inner, x.shape(), device)?),
                },
            ))
        })
    }
}

impl<T: Real> Channels<T> {
    /// `scale · (x − mean) + beta [+ shortcut]`, row by row.
    fn before_activation(&self, x: &[T], shortcut: Option<&[T]>, out: &mut [T]) {
        let size = self.mean.len();
        for (x, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            for channel in 0..size {
                out[channel] =
                    (x[channel] - self.mean[channel]) * self.scale[channel] + self.beta[channel];
            }
        }
        for (out, &shortcut) in out.iter_mut().zip(shortcut.unwrap_or_default()) {
            *out += shortcut;
        }
    }

    /// Sums over the rows of gradient times normalised input, and of the gradient.
    fn gradient_sums(&self, x: &[T], inner: &[T]) -> (Vec<T>, Vec<T>) {
        let size = self.mean.len();
        let mut gamma = vec![T::ZERO; size];
        let mut beta = vec![T::ZERO; size];
        for (x, inner) in x.chunks_exact(size).zip(inner.chunks_exact(size)) {
            for channel in 0..size {
                gamma[channel] += inner[channel] * (x[channel] - self.mean[channel]);
                beta[channel] += inner[channel];
            }
        }
        for (gamma, &inverse) in gamma.iter_mut().zip(&self.inverse_deviation) {
            *gamma *= inverse;
        }
        (gamma, beta)
    }
}

impl CustomOp2 for BatchNorm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale_and_shift: &CpuStorage,
        scale_and_shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run(
            (x, x_layout),
            (scale_and_shift, scale_and_shift_layout),
            None,
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale_and_shift: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, scale_and_shift, None, grad)
            .map(|(x, parameters, _)| (x, parameters))
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale_and_shift: &CpuStorage,
        scale_and_shift_layout: &Layout,
        shortcut: &CpuStorage,
        shortcut_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run(
            (x, x_layout),
            (scale_and_shift, scale_and_shift_layout),
            Some((shortcut, shortcut_layout)),
        )
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale_and_shift: &Tensor,
        shortcut: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, scale_and_shift, Some(shortcut), grad)
    }
}
