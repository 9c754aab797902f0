//! Smooth changes of the light.

use rand::{Rng, RngExt};

use super::{
    noise,
    params::PARAMS,
    patch::Patch,
    scene::{Scene, angle, between, log_between},
};

/// A wide spot or slow noise of ± 0.06–0.35, or a weak uneven band of ± 0.05–0.16; added or as a
/// gain.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let centre = scene.place(random);
    let unit = PARAMS.side * scene.scale;
    let shape: f32 = random.random();
    let (patch, range) = if shape < 0.4 {
        let axis = unit * between(random, [0.15, 0.5]);
        let axes = [axis, axis * between(random, [0.4, 1.0])];
        let turn = angle(random);
        (Patch::bump(scene, centre, axes, turn), [0.06, 0.35])
    } else if shape < 0.65 {
        (slow(random, scene, unit), [0.06, 0.35])
    } else {
        (band(random, scene, centre), [0.05, 0.16])
    };
    let amount = scene.amplitude(random, range, 0.5, centre);
    let tint = scene.tint(random);
    if random.random_bool(0.5) {
        patch.add(scene, out, amount, &tint);
    } else {
        patch.gain(scene, out, amount / (0.4 * scene.level), &tint);
    }
}

/// Where slow noise is high, from nothing at a quantile to 1 at its top.
fn slow(random: &mut impl Rng, scene: &Scene<'_>, unit: f32) -> Patch {
    let mut patch = Patch::whole(scene);
    let cell = [0.25, 0.7].map(|share| unit * share);
    let cell = [log_between(random, cell), log_between(random, cell)];
    let turn = angle(random);
    let noise = noise::field(random, [patch.width, patch.height], cell, turn);
    let low = noise::quantile(&noise, between(random, [0.5, 0.8]));
    let high = noise.iter().copied().fold(low + 0.1, f32::max);
    for (weight, value) in patch.weights.iter_mut().zip(noise) {
        *weight = ((value - low) / (high - low)).max(0.0);
    }
    patch
}

/// A slightly bent band with soft flanks, mostly along the streaks, stronger here and weaker there.
fn band(random: &mut impl Rng, scene: &Scene<'_>, centre: [f32; 2]) -> Patch {
    let along = match scene.streaks(centre) {
        Some(streaks) if random.random_bool(0.7) => streaks,
        _ => angle(random),
    };
    let half = (scene.scale * log_between(random, [3.0, 22.0])).max(1.5);
    let length = scene.scale * between(random, [40.0, 160.0]);
    let bend = between(random, [-0.15, 0.15]) / (scene.scale * 64.0);
    let lattice = noise::Lattice::new(random, 16, 4);
    let wander = 1.0 / (scene.scale * between(random, [14.0, 40.0]));
    let (sin, cos) = along.sin_cos();
    let mut patch = Patch::whole(scene);
    patch.fill(|x, y| {
        let (x, y) = (x - centre[0], y - centre[1]);
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        let across = (v - bend * u * u) / half;
        let along = u / length;
        let inside = (1.0 - across * across).max(0.0) * (1.0 - along * along).max(0.0);
        if inside <= 0.0 {
            return 0.0;
        }
        let strength = 0.75 + 0.35 * lattice.linear(u * wander, 0.3 * across);
        inside * strength.clamp(0.1, 1.0)
    });
    patch
}
