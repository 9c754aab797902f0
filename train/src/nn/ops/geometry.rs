//! The two pictures of a convolution, and the matrix products between them.

use super::matmul::{Matrix, Places, multiply};
use super::microkernel::COLUMNS;
use super::patches::Patches;
use super::real::Real;
use rayon::prelude::*;

/// Sizes of the two pictures and how a kernel moves over the fine one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) images: usize,
    /// Height, width, channels of the fine picture.
    pub(super) fine: [usize; 3],
    /// Height, width, channels of the coarse picture.
    pub(super) coarse: [usize; 3],
    /// Height and width of the kernel.
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) padding: usize,
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
    pub(super) fn gather<T: Real>(
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
    pub(super) fn correlate<T: Real>(&self, fine: &[T], coarse: &[T], weights: &mut [T]) {
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
    pub(super) fn scatter<T: Real>(
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
