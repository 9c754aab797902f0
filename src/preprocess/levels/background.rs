//! The smooth part of a canvas, which local contrast is measured against.

use crate::image::{Filter, GaussianSmoothing, ImageError, PlaneSize, Resampler};

/// Longer shorter sides are reduced to this for the background.
const BACKGROUND_SIDE: usize = 128;

/// The background's standard deviation is the shorter side divided by this.
const BACKGROUND_SCALE: f32 = 32.0;

/// The smooth part of a canvas.
#[derive(Debug)]
pub(super) struct Background {
    size: PlaneSize,
    small: PlaneSize,
    resampler: Resampler,
    smoothing: GaussianSmoothing,
    reduced: Vec<f32>,
    /// C×H'×W'.
    pub(super) planes: Vec<f32>,
}

impl Background {
    pub(super) fn new(size: PlaneSize) -> Self {
        let shorter = size.shorter_side();
        let small = if shorter > BACKGROUND_SIDE {
            let side = |length: usize| (length * BACKGROUND_SIDE + shorter / 2) / shorter;
            PlaneSize {
                width: side(size.width),
                height: side(size.height),
            }
        } else {
            size
        };
        let sigma = small.shorter_side() as f32 / BACKGROUND_SCALE;
        Self {
            size,
            small,
            resampler: Resampler::new(Filter::Bilinear),
            smoothing: GaussianSmoothing::new(small.width, small.height, sigma)
                .expect("no side is 0, and a standard deviation of at most 4 is possible"),
            reduced: vec![0.0; small.pixels()],
            planes: Vec::new(),
        }
    }

    /// Fills `planes` from a canvas.
    pub(super) fn run(&mut self, canvas: &[f32]) -> Result<(), ImageError> {
        self.planes.resize(canvas.len(), 0.0);
        let pixels = self.size.pixels();
        for (plane, out) in canvas
            .chunks_exact(pixels)
            .zip(self.planes.chunks_exact_mut(pixels))
        {
            if self.small == self.size {
                out.copy_from_slice(plane);
                self.smoothing.apply(out)?;
            } else {
                self.resampler
                    .run(plane, self.size, &mut self.reduced, self.small)?;
                self.smoothing.apply(&mut self.reduced)?;
                self.resampler
                    .run(&self.reduced, self.small, out, self.size)?;
            }
        }
        Ok(())
    }
}
