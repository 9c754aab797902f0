//! Maps in a finer resolution.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};

/// Brings maps to a larger size: linear interpolation between the centres of cells, level beyond
/// the outermost ones.
#[derive(Debug, Default)]
pub(super) struct Enlarge(Resizer);

impl Enlarge {
    /// From a map of `[height, width]` to one of `[rows, columns]`.
    ///
    /// # Panics
    /// A slice of another length.
    pub(super) fn apply(
        &mut self,
        values: &[f32],
        [height, width]: [usize; 2],
        out: &mut [f32],
        [rows, columns]: [usize; 2],
    ) {
        let source = TypedImageRef::<F32>::from_buffer(
            width as u32,
            height as u32,
            bytemuck::cast_slice(values),
        )
        .expect("a map has as many values as its shape says");
        let mut target = TypedImage::<F32>::from_buffer(
            columns as u32,
            rows as u32,
            bytemuck::cast_slice_mut(out),
        )
        .expect("the buffer was made in this size");
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.0
            .resize_typed(&source, &mut target, &options)
            .expect("without cropping the source, there is nothing to fail");
    }
}
