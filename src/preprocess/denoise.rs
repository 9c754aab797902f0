//! Noise filters at the frame's own resolution, on one plane of values in [0, 1].

use super::{Denoise, median::Median};
use crate::image::GaussianSmoothing;

/// A noise filter with its buffers.
///
/// The median is taken on 16-bit integers, which is exact for 8- and 16-bit samples and off by at
/// most 1/131070 for luma; beyond its edges the plane is continued by their values. For the
/// Gaussian see [`GaussianSmoothing`].
#[derive(Debug)]
pub(super) enum Denoiser {
    Median {
        filter: Median,
        samples: Vec<u16>,
    },
    Gaussian {
        sigma: f32,
        /// For planes of the size that was filtered last: width, height.
        smoothing: Option<([usize; 2], GaussianSmoothing)>,
    },
}

impl Denoiser {
    /// For settings that were validated.
    pub(super) fn new(denoise: Denoise) -> Self {
        match denoise {
            Denoise::Median { radius } => Self::Median {
                filter: Median::new(radius as usize),
                samples: Vec::new(),
            },
            Denoise::Gaussian { sigma } => Self::Gaussian {
                sigma,
                smoothing: None,
            },
        }
    }

    /// Filters a plane of `width × height` values.
    pub(super) fn apply(&mut self, plane: &mut [f32], width: usize, height: usize) {
        match self {
            Self::Median { filter, samples } => {
                samples.clear();
                samples.extend(plane.iter().map(|v| (v * 65535.0).round() as u16));
                filter.apply(samples, width, height);
                for (value, &sample) in plane.iter_mut().zip(&*samples) {
                    *value = f32::from(sample) / 65535.0;
                }
            }
            Self::Gaussian { sigma, smoothing } => {
                smoothing.take_if(|(size, _)| *size != [width, height]);
                let (_, smoothing) = smoothing.get_or_insert_with(|| {
                    let made = GaussianSmoothing::new(width, height, *sigma)
                        .expect("sigma was validated, and no side of a frame is 0");
                    ([width, height], made)
                });
                smoothing
                    .apply(plane)
                    .expect("the plane was filled for this size");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use imageproc::filter::median_filter;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;

    fn random(count: usize, seed: u64) -> Vec<u8> {
        let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
        (0..count).map(|_| random.next_u32() as u8).collect()
    }

    fn apply(denoise: Denoise, plane: &mut [f32], width: u32, height: u32) {
        Denoiser::new(denoise).apply(plane, width as usize, height as usize);
    }

    #[test]
    fn median_of_eight_bits_is_that_of_imageproc() {
        for (width, height, radius) in [
            (1, 1, 1),
            (7, 5, 1),
            (32, 3, 1),
            (65, 4, 2),
            (40, 30, 2),
            (5, 9, 3),
            (70, 41, 5),
            (3, 2, 16),
            (90, 20, 16),
        ] {
            let samples = random((width * height) as usize, 1);
            let image = image::GrayImage::from_raw(width, height, samples.clone()).unwrap();
            let expected = median_filter(&image, radius, radius).into_raw();
            let mut plane: Vec<f32> = samples.iter().map(|&v| f32::from(v) / 255.0).collect();
            apply(Denoise::Median { radius }, &mut plane, width, height);
            for (found, expected) in plane.iter().zip(expected) {
                assert_eq!(*found, f32::from(expected) / 255.0);
            }
        }
    }

    #[test]
    fn median_of_sixteen_bits_by_sorting() {
        let mut random = rand_pcg::Pcg64::seed_from_u64(2);
        for (width, height, radius) in [(11, 8, 1), (45, 8, 2), (33, 20, 3), (7, 30, 9)] {
            let mut filter = Median::new(radius as usize);
            // Once with values from the whole range, once crowded into few bins.
            for range in [0..=65535, 20_000..=20_300] {
                let samples: Vec<u16> = (0..width * height)
                    .map(|_| random.random_range(range.clone()))
                    .collect();
                let mut filtered = samples.clone();
                filter.apply(&mut filtered, width as usize, height as usize);
                for y in 0..height {
                    for x in 0..width {
                        let mut window = Vec::new();
                        for dy in -radius..=radius {
                            for dx in -radius..=radius {
                                let row = (y + dy).clamp(0, height - 1);
                                let column = (x + dx).clamp(0, width - 1);
                                window.push(samples[(row * width + column) as usize]);
                            }
                        }
                        window.sort_unstable();
                        let found = filtered[(y * width + x) as usize];
                        assert_eq!(found, window[window.len() / 2], "({x}, {y})");
                    }
                }
            }
        }
    }

    #[test]
    fn one_filter_serves_planes_of_all_kinds() {
        let mut median = Denoiser::new(Denoise::Median { radius: 3 });
        let mut gaussian = Denoiser::new(Denoise::Gaussian { sigma: 1.2 });
        // Of 8 bits, not of 8 bits, of another size, the first again.
        for (scale, width, height) in [
            (255.0, 20, 9),
            (256.0, 20, 9),
            (255.0, 9, 31),
            (255.0, 20, 9),
        ] {
            let plane: Vec<f32> = random(width * height, 3)
                .into_iter()
                .map(|v| f32::from(v) / scale)
                .collect();
            for (kept, denoise) in [
                (&mut median, Denoise::Median { radius: 3 }),
                (&mut gaussian, Denoise::Gaussian { sigma: 1.2 }),
            ] {
                let (mut found, mut expected) = (plane.clone(), plane.clone());
                kept.apply(&mut found, width, height);
                Denoiser::new(denoise).apply(&mut expected, width, height);
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn gaussian_of_a_point_is_the_kernel() {
        let mut plane = vec![0.0; 21 * 21];
        plane[10 * 21 + 10] = 1.0;
        apply(Denoise::Gaussian { sigma: 1.5 }, &mut plane, 21, 21);
        let weight = |d: f64| (-d * d / (2.0 * 1.5 * 1.5)).exp();
        // To int(4·1.5 + ½) pixels.
        let total: f64 = (-6..=6).map(|d| weight(f64::from(d))).sum();
        for (dx, dy) in [(0, 0), (1, 0), (2, 3), (6, 6)] {
            let expected = weight(f64::from(dx)) * weight(f64::from(dy)) / (total * total);
            let found = plane[(10 + dy as usize) * 21 + 10 + dx as usize];
            assert!((f64::from(found) - expected).abs() < 1e-6, "({dx}, {dy})");
        }
        assert_eq!(plane[10 * 21 + 17], 0.0);
    }
}
