//! What a defect is drawn on, and what it must know of it: exposure, streaks, edges.

use std::f32::consts::{PI, TAU};

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::params::PARAMS;

/// The picture that gets a defect.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// C×H×W in [0, 1].
    pub(super) picture: &'a [f32],
    /// Another normal picture of the same shape.
    pub(super) donor: &'a [f32],
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Pixels of this picture for a pixel of the stated sizes.
    pub(super) scale: f32,
    /// Factor of the stated amplitudes, from [`level`].
    pub(super) level: f32,
}

/// Bins of the histogram that gives the level.
const BINS: usize = 256;

/// Factor of all amplitudes: in proportion to the picture's median, or to half of its bright parts
/// where most of it is dark, as a lone object on black is.
pub(super) fn level(picture: &[f32]) -> f32 {
    // Odd, so that it does not stay in the same columns.
    let stride = (picture.len() / PARAMS.level_samples) | 1;
    let mut histogram = [0_usize; BINS];
    let mut count = 0;
    for value in picture.iter().step_by(stride) {
        // The cast saturates.
        let bin = (value * BINS as f32) as usize;
        histogram[bin.min(BINS - 1)] += 1;
        count += 1;
    }
    let quantile = |share: f32| {
        let wanted = (share * count as f32) as usize;
        let mut seen = 0;
        let bin = histogram.iter().position(|&bin| {
            seen += bin;
            seen > wanted
        });
        (bin.unwrap_or(0) as f32 + 0.5) / BINS as f32
    };
    let reference = quantile(0.5).max(0.5 * quantile(0.95));
    let [low, high] = PARAMS.levels;
    (reference / PARAMS.median).clamp(low, high)
}

/// Uniform in `low..high`.
pub(super) fn between(random: &mut impl Rng, [low, high]: [f32; 2]) -> f32 {
    low + (high - low) * random.random::<f32>()
}

/// Uniform in its logarithm: small and large values are as frequent.
pub(super) fn log_between(random: &mut impl Rng, [low, high]: [f32; 2]) -> f32 {
    low * (high / low).powf(random.random())
}

/// Any direction, radians.
pub(super) fn angle(random: &mut impl Rng) -> f32 {
    TAU * random.random::<f32>()
}

/// Standard normal.
pub(super) fn normal(random: &mut impl Rng) -> f32 {
    StandardNormal.sample(random)
}

/// An edge of the picture's content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) point: [f32; 2],
    /// Unit vector towards the brighter side.
    pub(super) uphill: [f32; 2],
}

impl Scene<'_> {
    /// Number of pixels.
    pub(super) fn area(&self) -> usize {
        self.height * self.width
    }

    /// A point, x and y in pixels.
    pub(super) fn anywhere(&self, random: &mut impl Rng) -> [f32; 2] {
        [
            self.width as f32 * random.random::<f32>(),
            self.height as f32 * random.random::<f32>(),
        ]
    }

    /// Where a defect lies: every second one anywhere, the others at the place of three with the
    /// most content, since a small object has few pixels and much background.
    pub(super) fn place(&self, random: &mut impl Rng) -> [f32; 2] {
        let mut place = self.anywhere(random);
        if random.random_bool(0.5) {
            for _ in 0..2 {
                let other = self.anywhere(random);
                if self.content(other) > self.content(place) {
                    place = other;
                }
            }
        }
        place
    }

    /// Sum of the gradients at a few pixels around a point.
    fn content(&self, [x, y]: [f32; 2]) -> f32 {
        let reach = 4.0 * self.scale;
        [
            [0.0, 0.0],
            [reach, reach],
            [-reach, reach],
            [reach, -reach],
            [-reach, -reach],
        ]
        .map(|[dx, dy]| {
            let [x, y] = self.pixel([x + dx, y + dy]);
            let [gx, gy] = self.gradient(x, y);
            gx.abs() + gy.abs()
        })
        .iter()
        .sum()
    }

    /// The pixel at a point, cut off to the picture.
    pub(super) fn pixel(&self, [x, y]: [f32; 2]) -> [usize; 2] {
        // The casts saturate at 0.
        [
            (x as usize).min(self.width - 1),
            (y as usize).min(self.height - 1),
        ]
    }

    /// Columns and rows around a point.
    fn window(
        &self,
        point: [f32; 2],
        reach: usize,
    ) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let [x, y] = self.pixel(point);
        (
            x.saturating_sub(reach)..(x + reach + 1).min(self.width),
            y.saturating_sub(reach)..(y + reach + 1).min(self.height),
        )
    }

    /// Mean of a channel around a point, of a square of 2·`reach` + 1 pixels.
    pub(super) fn mean_around(&self, point: [f32; 2], reach: usize, channel: usize) -> f32 {
        let plane = &self.picture[channel * self.area()..];
        let (columns, rows) = self.window(point, reach);
        let count = (columns.len() * rows.len()) as f32;
        let sum: f32 = rows
            .map(|y| plane[y * self.width..][columns.clone()].iter().sum::<f32>())
            .sum();
        sum / count
    }

    /// Gradient at a pixel, of the channels' sum, by differences of its neighbours.
    fn gradient(&self, x: usize, y: usize) -> [f32; 2] {
        let (w, h) = (self.width, self.height);
        let (left, right) = (x.saturating_sub(1), (x + 1).min(w - 1));
        let (up, down) = (y.saturating_sub(1), (y + 1).min(h - 1));
        let mut gradient = [0.0; 2];
        for plane in self.picture.chunks_exact(w * h) {
            gradient[0] += plane[y * w + right] - plane[y * w + left];
            gradient[1] += plane[down * w + x] - plane[up * w + x];
        }
        gradient
    }

    /// Direction of the streaks around a point, radians in [0, π): the eigenvector of the smaller
    /// eigenvalue of the structure tensor (Förstner & Gülch 1987). `None` where there are none.
    pub(super) fn streaks(&self, point: [f32; 2]) -> Option<f32> {
        let (columns, rows) = self.window(point, (8.0 * self.scale).max(3.0) as usize);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for y in rows {
            for x in columns.clone() {
                let [gx, gy] = self.gradient(x, y);
                xx += gx * gx;
                xy += gx * gy;
                yy += gy * gy;
            }
        }
        let spread = ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt();
        // λ₁ − λ₂ over λ₁ + λ₂.
        if spread <= PARAMS.coherent * (xx + yy) {
            return None;
        }
        let across = 0.5 * (2.0 * xy).atan2(xx - yy);
        Some((across + 0.5 * PI).rem_euclid(PI))
    }

    /// The strongest edge of a few places by lot.
    pub(super) fn edge(&self, random: &mut impl Rng) -> Option<Edge> {
        let mut best: Option<(f32, Edge)> = None;
        for _ in 0..128 {
            let point = self.anywhere(random);
            let [x, y] = self.pixel(point);
            let [gx, gy] = self.gradient(x, y);
            let strength = (gx * gx + gy * gy).sqrt();
            if strength > best.map_or(0.0, |(strength, _)| strength) {
                let uphill = [gx / strength, gy / strength];
                best = Some((strength, Edge { point, uphill }));
            }
        }
        best.map(|(_, edge)| edge)
    }

    /// An amplitude (stated for level 1) with its sign: dark with probability `dark`, except that
    /// there must be room below or above what is there.
    pub(super) fn amplitude(
        &self,
        random: &mut impl Rng,
        range: [f32; 2],
        dark: f64,
        point: [f32; 2],
    ) -> f32 {
        let amount = self.level * between(random, range);
        let around = (0..self.channels)
            .map(|channel| self.mean_around(point, 2, channel))
            .sum::<f32>()
            / self.channels as f32;
        let wanted = random.random_bool(dark);
        let dark = if wanted {
            around > 0.6 * amount
        } else {
            1.0 - around < 0.6 * amount
        };
        if dark { -amount } else { amount }
    }

    /// How much each channel takes part in a change: all alike in grey pictures and in every
    /// second defect of a coloured one; the largest is 1.
    pub(super) fn tint(&self, random: &mut impl Rng) -> Vec<f32> {
        if self.channels == 1 || random.random_bool(0.5) {
            return vec![1.0; self.channels];
        }
        let mut tint: Vec<f32> = (0..self.channels)
            .map(|_| between(random, [-0.4, 1.0]))
            .collect();
        let full = random.random_range(0..self.channels);
        tint[full] = 1.0;
        tint
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    fn scene(picture: &[f32], side: usize) -> Scene<'_> {
        Scene {
            picture,
            donor: picture,
            channels: 1,
            height: side,
            width: side,
            scale: 1.0,
            level: 1.0,
        }
    }

    #[test]
    fn level_goes_with_the_median_and_sees_objects_on_black() {
        let near = |found: f32, wanted: f32| assert!((found - wanted).abs() < 0.01, "{found}");
        near(level(&vec![0.4; 5000]), 1.0);
        near(level(&vec![0.2; 5000]), 0.5);
        near(level(&vec![0.01; 5000]), 0.3);
        near(level(&vec![1.0; 5000]), 1.25);
        // A fifth of the picture at 0.6: half of it over 0.4.
        let object: Vec<f32> = (0..5000)
            .map(|i| if i % 5 == 0 { 0.6 } else { 0.0 })
            .collect();
        near(level(&object), 0.75);
    }

    #[test]
    fn streaks_have_the_direction_of_a_sine_grating() {
        let side = 64;
        for degrees in [0.0_f32, 25.0, 90.0, 140.0] {
            let along = degrees.to_radians();
            let picture: Vec<f32> = (0..side * side)
                .map(|i| {
                    let (x, y) = ((i % side) as f32, (i / side) as f32);
                    let across = y * along.cos() - x * along.sin();
                    0.5 + 0.2 * (0.8 * across).sin()
                })
                .collect();
            let found = scene(&picture, side).streaks([32.0, 32.0]).unwrap();
            let off = (found - along + 0.5 * PI).rem_euclid(PI) - 0.5 * PI;
            assert!(off.abs() < 0.03, "{degrees}: {found}");
        }
        assert!(scene(&[0.5; 4096], side).streaks([9.0, 9.0]).is_none());
    }

    #[test]
    fn edges_are_found_and_point_uphill() {
        let picture: Vec<f32> = (0..4096)
            .map(|i| if i % 64 < 20 { 0.1 } else { 0.8 })
            .collect();
        let mut random = Pcg64::seed_from_u64(3);
        let edge = scene(&picture, 64).edge(&mut random).unwrap();
        assert!((18.0..22.0).contains(&edge.point[0]), "{edge:?}");
        assert_eq!(edge.uphill, [1.0, 0.0]);
        assert!(scene(&[0.3; 4096], 64).edge(&mut random).is_none());
    }

    #[test]
    fn amplitudes_go_where_there_is_room() {
        let mut random = Pcg64::seed_from_u64(4);
        for (value, dark, negative) in [(0.0, 1.0, false), (1.0, 0.0, true), (0.5, 1.0, true)] {
            let picture = vec![value; 256];
            let found = scene(&picture, 16).amplitude(&mut random, [0.2, 0.3], dark, [8.0; 2]);
            assert_eq!(found < 0.0, negative, "{value}");
            assert!((0.2..0.3).contains(&found.abs()));
        }
    }
}
