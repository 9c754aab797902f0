//! Planes from one size to another.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};

use super::ImageError;

/// Width and height of a plane, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneSize {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl PlaneSize {
    pub(crate) fn pixels(self) -> usize {
        self.width * self.height
    }

    pub(crate) fn shorter_side(self) -> usize {
        self.width.min(self.height)
    }
}

/// Resampling filter. Each widens its support when shrinking, so that every pixel counts; weights
/// are those of Pillow's `resize`, in floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The mean of the pixels whose centres lie in the area; when enlarging, the nearest pixel.
    Area,
    /// Triangle: linear interpolation between the centres of pixels, level beyond the outermost.
    Bilinear,
    /// Catmull-Rom cubic.
    Cubic,
    /// Lanczos with three lobes.
    Lanczos3,
}

/// Resamples planes; keeps its buffers.
#[derive(Debug)]
pub struct Resampler {
    resizer: Resizer,
    options: ResizeOptions,
}

impl Resampler {
    /// With this filter.
    pub fn new(filter: Filter) -> Self {
        let filter = match filter {
            Filter::Area => FilterType::Box,
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Cubic => FilterType::CatmullRom,
            Filter::Lanczos3 => FilterType::Lanczos3,
        };
        Self {
            resizer: Resizer::new(),
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
        }
    }

    /// Resamples `source` of the size `from` into `target` of the size `to`.
    ///
    /// # Errors
    /// Buffers that don't have these sizes, and sides beyond `u32`.
    pub fn run(
        &mut self,
        source: &[f32],
        from: PlaneSize,
        target: &mut [f32],
        to: PlaneSize,
    ) -> Result<(), ImageError> {
        let length = |found: usize, size: PlaneSize| ImageError::Length {
            found,
            expected: size.pixels(),
        };
        let side = |side: usize| u32::try_from(side).map_err(|_| ImageError::Side { found: side });
        let source_length = source.len();
        let source = TypedImageRef::<F32>::from_buffer(
            side(from.width)?,
            side(from.height)?,
            bytemuck::cast_slice(source),
        )
        .map_err(|_| length(source_length, from))?;
        let target_length = target.len();
        let mut target = TypedImage::<F32>::from_buffer(
            side(to.width)?,
            side(to.height)?,
            bytemuck::cast_slice_mut(target),
        )
        .map_err(|_| length(target_length, to))?;
        self.resizer
            .resize_typed(&source, &mut target, &self.options)
            .expect("without cropping the source, there is nothing to fail");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(width: usize, height: usize) -> PlaneSize {
        PlaneSize { width, height }
    }

    #[test]
    fn filters_are_those_of_their_names() {
        let run = |filter, source: &[f32], to: usize| {
            let mut target = vec![0.0; to];
            Resampler::new(filter)
                .run(source, size(source.len(), 1), &mut target, size(to, 1))
                .unwrap();
            target
        };
        assert_eq!(run(Filter::Area, &[1.0, 2.0, 3.0, 6.0], 2), [1.5, 4.5]);
        assert_eq!(run(Filter::Area, &[1.0, 2.0], 4), [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(
            run(Filter::Bilinear, &[0.0, 1.0], 4),
            [0.0, 0.25, 0.75, 1.0]
        );
        let step = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        for filter in [Filter::Cubic, Filter::Lanczos3] {
            assert!(run(filter, &step, 12).iter().any(|&value| value < 0.0));
        }
    }

    #[test]
    fn buffers_of_other_sizes_are_refused() {
        let mut resampler = Resampler::new(Filter::Area);
        let mut target = [0.0; 2];
        let error = resampler.run(&[0.0; 5], size(3, 2), &mut target, size(2, 1));
        assert_eq!(
            error,
            Err(ImageError::Length {
                found: 5,
                expected: 6
            })
        );
        let error = resampler.run(&[0.0; 6], size(3, 2), &mut target, size(2, 2));
        assert_eq!(
            error,
            Err(ImageError::Length {
                found: 2,
                expected: 4
            })
        );
    }
}
