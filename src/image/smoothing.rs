//! Gaussian smoothing of planes: of anomaly maps, and of frames before they are resized.

use super::ImageError;

/// Largest standard deviation in pixels: far above any use, and small enough that a hostile
/// manifest cannot ask for a kernel that fills the memory.
const LARGEST: f32 = 128.0;

/// Separable Gaussian filter for maps of one size, with buffers of its own: in steady state it
/// allocates nothing.
///
/// The kernel reaches to four standard deviations and the borders are mirrored about the edge of
/// the outermost pixel (d c b a | a b c d | d c b a):
/// `scipy.ndimage.gaussian_filter(map, sigma, mode="reflect", truncate=4.0)`.
#[derive(Clone, Debug)]
pub struct GaussianSmoothing {
    width: usize,
    height: usize,
    /// From −radius to radius, with sum 1.
    kernel: Vec<f32>,
    /// One row with `radius` mirrored pixels at either end.
    padded: Vec<f32>,
    /// The map after the horizontal pass.
    rows: Vec<f32>,
}

impl GaussianSmoothing {
    /// For maps of `height×width` and a standard deviation `sigma` in pixels; 0 leaves maps as they
    /// are.
    ///
    /// # Errors
    /// `sigma` negative, above 128 or NaN; no row or no column.
    pub fn new(width: usize, height: usize, sigma: f32) -> Result<Self, ImageError> {
        if !(0.0..=LARGEST).contains(&sigma) {
            return Err(ImageError::Smoothing { found: sigma });
        }
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { height, width });
        }
        let sigma = f64::from(sigma);
        let radius = (4.0 * sigma + 0.5) as usize;
        let weight = |offset: usize| match radius {
            0 => 1.0,
            radius => (-0.5 * ((offset as f64 - radius as f64) / sigma).powi(2)).exp(),
        };
        let sum: f64 = (0..=2 * radius).map(weight).sum();
        Ok(Self {
            width,
            height,
            kernel: (0..=2 * radius)
                .map(|offset| (weight(offset) / sum) as f32)
                .collect(),
            padded: vec![0.0; width + 2 * radius],
            rows: vec![0.0; width * height],
        })
    }

    /// Smooths a map (`height×width`) in place.
    ///
    /// # Errors
    /// A map of another size.
    pub fn apply(&mut self, map: &mut [f32]) -> Result<(), ImageError> {
        let (found, expected) = (map.len(), self.width * self.height);
        if found != expected {
            return Err(ImageError::Length { found, expected });
        }
        let radius = self.kernel.len() / 2;
        if radius == 0 {
            return Ok(());
        }
        self.rows.fill(0.0);
        for (row, out) in map
            .chunks_exact(self.width)
            .zip(self.rows.chunks_exact_mut(self.width))
        {
            self.padded[radius..radius + self.width].copy_from_slice(row);
            for i in (0..radius).chain(radius + self.width..self.padded.len()) {
                self.padded[i] = row[mirrored(i, radius, self.width)];
            }
            for (offset, &weight) in self.kernel.iter().enumerate() {
                add_weighted(out, &self.padded[offset..], weight);
            }
        }
        map.fill(0.0);
        for (y, out) in map.chunks_exact_mut(self.width).enumerate() {
            for (offset, &weight) in self.kernel.iter().enumerate() {
                let start = mirrored(y + offset, radius, self.height) * self.width;
                add_weighted(out, &self.rows[start..], weight);
            }
        }
        Ok(())
    }
}

/// Index of position `i − radius` in a line of `length` that is mirrored without end.
fn mirrored(i: usize, radius: usize, length: usize) -> usize {
    let period = 2 * length;
    let folded = (i + period - radius % period) % period;
    folded.min(period - 1 - folded)
}

/// `out[i] += weight · values[i]`; whole lines at once, so that the compiler vectorises it.
fn add_weighted(out: &mut [f32], values: &[f32], weight: f32) {
    for (out, value) in out.iter_mut().zip(values) {
        *out += weight * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 9;
    const HEIGHT: usize = 7;

    fn map() -> Vec<f32> {
        (0..HEIGHT * WIDTH)
            .map(|i| ((i / WIDTH * 31 + i % WIDTH * 17) % 23) as f32 / 4.0)
            .collect()
    }

    #[test]
    fn has_the_values_of_scipy() {
        // scipy.ndimage.gaussian_filter(a, sigma, mode="reflect", truncate=4.0) at six positions,
        // a[y, x] = ((31·y + 17·x) mod 23)/4; with σ = 4 the kernel is wider than the map.
        let positions = [(0, 0), (0, 8), (3, 4), (6, 0), (6, 8), (5, 2)];
        for (sigma, expected) in [
            (
                0.8,
                [
                    1.3203709, 3.571_538, 2.1600502, 2.1784619, 1.3906947, 3.0008447,
                ],
            ),
            (
                1.5,
                [
                    2.101_063, 3.101_681, 2.669_469, 2.6459112, 2.327_865, 2.8341952,
                ],
            ),
            (
                4.0,
                [
                    2.6551256, 2.839_872, 2.7398253, 2.6837374, 2.7670776, 2.6987798,
                ],
            ),
        ] {
            let mut smoothed = map();
            GaussianSmoothing::new(WIDTH, HEIGHT, sigma)
                .unwrap()
                .apply(&mut smoothed)
                .unwrap();
            for ((y, x), expected) in positions.into_iter().zip(expected) {
                let found: f32 = smoothed[y * WIDTH + x];
                assert!(
                    (found - expected).abs() < 3e-6,
                    "{sigma} {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn keeps_constants_and_sums() {
        let mut smoothing = GaussianSmoothing::new(WIDTH, HEIGHT, 2.3).unwrap();
        let mut constant = vec![3.5; WIDTH * HEIGHT];
        smoothing.apply(&mut constant).unwrap();
        assert!(constant.iter().all(|value| (value - 3.5f32).abs() < 1e-5));
        // A mirrored border loses nothing.
        let (before, mut after) = (map(), map());
        smoothing.apply(&mut after).unwrap();
        let sum = |map: &[f32]| map.iter().map(|&v| f64::from(v)).sum::<f64>();
        assert!((sum(&before) - sum(&after)).abs() < 1e-3);
    }

    #[test]
    fn the_second_use_gives_the_same_bits() {
        let mut smoothing = GaussianSmoothing::new(WIDTH, HEIGHT, 1.1).unwrap();
        let (mut first, mut second) = (map(), map());
        smoothing.apply(&mut first).unwrap();
        smoothing.apply(&mut second).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn no_smoothing_leaves_the_map() {
        for sigma in [0.0, 0.05] {
            let mut same = map();
            GaussianSmoothing::new(WIDTH, HEIGHT, sigma)
                .unwrap()
                .apply(&mut same)
                .unwrap();
            assert_eq!(same, map());
        }
    }

    #[test]
    fn unusable_settings_are_refused() {
        for sigma in [-1.0, 129.0, f32::NAN, f32::INFINITY] {
            assert!(GaussianSmoothing::new(4, 4, sigma).is_err());
        }
        assert!(GaussianSmoothing::new(0, 4, 1.0).is_err());
        let mut smoothing = GaussianSmoothing::new(4, 4, 1.0).unwrap();
        assert!(smoothing.apply(&mut [0.0; 15]).is_err());
    }
}
