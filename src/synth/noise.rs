//! Noise and randomness made of integer arithmetic, additions, multiplications and square roots
//! only: these are exact by IEEE 754, so the same seed gives the same bits on every processor.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// Mixes numbers into one seed; the finaliser of SplitMix64 (Steele, Lea & Flood 2014).
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0x9e37_79b9_7f4a_7c15, |state: u64, &part| {
            let mut z = state
                .wrapping_add(part)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(0x632b_e59b_d9b4_e019);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
}

/// A stream of random numbers with the few distributions that drawing needs.
pub(super) struct Draw(Pcg64);

impl Draw {
    /// The stream that belongs to `parts`.
    pub(super) fn new(parts: &[u64]) -> Self {
        Self(Pcg64::seed_from_u64(mix(parts)))
    }

    /// Uniform in [0, 1), with 24 bits.
    pub(super) fn unit(&mut self) -> f32 {
        (self.0.next_u64() >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Between low and high, small values more often: the square of a uniform number.
    pub(super) fn mostly_low(&mut self, low: f32, high: f32) -> f32 {
        let u = self.unit();
        low + (high - low) * u * u
    }

    /// True with the given probability.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// A whole number in low..=high.
    pub(super) fn count(&mut self, low: u32, high: u32) -> u32 {
        low + (self.unit() * (high - low + 1) as f32) as u32
    }

    /// A seed for [`lattice`].
    pub(super) fn seed(&mut self) -> u32 {
        (self.0.next_u64() >> 32) as u32
    }

    /// A direction, uniform enough: a point of the unit disc, normalised.
    pub(super) fn direction(&mut self) -> [f32; 2] {
        loop {
            let (x, y) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let length = (x * x + y * y).sqrt();
            if (0.1..=1.0).contains(&length) {
                return [x / length, y / length];
            }
        }
    }

    /// Approximately normal with mean 0 and variance 1: the sum of four uniform 16-bit numbers
    /// (Irwin–Hall), of which no tail is needed beyond 3.4 deviations.
    pub(super) fn normal(&mut self) -> f32 {
        let bits = self.0.next_u64();
        let sum = (0..4)
            .map(|k| ((bits >> (16 * k)) & 0xffff) as i32)
            .sum::<i32>();
        // Variance of the sum: 4 · 65536²/12, so its deviation is 65536/√3.
        (sum - 2 * 65_535) as f32 * (1.0 / 37_837.23)
    }
}

/// The value of a lattice point, in [−1, 1).
fn lattice(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = (x as u32)
        .wrapping_mul(0x85eb_ca6b)
        .wrapping_add((y as u32).wrapping_mul(0xc2b2_ae35))
        ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^= h >> 15;
    (h >> 8) as f32 * (1.0 / 8_388_608.0) - 1.0
}

fn floor(x: f32) -> (i32, f32) {
    let truncated = x as i32;
    let whole = if x < truncated as f32 {
        truncated - 1
    } else {
        truncated
    };
    (whole, x - whole as f32)
}

fn ease(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// Value noise in the plane: random lattice values, smoothly interpolated; in [−1, 1).
pub(super) fn noise2(x: f32, y: f32, seed: u32) -> f32 {
    Noise2::new(seed).at(x, y)
}

/// [`noise2`] that remembers the corners of the last cell: neighbouring pixels mostly share them.
#[derive(Clone, Copy)]
pub(super) struct Noise2 {
    seed: u32,
    cell: Option<[i32; 2]>,
    corners: [f32; 4],
}

impl Noise2 {
    pub(super) fn new(seed: u32) -> Self {
        Self {
            seed,
            cell: None,
            corners: [0.0; 4],
        }
    }

    pub(super) fn at(&mut self, x: f32, y: f32) -> f32 {
        let ((ix, fx), (iy, fy)) = (floor(x), floor(y));
        if self.cell != Some([ix, iy]) {
            self.cell = Some([ix, iy]);
            self.corners = [
                lattice(ix, iy, self.seed),
                lattice(ix + 1, iy, self.seed),
                lattice(ix, iy + 1, self.seed),
                lattice(ix + 1, iy + 1, self.seed),
            ];
        }
        let [a, b, c, d] = self.corners;
        let sx = ease(fx);
        let (top, bottom) = (a + (b - a) * sx, c + (d - c) * sx);
        top + (bottom - top) * ease(fy)
    }
}

/// Value noise on a line, in [−1, 1).
pub(super) fn noise1(x: f32, seed: u32) -> f32 {
    let (ix, fx) = floor(x);
    let left = lattice(ix, 0, seed);
    left + (lattice(ix + 1, 0, seed) - left) * ease(fx)
}

/// 1 at 0, smoothly to 0 at ±1: (1 − t²)², the biweight.
pub(super) fn bump(t: f32) -> f32 {
    let inside = (1.0 - t * t).max(0.0);
    inside * inside
}

/// The derivative of [`bump`].
pub(super) fn bump_slope(t: f32) -> f32 {
    -4.0 * t * (1.0 - t * t).max(0.0)
}

/// 0 below `from`, 1 above `to`, smooth between; `from` may be the larger one.
pub(super) fn smooth_step(from: f32, to: f32, x: f32) -> f32 {
    ease(((x - from) / (to - from)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_bounded_continuous_and_centred() {
        let mut sum = 0.0f64;
        let n = 20_000;
        for i in 0..n {
            let (x, y) = (i as f32 * 0.37 - 3000.0, i as f32 * 0.11 - 900.0);
            let value = noise2(x, y, 7);
            assert!((-1.0..1.0).contains(&value));
            // Slope of smooth-stepped values in [−1, 1] is at most 1.5 · 2 a unit.
            assert!((noise2(x + 0.001, y, 7) - value).abs() < 0.004);
            sum += f64::from(value);
        }
        assert!((sum / f64::from(n)).abs() < 0.03);
    }

    #[test]
    fn remembered_corners_change_nothing() {
        let mut noise = Noise2::new(5);
        for i in 0..2000 {
            let (x, y) = (i as f32 * 0.07 - 60.0, (i % 50) as f32 * 0.3);
            assert_eq!(noise.at(x, y), noise2(x, y, 5));
        }
    }

    #[test]
    fn normal_has_mean_0_and_variance_1() {
        let mut draw = Draw::new(&[1, 2]);
        let values: Vec<f64> = (0..50_000).map(|_| f64::from(draw.normal())).collect();
        let mean = values.iter().sum::<f64>() / 5e4;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 5e4;
        assert!(mean.abs() < 0.015, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn bump_slope_is_the_derivative() {
        for i in -12..=12 {
            let t = i as f32 * 0.1 + 0.03;
            let numeric = (bump(t + 1e-3) - bump(t - 1e-3)) / 2e-3;
            assert!((numeric - bump_slope(t)).abs() < 1e-2, "{t}");
        }
    }

    #[test]
    fn counts_reach_both_ends() {
        let mut draw = Draw::new(&[3]);
        let counts: Vec<u32> = (0..200).map(|_| draw.count(2, 4)).collect();
        assert!([2, 3, 4].iter().all(|c| counts.contains(c)));
        assert!(counts.iter().all(|c| (2..=4).contains(c)));
    }
}
