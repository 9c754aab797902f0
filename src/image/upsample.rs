//! Maps in a finer resolution.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};

/// Brings maps to one larger size: linear interpolation between the centres of cells, level beyond
/// the outermost ones.
#[derive(Debug)]
pub(crate) struct Upsample {
    resizer: Resizer,
    /// Rows and columns.
    size: [usize; 2],
    values: Vec<f32>,
}

impl Upsample {
    /// To `size`, rows and columns.
    pub(crate) fn to(size: [usize; 2]) -> Self {
        Self {
            resizer: Resizer::new(),
            size,
            values: vec![0.0; size[0] * size[1]],
        }
    }

    /// A map of `[height, width]` in the larger size; one that has it is given back. Allocates nothing.
    ///
    /// # Panics
    /// A map of another length.
    pub(crate) fn apply<'a>(
        &'a mut self,
        map: &'a [f32],
        [height, width]: [usize; 2],
    ) -> &'a [f32] {
        if [height, width] == self.size {
            return map;
        }
        let [rows, columns] = self.size;
        let source = TypedImageRef::<F32>::from_buffer(
            width as u32,
            height as u32,
            bytemuck::cast_slice(map),
        )
        .expect("a map has as many values as its shape says");
        let mut target = TypedImage::<F32>::from_buffer(
            columns as u32,
            rows as u32,
            bytemuck::cast_slice_mut(&mut self.values),
        )
        .expect("the buffer was made in this size");
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer
            .resize_typed(&source, &mut target, &options)
            .expect("without cropping the source, there is nothing to fail");
        &self.values
    }
}
