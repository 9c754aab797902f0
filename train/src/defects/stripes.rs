//! Streaks.

use std::f32::consts::FRAC_PI_2;

use rand::{Rng, RngExt};

use super::{
    noise,
    patch::Patch,
    scene::{Scene, angle, between, log_between},
};

/// Oriented noise, 20–120 long and 1.2–4 wide, of 0.06–0.2, that fades towards the border of an
/// ellipse; half of it along the streaks that are there, a quarter across.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let centre = scene.place(random);
    let choice: f32 = random.random();
    let along = match scene.streaks(centre) {
        Some(streaks) if choice < 0.5 => streaks,
        Some(streaks) if choice < 0.75 => streaks + FRAC_PI_2,
        _ => angle(random),
    };
    let first = scene.scale * log_between(random, [10.0, 64.0]);
    let axes = [first, scene.scale * log_between(random, [6.0, 40.0])].map(|axis| axis.max(2.0));
    let (mut patch, distance) = Patch::elliptic(scene, centre, axes, along);
    if patch.weights.is_empty() {
        return;
    }
    let cell = [
        scene.scale * log_between(random, [20.0, 120.0]),
        (scene.scale * log_between(random, [1.2, 4.0])).max(1.0),
    ];
    let amount = scene.level * between(random, [0.06, 0.2]);
    let noise = noise::field(random, [patch.width, patch.height], cell, along);
    let tint = scene.tint(random);
    patch.fill(|x, y| (1.8 * (1.0 - distance(x, y))).clamp(0.0, 1.0));
    for (weight, value) in patch.weights.iter_mut().zip(noise) {
        *weight *= value.clamp(-1.6, 1.6);
    }
    for (plane, tint) in out.chunks_exact_mut(scene.area()).zip(tint) {
        for (row, y) in patch.weights.chunks_exact(patch.width).zip(patch.top..) {
            let plane = &mut plane[y * scene.width + patch.left..];
            for (value, weight) in plane.iter_mut().zip(row) {
                *value += amount * tint * weight;
            }
        }
    }
}
