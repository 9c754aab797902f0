//! Noise filters at the frame's own resolution, on one plane of values in [0, 1].

use super::Denoise;
use crate::smoothing::GaussianSmoothing;

/// Filters a plane of `width × height` values.
///
/// The median is taken on 16-bit integers, which is exact for 8- and 16-bit samples and off by at
/// most 1/131070 for luma; beyond its edges the plane is continued by their values. For the Gaussian
/// see [`GaussianSmoothing`].
pub(super) fn apply(denoise: Denoise, plane: &mut [f32], width: u32, height: u32) {
    match denoise {
        Denoise::Median { radius } => {
            let samples: Vec<u16> = plane.iter().map(|v| (v * 65535.0).round() as u16).collect();
            let filtered = median(&samples, width as usize, height as usize, radius as usize);
            for (value, sample) in plane.iter_mut().zip(filtered) {
                *value = f32::from(sample) / 65535.0;
            }
        }
        Denoise::Gaussian { sigma } => {
            GaussianSmoothing::new(width as usize, height as usize, sigma)
                .and_then(|mut smoothing| smoothing.apply(plane))
                .expect("sigma was validated and the plane was filled for this size");
        }
    }
}

/// Samples of the window under way, counted in bins of 256 values and one by one, with the bin
/// that holds the median followed from window to window (Huang, Yang, Tang: «A fast
/// two-dimensional median filtering algorithm», 1979). `imageproc::filter::median_filter` has 8
/// bits only.
struct Histogram {
    coarse: [u16; 256],
    fine: Vec<u16>,
    /// Bin that the median was last found in.
    bin: usize,
    /// Samples in the bins before it.
    below: usize,
}

impl Histogram {
    fn add(&mut self, sample: u16) {
        let bin = usize::from(sample >> 8);
        self.coarse[bin] += 1;
        self.fine[usize::from(sample)] += 1;
        self.below += usize::from(bin < self.bin);
    }

    fn remove(&mut self, sample: u16) {
        let bin = usize::from(sample >> 8);
        self.coarse[bin] -= 1;
        self.fine[usize::from(sample)] -= 1;
        self.below -= usize::from(bin < self.bin);
    }

    /// The sample that `rank` others come before.
    fn sample_at(&mut self, rank: usize) -> u16 {
        while self.below > rank {
            self.bin -= 1;
            self.below -= usize::from(self.coarse[self.bin]);
        }
        while self.below + usize::from(self.coarse[self.bin]) <= rank {
            self.below += usize::from(self.coarse[self.bin]);
            self.bin += 1;
        }
        let mut seen = self.below;
        let mut sample = self.bin << 8;
        loop {
            seen += usize::from(self.fine[sample]);
            if seen > rank {
                return sample as u16;
            }
            sample += 1;
        }
    }
}

/// Median over a square of `2·radius + 1` pixels. A square of radius 127 still fits the counters.
fn median(samples: &[u16], width: usize, height: usize, radius: usize) -> Vec<u16> {
    let mut filtered = Vec::with_capacity(samples.len());
    let mut histogram = Histogram {
        coarse: [0; 256],
        fine: vec![0; 65536],
        bin: 0,
        below: 0,
    };
    let side = 2 * radius + 1;
    let rank = side * side / 2;
    let clamped = |centre: usize, offset: usize, length: usize| {
        (centre + offset).saturating_sub(radius).min(length - 1)
    };
    let mut rows = Vec::with_capacity(side);
    for y in 0..height {
        rows.clear();
        rows.extend(
            (0..side).map(|offset| &samples[clamped(y, offset, height) * width..][..width]),
        );
        for offset in 0..side {
            let column = clamped(0, offset, width);
            rows.iter().for_each(|row| histogram.add(row[column]));
        }
        for x in 0..width {
            filtered.push(histogram.sample_at(rank));
            let (leaving, entering) = (clamped(x, 0, width), clamped(x + 1, side - 1, width));
            for row in &rows {
                histogram.remove(row[leaving]);
                histogram.add(row[entering]);
            }
        }
        for offset in 0..side {
            let column = clamped(width, offset, width);
            rows.iter().for_each(|row| histogram.remove(row[column]));
        }
    }
    filtered
}

#[cfg(test)]
mod tests {
    use imageproc::filter::median_filter;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn random(count: usize, seed: u64) -> Vec<u8> {
        let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
        (0..count).map(|_| random.next_u32() as u8).collect()
    }

    #[test]
    fn median_of_eight_bits_is_that_of_imageproc() {
        for (width, height, radius) in [(1, 1, 1), (7, 5, 1), (5, 9, 3), (3, 2, 16), (40, 30, 2)] {
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
        let (width, height, radius) = (11, 8, 2);
        let mut random = rand_pcg::Pcg64::seed_from_u64(2);
        let samples: Vec<u16> = (0..width * height)
            .map(|_| random.next_u32() as u16)
            .collect();
        let filtered = median(&samples, width, height, radius);
        for y in 0..height {
            for x in 0..width {
                let mut window = Vec::new();
                for dy in -2..=2 {
                    for dx in -2..=2 {
                        let row = (y as i32 + dy).clamp(0, height as i32 - 1) as usize;
                        let column = (x as i32 + dx).clamp(0, width as i32 - 1) as usize;
                        window.push(samples[row * width + column]);
                    }
                }
                window.sort_unstable();
                assert_eq!(filtered[y * width + x], window[12], "({x}, {y})");
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
