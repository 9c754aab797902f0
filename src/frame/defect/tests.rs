use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

use super::{super::PixelFormat, *};
use crate::synth::{SurfaceSettings, surface_frame};

fn grey(samples: Vec<u8>) -> Frame {
    let width = samples.len() as u32;
    Frame::from_u8(width, 1, PixelFormat::Gray8, samples, "test").unwrap()
}

#[test]
fn flat_frames_are_named_by_their_mean() {
    assert_eq!(grey(vec![0; 50]).defect(), Some(FrameDefect::Black));
    assert_eq!(grey(vec![14, 16, 15]).defect(), Some(FrameDefect::Black));
    assert_eq!(grey(vec![255; 50]).defect(), Some(FrameDefect::Saturated));
    assert_eq!(grey(vec![120, 122]).defect(), Some(FrameDefect::Uniform));
    assert_eq!(grey(vec![120, 123]).defect(), None);
}

/// `deviation` about `level`, in steps of 8 bits.
fn noise(width: u32, height: u32, level: f32, deviation: f32) -> Vec<u8> {
    let mut random = Pcg64::seed_from_u64(u64::from(width) + deviation.to_bits() as u64);
    (0..width * height)
        .map(|_| {
            let noise: f32 = random.sample(StandardNormal);
            (level + deviation * noise).round() as u8
        })
        .collect()
}

fn frame(width: u32, samples: Vec<u8>) -> Frame {
    let height = samples.len() as u32 / width;
    Frame::from_u8(width, height, PixelFormat::Gray8, samples, "test").unwrap()
}

fn block(samples: &mut [u8], width: usize, [x, y, wide, high]: [usize; 4], value: u8) {
    for row in samples.chunks_exact_mut(width).skip(y).take(high) {
        row[x..x + wide].fill(value);
    }
}

#[test]
fn noise_about_black_or_white_is_no_picture_at_any_size() {
    for (width, height) in [
        (28, 28),
        (32, 32),
        (64, 48),
        (256, 256),
        (512, 512),
        (1920, 300),
    ] {
        for (level, deviation) in [(16.0, 1.0), (16.0, 4.0), (0.0, 1.0), (20.0, 8.0)] {
            let dark = noise(width, height, level, deviation);
            let bright: Vec<u8> = dark.iter().map(|&v| 255 - v).collect();
            let mut hot = dark.clone();
            hot[(width * height / 2 + width / 3) as usize] = 255;
            hot[(width + 5) as usize] = 90;
            for samples in [&dark, &hot] {
                let found = frame(width, samples.clone()).defect();
                assert_eq!(
                    found,
                    Some(FrameDefect::Black),
                    "{width} {level} {deviation}"
                );
                let rgb = samples.iter().flat_map(|&v| [v, v / 2, v]).collect();
                let rgb = Frame::from_u8(width, height, PixelFormat::Rgb8, rgb, "test");
                assert_eq!(rgb.unwrap().defect(), Some(FrameDefect::Black));
            }
            if level > 4.0 {
                assert_eq!(frame(width, bright).defect(), Some(FrameDefect::Saturated));
            }
        }
    }
}

#[test]
fn an_overlay_on_a_covered_lens_is_no_picture() {
    for width in [128, 256, 512] {
        let mut samples = noise(width, width, 16.0, 1.5);
        let width = width as usize;
        for letter in 0..12 {
            block(&mut samples, width, [8 + 7 * letter, 6, 4, 9], 255);
        }
        assert_eq!(
            frame(width as u32, samples).defect(),
            Some(FrameDefect::Black)
        );
    }
}

#[test]
fn dark_scenes_are_pictures() {
    // Something small and bright away from the margins, as in a dark field.
    let mut spot = noise(256, 256, 2.0, 0.5);
    block(&mut spot, 256, [100, 120, 10, 10], 200);
    assert_eq!(frame(256, spot).defect(), None);
    // A stroke on black, as of a digit.
    let mut digit = vec![0; 784];
    block(&mut digit, 28, [13, 5, 3, 18], 255);
    assert_eq!(frame(28, digit).defect(), None);
    // Weaves of dark cloth, beneath its noise.
    for period in [3.0, 5.0, 8.0, 12.0] {
        let mut weave = noise(256, 256, 30.0, 2.0);
        for (i, sample) in weave.iter_mut().enumerate() {
            let wave = |v: usize| (v as f32 * std::f32::consts::TAU / period).sin();
            *sample = (f32::from(*sample) + 5.0 * wave(i % 256) * wave(i / 256)) as u8;
        }
        assert_eq!(frame(256, weave).defect(), None, "{period}");
    }
    // A surface with a thirtieth of its light.
    let settings = SurfaceSettings {
        width: 256,
        height: 256,
        ..SurfaceSettings::default()
    };
    for index in 0..8 {
        let surface = surface_frame(11, index, &settings).unwrap();
        let dark: Vec<u8> = surface.picture.as_raw().iter().map(|v| v / 10).collect();
        assert_eq!(frame(256, dark).defect(), None, "{index}");
    }
    // Even light on an even surface is a scene, beside black and white.
    assert_eq!(frame(64, noise(64, 64, 120.0, 2.0)).defect(), None);
}

#[test]
fn channels_are_judged_one_by_one() {
    let rgb = |samples: Vec<u8>| {
        Frame::from_u8(2, 1, PixelFormat::Rgb8, samples, "test")
            .unwrap()
            .defect()
    };
    assert_eq!(
        rgb(vec![200, 10, 10, 201, 10, 11]),
        Some(FrameDefect::Uniform)
    );
    assert_eq!(rgb(vec![200, 10, 10, 200, 90, 10]), None);
}

#[test]
fn sixteen_bits_have_the_same_limits() {
    let frame = |low: u16, high: u16| {
        Frame::from_u16(2, 1, PixelFormat::Gray16, vec![low, high], "test")
            .unwrap()
            .defect()
    };
    assert_eq!(frame(30000, 30514), Some(FrameDefect::Uniform));
    assert_eq!(frame(30000, 30515), None);
    assert_eq!(frame(0, 514), Some(FrameDefect::Black));
}
