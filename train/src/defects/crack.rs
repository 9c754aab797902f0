//! Cracks, scratches and hairlines.

use std::f32::consts::PI;

use rand::{Rng, RngExt};

use super::{
    patch::{Chain, Patch},
    scene::{Scene, angle, between, log_between, normal},
};

/// A walk over the picture.
#[derive(Clone, Copy, Debug)]
struct Walk {
    from: [f32; 2],
    heading: f32,
    steps: usize,
    /// Pixels.
    step: f32,
    /// Deviation of the change of heading at each step, radians.
    jitter: f32,
    /// Half the width, pixels.
    half: f32,
    /// Whether it keeps to the streaks under it.
    follows: bool,
}

/// Least half width, pixels.
const LEAST_HALF: f32 = 0.4;

/// A random walk of 8–60 steps of 1.2–3, 1–2 wide, ± 0.08–0.45, 75 % dark, 40 % branched; or, every
/// third time, a hairline: at most a pixel wide, ± 0.05–0.16, along the streaks where there are
/// any.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let from = scene.place(random);
    let hairline = random.random_bool(0.35);
    let streaks = if hairline { scene.streaks(from) } else { None };
    let [steps, jitter] = if hairline {
        [[12.0, 70.0], [0.01, 0.12]]
    } else {
        [[8.0, 60.0], [0.05, 0.5]]
    };
    let turn = PI * f32::from(u8::from(random.random::<bool>()));
    let width = if hairline { [0.7, 1.1] } else { [1.0, 2.2] };
    let walk = Walk {
        from,
        heading: streaks.map_or_else(|| angle(random), |streaks| streaks + turn),
        steps: log_between(random, steps) as usize,
        step: (scene.scale * between(random, [1.2, 3.0])).max(0.7),
        jitter: log_between(random, jitter),
        half: (0.5 * between(random, width) * scene.scale.max(0.75)).max(LEAST_HALF),
        follows: streaks.is_some(),
    };
    let mut chains = vec![go(random, scene, walk)];
    if !hairline && random.random_bool(0.4) {
        for _ in 0..random.random_range(1..=2) {
            let stem = &chains[0];
            let at = random.random_range(0..stem.len());
            let side = if random.random::<bool>() { 1.0 } else { -1.0 };
            let branch = Walk {
                from: stem[at].0,
                heading: walk.heading + side * between(random, [0.4, 1.3]),
                steps: (walk.steps / 2).max(3),
                half: (0.8 * walk.half).max(LEAST_HALF),
                ..walk
            };
            chains.push(go(random, scene, branch));
        }
    }
    let range = if hairline { [0.05, 0.16] } else { [0.08, 0.45] };
    let dark = if hairline { 0.6 } else { 0.75 };
    let amount = scene.amplitude(random, range, dark, from);
    let tint = scene.tint(random);
    Patch::strokes(scene, &chains).add(scene, out, amount, &tint);
    // The bright flank of a scratch.
    if !hairline && random.random_bool(0.2) {
        let off = 2.0 * walk.half;
        let (sin, cos) = walk.heading.sin_cos();
        let beside: Chain = chains[0]
            .iter()
            .map(|&([x, y], half, strength)| ([x - off * sin, y + off * cos], half, strength))
            .collect();
        let amount = -amount * between(random, [0.3, 0.8]);
        Patch::strokes(scene, &[beside]).add(scene, out, amount, &tint);
    }
}

/// The points of a walk, with half width and strength; both vary along it, and it fades at its
/// ends.
fn go(random: &mut impl Rng, scene: &Scene<'_>, walk: Walk) -> Chain {
    let [mut x, mut y] = walk.from;
    let mut heading = walk.heading;
    let mut strength = 1.0_f32;
    let mut chain = Vec::with_capacity(walk.steps + 1);
    for step in 0..=walk.steps {
        let end = (walk.steps - step).min(step + 2) as f32;
        let fade = (0.4 + 0.3 * end).min(1.0);
        let width = walk.half * between(random, [0.8, 1.15]);
        chain.push(([x, y], width, strength * fade));
        let bend = normal(random);
        heading += walk.jitter * bend;
        strength = (strength + between(random, [-0.2, 0.2])).clamp(0.45, 1.0);
        if walk.follows
            && step % 6 == 5
            && let Some(streaks) = scene.streaks([x, y])
        {
            // The streaks' direction or its opposite, whichever is nearer.
            let off = (streaks - heading + 0.5 * PI).rem_euclid(PI) - 0.5 * PI;
            heading += 0.5 * off;
        }
        let (sin, cos) = heading.sin_cos();
        x += walk.step * cos;
        y += walk.step * sin;
    }
    chain
}
