//! Times synthetic defects on 128×128 crops of a procedural surface: microseconds an attempt of
//! each kind, and a picture of `defective`, which tries again where one is rejected.

use edge_vae::synth::{SurfaceSettings, surface_frame};
use edge_vae_train::defects::{DefectOptions, Kind, defective, draw};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use std::time::Instant;

const SIDE: usize = 128;
const SHAPE: [usize; 3] = [1, SIDE, SIDE];
const COUNT: usize = 400;

fn main() -> Result<(), edge_vae::synth::SynthError> {
    let settings = SurfaceSettings {
        width: SIDE as u32,
        height: SIDE as u32,
        ..SurfaceSettings::default()
    };
    let mut pictures = Vec::new();
    for index in 0..8 {
        let frame = surface_frame(1, index, &settings)?;
        let samples = frame.picture.into_raw();
        pictures.push(
            samples
                .iter()
                .map(|&v| f32::from(v) / 255.0)
                .collect::<Vec<_>>(),
        );
    }
    let pair = |i: usize| (&pictures[i % 8], &pictures[(i + 1) % 8]);
    for kind in Kind::all() {
        let mut random = Pcg64::seed_from_u64(1);
        let (began, mut accepted) = (Instant::now(), 0);
        for i in 0..COUNT {
            let (picture, donor) = pair(i);
            accepted += usize::from(draw(&mut random, kind, picture, SHAPE, donor).is_some());
        }
        let each = began.elapsed().as_secs_f64() * 1e6 / COUNT as f64;
        println!(
            "{:16} {each:6.0} µs, {accepted} of {COUNT} accepted",
            kind.name()
        );
    }
    let mut random = Pcg64::seed_from_u64(1);
    let options = DefectOptions::default();
    let began = Instant::now();
    for i in 0..COUNT {
        let (picture, donor) = pair(i);
        std::hint::black_box(defective(&mut random, &options, picture, SHAPE, donor));
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / COUNT as f64;
    println!("{:16} {each:6.0} µs", "defective");
    Ok(())
}
