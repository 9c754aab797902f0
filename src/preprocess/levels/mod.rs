//! Exposure and contrast: each frame to one brightness and one local contrast.

mod background;
mod histogram;

use background::Background;
use histogram::Histogram;

use super::{Contrast, Exposure, LUMA, mask::Interior};
use crate::image::{ImageError, PlaneSize};

/// Pixels with a luma below the first are black, above the second they are not; between them they
/// count in part, so that no median jumps when a background comes out of the black.
const BLACK: [f32; 2] = [4.0 / 255.0, 12.0 / 255.0];

/// The same for saturation, from where pixels begin to count less to where they don't count.
const SATURATED: [f32; 2] = [243.0 / 255.0, 251.0 / 255.0];

/// Shares of counted pixels between which normalising sets in. Below the first there is nothing to
/// measure: the grey rims of black and white drawings (21 % at most in digits of 28×28) are no
/// exposure.
const SHARE: [f32; 2] = [0.2, 0.4];

/// Limits of the exposure's gain: two stops either way.
const GAIN: [f32; 2] = [0.25, 4.0];

/// This quantile of the luma is not brought above [`CEILING`]: where the median is that of a dark
/// background, the gain may not drive the object on it into saturation.
const BRIGHT: f64 = 0.95;
const CEILING: f32 = 0.9;

/// Limits of the contrast's factor.
const FACTOR: [f32; 2] = [0.6, 1.6];

/// From the median of absolute deviations to the standard deviation, of a normal distribution.
const MAD: f32 = 1.4826;

/// Residuals are counted up to here; a median that large is beyond the factor's limits.
const MOST_RESIDUAL: f32 = 0.25;

/// What was found in a frame, and what exposure and contrast did to it. All luma is that of the
/// resized frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// Share of the pixels that are neither black nor saturated, in [0, 1]; masked ones are left
    /// out of the count.
    pub counted: f32,
    /// Median luma of the counted pixels before the exposure's gain, in [0, 1]; absent where none
    /// counts.
    pub median: Option<f32>,
    /// The exposure's gain; 1 without that setting.
    pub gain: f32,
    /// Local contrast s after the exposure's gain, as a fraction of full scale: 1.4826 times the
    /// median of |luma − background|. Absent where no pixel counts, or it was not needed.
    pub contrast: Option<f32>,
    /// The contrast's factor; 1 without that setting.
    pub factor: f32,
}

/// Normalises canvases of one shape. All buffers are kept.
#[derive(Debug)]
pub(super) struct LevelNormaliser {
    exposure: Option<Exposure>,
    contrast: Option<Contrast>,
    size: PlaneSize,
    /// How much each pixel counts, 0–1.
    weights: Vec<f32>,
    counted: Histogram,
    all: Histogram,
    background: Option<Background>,
}

impl LevelNormaliser {
    /// For canvases of `size`, whose sides are 1–8192.
    pub(super) fn new(
        exposure: Option<Exposure>,
        contrast: Option<Contrast>,
        size: PlaneSize,
    ) -> Self {
        Self {
            exposure,
            contrast,
            size,
            weights: Vec::new(),
            counted: Histogram::new(),
            all: Histogram::new(),
            background: None,
        }
    }

    /// Normalises a canvas, C×H'×W', in place and fills what the mask leaves out.
    /// `measure` asks for [`Levels::contrast`] where no contrast is set.
    ///
    /// # Errors
    /// What the resizer says.
    pub(super) fn run(
        &mut self,
        canvas: &mut [f32],
        interior: Option<&Interior>,
        measure: bool,
    ) -> Result<Levels, ImageError> {
        // Filters with negative lobes overshoot.
        for value in canvas.iter_mut() {
            *value = value.clamp(0.0, 1.0);
        }
        let mut levels = self.weigh(canvas, interior);
        // Between the shares, gain and factor are raised to a power between 0 and 1.
        let power = ((levels.counted - SHARE[0]) / (SHARE[1] - SHARE[0])).clamp(0.0, 1.0);
        if let (Some(Exposure { target }), Some(median)) = (self.exposure, levels.median) {
            let bright = self.all.quantile(BRIGHT).unwrap_or(1.0);
            let gain = (target / median).min(CEILING / bright);
            levels.gain = gain.clamp(GAIN[0], GAIN[1]).powf(power);
            for value in canvas.iter_mut() {
                *value = (*value * levels.gain).min(1.0);
            }
        }
        if let Some(interior) = interior {
            interior.fill(canvas);
        }
        if (measure || self.contrast.is_some()) && levels.median.is_some() {
            let background = self
                .background
                .get_or_insert_with(|| Background::new(self.size));
            background.run(canvas)?;
            self.counted.clear(MOST_RESIDUAL);
            let planes = Planes::new(canvas, self.weights.len());
            let backgrounds = Planes::new(&background.planes, self.weights.len());
            for (pixel, &weight) in self.weights.iter().enumerate() {
                let residual = planes.luma(pixel) - backgrounds.luma(pixel);
                self.counted.add(residual.abs(), weight);
            }
            levels.contrast = self.counted.quantile(0.5).map(|median| MAD * median);
        }
        if let (Some(Contrast { target }), Some(contrast), Some(background)) =
            (self.contrast, levels.contrast, &self.background)
        {
            // A contrast of 0 gives infinity, and so the limit.
            levels.factor = (target / contrast).clamp(FACTOR[0], FACTOR[1]).powf(power);
            for (value, background) in canvas.iter_mut().zip(&background.planes) {
                *value = (background + (*value - background) * levels.factor).clamp(0.0, 1.0);
            }
            if let Some(interior) = interior {
                interior.fill(canvas);
            }
        }
        Ok(levels)
    }

    /// Fills weights and histograms of the luma.
    fn weigh(&mut self, canvas: &[f32], interior: Option<&Interior>) -> Levels {
        let pixels = self.size.pixels();
        self.weights.clear();
        self.counted.clear(1.0);
        self.all.clear(1.0);
        let planes = Planes::new(canvas, pixels);
        for pixel in 0..pixels {
            let inside = interior.is_none_or(|interior| interior.cells()[pixel]);
            let luma = planes.luma(pixel);
            let rise = (luma - BLACK[0]) / (BLACK[1] - BLACK[0]);
            let fall = (SATURATED[1] - luma) / (SATURATED[1] - SATURATED[0]);
            let weight = if inside {
                rise.clamp(0.0, 1.0) * fall.clamp(0.0, 1.0)
            } else {
                0.0
            };
            self.weights.push(weight);
            self.counted.add(luma, weight);
            self.all.add(luma, if inside { 1.0 } else { 0.0 });
        }
        Levels {
            // An empty mask is refused, so there is a pixel at least.
            counted: (self.counted.total as f64 / self.all.total as f64) as f32,
            median: self.counted.quantile(0.5),
            gain: 1.0,
            contrast: None,
            factor: 1.0,
        }
    }
}

/// One or three planes of `pixels` values, and their luma.
struct Planes<'a> {
    values: &'a [f32],
    pixels: usize,
    colour: bool,
}

impl<'a> Planes<'a> {
    fn new(values: &'a [f32], pixels: usize) -> Self {
        Self {
            values,
            pixels,
            colour: values.len() > pixels,
        }
    }

    fn luma(&self, pixel: usize) -> f32 {
        if self.colour {
            (0..3)
                .map(|channel| LUMA[channel] * self.values[channel * self.pixels + pixel])
                .sum()
        } else {
            self.values[pixel]
        }
    }
}

#[cfg(test)]
mod tests;
