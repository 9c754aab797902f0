//! Convolution and transposed convolution, `N×H×W×C`, as matrix products.
//!
//! Both are one operation seen from two sides. Between a *fine* picture (`H×W×C`) and a *coarse*
//! one (`h×w×D`) stand weights `D×Kh×Kw×C`, and with `patches` being the matrix whose rows are the
//! `Kh·Kw·C` numbers of the fine picture under each position of the coarse one,
//!
//! - gather: `coarse = patches(fine) · weightsᵀ` — convolution, and the input gradient of the
//!   transposed convolution;
//! - scatter: `fine = patchesᵀ(coarse · weights)`, overlapping patches added — transposed
//!   convolution, and the input gradient of the convolution;
//! - correlate: `weights = coarseᵀ · patches(fine)` — the weight gradient of both.

use super::activate::activate;
use super::activation::{Activation, through_result};
use super::geometry::Geometry;
use super::real::{Real, numbers, read};
use super::{by_type, reference};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Convolution of `x` (`N×H×W×I`) with `w` (`O×Kh×Kw×I`) and bias `b` (`O`), zeros around the
/// picture, then `act`: `N×H'×W'×O` with `H' = (H + 2·padding − Kh) / stride + 1`.
///
/// # Errors
/// Shapes that don't fit together, a kernel larger than the padded picture, a stride of 0.
pub fn conv2d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    stride: usize,
    padding: usize,
    act: Activation,
) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return reference::conv2d(x, w, b, stride, padding, act);
    }
    let (images, height, width, channels) = x.dims4()?;
    let (depth, kernel_height, kernel_width, kernel_channels) = w.dims4()?;
    let fits = stride > 0
        && kernel_channels == channels
        && x.elem_count() > 0
        && w.elem_count() > 0
        && height + 2 * padding >= kernel_height
        && width + 2 * padding >= kernel_width;
    if !fits {
        bail!(
            "conv2d: picture {:?} does not go with kernel {:?} at stride {stride}, \
             padding {padding}",
            x.dims(),
            w.dims()
        );
    }
    let geometry = Geometry {
        images,
        fine: [height, width, channels],
        coarse: [
            (height + 2 * padding - kernel_height) / stride + 1,
            (width + 2 * padding - kernel_width) / stride + 1,
            depth,
        ],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
    };
    apply(
        Convolution {
            geometry,
            direction: Direction::Gather,
            act: act.fusible().0,
        },
        x,
        w,
        b,
        act,
    )
}

/// Transposed convolution of `x` (`N×H×W×I`) with `w` (`I×Kh×Kw×O`) and bias `b` (`O`), then
/// `act`: `N×H'×W'×O` with `H' = (H − 1)·stride − 2·padding + Kh`.
///
/// # Errors
/// Shapes that don't fit together, nothing left after taking the padding away, a stride of 0.
pub fn conv_transpose2d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    stride: usize,
    padding: usize,
    act: Activation,
) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return reference::conv_transpose2d(x, w, b, stride, padding, act);
    }
    let (images, height, width, depth) = x.dims4()?;
    let (kernel_depth, kernel_height, kernel_width, channels) = w.dims4()?;
    let fits = stride > 0
        && kernel_depth == depth
        && x.elem_count() > 0
        && w.elem_count() > 0
        && (height - 1) * stride + kernel_height > 2 * padding
        && (width - 1) * stride + kernel_width > 2 * padding;
    if !fits {
        bail!(
            "conv_transpose2d: picture {:?} does not go with kernel {:?} at stride {stride}, \
             padding {padding}",
            x.dims(),
            w.dims()
        );
    }
    let geometry = Geometry {
        images,
        fine: [
            (height - 1) * stride + kernel_height - 2 * padding,
            (width - 1) * stride + kernel_width - 2 * padding,
            channels,
        ],
        coarse: [height, width, depth],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
    };
    apply(
        Convolution {
            geometry,
            direction: Direction::Scatter,
            act: act.fusible().0,
        },
        x,
        w,
        b,
        act,
    )
}

fn apply(
    operation: Convolution,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    act: Activation,
) -> Result<Tensor> {
    let name = operation.name();
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let y = match b {
        None => x.apply_op2(&w, operation)?,
        Some(b) => {
            let outputs = operation.outputs();
            if b.dims() != [outputs] {
                bail!(
                    "{name}: the bias has shape {:?}, wanted [{outputs}]",
                    b.dims()
                );
            }
            x.apply_op3(&w, &b.contiguous()?, operation)?
        }
    };
    activate(&y, act.fusible().1)
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    /// Convolution: the input is the fine picture.
    Gather,
    /// Transposed convolution: the input is the coarse picture.
    Scatter,
}

struct Convolution {
    geometry: Geometry,
    direction: Direction,
    act: Activation,
}

struct Gradients<T> {
    input: Option<Vec<T>>,
    weights: Vec<T>,
    bias: Vec<T>,
}

impl Convolution {
    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Gather => "conv2d",
            Direction::Scatter => "conv_transpose2d",
        }
    }

    /// Channels of the result.
    fn outputs(&self) -> usize {
        match self.direction {
            Direction::Gather => self.geometry.coarse[2],
            Direction::Scatter => self.geometry.fine[2],
        }
    }

    fn result_shape(&self) -> Shape {
        let [height, width, channels] = match self.direction {
            Direction::Gather => self.geometry.coarse,
            Direction::Scatter => self.geometry.fine,
        };
        Shape::from((self.geometry.images, height, width, channels))
    }

    fn forward<T: Real>(&self, x: &[T], w: &[T], b: Option<&[T]>) -> Vec<T> {
        let geometry = &self.geometry;
        let mut y = vec![T::ZERO; self.result_shape().elem_count()];
        let finish = |pixel: &mut [T], channel: usize| {
            finish(pixel, b.map(|b| &b[channel..]), self.act);
        };
        match self.direction {
            Direction::Gather => geometry.gather(x, w, &mut y, finish),
            Direction::Scatter => geometry.scatter(x, w, &mut y, finish),
        }
        y
    }

    fn backward<T: Real>(
        &self,
        x: &[T],
        w: &[T],
        y: &[T],
        grad: &[T],
        wants_input: bool,
    ) -> Gradients<T> {
        let geometry = &self.geometry;
        let mut before_activation = Vec::new();
        let grad = if self.act == Activation::Identity {
            grad
        } else {
            before_activation.resize(grad.len(), T::ZERO);
            let size = self.result_shape().elem_count() / geometry.images.max(1);
            before_activation
                .par_chunks_mut(size)
                .zip(y.par_chunks(size).zip(grad.par_chunks(size)))
                .for_each(|(out, (y, grad))| through_result(self.act, y, grad, out));
            &before_activation
        };
        let mut weights = vec![T::ZERO; w.len()];
        let mut input = wants_input.then(|| vec![T::ZERO; x.len()]);
        let (fine, coarse) = match self.direction {
            Direction::Gather => (x, grad),
            Direction::Scatter => (grad, x),
        };
        geometry.correlate(fine, coarse, &mut weights);
        if let Some(input) = &mut input {
            match self.direction {
                Direction::Gather => geometry.scatter(grad, w, input, |_, _| {}),
                Direction::Scatter => geometry.gather(grad, w, input, |_, _| {}),
            }
        }
        Gradients {
            input,
            weights,
            bias: column_sums(grad, self.outputs()),
        }
    }

    fn run(
        &self,
        x: (&CpuStorage, &Layout),
        w: (&CpuStorage, &Layout),
        b: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        by_type!(x.0, self.name(), T => {
            let y = self.forward::<T>(
                numbers(x.0, x.1, self.name())?,
                numbers(w.0, w.1, self.name())?,
                b.map(|(storage, layout)| numbers(storage, layout, self.name())).transpose()?,
            );
            Ok((T::to_cpu_storage_owned(y), self.result_shape()))
        })
    }

    fn gradients(
        &self,
        x: &Tensor,
        w: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        by_type!(x, self.name(), T => {
            let gradients = read::<T, _>(x, self.name(), |x_numbers| {
                read::<T, _>(w, self.name(), |w| read::<T, _>(y, self.name(), |y| {
                    read::<T, _>(grad, self.name(), |grad| {
                        Ok(self.backward(x_numbers, w, y, grad, x.track_op()))
                    })
                }))
            })?;
            let device = x.device();
            Ok((
                gradients.input.map(|g| Tensor::from_vec(g, x.shape(), device)).transpose()?,
                Some(Tensor::from_vec(gradients.weights, w.shape(), device)?),
                Some(Tensor::from_vec(gradients.bias, self.outputs(), device)?),
            ))
        })
    }
}

/// Adds the bias and applies the activation to channels of one pixel, in place.
fn finish<T: Real>(pixel: &mut [T], bias: Option<&[T]>, act: Activation) {
    match bias {
        Some(bias) => {
            for (y, &b) in pixel.iter_mut().zip(bias) {
                *y = act.apply(*y + b);
            }
        }
        None if act == Activation::Identity => {}
        None => {
            for y in pixel {
                *y = act.apply(*y);
            }
        }
    }
}

/// Sums over all rows of a matrix of `columns` columns, in parts of a fixed number of rows.
pub(crate) fn column_sums<T: Real>(numbers: &[T], columns: usize) -> Vec<T> {
    const ROWS: usize = 1024;
    let parts: Vec<Vec<T>> = numbers
        .par_chunks(ROWS * columns)
        .map(|part| {
            let mut sums = vec![T::ZERO; columns];
            for row in part.chunks_exact(columns) {
                for (sum, &number) in sums.iter_mut().zip(row) {
                    *sum += number;
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![T::ZERO; columns];
    for part in parts {
        for (sum, number) in sums.iter_mut().zip(part) {
            *sum += number;
        }
    }
    sums
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), (w, w_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, y, grad).map(|(x, w, _)| (x, w))
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), (w, w_layout), Some((b, b_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, y, grad)
    }
}
