//! Weights of the pixels of a box: polygons, strokes, ellipses, and soft edges.

use std::f32::consts::TAU;

use rand::{Rng, RngExt};

use super::scene::{Scene, between};

/// Weights in [0, 1] of the pixels of a box inside the picture.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) weights: Vec<f32>,
}

/// Points of a line: place, half width in pixels, and strength in [0, 1].
pub(super) type Chain = Vec<([f32; 2], f32, f32)>;

/// Sub-rows of a pixel in which a polygon's coverage is counted.
const SUB_ROWS: usize = 4;

impl Patch {
    /// The box around `points` with a margin, cut off to the picture, with all weights 0.
    pub(super) fn around(scene: &Scene<'_>, points: &[[f32; 2]], margin: f32) -> Self {
        let bounds = |axis: usize, side: usize| {
            let values = points.iter().map(|point| point[axis]);
            let low = values.clone().fold(f32::INFINITY, f32::min) - margin;
            let high = values.fold(f32::NEG_INFINITY, f32::max) + margin;
            // The casts saturate; without points low is above high, and the box empty.
            let from = (low.floor() as usize).min(side);
            let to = (high.ceil() as usize).min(side);
            (from, to.saturating_sub(from))
        };
        let (left, width) = bounds(0, scene.width);
        let (top, height) = bounds(1, scene.height);
        Self {
            left,
            top,
            width,
            height,
            weights: vec![0.0; width * height],
        }
    }

    /// The whole picture.
    pub(super) fn whole(scene: &Scene<'_>) -> Self {
        let corner = [scene.width as f32, scene.height as f32];
        Self::around(scene, &[[0.0; 2], corner], 0.0)
    }

    /// Sets each weight by the middle of its pixel, x and y in pixels of the picture.
    pub(super) fn fill(&mut self, mut weight: impl FnMut(f32, f32) -> f32) {
        let rows = self.weights.chunks_exact_mut(self.width.max(1));
        for (row, y) in rows.zip(self.top..) {
            for (value, x) in row.iter_mut().zip(self.left..) {
                *value = weight(x as f32 + 0.5, y as f32 + 0.5);
            }
        }
    }

    /// A polygon, anti-aliased by the even-odd rule, with soft edges of deviation `soft` pixels.
    pub(super) fn polygon(scene: &Scene<'_>, points: &[[f32; 2]], soft: f32) -> Self {
        let mut patch = Self::around(scene, points, 3.0 * soft + 1.0);
        let mut crossings = Vec::new();
        let (left, right) = (patch.left as f32, (patch.left + patch.width) as f32);
        for row in 0..patch.height {
            for sub in 0..SUB_ROWS {
                let y = (patch.top + row) as f32 + (sub as f32 + 0.5) / SUB_ROWS as f32;
                crossings.clear();
                for (place, from) in points.iter().enumerate() {
                    let to = points[(place + 1) % points.len()];
                    if (from[1] <= y) != (to[1] <= y) {
                        let share = (y - from[1]) / (to[1] - from[1]);
                        let x = from[0] + share * (to[0] - from[0]);
                        crossings.push(x.clamp(left, right) - left);
                    }
                }
                crossings.sort_unstable_by(f32::total_cmp);
                let weights = &mut patch.weights[row * patch.width..][..patch.width];
                for pair in crossings.chunks_exact(2) {
                    cover(weights, pair[0], pair[1], 1.0 / SUB_ROWS as f32);
                }
            }
        }
        patch.soften(soft);
        patch
    }

    /// Chains of strokes: each point with its half width, pixels, and its strength in [0, 1]. Where
    /// they cross, the stronger one counts.
    pub(super) fn strokes(scene: &Scene<'_>, chains: &[Chain]) -> Self {
        let links = || chains.iter().flatten();
        let points: Vec<[f32; 2]> = links().map(|link| link.0).collect();
        let widest = links().map(|link| link.1).fold(0.0, f32::max);
        let mut patch = Self::around(scene, &points, widest + 1.0);
        let (left, top) = (patch.left as f32, patch.top as f32);
        for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
            let ([x0, y0], half, strength) = pair[0];
            let [x1, y1] = pair[1].0;
            let (dx, dy) = (x1 - x0, y1 - y0);
            let square = (dx * dx + dy * dy).max(1e-6);
            // A line thinner than a pixel covers a part of it.
            let peak = strength * (2.0 * half).min(1.0);
            let reach = half.max(0.5) + 0.5;
            let span = |a: f32, b: f32, origin: f32, side: usize| {
                let from = (a.min(b) - reach - origin).max(0.0) as usize;
                let to = (a.max(b) + reach - origin).ceil().max(0.0) as usize;
                from.min(side)..to.min(side)
            };
            let columns = span(x0, x1, left, patch.width);
            for row in span(y0, y1, top, patch.height) {
                for column in columns.clone() {
                    let x = left + column as f32 + 0.5 - x0;
                    let y = top + row as f32 + 0.5 - y0;
                    let along = ((x * dx + y * dy) / square).clamp(0.0, 1.0);
                    let (ox, oy) = (x - along * dx, y - along * dy);
                    let off = (ox * ox + oy * oy).sqrt();
                    let weight = peak * (reach - off).clamp(0.0, 1.0);
                    let value = &mut patch.weights[row * patch.width + column];
                    *value = value.max(weight);
                }
            }
        }
        patch
    }

    /// An ellipse of these half axes that fades from its middle to its border as (1 − d²)².
    pub(super) fn bump(scene: &Scene<'_>, centre: [f32; 2], axes: [f32; 2], angle: f32) -> Self {
        let (mut patch, distance) = Self::elliptic(scene, centre, axes, angle);
        patch.fill(|x, y| {
            let inside = (1.0 - distance(x, y)).max(0.0);
            inside * inside
        });
        patch
    }

    /// The box of an ellipse, and the square of the distance from its middle, 1 on its border.
    pub(super) fn elliptic(
        scene: &Scene<'_>,
        centre: [f32; 2],
        axes: [f32; 2],
        angle: f32,
    ) -> (Self, impl Fn(f32, f32) -> f32 + use<>) {
        let (sin, cos) = angle.sin_cos();
        let half = [
            (axes[0] * cos).hypot(axes[1] * sin),
            (axes[0] * sin).hypot(axes[1] * cos),
        ];
        let corners = [
            [centre[0] - half[0], centre[1] - half[1]],
            [centre[0] + half[0], centre[1] + half[1]],
        ];
        let distance = move |x: f32, y: f32| {
            let (x, y) = (x - centre[0], y - centre[1]);
            let u = (x * cos + y * sin) / axes[0];
            let v = (y * cos - x * sin) / axes[1];
            u * u + v * v
        };
        (Self::around(scene, &corners, 1.0), distance)
    }

    /// Blurs by a Gaussian of deviation `sigma` pixels.
    pub(super) fn soften(&mut self, sigma: f32) {
        gaussian(&mut self.weights, self.width, sigma);
    }

    /// Calls `change` for each pixel that has a weight: its place in a plane, and the weight.
    pub(super) fn each(&self, scene: &Scene<'_>, mut change: impl FnMut(usize, f32)) {
        let rows = self.weights.chunks_exact(self.width.max(1));
        for (row, y) in rows.zip(self.top..) {
            let start = y * scene.width + self.left;
            for (place, &weight) in row.iter().enumerate() {
                if weight > 0.0 {
                    change(start + place, weight);
                }
            }
        }
    }

    /// Adds `amount`, times a channel's `tint`, times the weight.
    pub(super) fn add(&self, scene: &Scene<'_>, out: &mut [f32], amount: f32, tint: &[f32]) {
        for (plane, tint) in out.chunks_exact_mut(scene.area()).zip(tint) {
            let amount = amount * tint;
            self.each(scene, |at, weight| plane[at] += amount * weight);
        }
    }

    /// Multiplies by 1 + `amount`, times a channel's `tint`, times the weight.
    pub(super) fn gain(&self, scene: &Scene<'_>, out: &mut [f32], amount: f32, tint: &[f32]) {
        for (plane, tint) in out.chunks_exact_mut(scene.area()).zip(tint) {
            let amount = amount * tint;
            self.each(scene, |at, weight| plane[at] *= 1.0 + amount * weight);
        }
    }
}

/// Adds `share` to the weights between two places, in proportion at the ends.
fn cover(weights: &mut [f32], from: f32, to: f32, share: f32) {
    let (first, last) = (from as usize, to as usize);
    if first == last {
        if let Some(weight) = weights.get_mut(first) {
            *weight += share * (to - from);
        }
        return;
    }
    if let Some(weight) = weights.get_mut(first) {
        *weight += share * ((first + 1) as f32 - from);
    }
    let end = last.min(weights.len());
    for weight in &mut weights[(first + 1).min(end)..end] {
        *weight += share;
    }
    if let Some(weight) = weights.get_mut(last) {
        *weight += share * (to - last as f32);
    }
}

/// Corners of a closed curve around a point: `axes` are its half axes, and each corner's distance
/// varies by ± `ragged`.
pub(super) fn ring(
    random: &mut impl Rng,
    [x, y]: [f32; 2],
    axes: [f32; 2],
    corners: usize,
    ragged: f32,
) -> Vec<[f32; 2]> {
    let (sin, cos) = (TAU * random.random::<f32>()).sin_cos();
    (0..corners)
        .map(|corner| {
            let jitter = 0.4 * ragged.min(1.0) * (random.random::<f32>() - 0.5);
            let (v, u) = (TAU * (corner as f32 + jitter) / corners as f32).sin_cos();
            let far = 1.0 + between(random, [-ragged, ragged]);
            let (u, v) = (axes[0] * far * u, axes[1] * far * v);
            [x + u * cos - v * sin, y + u * sin + v * cos]
        })
        .collect()
}

/// Blurs a picture of this width by a Gaussian of deviation `sigma` pixels; its border is repeated.
pub(super) fn gaussian(values: &mut [f32], width: usize, sigma: f32) {
    // Below, the neighbours' weight is less than a hundredth.
    if sigma < 0.33 || values.is_empty() {
        return;
    }
    let reach = (2.5 * sigma).ceil() as usize;
    let mut kernel: Vec<f32> = (0..=2 * reach)
        .map(|place| {
            let t = (place as f32 - reach as f32) / sigma;
            (-0.5 * t * t).exp()
        })
        .collect();
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|weight| *weight /= sum);

    let mut padded = vec![0.0; width + 2 * reach];
    for row in values.chunks_exact_mut(width) {
        padded[..reach].fill(row[0]);
        padded[reach..reach + width].copy_from_slice(row);
        padded[reach + width..].fill(row[width - 1]);
        row.fill(0.0);
        for (offset, weight) in kernel.iter().enumerate() {
            for (value, from) in row.iter_mut().zip(&padded[offset..]) {
                *value += weight * from;
            }
        }
    }
    let height = values.len() / width;
    let before = values.to_vec();
    for (y, row) in values.chunks_exact_mut(width).enumerate() {
        row.fill(0.0);
        for (offset, weight) in kernel.iter().enumerate() {
            let from = (y + offset).saturating_sub(reach).min(height - 1);
            for (value, from) in row.iter_mut().zip(&before[from * width..]) {
                *value += weight * from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(picture: &[f32]) -> Scene<'_> {
        Scene {
            picture,
            donor: picture,
            channels: 1,
            height: 20,
            width: 30,
            scale: 1.0,
            level: 1.0,
        }
    }

    fn sum(patch: &Patch) -> f32 {
        patch.weights.iter().sum()
    }

    #[test]
    fn polygons_cover_their_area() {
        let picture = [0.0; 600];
        let scene = scene(&picture);
        // Shoelace: a rectangle turned by 3-4-5, of 10 by 5.
        let turned = [[5.0, 4.0], [13.0, 10.0], [10.0, 14.0], [2.0, 8.0]];
        let patch = Patch::polygon(&scene, &turned, 0.0);
        assert!((sum(&patch) - 50.0).abs() < 0.5, "{}", sum(&patch));
        assert!(patch.weights.iter().all(|w| (0.0..=1.0001).contains(w)));
        let soft = Patch::polygon(&scene, &turned, 0.6);
        assert!((sum(&soft) - 50.0).abs() < 0.6, "{}", sum(&soft));
        // The upper left half of a rectangle is cut off by the picture.
        let outside = [[-7.0, -3.0], [4.0, -3.0], [4.0, 5.0], [-7.0, 5.0]];
        let patch = Patch::polygon(&scene, &outside, 0.0);
        assert!((sum(&patch) - 20.0).abs() < 1e-3, "{}", sum(&patch));
        assert_eq!((patch.left, patch.top), (0, 0));
        let gone = outside.map(|[x, y]| [x - 100.0, y]);
        assert_eq!(sum(&Patch::polygon(&scene, &gone, 1.0)), 0.0);
    }

    #[test]
    fn strokes_have_their_width_and_thin_ones_their_share() {
        let picture = [0.0; 600];
        let scene = scene(&picture);
        // Through the middle of a row: 20 pixels and its ends.
        let line = |half: f32| {
            let chain = vec![([5.0, 10.5], half, 1.0), ([25.0, 10.5], half, 1.0)];
            Patch::strokes(&scene, &[chain.clone(), chain])
        };
        let at = |patch: &Patch, x: usize, y: usize| {
            patch.weights[(y - patch.top) * patch.width + x - patch.left]
        };
        assert_eq!(at(&line(0.5), 15, 10), 1.0);
        assert_eq!(at(&line(0.5), 15, 11), 0.0);
        assert_eq!(at(&line(0.25), 15, 10), 0.5);
        assert_eq!(at(&line(1.0), 15, 11), 0.5);
        assert_eq!(at(&line(1.5), 15, 11), 1.0);
    }

    #[test]
    fn blur_has_the_gaussian_variance_and_keeps_the_sum() {
        let mut values = vec![0.0; 41 * 41];
        values[20 * 41 + 20] = 1.0;
        gaussian(&mut values, 41, 2.0);
        let moment = |of: fn(usize) -> usize| {
            let values = values.iter().enumerate();
            values
                .map(|(i, v)| v * (of(i) as f32 - 20.0).powi(2))
                .sum::<f32>()
        };
        assert!((values.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        // 4, less what lies beyond 2.5 deviations.
        for moment in [moment(|i| i % 41), moment(|i| i / 41)] {
            assert!((3.6..4.0).contains(&moment), "{moment}");
        }
        let mut flat = vec![0.3; 12];
        gaussian(&mut flat, 4, 3.0);
        assert!(flat.iter().all(|v| (v - 0.3).abs() < 1e-6));
    }

    #[test]
    fn bumps_fade_from_one_to_zero() {
        let picture = [0.0; 600];
        let scene = scene(&picture);
        let patch = Patch::bump(&scene, [15.5, 10.5], [8.0, 4.0], 0.0);
        let at = |x: usize, y: usize| patch.weights[(y - patch.top) * patch.width + x - patch.left];
        assert_eq!(at(15, 10), 1.0);
        // d² = ¼ halfway, so (3/4)².
        assert!((at(19, 10) - 0.5625).abs() < 1e-6);
        assert!((at(15, 12) - 0.5625).abs() < 1e-6);
        assert_eq!(at(15, 14), 0.0);
    }
}
