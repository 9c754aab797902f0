use std::time::Instant;

use edge_vae::synth::{SurfaceSettings, surface_frame};
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;

/// Normal frames of a machined surface, grey.
fn surface(index: u64, width: usize, height: usize) -> Vec<f32> {
    let settings = SurfaceSettings {
        width: width as u32,
        height: height as u32,
        ..SurfaceSettings::default()
    };
    let frame = surface_frame(11, index, &settings).unwrap();
    let samples = frame.picture.into_raw();
    samples.iter().map(|&v| f32::from(v) / 255.0).collect()
}

#[test]
fn speed() {
    let pictures: Vec<_> = (0..4).map(|i| surface(i, 128, 128)).collect();
    let mut random = Pcg64::seed_from_u64(1);
    for kind in Kind::all() {
        let (began, mut accepted) = (Instant::now(), 0);
        for i in 0..200 {
            let (a, b) = (&pictures[i % 4], &pictures[(i + 1) % 4]);
            accepted += usize::from(draw(&mut random, kind, a, [1, 128, 128], b).is_some());
        }
        let each = began.elapsed().as_secs_f64() * 1e6 / 200.0;
        println!("{:16} {accepted} of 200, {each:.0} µs", kind.name());
    }
}
