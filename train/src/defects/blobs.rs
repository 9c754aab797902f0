//! Pits, blowholes and specks.

use rand::{Rng, RngExt};

use super::{
    patch::{Patch, ring},
    scene::{Scene, between, log_between},
};

/// Least radius, pixels: what is smaller than a pixel can't be seen.
const LEAST: f32 = 0.7;

/// One to three ellipses of radius 1–7, amplitude 0.1–0.5, 80 % dark; half of them without the
/// texture of their surroundings, 30 % with a crescent of the opposite sign on one side, as a pit
/// has that is lit from the other.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let count = random.random_range(1..=3);
    let [x, y] = scene.place(random);
    let tint = scene.tint(random);
    let flat = random.random_bool(0.5);
    let dark = random.random_bool(0.8);
    for _ in 0..count {
        let radius = (scene.scale * log_between(random, [1.0, 7.0])).max(LEAST);
        let axes = [radius, radius * between(random, [0.45, 1.0])].map(|axis| axis.max(LEAST));
        let spread = 16.0 * scene.scale;
        let near = [-spread, spread];
        let centre = [x + between(random, near), y + between(random, near)];
        let amount = scene.amplitude(random, [0.1, 0.5], f64::from(u8::from(dark)), centre);
        let soft = (0.3 * radius).min(1.5) * between(random, [0.3, 1.0]);
        let ragged = between(random, [0.0, 0.25]);
        let outline = ring(random, centre, axes, 16, ragged);
        let blob = Patch::polygon(scene, &outline, soft);
        if flat {
            for (channel, plane) in out.chunks_exact_mut(scene.area()).enumerate() {
                let base = scene.mean_around(centre, radius as usize + 1, channel);
                let bottom = base + amount * tint[channel];
                blob.each(scene, |at, weight| {
                    plane[at] += weight * (bottom - plane[at])
                });
            }
        } else {
            blob.add(scene, out, amount, &tint);
        }
        if random.random_bool(0.3) {
            crescent(random, scene, out, &outline, -0.6 * amount, &tint);
        }
    }
}

/// What a larger copy of the outline, moved to one side, covers outside of it.
pub(super) fn crescent(
    random: &mut impl Rng,
    scene: &Scene<'_>,
    out: &mut [f32],
    outline: &[[f32; 2]],
    amount: f32,
    tint: &[f32],
) {
    let count = outline.len().max(1) as f32;
    let middle = [0, 1].map(|axis| outline.iter().map(|p| p[axis]).sum::<f32>() / count);
    let (sin, cos) = super::scene::angle(random).sin_cos();
    let reach = scene.scale.max(0.6) * between(random, [0.8, 1.8]);
    let moved: Vec<[f32; 2]> = outline
        .iter()
        .map(|p| {
            let (dx, dy) = (p[0] - middle[0], p[1] - middle[1]);
            let far = dx.hypot(dy).max(1e-3);
            let larger = 1.0 + 0.5 * reach / far;
            [
                middle[0] + larger * dx + reach * cos,
                middle[1] + larger * dy + reach * sin,
            ]
        })
        .collect();
    let mut rim = Patch::polygon(scene, &moved, 0.4);
    let inner = Patch::polygon(scene, outline, 0.4);
    // Both boxes in one geometry: the inner one is taken away from the outer one.
    let (left, top, width, height) = (rim.left, rim.top, rim.width, rim.height);
    for (row, y) in inner
        .weights
        .chunks_exact(inner.width.max(1))
        .zip(inner.top..)
    {
        for (weight, x) in row.iter().zip(inner.left..) {
            if (left..left + width).contains(&x) && (top..top + height).contains(&y) {
                let value = &mut rim.weights[(y - top) * width + x - left];
                *value = (*value - weight).max(0.0);
            }
        }
    }
    rim.add(scene, out, amount, tint);
}
