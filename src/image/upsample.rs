//! Maps in a finer resolution.

use super::{Filter, PlaneSize, Resampler};

/// Brings maps to one larger size: linear interpolation between the centres of cells, level beyond
/// the outermost ones.
#[derive(Debug)]
pub(crate) struct Upsample {
    resampler: Resampler,
    size: PlaneSize,
    values: Vec<f32>,
}

impl Upsample {
    /// To `height × width`.
    pub(crate) fn to([height, width]: [usize; 2]) -> Self {
        Self {
            resampler: Resampler::new(Filter::Bilinear),
            size: PlaneSize { width, height },
            values: vec![0.0; height * width],
        }
    }

    /// A map of `height × width` in the larger size; one that has it is given back. Allocates
    /// nothing.
    ///
    /// # Panics
    /// A map of another length.
    pub(crate) fn apply<'a>(
        &'a mut self,
        map: &'a [f32],
        [height, width]: [usize; 2],
    ) -> &'a [f32] {
        let from = PlaneSize { width, height };
        if from == self.size {
            return map;
        }
        self.resampler
            .run(map, from, &mut self.values, self.size)
            .expect("a map has as many values as its shape says");
        &self.values
    }
}
