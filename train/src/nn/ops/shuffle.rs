//! Depth to space, and space to depth.

use super::real::{Real, numbers, read};
use super::{by_type, reference};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Moves groups of `r²` channels of `x` (`N×H×W×C·r²`) into space: `N×rH×rW×C`.
///
/// Channel `c·r² + dy·r + dx` becomes channel `c` at offset (`dy`, `dx`) within the `r×r` block, as
/// ONNX `DepthToSpace` in mode `CRD` (Shi et al. 2016).
///
/// # Errors
/// The channels are no multiple of `r²`; `x` is empty.
pub fn pixel_shuffle(x: &Tensor, r: usize) -> Result<Tensor> {
    let (images, height, width, depth) = x.dims4()?;
    if r == 0 || depth % (r * r) != 0 || x.elem_count() == 0 {
        bail!("pixel_shuffle: {:?} can't be shuffled by {r}", x.dims());
    }
    if !x.device().is_cpu() {
        return reference::pixel_shuffle(x, r);
    }
    let channels = depth / (r * r);
    x.contiguous()?.apply_op1(PixelShuffle {
        images,
        height,
        width,
        channels,
        factor: r,
    })
}

/// Moves each square of `r×r` pixels of `x` (`N×rH×rW×C`) into channels: `N×H×W×r²·C`.
///
/// Channel `c` at offset (`dy`, `dx`) within the square becomes channel `(dy·r + dx)·C + c`, as
/// ONNX `SpaceToDepth`. Rows of a square are contiguous, so this is a copy by candle, whose
/// gradient is the copy back.
///
/// # Errors
/// Height or width are no multiples of `r`; `x` is empty.
pub fn space_to_depth(x: &Tensor, r: usize) -> Result<Tensor> {
    let (images, height, width, channels) = x.dims4()?;
    if r == 0 || height % r != 0 || width % r != 0 || x.elem_count() == 0 {
        bail!("space_to_depth: {:?} has no squares of side {r}", x.dims());
    }
    x.contiguous()?
        .reshape(&[images, height / r, r, width / r, r, channels])?
        .permute([0, 1, 3, 2, 4, 5])?
        .contiguous()?
        .reshape((images, height / r, width / r, r * r * channels))
}

/// Sizes of the coarse picture, and channels of the fine one.
struct PixelShuffle {
    images: usize,
    height: usize,
    width: usize,
    channels: usize,
    factor: usize,
}

impl PixelShuffle {
    /// Calls `work` with the index in one fine image and in one coarse image of each number.
    #[inline(always)]
    fn for_numbers(&self, mut work: impl FnMut(usize, usize)) {
        let Self {
            height,
            width,
            channels,
            factor,
            ..
        } = *self;
        let depth = channels * factor * factor;
        for fine_row in 0..height * factor {
            for fine_column in 0..width * factor {
                let position = fine_row / factor * width + fine_column / factor;
                let offset = fine_row % factor * factor + fine_column % factor;
                let fine = (fine_row * width * factor + fine_column) * channels;
                let coarse = position * depth + offset;
                for channel in 0..channels {
                    work(fine + channel, coarse + channel * factor * factor);
                }
            }
        }
    }

    fn move_all<T: Real>(&self, from: &[T], move_one: impl Fn(&[T], &mut [T]) + Sync) -> Vec<T> {
        let size = from.len() / self.images;
        let mut to = vec![T::ZERO; from.len()];
        to.par_chunks_mut(size)
            .zip(from.par_chunks(size))
            .for_each(|(to, from)| move_one(from, to));
        to
    }
}

impl CustomOp1 for PixelShuffle {
    fn name(&self) -> &'static str {
        "pixel_shuffle"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_type!(storage, self.name(), T => {
            let coarse = numbers::<T>(storage, layout, self.name())?;
            let fine = self.move_all(coarse, |coarse, fine| {
                self.for_numbers(|to, from| fine[to] = coarse[from]);
            });
            let shape = Shape::from((
                self.images,
                self.height * self.factor,
                self.width * self.factor,
                self.channels,
            ));
            Ok((T::to_cpu_storage_owned(fine), shape))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        by_type!(grad, self.name(), T => {
            let coarse = read::<T, _>(grad, self.name(), |fine| {
                Ok(self.move_all(fine, |fine, coarse| {
                    self.for_numbers(|from, to| coarse[to] = fine[from]);
                }))
            })?;
            Tensor::from_vec(coarse, x.shape(), x.device()).map(Some)
        })
    }
}
