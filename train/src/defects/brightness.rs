//! Areas that are darker or brighter.

use rand::{Rng, RngExt};

use super::{
    noise,
    patch::{Patch, ring},
    scene::{Scene, between, log_between},
};

/// A noise mask or a ragged ellipse, ± 0.05–0.4, with a soft edge; added, or as a gain that keeps
/// the contrast of the texture.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let centre = scene.place(random);
    let patch = if random.random_bool(0.5) {
        let mut mask = noise::mask(random, scene);
        mask.soften(scene.scale * between(random, [0.0, 2.5]));
        mask
    } else {
        let axis = scene.scale * log_between(random, [3.0, 26.0]);
        let axes = [axis, axis * between(random, [0.35, 1.0])].map(|axis| axis.max(1.0));
        let ragged = between(random, [0.0, 0.35]);
        let soft = (0.15 * axis).min(2.5) * random.random::<f32>();
        Patch::polygon(scene, &ring(random, centre, axes, 18, ragged), soft)
    };
    let tint = scene.tint(random);
    let amount = scene.amplitude(random, [0.05, 0.4], 0.5, centre);
    if random.random_bool(0.5) {
        patch.add(scene, out, amount, &tint);
    } else {
        // Where the picture has the level's median, both are the same.
        patch.gain(scene, out, amount / (0.4 * scene.level), &tint);
    }
}
