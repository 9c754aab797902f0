//! Planes of f32 from one size to another.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};

/// Width and height.
pub(super) type Size = [usize; 2];

/// A resizer with its buffers and its filter.
#[derive(Debug)]
pub(super) struct Resampler {
    resizer: Resizer,
    options: ResizeOptions,
}

impl Resampler {
    pub(super) fn new(filter: FilterType) -> Self {
        Self {
            resizer: Resizer::new(),
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
        }
    }

    /// Resamples `source` of the size `from` into `target` of the size `to`.
    ///
    /// # Errors
    /// What the resizer says: buffers that don't have these sizes, sides beyond u32.
    pub(super) fn run(
        &mut self,
        source: &[f32],
        from: Size,
        target: &mut [f32],
        to: Size,
    ) -> Result<(), String> {
        let [from_width, from_height] = from.map(|side| side as u32);
        let [to_width, to_height] = to.map(|side| side as u32);
        let source = TypedImageRef::<F32>::from_buffer(
            from_width,
            from_height,
            bytemuck::cast_slice(source),
        )
        .map_err(|error| error.to_string())?;
        let mut target =
            TypedImage::<F32>::from_buffer(to_width, to_height, bytemuck::cast_slice_mut(target))
                .map_err(|error| error.to_string())?;
        self.resizer
            .resize_typed(&source, &mut target, &self.options)
            .map_err(|error| error.to_string())
    }
}
