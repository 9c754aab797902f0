//! Pieces broken out, and chips.

use rand::{Rng, RngExt};

use super::{
    blobs::crescent,
    patch::{Patch, ring},
    scene::{Scene, angle, between, log_between, normal},
};

/// A random polygon of radius 4–30 (chips, a third: 2–9), half of them and all chips on the
/// picture's border or an edge of its content; filled with the other side of that edge or a flat
/// grey, and a little noise.
pub(super) fn paint(random: &mut impl Rng, scene: &Scene<'_>, out: &mut [f32]) {
    let chip = random.random_bool(0.33);
    let sizes = if chip { [2.0, 9.0] } else { [4.0, 30.0] };
    let radius = (scene.scale * log_between(random, sizes)).max(1.0);
    let bordering = chip || random.random_bool(0.5);
    let edge = if bordering && random.random_bool(0.4) {
        scene.edge(random)
    } else {
        None
    };
    let centre = match edge {
        Some(edge) => edge.point,
        None if bordering => on_border(random, scene),
        None => scene.place(random),
    };
    let axes = [radius, radius * between(random, [0.4, 1.0])];
    let corners = random.random_range(5..=12);
    let outline = ring(random, centre, axes, corners, 0.5);
    let patch = Patch::polygon(scene, &outline, between(random, [0.3, 0.9]));
    let around: Vec<f32> = (0..scene.channels)
        .map(|channel| scene.mean_around(centre, radius as usize + 2, channel))
        .collect();
    let fill: Vec<f32> = if let Some(edge) = edge {
        // What is beside the object, or the object grown over its edge.
        let far = (0.8 * radius).max(3.0) * if random.random::<bool>() { 1.0 } else { -1.0 };
        let beyond = [0, 1].map(|axis| edge.point[axis] + far * edge.uphill[axis]);
        (0..scene.channels)
            .map(|channel| scene.mean_around(beyond, 1, channel))
            .collect()
    } else {
        let amount = scene.amplitude(random, [0.1, 0.5], 0.65, centre);
        let tint = scene.tint(random);
        around
            .iter()
            .zip(tint)
            .map(|(a, tint)| a + amount * tint)
            .collect()
    };
    let grain = scene.level * between(random, [0.0, 0.06]);
    let slope = scene.level * between(random, [0.0, 0.12]) / radius;
    let (sin, cos) = angle(random).sin_cos();
    let noise: Vec<f32> = patch
        .weights
        .iter()
        .map(|_| grain * normal(random))
        .collect();
    for (plane, fill) in out.chunks_exact_mut(scene.area()).zip(fill) {
        patch.each(scene, |at, weight| {
            let (column, row) = (at % scene.width, at / scene.width);
            let place = (row - patch.top) * patch.width + column - patch.left;
            let (x, y) = (column as f32 - centre[0], row as f32 - centre[1]);
            let value = fill + slope * (x * cos + y * sin) + noise[place];
            plane[at] += weight.min(1.0) * (value - plane[at]);
        });
    }
    if !chip && random.random_bool(0.3) {
        let amount = scene.amplitude(random, [0.08, 0.3], 0.4, centre);
        crescent(
            random,
            scene,
            out,
            &outline,
            amount,
            &vec![1.0; scene.channels],
        );
    }
}

/// A point on the picture's border.
fn on_border(random: &mut impl Rng, scene: &Scene<'_>) -> [f32; 2] {
    let [x, y] = scene.anywhere(random);
    match random.random_range(0..4_u8) {
        0 => [x, 0.0],
        1 => [x, scene.height as f32],
        2 => [0.0, y],
        _ => [scene.width as f32, y],
    }
}
