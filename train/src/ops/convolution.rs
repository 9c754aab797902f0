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

use super::activation::{Activation, activate, through_result};
use super::matmul::{Matrix, Places, multiply};
use super::microkernel::COLUMNS;
use super::patches::Patches;
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
            "conv2d: picture {:?} does not go with kernel {:?} at stride {stride}, padding {padding}",
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
            "conv_transpose2d: picture {:?} does not go with kernel {:?} at stride {stride}, padding {padding}",
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

/// Sizes of the two pictures and how a kernel moves over the fine one.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    images: usize,
    /// Height, width, channels of the fine picture.
    fine: [usize; 3],
    /// Height, width, channels of the coarse picture.
    coarse: [usize; 3],
    /// Height and width of the kernel.
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

/// Channels of a fine picture below which scattering by residues would leave most of a product's
/// tile empty.
const NARROW: usize = COLUMNS / 2;
/// Numbers of patches held at a time where they have to be written down.
const PATCHES_AT_A_TIME: usize = 1 << 16;

impl Geometry {
    fn fine_size(&self) -> usize {
        self.fine.iter().product()
    }

    fn positions(&self) -> usize {
        self.coarse[0] * self.coarse[1]
    }

    fn coarse_size(&self) -> usize {
        self.coarse.iter().product()
    }

    /// Numbers in a patch.
    fn patch(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.fine[2]
    }

    /// Where row `kernel_row` of the patch at coarse position (`row`, `column`) lies: `None` if
    /// outside the picture, else the number's index in the fine picture, its index in the row of
    /// the patch, and the count.
    #[inline]
    fn overlap(
        &self,
        row: usize,
        column: usize,
        kernel_row: usize,
    ) -> Option<(usize, usize, usize)> {
        let [height, width, channels] = self.fine;
        let fine_row = (row * self.stride + kernel_row).checked_sub(self.padding)?;
        if fine_row >= height {
            return None;
        }
        let left = column * self.stride;
        let skipped = self.padding.saturating_sub(left);
        let start = left.saturating_sub(self.padding);
        let end = (left + self.kernel[1])
            .saturating_sub(self.padding)
            .min(width);
        if end <= start {
            return None;
        }
        Some((
            (fine_row * width + start) * channels,
            skipped * channels,
            (end - start) * channels,
        ))
    }

    /// Adds the patches of one image onto the fine picture.
    fn fold<T: Real>(&self, patches: &[T], fine: &mut [T]) {
        let row_length = self.kernel[1] * self.fine[2];
        for row in 0..self.coarse[0] {
            for column in 0..self.coarse[1] {
                let position = row * self.coarse[1] + column;
                let patch = &patches[position * self.patch()..][..self.patch()];
                for (kernel_row, part) in patch.chunks_exact(row_length).enumerate() {
                    if let Some((to, from, count)) = self.overlap(row, column, kernel_row) {
                        let sums = &mut fine[to..to + count];
                        for (sum, &number) in sums.iter_mut().zip(&part[from..from + count]) {
                            *sum += number;
                        }
                    }
                }
            }
        }
    }

    /// The patches of the fine picture.
    fn patches<'a, T>(&self, fine: &'a [T]) -> Patches<'a, T> {
        Patches {
            pictures: fine,
            size: self.fine,
            positions: [self.coarse[0], self.coarse[1]],
            kernel: self.kernel,
            origin: [-(self.padding as isize); 2],
            stride: self.stride,
        }
    }

    /// `coarse = patches(fine) · weightsᵀ`
    fn gather<T: Real>(
        &self,
        fine: &[T],
        weights: &[T],
        coarse: &mut [T],
        finish: impl Fn(&mut [T], usize) + Sync,
    ) {
        let depth = self.coarse[2];
        multiply(
            coarse,
            &Places::rows(depth),
            &self.patches(fine),
            &Matrix::rows(weights, self.patch()).transposed(),
            [self.images * self.positions(), self.patch(), depth],
            finish,
        );
    }

    /// `weights = coarseᵀ · patches(fine)`
    fn correlate<T: Real>(&self, fine: &[T], coarse: &[T], weights: &mut [T]) {
        let depth = self.coarse[2];
        multiply(
            weights,
            &Places::rows(self.patch()),
            &Matrix::rows(coarse, depth).transposed(),
            &self.patches(fine),
            [depth, self.images * self.positions(), self.patch()],
            |_, _| {},
        );
    }

    /// `fine = patchesᵀ(coarse · weights)`
    ///
    /// The pixels of the fine picture that the kernel reaches with the same of its rows and columns
    /// (those of one residue of row and column modulo the stride) are a convolution of the coarse
    /// picture with just these: one product for each residue, and nothing to add up afterwards.
    fn scatter<T: Real>(
        &self,
        coarse: &[T],
        weights: &[T],
        fine: &mut [T],
        finish: impl Fn(&mut [T], usize) + Sync,
    ) {
        if self.fine[2] < NARROW {
            self.scatter_by_adding(coarse, weights, fine, finish);
            return;
        }
        let [_, width, channels] = self.fine;
        let depth = self.coarse[2];
        for row_residue in 0..self.stride {
            let rows = self.residue(row_residue, 0);
            for column_residue in 0..self.stride {
                let columns = self.residue(column_residue, 1);
                let kernel = [rows.taps, columns.taps];
                let own;
                let weights = if self.kernel == [1, 1] {
                    weights
                } else {
                    own = self.weights_of_residue(weights, [row_residue, column_residue], kernel);
                    &own
                };
                let grid = [rows.pixels, columns.pixels];
                multiply(
                    fine,
                    &Places {
                        start: (rows.first * width + columns.first) * channels,
                        grid,
                        steps: [
                            self.fine_size(),
                            self.stride * width * channels,
                            self.stride * channels,
                        ],
                    },
                    &Patches {
                        pictures: coarse,
                        size: self.coarse,
                        positions: grid,
                        kernel,
                        origin: [rows.origin, columns.origin],
                        stride: 1,
                    },
                    &Matrix::rows(weights, channels),
                    [
                        self.images * grid[0] * grid[1],
                        kernel[0] * kernel[1] * depth,
                        channels,
                    ],
                    &finish,
                );
            }
        }
    }

    /// The fine pixels of one residue along rows (`axis` 0) or columns (1).
    fn residue(&self, residue: usize, axis: usize) -> Residue {
        let (stride, padding) = (self.stride, self.padding);
        let first = (residue + stride - padding % stride) % stride;
        let taps = self.kernel[axis].saturating_sub(residue).div_ceil(stride);
        let over_first = (first + padding - residue) / stride;
        Residue {
            first,
            pixels: self.fine[axis].saturating_sub(first).div_ceil(stride),
            taps,
            origin: over_first as isize + 1 - taps as isize,
        }
    }

    /// The weights that reach pixels of a residue, in the order in which the kernel of `taps` meets
    /// the coarse picture: `(tap row, tap column, depth) × channels`.
    fn weights_of_residue<T: Real>(
        &self,
        weights: &[T],
        residue: [usize; 2],
        taps: [usize; 2],
    ) -> Vec<T> {
        let channels = self.fine[2];
        let mut own = Vec::with_capacity(taps[0] * taps[1] * self.coarse[2] * channels);
        for row in (0..taps[0]).rev() {
            for column in (0..taps[1]).rev() {
                let kernel_row = residue[0] + row * self.stride;
                let kernel_column = residue[1] + column * self.stride;
                let tap = kernel_row * self.kernel[1] + kernel_column;
                for patch in weights.chunks_exact(self.patch()) {
                    own.extend_from_slice(&patch[tap * channels..][..channels]);
                }
            }
        }
        own
    }

    /// As [`Geometry::scatter`], with the patches written down.
    fn scatter_by_adding<T: Real>(
        &self,
        coarse: &[T],
        weights: &[T],
        fine: &mut [T],
        finish: impl Fn(&mut [T], usize) + Sync,
    ) {
        let (depth, channels) = (self.coarse[2], self.fine[2]);
        let size = self.positions() * self.patch();
        let images = (PATCHES_AT_A_TIME / size).max(1);
        let mut patches = vec![T::ZERO; images.min(self.images) * size];
        let groups = fine
            .chunks_mut(images * self.fine_size())
            .zip(coarse.chunks(images * self.coarse_size()));
        for (fine, coarse) in groups {
            let rows = coarse.len() / depth;
            multiply(
                &mut patches,
                &Places::rows(self.patch()),
                &Matrix::rows(coarse, depth),
                &Matrix::rows(weights, self.patch()),
                [rows, depth, self.patch()],
                |_, _| {},
            );
            fine.par_chunks_mut(self.fine_size())
                .zip(patches.par_chunks(size))
                .for_each(|(picture, patches)| {
                    picture.fill(T::ZERO);
                    self.fold(patches, picture);
                    for pixel in picture.chunks_exact_mut(channels) {
                        finish(pixel, 0);
                    }
                });
        }
    }
}

/// The fine pixels along one axis that are reached with the same part of the kernel.
struct Residue {
    /// The first such pixel, below the stride; they are a stride apart.
    first: usize,
    /// Their number.
    pixels: usize,
    /// Rows or columns of the kernel that reach them.
    taps: usize,
    /// The first coarse pixel, or one outside, that reaches the first fine one.
    origin: isize,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to scatter against the definition: every coarse number adds its multiple of the
    /// weights under it.
    #[test]
    fn scattering_adds_each_patch_where_it_lies() {
        for (fine, kernel, stride, padding) in [
            ([8, 8, 33], [4, 4], 2, 1),
            ([9, 7, 16], [3, 3], 2, 1),
            ([7, 5, 20], [3, 2], 1, 1),
            ([10, 11, 18], [2, 2], 3, 0),
            ([6, 6, 40], [1, 1], 1, 0),
            ([6, 5, 17], [1, 1], 2, 0),
            ([11, 12, 16], [5, 5], 3, 2),
        ] {
            let side = |axis: usize| (fine[axis] + 2 * padding - kernel[axis]) / stride + 1;
            let geometry = Geometry {
                images: 2,
                fine,
                coarse: [side(0), side(1), 3],
                kernel,
                stride,
                padding,
            };
            let numbers = |count: usize, step: usize| -> Vec<f64> {
                (0..count).map(|i| (i * step % 17) as f64 - 8.0).collect()
            };
            let coarse = numbers(2 * geometry.coarse_size(), 5);
            let weights = numbers(3 * geometry.patch(), 7);
            let mut wanted = vec![0.0; 2 * geometry.fine_size()];
            let [height, width, channels] = fine;
            for (place, &number) in coarse.iter().enumerate() {
                let (position, depth) = (place / 3, place % 3);
                let (image, position) = (
                    position / geometry.positions(),
                    position % geometry.positions(),
                );
                let (top, left) = (position / side(1) * stride, position % side(1) * stride);
                for index in 0..geometry.patch() {
                    let (tap, channel) = (index / channels, index % channels);
                    let (y, x) = (top + tap / kernel[1], left + tap % kernel[1]);
                    if y < padding || x < padding || y - padding >= height || x - padding >= width {
                        continue;
                    }
                    let pixel = (image * height + y - padding) * width + x - padding;
                    wanted[pixel * channels + channel] +=
                        number * weights[depth * geometry.patch() + index];
                }
            }
            let mut by_residues = vec![f64::NAN; wanted.len()];
            geometry.scatter(&coarse, &weights, &mut by_residues, |_, _| {});
            assert_eq!(by_residues, wanted, "{geometry:?}");
            let mut by_adding = vec![f64::NAN; wanted.len()];
            geometry.scatter_by_adding(&coarse, &weights, &mut by_adding, |_, _| {});
            assert_eq!(by_adding, wanted, "{geometry:?}");
        }
    }
}
