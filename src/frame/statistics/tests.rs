use super::*;
use crate::{
    frame::PixelFormat,
    image::GaussianSmoothing,
    synth::{SurfaceSettings, surface_frame},
};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

fn grey(width: u32, height: u32, samples: Vec<u8>) -> Frame {
    Frame::from_u8(width, height, PixelFormat::Gray8, samples, "test").unwrap()
}

fn surface(index: u64, width: u32, height: u32) -> Vec<f32> {
    let settings = SurfaceSettings {
        width,
        height,
        ..SurfaceSettings::default()
    };
    let frame = surface_frame(11, index, &settings).unwrap();
    frame.picture.as_raw().iter().map(|&v| v.into()).collect()
}

fn statistics(width: u32, height: u32, light: &[f32]) -> FrameStatistics {
    let samples = light.iter().map(|v| v.round() as u8).collect();
    FrameStatistics::of(&grey(width, height, samples))
}

#[test]
fn of_small_frames_every_pixel_counts() {
    // By hand: mean 100/255; deviation: half of the pixels are 40 above, half 40 below.
    let frame = grey(4, 2, vec![60, 60, 140, 140, 140, 140, 60, 60]);
    let found = FrameStatistics::of(&frame);
    assert!((found.brightness - 100.0 / 255.0).abs() < 1e-6);
    assert!((found.contrast - 40.0 / 255.0).abs() < 1e-6);
    assert_eq!(found.focus, 0.0);

    // One bright column of three in the middle: 2·90 − 30 − 30 = 120 across in each row; nothing
    // down. One pixel has a neighbour on all sides, and its next row is the last one.
    let frame = grey(3, 3, vec![30, 90, 30, 30, 90, 30, 30, 90, 30]);
    let found = FrameStatistics::of(&frame);
    assert!((found.focus - 120.0 * 120.0 / (50.0 * 50.0)).abs() < 1e-4);
    // A single bright pixel reaches over no two rows: noise counts nothing.
    let frame = grey(3, 3, vec![30, 30, 30, 30, 90, 30, 30, 30, 30]);
    assert_eq!(FrameStatistics::of(&frame).focus, 0.0);
    for (width, height) in [(1, 1), (2, 9), (9, 2)] {
        let frame = grey(width, height, vec![9; (width * height) as usize]);
        assert_eq!(FrameStatistics::of(&frame).focus, 0.0);
    }
    assert_eq!(
        FrameStatistics::of(&grey(8, 8, vec![0; 64])),
        FrameStatistics::default()
    );
}

#[test]
fn colour_and_sixteen_bits_are_the_same_picture() {
    let light = surface(0, 300, 200);
    let samples: Vec<u8> = light.iter().map(|v| v.round() as u8).collect();
    let of_grey = FrameStatistics::of(&grey(300, 200, samples.clone()));
    let rgb = samples.iter().flat_map(|&v| [v; 3]).collect();
    let rgb = Frame::from_u8(300, 200, PixelFormat::Rgb8, rgb, "test").unwrap();
    let deep: Vec<u16> = samples.iter().map(|&v| u16::from(v) * 257).collect();
    let deep_rgb = deep.iter().flat_map(|&v| [v; 3]).collect();
    let deep = Frame::from_u16(300, 200, PixelFormat::Gray16, deep, "test").unwrap();
    let deep_rgb = Frame::from_u16(300, 200, PixelFormat::Rgb16, deep_rgb, "test").unwrap();
    for frame in [rgb, deep, deep_rgb] {
        let found = FrameStatistics::of(&frame);
        for (found, expected) in [
            (found.brightness, of_grey.brightness),
            (found.contrast, of_grey.contrast),
            (found.focus, of_grey.focus),
        ] {
            assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
        }
    }
    let red = Frame::from_u8(1, 1, PixelFormat::Rgb8, vec![255, 0, 0], "test").unwrap();
    assert!((FrameStatistics::of(&red).brightness - 0.299).abs() < 1e-6);
}

#[test]
fn large_frames_are_thinned_without_a_trace() {
    let (width, height) = (1280, 720);
    let light = surface(1, width, height);
    let found = statistics(width, height, &light);
    let n = light.len() as f64;
    let mean = light.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = light
        .iter()
        .map(|&v| (f64::from(v) - mean).powi(2))
        .sum::<f64>()
        / n;
    assert!((found.brightness * 255.0 / mean - 1.0).abs() < 2e-3);
    assert!((found.contrast * 255.0 / variance.sqrt() - 1.0).abs() < 1e-2);
    // Stripes of the very period of the grid, which is 8 pixels here: on a plain grid the mean
    // would be 200 or 20.
    let stripes: Vec<f32> = (0..width * height)
        .map(|i| if i % width % 8 == 0 { 200.0 } else { 20.0 })
        .collect();
    let found = statistics(width, height, &stripes);
    assert!((found.brightness * 255.0 - 42.5).abs() < 4.0, "{found:?}");
}

/// Medians over frames of the ratio of each statistic to that of the untouched frame.
fn ratios(change: impl Fn(&mut Vec<f32>, &mut Pcg64)) -> [f64; 3] {
    let (width, height) = (320, 240);
    let mut rng = Pcg64::seed_from_u64(5);
    let mut found: [Vec<f64>; 3] = Default::default();
    for index in 0..9 {
        let light = surface(index, width, height);
        let before = statistics(width, height, &light);
        let mut light = light;
        change(&mut light, &mut rng);
        let after = statistics(width, height, &light);
        found[0].push(after.brightness / before.brightness);
        found[1].push(after.contrast / before.contrast);
        found[2].push(after.focus / before.focus);
    }
    found.map(|mut ratios| {
        ratios.sort_by(f64::total_cmp);
        ratios[4]
    })
}

fn gain(factor: f32) -> impl Fn(&mut Vec<f32>, &mut Pcg64) {
    move |light, _| light.iter_mut().for_each(|v| *v *= factor)
}

fn noise(deviation: f32) -> impl Fn(&mut Vec<f32>, &mut Pcg64) {
    move |light, rng| {
        for v in light {
            let noise: f32 = rng.sample(StandardNormal);
            *v += deviation * noise;
        }
    }
}

fn blur(sigma: f32) -> impl Fn(&mut Vec<f32>, &mut Pcg64) {
    move |light, _| {
        let mut smoothing = GaussianSmoothing::new(320, 240, sigma).unwrap();
        smoothing.apply(light).unwrap();
    }
}

#[test]
fn blur_lowers_focus_while_gain_and_noise_hardly_touch_it() {
    for factor in [0.7, 0.8, 1.2, 1.3] {
        let [brightness, contrast, focus] = ratios(gain(factor));
        assert!((brightness / f64::from(factor) - 1.0).abs() < 0.01);
        assert!((contrast / f64::from(factor) - 1.0).abs() < 0.02);
        assert!((focus - 1.0).abs() < 0.03, "gain {factor}: {focus}");
    }
    for deviation in [2.0, 4.0] {
        let [brightness, _, focus] = ratios(noise(deviation));
        assert!((brightness - 1.0).abs() < 0.01);
        assert!((focus - 1.0).abs() < 0.05, "noise {deviation}: {focus}");
    }
    for (sigma, most) in [(1.0, 0.3), (2.0, 0.06)] {
        let [brightness, _, focus] = ratios(blur(sigma));
        assert!((brightness - 1.0).abs() < 0.01);
        assert!(focus < most, "blur {sigma}: {focus}");
        // And noise does not make up for it.
        let [_, _, focus] = ratios(|light, rng| {
            blur(sigma)(light, rng);
            noise(3.0)(light, rng);
        });
        assert!(focus < most, "blur {sigma} and noise: {focus}");
    }
}
