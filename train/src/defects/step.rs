//! A part of the picture with other gain, contrast or texture.

use rand::{Rng, RngExt};

use super::{
    patch::Patch,
    sampler::Sampler,
    scene::{Scene, angle, between, log_between},
};

/// Everything beyond a curve, or a band of half width 4–22, with a gain of ± 0.12–0.45, a contrast
/// of 0.2–0.6 or 1.6–2.6, or another texture.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let centre = scene.place(random);
    let along = match scene.streaks(centre) {
        Some(streaks) if random.random_bool(0.3) => streaks,
        _ => angle(random),
    };
    let (sin, cos) = along.sin_cos();
    let half = random
        .random_bool(0.5)
        .then(|| (scene.scale * log_between(random, [4.0, 22.0])).max(1.5));
    let bend = between(random, [-0.4, 0.4]) / (64.0 * scene.scale);
    let sharp = 1.0 / between(random, [0.8, 3.0]);
    // The half-plane is the one without the picture's middle, so that it is the smaller part.
    let (mx, my) = (
        0.5 * scene.width as f32 - centre[0],
        0.5 * scene.height as f32 - centre[1],
    );
    let side = if my * cos - mx * sin > 0.0 { -1.0 } else { 1.0 };
    let mut patch = Patch::whole(scene);
    patch.fill(|x, y| {
        let (x, y) = (x - centre[0], y - centre[1]);
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        let v = v - bend * u * u;
        let inside = half.map_or(side * v, |half| half - v.abs());
        (inside * sharp + 0.5).clamp(0.0, 1.0)
    });
    let total: f32 = patch.weights.iter().sum::<f32>().max(1e-3);
    let mut means = vec![0.0; scene.channels];
    for (mean, plane) in means
        .iter_mut()
        .zip(scene.picture.chunks_exact(scene.area()))
    {
        patch.each(scene, |at, weight| *mean += weight * plane[at]);
        *mean /= total;
    }
    let choice: f32 = random.random();
    if choice < 0.45 {
        let amount = scene.amplitude(random, [0.12, 0.45], 0.5, centre) / scene.level;
        let tint = scene.tint(random);
        patch.gain(scene, out, amount, &tint);
    } else if choice < 0.7 {
        let contrast = if random.random_bool(0.4) {
            between(random, [0.2, 0.6])
        } else {
            between(random, [1.6, 2.6])
        };
        for (plane, mean) in out.chunks_exact_mut(scene.area()).zip(&means) {
            patch.each(scene, |at, weight| {
                plane[at] += weight * (contrast - 1.0) * (plane[at] - mean);
            });
        }
    } else {
        let sampler = Sampler::new(random, scene, centre, 0.7, [0.5, 1.6]);
        let gain = 1.0 + between(random, [-0.3, 0.3]);
        let mut fetched = vec![0.0; scene.channels];
        patch.each(scene, |at, weight| {
            let (x, y) = (at % scene.width, at / scene.width);
            sampler.fetch(x as f32 + 0.5, y as f32 + 0.5, &mut fetched);
            for (channel, value) in fetched.iter().enumerate() {
                let value = means[channel] + (value - means[channel]) * gain;
                let out = &mut out[channel * scene.area() + at];
                *out += weight * (value - *out);
            }
        });
    }
}
