//! What a frame looks like as a whole: how bright, how rich in contrast, how sharp.

use super::{Frame, Samples};

/// About how many pixels are looked at. More hardly change what is found, and cost time.
const LOOKED_AT: f64 = 16_384.0;

/// 1/φ: multiples of it modulo 1 fall evenly into [0, 1), so that the columns that are looked at in
/// one row are not those of the next, and no regular pattern beats with them.
const GOLDEN: f64 = 0.618_033_988_749_894_8;

/// Mean luma below which a frame is too dark to say anything of its focus: half a step of 8 bits.
const DARK: f64 = 0.5 / 255.0;

/// Brightness, contrast and focus of a frame. Luma is 0.299 R + 0.587 G + 0.114 B, from 0 (black)
/// to 1 (white).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameStatistics {
    /// Mean of the luma, 0–1.
    pub brightness: f64,
    /// Standard deviation of the luma, 0–0.5.
    pub contrast: f64,
    /// Fine detail in proportion to the light, 0 or more, without unit: larger is sharper. It can
    /// be compared between frames of one size and one kind of scene only.
    ///
    /// It is the energy of the second differences of the luma, as in the Laplacian measures of
    /// focus (Pech-Pacheco et al. 2000; LAP1 to LAP4 in Pertuz, Puig & Garcia 2013), over the mean
    /// luma squared, which exposure and gain cancel out of. But where these square each difference,
    /// it multiplies that of a row (or column) by that of the next one: details reach over both,
    /// while the noise of two pixels is independent and averages out. Without that a blurred frame
    /// with more noise passes for a sharp one. 0 for frames of less than three pixels a side, for
    /// nearly black ones, and for patterns of single pixels that turn into their contrary from one
    /// row to the next.
    pub focus: f64,
}

impl FrameStatistics {
    /// Those of a frame, from about 16,000 of its pixels, spread evenly; of smaller frames from
    /// all. Allocates nothing.
    pub fn of(frame: &Frame) -> Self {
        match frame.samples() {
            Samples::U8(samples) => Self::of_samples(samples, frame),
            Samples::U16(samples) => Self::of_samples(samples, frame),
        }
    }

    fn of_samples<T: Copy + Into<f32>>(samples: &[T], frame: &Frame) -> Self {
        let picture = Picture {
            samples,
            width: frame.width() as usize,
            height: frame.height() as usize,
            unit: 1.0 / f32::from(frame.white()),
        };
        match frame.format().channels() {
            1 => picture.statistics::<1>(),
            _ => picture.statistics::<3>(),
        }
    }
}

struct Picture<'a, T> {
    samples: &'a [T],
    width: usize,
    height: usize,
    /// What a sample is multiplied by to lie in [0, 1].
    unit: f32,
}

impl<T: Copy + Into<f32>> Picture<'_, T> {
    fn statistics<const CHANNELS: usize>(&self) -> FrameStatistics {
        let (mut count, mut sum, mut squares) = (0_u32, 0.0, 0.0);
        self.visit(0, |x, y| {
            let luma = f64::from(self.luma::<CHANNELS>(x, y));
            count += 1;
            sum += luma;
            squares += luma * luma;
        });
        let brightness = sum / f64::from(count);
        let variance = (squares / f64::from(count) - brightness * brightness).max(0.0);

        let (mut count, mut energy) = (0_u32, 0.0);
        self.visit(1, |x, y| {
            let at = |dx: usize, dy: usize| self.luma::<CHANNELS>(x + dx - 1, y + dy - 1);
            let bend = |before: f32, here: f32, after: f32| 2.0 * here - before - after;
            // This pixel (1, 1), and of the next row and column, which may be the last ones.
            let across = |dy| bend(at(0, dy), at(1, dy), at(2, dy));
            let down = |dx| bend(at(dx, 0), at(dx, 1), at(dx, 2));
            count += 1;
            energy += f64::from(across(1) * across(2) + down(1) * down(2));
        });
        let focus = if count > 0 && brightness > DARK {
            (energy / f64::from(count)).max(0.0) / (brightness * brightness)
        } else {
            0.0
        };
        FrameStatistics {
            brightness,
            contrast: variance.sqrt(),
            focus,
        }
    }

    /// Calls `see` with the columns and rows to look at, at least `margin` from the borders.
    fn visit(&self, margin: usize, mut see: impl FnMut(usize, usize)) {
        let step = (self.width as f64 * self.height as f64 / LOOKED_AT)
            .sqrt()
            .ceil()
            .max(1.0) as usize;
        let (right, bottom) = (
            self.width.saturating_sub(margin),
            self.height.saturating_sub(margin),
        );
        for (index, y) in (margin..bottom).step_by(step).enumerate() {
            let offset = ((index as f64 * GOLDEN).fract() * step as f64) as usize;
            for x in (margin + offset..right).step_by(step) {
                see(x, y);
            }
        }
    }

    fn luma<const CHANNELS: usize>(&self, x: usize, y: usize) -> f32 {
        let start = (y * self.width + x) * CHANNELS;
        let luma = match self.samples[start..start + CHANNELS] {
            [red, green, blue] => 0.299 * red.into() + 0.587 * green.into() + 0.114 * blue.into(),
            ref grey => grey[0].into(),
        };
        luma * self.unit
    }
}

#[cfg(test)]
mod tests;
