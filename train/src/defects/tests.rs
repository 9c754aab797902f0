use edge_vae::synth::{SurfaceSettings, glyph, surface_frame};
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;

fn unit(samples: Vec<u8>) -> Vec<f32> {
    samples.iter().map(|&v| f32::from(v) / 255.0).collect()
}

/// A normal frame of a machined surface, grey.
fn surface(index: u64, width: usize, height: usize) -> Vec<f32> {
    let settings = SurfaceSettings {
        width: width as u32,
        height: height as u32,
        ..SurfaceSettings::default()
    };
    let frame = surface_frame(11, index, &settings).unwrap();
    unit(frame.picture.into_raw())
}

/// The same with a red, a green and a blue that differ.
fn coloured(index: u64, width: usize, height: usize) -> Vec<f32> {
    let grey = surface(index, width, height);
    [0.8, 1.0, 1.3]
        .iter()
        .flat_map(|gain| grey.iter().map(move |v| (v * gain).min(1.0)))
        .collect()
}

/// Largest difference of a channel at each pixel.
fn differences(before: &[f32], after: &[f32], area: usize) -> Vec<f32> {
    (0..area)
        .map(|at| {
            let planes = before[at..]
                .iter()
                .step_by(area)
                .zip(after[at..].iter().step_by(area));
            planes.map(|(b, a)| (a - b).abs()).fold(0.0, f32::max)
        })
        .collect()
}

#[test]
fn masks_say_what_changed_and_what_is_drawn_can_be_seen() {
    let (height, width) = (96, 112);
    for (channels, picture, donor) in [
        (1, surface(0, width, height), surface(1, width, height)),
        (3, coloured(0, width, height), coloured(1, width, height)),
    ] {
        let level = scene::level(&picture);
        let mut random = Pcg64::seed_from_u64(1);
        for kind in Kind::all() {
            for _ in 0..30 {
                let shape = [channels, height, width];
                let Some((values, mask)) = draw(&mut random, kind, &picture, shape, &donor) else {
                    continue;
                };
                assert!(values.iter().all(|v| (0.0..=1.0).contains(v)), "{kind:?}");
                let by = differences(&picture, &values, height * width);
                let changed = |x: usize, y: usize| by[y * width + x] > PARAMS.tolerance * level;
                // A closed hole lies within three pixels of what changed.
                let near =
                    |place: usize, side: usize| place.saturating_sub(3)..(place + 4).min(side);
                let (mut pixels, mut sum) = (0, 0.0);
                for (at, &inside) in mask.iter().enumerate() {
                    let (x, y) = (at % width, at / width);
                    if inside {
                        pixels += 1;
                        sum += by[at];
                        let mut rows = near(y, height);
                        assert!(rows.any(|y| near(x, width).any(|x| changed(x, y))));
                    } else {
                        assert!(!changed(x, y), "{kind:?}");
                    }
                }
                assert!(pixels >= PARAMS.least_pixels, "{kind:?}");
                assert!(
                    pixels as f32 <= PARAMS.most_changed * mask.len() as f32,
                    "{kind:?}"
                );
                assert!(
                    sum / pixels as f32 >= 0.999 * PARAMS.least_mean * level,
                    "{kind:?}"
                );
            }
        }
    }
}

/// How many of 200 attempts are accepted.
fn accepted(kind: Kind, pictures: &[Vec<f32>], shape: [usize; 3]) -> usize {
    let mut random = Pcg64::seed_from_u64(2);
    (0..200)
        .filter(|i| {
            let (a, b) = (
                &pictures[i % pictures.len()],
                &pictures[(i + 1) % pictures.len()],
            );
            draw(&mut random, kind, a, shape, b).is_some()
        })
        .count()
}

#[test]
fn most_attempts_are_accepted() {
    let surfaces: Vec<_> = (0..4).map(|i| surface(i, 128, 128)).collect();
    let digits: Vec<_> = "0358"
        .chars()
        .map(|c| unit(glyph(28, c).unwrap().into_raw()))
        .collect();
    for kind in Kind::all() {
        // A smooth surface is hard to blur, and its pieces look alike.
        let least = match kind {
            Kind::Sharpness => 60,
            Kind::CutPaste => 100,
            Kind::ForeignTexture => 130,
            _ => 150,
        };
        let found = accepted(kind, &surfaces, [1, 128, 128]);
        assert!(found >= least, "{kind:?} on surfaces: {found}");
        let found = accepted(kind, &digits, [1, 28, 28]);
        assert!(found >= 100, "{kind:?} on digits: {found}");
    }
}

#[test]
fn the_generator_decides_every_bit() {
    let (picture, donor) = (coloured(0, 48, 40), coloured(1, 48, 40));
    let options = DefectOptions::default();
    let draw = |seed| {
        let mut random = Pcg64::seed_from_u64(seed);
        defective(&mut random, &options, &picture, [3, 40, 48], &donor)
    };
    for seed in 0..40 {
        assert_eq!(draw(seed), draw(seed));
        assert_ne!(draw(seed).values, draw(seed + 1).values);
    }
}

#[test]
fn kinds_have_equal_shares_and_three_in_ten_a_second() {
    let (picture, donor) = (surface(0, 32, 32), surface(1, 32, 32));
    let mut random = Pcg64::seed_from_u64(3);
    let options = DefectOptions::default();
    let mut counts = [0; 10];
    let mut seconds = 0;
    for _ in 0..2000 {
        let drawn = defective(&mut random, &options, &picture, [1, 32, 32], &donor);
        let first = Kind::all().iter().position(|kind| *kind == drawn.kinds[0]);
        counts[first.unwrap()] += 1;
        seconds += usize::from(drawn.kinds.len() == 2);
        assert!(drawn.mask.contains(&true));
    }
    // Rejected ones are drawn again, five times of the same kind.
    assert!(
        counts.iter().all(|count| (140..260).contains(count)),
        "{counts:?}"
    );
    assert!((480..660).contains(&seconds), "{seconds}");
}

#[test]
fn chosen_kinds_are_drawn_and_no_others() {
    let picture = surface(0, 64, 64);
    let options = DefectOptions {
        kinds: vec![Kind::Crack, Kind::Blobs],
        second: 1.0,
        scale: 1.0,
    };
    let mut random = Pcg64::seed_from_u64(4);
    let mut both = [false; 2];
    for _ in 0..50 {
        for kind in defective(&mut random, &options, &picture, [1, 64, 64], &picture).kinds {
            both[options.kinds.iter().position(|k| *k == kind).unwrap()] = true;
        }
    }
    assert_eq!(both, [true; 2]);
}

#[test]
fn colours_change_apart_in_half_of_the_defects() {
    // Channels that are alike, so that only the defect can make them differ.
    let grey = surface(0, 64, 64);
    let picture = [grey.as_slice(); 3].concat();
    let mut random = Pcg64::seed_from_u64(5);
    let (mut apart, mut count) = (0, 0);
    for _ in 0..300 {
        for kind in [Kind::Brightness, Kind::Blobs, Kind::Crack] {
            if let Some((v, _)) = draw(&mut random, kind, &picture, [3, 64, 64], &picture) {
                let differs = v[..4096] != v[4096..8192] || v[..4096] != v[8192..];
                apart += usize::from(differs);
                count += 1;
            }
        }
    }
    let share = apart as f32 / count as f32;
    assert!(
        count > 700 && (0.4..0.6).contains(&share),
        "{apart} of {count}"
    );
}

#[test]
fn odd_pictures_get_defects_and_flat_ones_at_least_no_panic() {
    let mut random = Pcg64::seed_from_u64(6);
    let options = DefectOptions::default();
    for [channels, height, width] in [[1, 16, 16], [3, 17, 41], [1, 16, 300], [2, 301, 19]] {
        let grey = surface(0, width.max(16), height.max(16));
        let picture = vec![grey.as_slice(); channels].concat();
        for _ in 0..60 {
            let shape = [channels, height, width];
            let drawn = defective(&mut random, &options, &picture, shape, &picture);
            assert!(!drawn.kinds.is_empty());
        }
    }
    for [channels, height, width] in [[1, 20, 20], [3, 1, 1], [1, 1, 9], [1, 5, 2], [1, 0, 4]] {
        for value in [0.0, 0.4, 1.0] {
            let picture = vec![value; channels * height * width];
            for _ in 0..60 {
                let shape = [channels, height, width];
                let drawn = defective(&mut random, &options, &picture, shape, &picture);
                assert_eq!(drawn.mask.len(), height * width);
                assert_eq!(drawn.kinds.is_empty(), !drawn.mask.contains(&true));
            }
        }
    }
}

/// Area of the mask in pixels and largest change of each accepted attempt, both sorted.
fn sizes(kind: Kind, scale: f32) -> [Vec<f32>; 2] {
    let pictures: Vec<_> = (0..4).map(|i| surface(i, 128, 128)).collect();
    let mut random = Pcg64::seed_from_u64(7);
    let (mut areas, mut peaks) = (Vec::new(), Vec::new());
    for i in 0..200 {
        let (a, b) = (&pictures[i % 4], &pictures[(i + 1) % 4]);
        let shape = [1, 128, 128];
        if let Some((v, mask)) = draw_scaled(&mut random, kind, a, shape, b, scale) {
            areas.push(mask.iter().filter(|inside| **inside).count() as f32);
            let by = differences(a, &v, 128 * 128);
            peaks.push(by.iter().copied().fold(0.0, f32::max) / scene::level(a));
        }
    }
    areas.sort_unstable_by(f32::total_cmp);
    peaks.sort_unstable_by(f32::total_cmp);
    [areas, peaks]
}

#[test]
fn areas_and_contrasts_are_within_the_stated_ranges() {
    for (kind, median, largest, peak) in [
        // Three ellipses of radius 7·1.5 and their crescents.
        (Kind::Blobs, 20.0..200.0, 2100.0, 0.55),
        // 60 steps of 3·1.5, 3.3 wide with soft edges, and two branches of half of it.
        (Kind::Crack, 30.0..200.0, 2800.0, 0.46),
        // A scar, or a piece of a third of the side.
        (Kind::CutPaste, 30.0..400.0, 5600.0, 1.0),
        // Half axes of 26·1.5, or a noise mask of up to a quarter with a soft edge.
        (Kind::Brightness, 150.0..900.0, 8200.0, 1.0),
        (Kind::Break, 40.0..500.0, 5700.0, 1.0),
        // 0.2 times 1.6 deviations.
        (Kind::Stripes, 300.0..2000.0, 9831.0, 0.33),
        (Kind::Illumination, 1000.0..5000.0, 9831.0, 0.7),
        (Kind::Step, 1000.0..5000.0, 9831.0, 1.0),
    ] {
        let [areas, peaks] = sizes(kind, 1.0);
        let last = areas.len() - 1;
        assert!(
            median.contains(&areas[last / 2]),
            "{kind:?}: {}",
            areas[last / 2]
        );
        assert!(areas[last] <= largest, "{kind:?}: {}", areas[last]);
        assert!(peaks[last] <= peak, "{kind:?}: {}", peaks[last]);
    }
}

#[test]
fn scale_makes_defects_larger() {
    let median = |scale| {
        let [areas, _] = sizes(Kind::Blobs, scale);
        areas[areas.len() / 2]
    };
    // Twice as wide and as high; the smallest can't be smaller than a pixel.
    let ratio = median(2.0) / median(1.0);
    assert!((2.5..6.0).contains(&ratio), "{ratio}");
}
