use rand::{RngExt, SeedableRng};

use super::*;

const SIZE: [usize; 2] = [48, 40];

fn normaliser(
    exposure: Option<f32>,
    contrast: Option<f32>,
    [width, height]: [usize; 2],
) -> LevelNormaliser {
    LevelNormaliser::new(
        exposure.map(|target| Exposure { target }),
        contrast.map(|target| Contrast { target }),
        PlaneSize { width, height },
    )
}

/// A picture that Python makes alike: 0.1 + 0.3·((31y + 17x) mod 23)/22 + 0.2·(x + y)/(W + H).
fn picture([width, height]: [usize; 2]) -> Vec<f32> {
    (0..width * height)
        .map(|i| {
            let (x, y) = (i % width, i / width);
            let texture = ((31 * y + 17 * x) % 23) as f64 / 22.0;
            let ramp = (x + y) as f64 / (width + height) as f64;
            (0.1 + 0.3 * texture + 0.2 * ramp) as f32
        })
        .collect()
}

/// Camera-like: a smooth scene of mean 0.45 with noise.
fn texture(size: [usize; 2], seed: u64) -> Vec<f32> {
    let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
    (0..size[0] * size[1])
        .map(|i| {
            let (x, y) = ((i % size[0]) as f32, (i / size[0]) as f32);
            0.45 + 0.12 * (x * 0.11).sin() * (y * 0.07).cos() + random.random_range(-0.05..0.05)
        })
        .collect()
}

fn near(found: f32, expected: f32, tolerance: f32) {
    assert!(
        (found - expected).abs() <= tolerance,
        "found {found}, expected {expected}"
    );
}

#[test]
fn has_the_values_of_numpy_and_scipy() {
    // numpy.median, numpy.quantile, scipy.ndimage.gaussian_filter(mode="reflect") in f64; the
    // third is a reduced background against the Gaussian at full resolution.
    let places = [(0, 0), (3, 17), (20, 5), (39, 47), (11, 30)];
    for (size, exposure, contrast, gain, local, factor, values, tolerance) in [
        (
            SIZE,
            0.4,
            0.06,
            1.150_326_8,
            0.157_635_57,
            0.6,
            [0.16416, 0.37066, 0.38866, 0.48119, 0.28702],
            3e-4,
        ),
        // Held back by the highlights.
        (
            SIZE,
            0.7,
            0.2,
            1.775_784_8,
            0.243_345_5,
            0.821_876_7,
            [0.21135, 0.58613, 0.62313, 0.71415, 0.38759],
            6e-4,
        ),
        (
            [260, 200],
            0.3,
            0.06,
            0.858_208_96,
            0.104_103_88,
            0.6,
            [0.13811, 0.24334, 0.25208, 0.21855, 0.15266],
            4e-3,
        ),
    ] {
        let mut canvas = picture(size);
        let levels = normaliser(Some(exposure), Some(contrast), size)
            .run(&mut canvas, None, false)
            .unwrap();
        assert_eq!(levels.counted, 1.0);
        near(levels.gain, gain, 1e-3);
        near(levels.contrast.unwrap(), local, 1.5e-3);
        near(levels.factor, factor, 3e-3);
        for ((y, x), expected) in places.into_iter().zip(values) {
            near(canvas[y * size[0] + x], expected, tolerance);
        }
    }
    near(
        normaliser(None, None, SIZE)
            .run(&mut picture(SIZE), None, true)
            .unwrap()
            .median
            .unwrap(),
        0.347_727_27,
        2e-4,
    );
}

#[test]
fn quantiles_interpolate_over_empty_bins() {
    let mut histogram = Histogram::new();
    histogram.clear(1.0);
    assert_eq!(histogram.quantile(0.5), None);
    histogram.add(0.25, 1.0);
    let centre = |value: f32| value + 0.5 / 4096.0;
    for share in [0.0, 0.5, 1.0] {
        assert_eq!(histogram.quantile(share), Some(centre(0.25)));
    }
    // Centres at weights 0.5 and 2.5 of 4: the median lies three quarters of the way.
    histogram.add(0.75, 3.0);
    near(histogram.quantile(0.5).unwrap(), centre(0.625), 1e-6);
    assert_eq!(histogram.quantile(0.125), Some(centre(0.25)));
    assert_eq!(histogram.quantile(1.0), Some(centre(0.75)));
    // Values beyond are in the last bin.
    histogram.clear(0.25);
    histogram.add(0.7, 1.0);
    near(histogram.quantile(0.5).unwrap(), 0.25, 1e-4);
}

#[test]
fn colours_share_gain_and_factor() {
    // Channels x, 0.5·x + 0.1 and 0.8 − x; by numpy and scipy as above.
    let x = picture(SIZE);
    let mut canvas = x.clone();
    canvas.extend(x.iter().map(|v| 0.5 * v + 0.1));
    canvas.extend(x.iter().map(|v| 0.8 - v));
    let levels = normaliser(Some(0.35), Some(0.05), SIZE)
        .run(&mut canvas, None, false)
        .unwrap();
    near(levels.gain, 1.106_588_2, 1e-3);
    near(levels.contrast.unwrap(), 0.072_560_61, 3e-4);
    near(levels.factor, 0.689_079_06, 3e-3);
    let expected = [
        0.14739, 0.37967, 0.45614, 0.18436, 0.3005, 0.33873, 0.73788, 0.5056, 0.42913,
    ];
    for (place, expected) in expected.into_iter().enumerate() {
        let pixel = [0, 20 * 48 + 5, 39 * 48 + 47][place % 3];
        near(canvas[place / 3 * 48 * 40 + pixel], expected, 1e-3);
    }
}

#[test]
fn the_gain_of_a_frame_does_not_matter() {
    for size in [[96, 96], [256, 256]] {
        let frame = texture(size, 1);
        let prepared = |gain: f32| {
            let mut canvas: Vec<f32> = frame.iter().map(|v| v * gain).collect();
            normaliser(Some(0.4), Some(0.02), size)
                .run(&mut canvas, None, false)
                .unwrap();
            canvas
        };
        let expected = prepared(1.0);
        for gain in [0.7, 0.85, 1.15, 1.3] {
            for (found, expected) in prepared(gain).into_iter().zip(&expected) {
                near(found, *expected, 0.2 / 255.0);
            }
        }
    }
}

#[test]
fn frames_that_tell_nothing_are_left_alone() {
    let pixels = SIZE[0] * SIZE[1];
    // Black and white with grey rims, like digits: 80 % black, 8 % white.
    let drawing: Vec<f32> = (0..pixels)
        .map(|i| match i % 25 {
            0..20 => 0.0,
            20..23 => (i % 7) as f32 / 7.0,
            _ => 1.0,
        })
        .collect();
    for frame in [vec![0.0; pixels], vec![1.0; pixels], drawing] {
        let mut canvas = frame.clone();
        let levels = normaliser(Some(0.4), Some(0.02), SIZE)
            .run(&mut canvas, None, false)
            .unwrap();
        assert_eq!((levels.gain, levels.factor), (1.0, 1.0));
        for (found, expected) in canvas.into_iter().zip(frame) {
            near(found, expected, 1e-6);
        }
    }
}

#[test]
fn odd_frames_stay_finite_and_in_range() {
    let pixels = SIZE[0] * SIZE[1];
    let from = |f: fn(usize) -> f32| (0..pixels).map(f).collect::<Vec<_>>();
    let frames = [
        from(|_| 0.3),
        from(|i| if i % 48 < 24 { 0.0 } else { 0.5 }),
        from(|i| if i % 48 < 24 { 0.0 } else { 1.0 }),
        from(|i| if i == 0 { 1.0 } else { 0.0 }),
        from(|i| if i % 2 == 0 { 1e-30 } else { f32::MIN_POSITIVE }),
        // What a Lanczos filter overshoots by.
        from(|i| if i % 3 == 0 { -0.2 } else { 1.2 }),
    ];
    for size in [SIZE, [1, 1920], [1920, 1], [960, 2]] {
        for frame in &frames {
            let mut canvas = frame.clone();
            let levels = normaliser(Some(0.4), Some(0.02), size)
                .run(&mut canvas, None, false)
                .unwrap();
            assert!(canvas.iter().all(|v| (0.0..=1.0).contains(v)), "{levels:?}");
            assert!((0.25..=4.0).contains(&levels.gain));
        }
    }
    let mut uniform = frames[0].clone();
    normaliser(Some(0.4), Some(0.02), SIZE)
        .run(&mut uniform, None, false)
        .unwrap();
    uniform.iter().for_each(|&v| near(v, 0.4, 3e-4));
}

#[test]
fn an_object_is_judged_without_its_background() {
    // An object over 45 % of the frame; the rest black, or dark with the noise of a camera.
    let object = texture(SIZE, 2);
    let mut random = rand_pcg::Pcg64::seed_from_u64(3);
    let noise: Vec<f32> = object
        .iter()
        .map(|_| random.random_range(-1.5..1.5) / 255.0)
        .collect();
    let run = |background: f32| {
        let mut canvas: Vec<f32> = object
            .iter()
            .zip(&noise)
            .enumerate()
            .map(|(i, (value, noise))| {
                if i % 20 < 9 {
                    *value
                } else {
                    (background + noise).max(0.0)
                }
            })
            .collect();
        let levels = normaliser(Some(0.4), None, SIZE)
            .run(&mut canvas, None, false)
            .unwrap();
        let saturated = canvas.iter().filter(|&&v| v >= 1.0).count();
        assert!(saturated * 50 < canvas.len(), "background {background}");
        levels
    };
    let black = run(0.0);
    near(black.median.unwrap(), 0.45, 0.02);
    near(black.gain, 0.4 / black.median.unwrap(), 1e-4);
    // Where the background comes out of the black, the median leaves the object for it; the
    // highlights limit what that does.
    let gains: Vec<f32> = (0..160).map(|i| run(i as f32 / 8.0 / 255.0).gain).collect();
    for (a, b) in gains.iter().zip(&gains[1..]) {
        assert!((a / b).ln().abs() < 0.25, "{a} {b} in {gains:?}");
    }
}

#[test]
fn masked_pixels_count_nowhere() {
    let size = [64, 48];
    let left = Interior::of((0..64 * 48).map(|i| i % 64 < 32).collect());
    let frame = texture(size, 4);
    let run = |outside: f32| {
        let mut canvas = frame.clone();
        for (i, value) in canvas.iter_mut().enumerate() {
            if i % 64 >= 32 {
                *value = outside;
            }
        }
        let levels = normaliser(Some(0.4), Some(0.02), size)
            .run(&mut canvas, Some(&left), false)
            .unwrap();
        (levels, canvas)
    };
    let (levels, canvas) = run(0.0);
    assert_eq!(levels.counted, 1.0);
    assert_eq!((levels, canvas.clone()), run(0.9));
    let mean = |from: usize| {
        let values = (0..64 * 48).filter(|i| i % 64 / 32 == from);
        values.map(|i| canvas[i]).sum::<f32>() / (32.0 * 48.0)
    };
    near(mean(0), mean(1), 1e-4);
    assert_eq!(canvas[40], canvas[47 * 64 + 63]);
}
