//! What a frame looks like as a whole: how bright, how rich in contrast, how sharp.

use super::{Frame, Samples};

/// About how many pixels are looked at. More hardly change what is found, and cost time.
const LOOKED_AT: f64 = 16_384.0;

/// 1/φ: multiples of it modulo 1 fall evenly into [0, 1), so that the columns that are looked at in
/// one row are not those of the next, and no regular pattern beats with them.
const GOLDEN: f64 = 0.618_033_988_749_894_8;

/// Mean luma below which a frame is too dark to say anything of its focus: half a step of 8 bits.
const DARK: f64 = 0.5 / 255.0;

/// Brightness, contrast and focus of a frame. Luma is 0.299 R + 0.587 G + 0.114 B, from 0 (black) to
/// 1 (white).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameStatistics {
    /// Mean of the luma, 0–1.
    pub brightness: f64,
    /// Standard deviation of the luma, 0–0.5.
    pub contrast: f64,
    /// Fine detail in proportion to the light, 0 or more, without unit: larger is sharper. It can be
    /// compared between frames of one size and one kind of scene only.
    ///
    /// It is the energy of the second differences of the luma, as in the Laplacian measures of focus
    /// (Pech-Pacheco et al. 2000; LAP1 to LAP4 in Pertuz, Puig & Garcia 2013), over the mean luma
    /// squared, which exposure and gain cancel out of. But where these square each difference, it
    /// multiplies that of a row (or column) by that of the next one: details reach over both, while
    /// the noise of two pixels is independent and averages out. Without that a blurred frame with
    /// more noise passes for a sharp one. 0 for frames of less than three pixels a side, for nearly
    /// black ones, and for patterns of single pixels that turn into their contrary from one row to
    /// the next.
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
mod tests {
    use super::*;
    use crate::{
        frame::PixelFormat,
        image::GaussianSmoothing,
        synth::{SurfaceSettings, surface_frame},
    };
    use rand::{RngExt, SeedableRng};
    use rand_distr::StandardNormal;
    use rand_pcg::Pcg64;

    fn grey(width: u32, height: u32, samples: Vec<u8>) -> Frame {
        Frame::from_u8(width, height, PixelFormat::Gray8, samples, "test").unwrap()
    }

    fn surface(index: u64, width: u32, height: u32) -> Vec<f32> {
        let settings = SurfaceSettings {
            width,
            height,
            ..SurfaceSettings::default()
        };
        let frame = surface_frame(11, index, &settings).unwrap();
        frame.picture.as_raw().iter().map(|&v| v.into()).collect()
    }

    fn statistics(width: u32, height: u32, light: &[f32]) -> FrameStatistics {
        let samples = light.iter().map(|v| v.round() as u8).collect();
        FrameStatistics::of(&grey(width, height, samples))
    }

    #[test]
    fn of_small_frames_every_pixel_counts() {
        // By hand: mean 100/255; deviation: half of the pixels are 40 above, half 40 below.
        let frame = grey(4, 2, vec![60, 60, 140, 140, 140, 140, 60, 60]);
        let found = FrameStatistics::of(&frame);
        assert!((found.brightness - 100.0 / 255.0).abs() < 1e-6);
        assert!((found.contrast - 40.0 / 255.0).abs() < 1e-6);
        assert_eq!(found.focus, 0.0);

        // One bright column of three in the middle: 2·90 − 30 − 30 = 120 across in each row; nothing
        // down. One pixel has a neighbour on all sides, and its next row is the last one.
        let frame = grey(3, 3, vec![30, 90, 30, 30, 90, 30, 30, 90, 30]);
        let found = FrameStatistics::of(&frame);
        assert!((found.focus - 120.0 * 120.0 / (50.0 * 50.0)).abs() < 1e-4);
        // A single bright pixel reaches over no two rows: noise counts nothing.
        let frame = grey(3, 3, vec![30, 30, 30, 30, 90, 30, 30, 30, 30]);
        assert_eq!(FrameStatistics::of(&frame).focus, 0.0);
        for (width, height) in [(1, 1), (2, 9), (9, 2)] {
            let frame = grey(width, height, vec![9; (width * height) as usize]);
            assert_eq!(FrameStatistics::of(&frame).focus, 0.0);
        }
        assert_eq!(
            FrameStatistics::of(&grey(8, 8, vec![0; 64])),
            FrameStatistics::default()
        );
    }

    #[test]
    fn colour_and_sixteen_bits_are_the_same_picture() {
        let light = surface(0, 300, 200);
        let samples: Vec<u8> = light.iter().map(|v| v.round() as u8).collect();
        let of_grey = FrameStatistics::of(&grey(300, 200, samples.clone()));
        let rgb = samples.iter().flat_map(|&v| [v; 3]).collect();
        let rgb = Frame::from_u8(300, 200, PixelFormat::Rgb8, rgb, "test").unwrap();
        let deep: Vec<u16> = samples.iter().map(|&v| u16::from(v) * 257).collect();
        let deep_rgb = deep.iter().flat_map(|&v| [v; 3]).collect();
        let deep = Frame::from_u16(300, 200, PixelFormat::Gray16, deep, "test").unwrap();
        let deep_rgb = Frame::from_u16(300, 200, PixelFormat::Rgb16, deep_rgb, "test").unwrap();
        for frame in [rgb, deep, deep_rgb] {
            let found = FrameStatistics::of(&frame);
            for (found, expected) in [
                (found.brightness, of_grey.brightness),
                (found.contrast, of_grey.contrast),
                (found.focus, of_grey.focus),
            ] {
                assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
            }
        }
        let red = Frame::from_u8(1, 1, PixelFormat::Rgb8, vec![255, 0, 0], "test").unwrap();
        assert!((FrameStatistics::of(&red).brightness - 0.299).abs() < 1e-6);
    }

    #[test]
    fn large_frames_are_thinned_without_a_trace() {
        let (width, height) = (1280, 720);
        let light = surface(1, width, height);
        let found = statistics(width, height, &light);
        let n = light.len() as f64;
        let mean = light.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = light
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / n;
        assert!((found.brightness * 255.0 / mean - 1.0).abs() < 2e-3);
        assert!((found.contrast * 255.0 / variance.sqrt() - 1.0).abs() < 1e-2);
        // Stripes of the very period of the grid, which is 8 pixels here: on a plain grid the mean
        // would be 200 or 20.
        let stripes: Vec<f32> = (0..width * height)
            .map(|i| if i % width % 8 == 0 { 200.0 } else { 20.0 })
            .collect();
        let found = statistics(width, height, &stripes);
        assert!((found.brightness * 255.0 - 42.5).abs() < 4.0, "{found:?}");
    }

    /// Medians over frames of the ratio of each statistic to that of the untouched frame.
    fn ratios(change: impl Fn(&mut Vec<f32>, &mut Pcg64)) -> [f64; 3] {
        let (width, height) = (320, 240);
        let mut rng = Pcg64::seed_from_u64(5);
        let mut found: [Vec<f64>; 3] = Default::default();
        for index in 0..9 {
            let light = surface(index, width, height);
            let before = statistics(width, height, &light);
            let mut light = light;
            change(&mut light, &mut rng);
            let after = statistics(width, height, &light);
            found[0].push(after.brightness / before.brightness);
            found[1].push(after.contrast / before.contrast);
            found[2].push(after.focus / before.focus);
        }
        found.map(|mut ratios| {
            ratios.sort_by(f64::total_cmp);
            ratios[4]
        })
    }

    fn gain(factor: f32) -> impl Fn(&mut Vec<f32>, &mut Pcg64) {
        move |light, _| light.iter_mut().for_each(|v| *v *= factor)
    }

    fn noise(deviation: f32) -> impl Fn(&mut Vec<f32>, &mut Pcg64) {
        move |light, rng| {
            for v in light {
                let noise: f32 = rng.sample(StandardNormal);
                *v += deviation * noise;
            }
        }
    }

    fn blur(sigma: f32) -> impl Fn(&mut Vec<f32>, &mut Pcg64) {
        move |light, _| {
            let mut smoothing = GaussianSmoothing::new(320, 240, sigma).unwrap();
            smoothing.apply(light).unwrap();
        }
    }

    #[test]
    fn blur_lowers_focus_while_gain_and_noise_hardly_touch_it() {
        for factor in [0.7, 0.8, 1.2, 1.3] {
            let [brightness, contrast, focus] = ratios(gain(factor));
            assert!((brightness / f64::from(factor) - 1.0).abs() < 0.01);
            assert!((contrast / f64::from(factor) - 1.0).abs() < 0.02);
            assert!((focus - 1.0).abs() < 0.03, "gain {factor}: {focus}");
        }
        for deviation in [2.0, 4.0] {
            let [brightness, _, focus] = ratios(noise(deviation));
            assert!((brightness - 1.0).abs() < 0.01);
            assert!((focus - 1.0).abs() < 0.05, "noise {deviation}: {focus}");
        }
        for (sigma, most) in [(1.0, 0.3), (2.0, 0.06)] {
            let [brightness, _, focus] = ratios(blur(sigma));
            assert!((brightness - 1.0).abs() < 0.01);
            assert!(focus < most, "blur {sigma}: {focus}");
            // And noise does not make up for it.
            let [_, _, focus] = ratios(|light, rng| {
                blur(sigma)(light, rng);
                noise(3.0)(light, rng);
            });
            assert!(focus < most, "blur {sigma} and noise: {focus}");
        }
    }
}
