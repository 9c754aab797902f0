//! Exposure and contrast: each frame to one brightness and one local contrast.

use fast_image_resize::FilterType;

use super::{
    Contrast, Exposure, LUMA,
    mask::Interior,
    resample::{Resampler, Size},
};
use crate::image::GaussianSmoothing;

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

/// Longer shorter sides are reduced to this for the background.
const BACKGROUND_SIDE: usize = 128;

/// The background's standard deviation is the shorter side divided by this.
const BACKGROUND_SCALE: f32 = 32.0;

/// Bins of a histogram. Medians are interpolated within one.
const BINS: usize = 4096;

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
    size: Size,
    /// How much each pixel counts, 0–1.
    weights: Vec<f32>,
    counted: Histogram,
    all: Histogram,
    background: Option<Background>,
}

impl LevelNormaliser {
    /// For canvases of `size`, whose sides are 1–8192.
    pub(super) fn new(exposure: Option<Exposure>, contrast: Option<Contrast>, size: Size) -> Self {
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
    ) -> Result<Levels, String> {
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
        let pixels = self.size[0] * self.size[1];
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

/// Weights of values in [0, `most`] in equal bins; larger values are counted in the last. They are
/// integers, which add up exactly, and faster than floats where neighbours fall into one bin.
#[derive(Debug)]
struct Histogram {
    bins: Vec<u64>,
    most: f32,
    total: u64,
}

/// Weight of a pixel that counts in full.
const FULL: u64 = 1 << 16;

impl Histogram {
    fn new() -> Self {
        Self {
            bins: vec![0; BINS],
            most: 1.0,
            total: 0,
        }
    }

    fn clear(&mut self, most: f32) {
        self.bins.fill(0);
        self.total = 0;
        self.most = most;
    }

    fn add(&mut self, value: f32, weight: f32) {
        // The cast saturates.
        let bin = (value * (BINS as f32 / self.most)) as usize;
        let weight = (weight * FULL as f32) as u64;
        self.bins[bin.min(BINS - 1)] += weight;
        self.total += weight;
    }

    /// Where `share` of the weight lies below; `None` without weight.
    ///
    /// It is linear between the centres of bins that are not empty, each of which half the bin's
    /// weight lies below: so it does not jump over empty bins when a little weight moves.
    fn quantile(&self, share: f64) -> Option<f32> {
        let wanted = share * self.total as f64;
        let mut below = 0;
        let mut last: Option<(f64, f64)> = None;
        for (bin, &weight) in self.bins.iter().enumerate() {
            if weight == 0 {
                continue;
            }
            let (middle, centre) = (below as f64 + 0.5 * weight as f64, bin as f64 + 0.5);
            if middle >= wanted {
                let (earlier, place) = last.unwrap_or((wanted - 1.0, centre));
                let along = (wanted - earlier) / (middle - earlier);
                return Some(self.value(place + along * (centre - place)));
            }
            last = Some((middle, centre));
            below += weight;
        }
        last.map(|(_, centre)| self.value(centre))
    }

    /// The value at a place, in bins.
    fn value(&self, place: f64) -> f32 {
        (place * f64::from(self.most) / BINS as f64) as f32
    }
}

/// The smooth part of a canvas.
#[derive(Debug)]
struct Background {
    size: Size,
    small: Size,
    resampler: Resampler,
    smoothing: GaussianSmoothing,
    reduced: Vec<f32>,
    /// C×H'×W'.
    planes: Vec<f32>,
}

impl Background {
    fn new(size: Size) -> Self {
        let shorter = size[0].min(size[1]);
        let small = if shorter > BACKGROUND_SIDE {
            let side = |length: usize| (length * BACKGROUND_SIDE + shorter / 2) / shorter;
            size.map(side)
        } else {
            size
        };
        let sigma = small[0].min(small[1]) as f32 / BACKGROUND_SCALE;
        Self {
            size,
            small,
            resampler: Resampler::new(FilterType::Bilinear),
            smoothing: GaussianSmoothing::new(small[0], small[1], sigma)
                .expect("no side is 0, and a standard deviation of at most 4 is possible"),
            reduced: vec![0.0; small[0] * small[1]],
            planes: Vec::new(),
        }
    }

    /// Fills `planes` from a canvas.
    fn run(&mut self, canvas: &[f32]) -> Result<(), String> {
        self.planes.resize(canvas.len(), 0.0);
        let pixels = self.size[0] * self.size[1];
        let smooth = |smoothing: &mut GaussianSmoothing, plane: &mut [f32]| {
            smoothing.apply(plane).map_err(|error| error.to_string())
        };
        for (plane, out) in canvas
            .chunks_exact(pixels)
            .zip(self.planes.chunks_exact_mut(pixels))
        {
            if self.small == self.size {
                out.copy_from_slice(plane);
                smooth(&mut self.smoothing, out)?;
            } else {
                self.resampler
                    .run(plane, self.size, &mut self.reduced, self.small)?;
                smooth(&mut self.smoothing, &mut self.reduced)?;
                self.resampler
                    .run(&self.reduced, self.small, out, self.size)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    const SIZE: Size = [48, 40];

    fn normaliser(exposure: Option<f32>, contrast: Option<f32>, size: Size) -> LevelNormaliser {
        LevelNormaliser::new(
            exposure.map(|target| Exposure { target }),
            contrast.map(|target| Contrast { target }),
            size,
        )
    }

    /// A picture that Python makes alike: 0.1 + 0.3·((31y + 17x) mod 23)/22 + 0.2·(x + y)/(W + H).
    fn picture([width, height]: Size) -> Vec<f32> {
        (0..width * height)
            .map(|i| {
                let (x, y) = (i % width, i / width);
                let texture = ((31 * y + 17 * x) % 23) as f64 / 22.0;
                let ramp = (x + y) as f64 / (width + height) as f64;
                (0.1 + 0.3 * texture + 0.2 * ramp) as f32
            })
            .collect()
    }

    /// Camera-like: a smooth scene of mean 0.45 with noise.
    fn texture(size: Size, seed: u64) -> Vec<f32> {
        let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
        (0..size[0] * size[1])
            .map(|i| {
                let (x, y) = ((i % size[0]) as f32, (i / size[0]) as f32);
                0.45 + 0.12 * (x * 0.11).sin() * (y * 0.07).cos() + random.random_range(-0.05..0.05)
            })
            .collect()
    }

    fn near(found: f32, expected: f32, tolerance: f32) {
        assert!(
            (found - expected).abs() <= tolerance,
            "found {found}, expected {expected}"
        );
    }

    #[test]
    fn has_the_values_of_numpy_and_scipy() {
        // numpy.median, numpy.quantile, scipy.ndimage.gaussian_filter(mode="reflect") in f64; the
        // third is a reduced background against the Gaussian at full resolution.
        let places = [(0, 0), (3, 17), (20, 5), (39, 47), (11, 30)];
        for (size, exposure, contrast, gain, local, factor, values, tolerance) in [
            (
                SIZE,
                0.4,
                0.06,
                1.150_326_8,
                0.157_635_57,
                0.6,
                [0.16416, 0.37066, 0.38866, 0.48119, 0.28702],
                3e-4,
            ),
            // Held back by the highlights.
            (
                SIZE,
                0.7,
                0.2,
                1.775_784_8,
                0.243_345_5,
                0.821_876_7,
                [0.21135, 0.58613, 0.62313, 0.71415, 0.38759],
                6e-4,
            ),
            (
                [260, 200],
                0.3,
                0.06,
                0.858_208_96,
                0.104_103_88,
                0.6,
                [0.13811, 0.24334, 0.25208, 0.21855, 0.15266],
                4e-3,
            ),
        ] {
            let mut canvas = picture(size);
            let levels = normaliser(Some(exposure), Some(contrast), size)
                .run(&mut canvas, None, false)
                .unwrap();
            assert_eq!(levels.counted, 1.0);
            near(levels.gain, gain, 1e-3);
            near(levels.contrast.unwrap(), local, 1.5e-3);
            near(levels.factor, factor, 3e-3);
            for ((y, x), expected) in places.into_iter().zip(values) {
                near(canvas[y * size[0] + x], expected, tolerance);
            }
        }
        near(
            normaliser(None, None, SIZE)
                .run(&mut picture(SIZE), None, true)
                .unwrap()
                .median
                .unwrap(),
            0.347_727_27,
            2e-4,
        );
    }

    #[test]
    fn quantiles_interpolate_over_empty_bins() {
        let mut histogram = Histogram::new();
        histogram.clear(1.0);
        assert_eq!(histogram.quantile(0.5), None);
        histogram.add(0.25, 1.0);
        let centre = |value: f32| value + 0.5 / 4096.0;
        for share in [0.0, 0.5, 1.0] {
            assert_eq!(histogram.quantile(share), Some(centre(0.25)));
        }
        // Centres at weights 0.5 and 2.5 of 4: the median lies three quarters of the way.
        histogram.add(0.75, 3.0);
        near(histogram.quantile(0.5).unwrap(), centre(0.625), 1e-6);
        assert_eq!(histogram.quantile(0.125), Some(centre(0.25)));
        assert_eq!(histogram.quantile(1.0), Some(centre(0.75)));
        // Values beyond are in the last bin.
        histogram.clear(0.25);
        histogram.add(0.7, 1.0);
        near(histogram.quantile(0.5).unwrap(), 0.25, 1e-4);
    }

    #[test]
    fn colours_share_gain_and_factor() {
        // Channels x, 0.5·x + 0.1 and 0.8 − x; by numpy and scipy as above.
        let x = picture(SIZE);
        let mut canvas = x.clone();
        canvas.extend(x.iter().map(|v| 0.5 * v + 0.1));
        canvas.extend(x.iter().map(|v| 0.8 - v));
        let levels = normaliser(Some(0.35), Some(0.05), SIZE)
            .run(&mut canvas, None, false)
            .unwrap();
        near(levels.gain, 1.106_588_2, 1e-3);
        near(levels.contrast.unwrap(), 0.072_560_61, 3e-4);
        near(levels.factor, 0.689_079_06, 3e-3);
        let expected = [
            0.14739, 0.37967, 0.45614, 0.18436, 0.3005, 0.33873, 0.73788, 0.5056, 0.42913,
        ];
        for (place, expected) in expected.into_iter().enumerate() {
            let pixel = [0, 20 * 48 + 5, 39 * 48 + 47][place % 3];
            near(canvas[place / 3 * 48 * 40 + pixel], expected, 1e-3);
        }
    }

    #[test]
    fn the_gain_of_a_frame_does_not_matter() {
        for size in [[96, 96], [256, 256]] {
            let frame = texture(size, 1);
            let prepared = |gain: f32| {
                let mut canvas: Vec<f32> = frame.iter().map(|v| v * gain).collect();
                normaliser(Some(0.4), Some(0.02), size)
                    .run(&mut canvas, None, false)
                    .unwrap();
                canvas
            };
            let expected = prepared(1.0);
            for gain in [0.7, 0.85, 1.15, 1.3] {
                for (found, expected) in prepared(gain).into_iter().zip(&expected) {
                    near(found, *expected, 0.2 / 255.0);
                }
            }
        }
    }

    #[test]
    fn frames_that_tell_nothing_are_left_alone() {
        let pixels = SIZE[0] * SIZE[1];
        // Black and white with grey rims, like digits: 80 % black, 8 % white.
        let drawing: Vec<f32> = (0..pixels)
            .map(|i| match i % 25 {
                0..20 => 0.0,
                20..23 => (i % 7) as f32 / 7.0,
                _ => 1.0,
            })
            .collect();
        for frame in [vec![0.0; pixels], vec![1.0; pixels], drawing] {
            let mut canvas = frame.clone();
            let levels = normaliser(Some(0.4), Some(0.02), SIZE)
                .run(&mut canvas, None, false)
                .unwrap();
            assert_eq!((levels.gain, levels.factor), (1.0, 1.0));
            for (found, expected) in canvas.into_iter().zip(frame) {
                near(found, expected, 1e-6);
            }
        }
    }

    #[test]
    fn odd_frames_stay_finite_and_in_range() {
        let pixels = SIZE[0] * SIZE[1];
        let from = |f: fn(usize) -> f32| (0..pixels).map(f).collect::<Vec<_>>();
        let frames = [
            from(|_| 0.3),
            from(|i| if i % 48 < 24 { 0.0 } else { 0.5 }),
            from(|i| if i % 48 < 24 { 0.0 } else { 1.0 }),
            from(|i| if i == 0 { 1.0 } else { 0.0 }),
            from(|i| if i % 2 == 0 { 1e-30 } else { f32::MIN_POSITIVE }),
            // What a Lanczos filter overshoots by.
            from(|i| if i % 3 == 0 { -0.2 } else { 1.2 }),
        ];
        for size in [SIZE, [1, 1920], [1920, 1], [960, 2]] {
            for frame in &frames {
                let mut canvas = frame.clone();
                let levels = normaliser(Some(0.4), Some(0.02), size)
                    .run(&mut canvas, None, false)
                    .unwrap();
                assert!(canvas.iter().all(|v| (0.0..=1.0).contains(v)), "{levels:?}");
                assert!((0.25..=4.0).contains(&levels.gain));
            }
        }
        let mut uniform = frames[0].clone();
        normaliser(Some(0.4), Some(0.02), SIZE)
            .run(&mut uniform, None, false)
            .unwrap();
        uniform.iter().for_each(|&v| near(v, 0.4, 3e-4));
    }

    #[test]
    fn an_object_is_judged_without_its_background() {
        // An object over 45 % of the frame; the rest black, or dark with the noise of a camera.
        let object = texture(SIZE, 2);
        let mut random = rand_pcg::Pcg64::seed_from_u64(3);
        let noise: Vec<f32> = object
            .iter()
            .map(|_| random.random_range(-1.5..1.5) / 255.0)
            .collect();
        let run = |background: f32| {
            let mut canvas: Vec<f32> = object
                .iter()
                .zip(&noise)
                .enumerate()
                .map(|(i, (value, noise))| {
                    if i % 20 < 9 {
                        *value
                    } else {
                        (background + noise).max(0.0)
                    }
                })
                .collect();
            let levels = normaliser(Some(0.4), None, SIZE)
                .run(&mut canvas, None, false)
                .unwrap();
            let saturated = canvas.iter().filter(|&&v| v >= 1.0).count();
            assert!(saturated * 50 < canvas.len(), "background {background}");
            levels
        };
        let black = run(0.0);
        near(black.median.unwrap(), 0.45, 0.02);
        near(black.gain, 0.4 / black.median.unwrap(), 1e-4);
        // Where the background comes out of the black, the median leaves the object for it; the
        // highlights limit what that does.
        let gains: Vec<f32> = (0..160).map(|i| run(i as f32 / 8.0 / 255.0).gain).collect();
        for (a, b) in gains.iter().zip(&gains[1..]) {
            assert!((a / b).ln().abs() < 0.25, "{a} {b} in {gains:?}");
        }
    }

    #[test]
    fn masked_pixels_count_nowhere() {
        let size = [64, 48];
        let left = Interior::of((0..64 * 48).map(|i| i % 64 < 32).collect());
        let frame = texture(size, 4);
        let run = |outside: f32| {
            let mut canvas = frame.clone();
            for (i, value) in canvas.iter_mut().enumerate() {
                if i % 64 >= 32 {
                    *value = outside;
                }
            }
            let levels = normaliser(Some(0.4), Some(0.02), size)
                .run(&mut canvas, Some(&left), false)
                .unwrap();
            (levels, canvas)
        };
        let (levels, canvas) = run(0.0);
        assert_eq!(levels.counted, 1.0);
        assert_eq!((levels, canvas.clone()), run(0.9));
        let mean = |from: usize| {
            let values = (0..64 * 48).filter(|i| i % 64 / 32 == from);
            values.map(|i| canvas[i]).sum::<f32>() / (32.0 * 48.0)
        };
        near(mean(0), mean(1), 1e-4);
        assert_eq!(canvas[40], canvas[47 * 64 + 63]);
    }
}
