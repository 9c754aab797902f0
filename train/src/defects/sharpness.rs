//! Areas that are blurred, sharpened or noisy.

use rand::{Rng, RngExt};

use super::{
    noise,
    patch::{Patch, gaussian, ring},
    scene::{Scene, between, log_between, normal},
};

/// In a noise mask or an ellipse: blur of deviation 0.8–3 pixels, band noise of deviation
/// 0.025–0.09, or
/// sharpening by 2–6.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let patch = if random.random_bool(0.5) {
        noise::mask(random, scene)
    } else {
        let axis = scene.scale * log_between(random, [6.0, 34.0]);
        let axes = [axis, axis * between(random, [0.4, 1.0])];
        let centre = scene.place(random);
        let outline = ring(random, centre, axes, 16, 0.15);
        Patch::polygon(scene, &outline, (0.12 * axis).min(3.0))
    };
    if patch.weights.is_empty() {
        return;
    }
    // A flat picture can't be made less sharp, only noisy: three attempts in ten are noise.
    let choice: f32 = random.random();
    if choice < 0.3 {
        let tint = scene.tint(random);
        add_noise(random, scene, out, &patch, &tint);
        return;
    }
    let sharpen = choice < 0.6;
    let sigma = if sharpen {
        between(random, [0.7, 1.4])
    } else {
        between(random, [0.8, 3.0])
    } * scene.scale.max(0.75);
    let strength = if sharpen {
        -between(random, [2.0, 6.0])
    } else {
        1.0
    };
    let reach = (2.5 * sigma).ceil() as usize;
    let mut wide = Patch {
        left: patch.left.saturating_sub(reach),
        top: patch.top.saturating_sub(reach),
        width: (patch.left + patch.width + reach).min(scene.width),
        height: (patch.top + patch.height + reach).min(scene.height),
        weights: Vec::new(),
    };
    wide.width -= wide.left;
    wide.height -= wide.top;
    let planes = scene.picture.chunks_exact(scene.area());
    for (plane, out) in planes.zip(out.chunks_exact_mut(scene.area())) {
        wide.weights.clear();
        for row in plane
            .chunks_exact(scene.width)
            .skip(wide.top)
            .take(wide.height)
        {
            wide.weights.extend(&row[wide.left..wide.left + wide.width]);
        }
        gaussian(&mut wide.weights, wide.width, sigma);
        patch.each(scene, |at, weight| {
            let (x, y) = (at % scene.width - wide.left, at / scene.width - wide.top);
            let smooth = wide.weights[y * wide.width + x];
            out[at] += weight * strength * (smooth - out[at]);
        });
    }
}

fn add_noise(
    random: &mut impl Rng,
    scene: &Scene<'_>,
    out: &mut [f32],
    patch: &Patch,
    tint: &[f32],
) {
    let mut grain: Vec<f32> = patch
        .weights
        .iter()
        .map(|&weight| if weight > 0.0 { normal(random) } else { 0.0 })
        .collect();
    let sigma = scene.scale.max(0.6) * between(random, [0.3, 1.4]);
    gaussian(&mut grain, patch.width, sigma);
    // A blur of deviation σ leaves 1 / (2·√π·σ) of the deviation of white noise.
    let left = (1.0 / (3.545 * sigma)).min(1.0);
    let amount = scene.level * between(random, [0.025, 0.09]) / left;
    for (plane, tint) in out.chunks_exact_mut(scene.area()).zip(tint) {
        let mut from = grain
            .iter()
            .zip(&patch.weights)
            .filter(|(_, weight)| **weight > 0.0);
        patch.each(scene, |at, weight| {
            let grain = from.next().map_or(0.0, |(grain, _)| *grain);
            plane[at] += weight * amount * tint * grain;
        });
    }
}
