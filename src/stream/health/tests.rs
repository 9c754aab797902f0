use super::*;
use crate::{
    calibration::{ReferenceFrame, ReferenceStatistics},
    image::GaussianSmoothing,
    synth::{SurfaceSettings, surface_frame},
};

const SIDE: u32 = 96;

fn surface(index: u64) -> Vec<u8> {
    let settings = SurfaceSettings {
        width: SIDE,
        height: SIDE,
        ..SurfaceSettings::default()
    };
    surface_frame(4, index, &settings)
        .unwrap()
        .picture
        .into_raw()
}

fn grey(width: u32, height: u32, samples: Vec<u8>) -> Frame {
    Frame::from_u8(width, height, PixelFormat::Gray8, samples, "camera").unwrap()
}

fn frame(index: u64) -> Frame {
    grey(SIDE, SIDE, surface(index))
}

fn blurred(index: u64, sigma: f32) -> Frame {
    let mut light: Vec<f32> = surface(index).into_iter().map(f32::from).collect();
    let side = SIDE as usize;
    let mut smoothing = GaussianSmoothing::new(side, side, sigma).unwrap();
    smoothing.apply(&mut light).unwrap();
    grey(SIDE, SIDE, light.iter().map(|v| v.round() as u8).collect())
}

fn uncalibrated() -> Calibration {
    let scores: Vec<f64> = (1..=99).map(f64::from).collect();
    Calibration::fit(scores.clone(), scores, 0.1).unwrap()
}

fn calibrated() -> Calibration {
    let frames: Vec<ReferenceFrame> = (0..60)
        .map(|i| ReferenceFrame::of(&frame(i), Some(1.0)))
        .collect();
    Calibration {
        reference: ReferenceStatistics::of(&frames, None),
        ..uncalibrated()
    }
}

fn health(settings: HealthSettings, live: bool) -> Health {
    Health::new(settings, &calibrated(), live).unwrap()
}

fn check(health: &mut Health, frame: &Frame) -> Option<String> {
    health.check(frame, &FrameStatistics::of(frame))
}

#[track_caller]
fn says(found: Option<String>, part: &str) {
    let found = found.unwrap_or_default();
    assert!(found.contains(part), "{found:?}");
}

#[test]
fn sharp_frames_pass_and_blurred_ones_do_not() {
    let mut health = health(HealthSettings::default(), true);
    assert_eq!(health.disabled_checks(), None);
    for index in 100..300 {
        assert_eq!(check(&mut health, &frame(index)), None, "{index}");
    }
    let mut missed = 0;
    for index in 100..200 {
        match check(&mut health, &blurred(index, 1.0)) {
            Some(reason) => says(Some(reason), "blurred"),
            None => missed += 1,
        }
        says(check(&mut health, &blurred(index, 2.0)), "blurred");
    }
    assert!(missed < 5, "{missed}");
    let without = HealthSettings {
        blur: 0.0,
        ..HealthSettings::default()
    };
    let mut health = self::health(without, true);
    assert_eq!(check(&mut health, &blurred(0, 2.0)), None);
}

#[test]
fn a_live_camera_that_repeats_itself_is_frozen() {
    let settings = HealthSettings {
        frozen_after: 3,
        ..HealthSettings::default()
    };
    let mut live = health(settings.clone(), true);
    let (one, other) = (frame(0), frame(1));
    // The first one is looked at, those after it are compared.
    let found: Vec<bool> = [&one, &one, &one, &one, &one, &other, &other, &one]
        .map(|frame| check(&mut live, frame).is_some())
        .to_vec();
    assert_eq!(
        found,
        [false, false, false, true, true, false, false, false]
    );
    for _ in 0..3 {
        check(&mut live, &one);
    }
    says(check(&mut live, &one), "4 frames in a row");
    // The same time after time in files is no wonder, and a setting turns it off.
    let never = HealthSettings {
        frozen_after: 0,
        ..settings.clone()
    };
    for mut health in [health(settings, false), health(never, true)] {
        for _ in 0..20 {
            assert_eq!(check(&mut health, &one), None);
        }
    }
}

#[test]
fn a_single_sample_makes_another_picture() {
    let settings = HealthSettings {
        frozen_after: 3,
        size: false,
        ..HealthSettings::default()
    };
    // So large that most pixels are not among those of the statistics.
    let (width, height) = (1200, 900);
    let mut health = Health::new(settings, &uncalibrated(), true).unwrap();
    let mut samples: Vec<u8> = (0..width * height).map(|i| (i % 251) as u8).collect();
    let mut unlike = 0;
    for round in 0..40_usize {
        let before = FrameStatistics::of(&grey(width, height, samples.clone()));
        samples[round * 7919 + 1] ^= 1;
        let frame = grey(width, height, samples.clone());
        unlike += usize::from(FrameStatistics::of(&frame) != before);
        assert_eq!(check(&mut health, &frame), None);
    }
    assert!(unlike < 20, "the statistics alone told {unlike} of 40");
    // Sixteen bits too.
    let deep = |last: u16| {
        let mut samples: Vec<u16> = (0..10_000).collect();
        samples[9_999] = last;
        Frame::from_u16(100, 100, PixelFormat::Gray16, samples, "camera").unwrap()
    };
    for round in 0..10 {
        assert_eq!(check(&mut health, &deep(30_000 + round)), None);
    }
    let last = deep(1000);
    let reasons: Vec<_> = (0..5).map(|_| check(&mut health, &last)).collect();
    says(reasons[4].clone(), "4 frames in a row");
}

#[test]
fn a_frame_of_another_size_is_told() {
    let settings = HealthSettings {
        blur: 0.0,
        ..HealthSettings::default()
    };
    let noisy = |width: u32, height: u32| {
        let samples = (0..width * height).map(|i| (i * 97 % 256) as u8).collect();
        grey(width, height, samples)
    };
    // The same proportions as the 96×96 of calibration, but for rounding.
    let mut files = health(settings.clone(), false);
    for (width, height) in [(96, 96), (960, 960), (100, 101), (97, 96)] {
        assert_eq!(check(&mut files, &noisy(width, height)), None);
    }
    says(
        check(&mut files, &noisy(128, 96)),
        "128×96 pixels, other proportions than the 96×96",
    );
    let mut live = health(settings.clone(), true);
    assert_eq!(check(&mut live, &noisy(960, 960)), None);
    says(check(&mut live, &noisy(96, 96)), "first one had 960×960");
    assert_eq!(check(&mut live, &noisy(960, 960)), None);
    // Without a calibrated size, a folder may hold anything.
    let mut files = Health::new(settings.clone(), &uncalibrated(), false).unwrap();
    assert!(files.disabled_checks().is_some());
    assert_eq!(check(&mut files, &noisy(50, 20)), None);
    assert_eq!(check(&mut files, &noisy(20, 50)), None);
    let any = HealthSettings {
        size: false,
        ..settings
    };
    let mut any = health(any, true);
    assert_eq!(check(&mut any, &noisy(50, 20)), None);
    assert_eq!(check(&mut any, &noisy(20, 50)), None);
}

#[test]
fn the_focus_of_another_size_is_not_compared() {
    let mut health = health(HealthSettings::default(), false);
    let soft = vec![120_u8; 192 * 192 / 2]
        .into_iter()
        .chain((0..192 * 192 / 2).map(|i| 100 + (i / 192) as u8))
        .collect();
    assert_eq!(check(&mut health, &grey(192, 192, soft)), None);
}

#[test]
fn a_torn_frame_ends_in_one_colour() {
    let torn = |from: u32, colour: u8| {
        let mut samples = surface(3);
        samples[(from * SIDE) as usize..].fill(colour);
        grey(SIDE, SIDE, samples)
    };
    let settings = HealthSettings {
        blur: 0.0,
        ..HealthSettings::default()
    };
    let mut health = health(settings.clone(), true);
    says(
        check(&mut health, &torn(SIDE / 2, 128)),
        "the lowest 50 % of it are of one colour",
    );
    says(check(&mut health, &torn(84, 128)), "the lowest 12 %");
    // Eleven of 96 rows are less than an eighth.
    assert_eq!(check(&mut health, &torn(85, 128)), None);
    // Dark fields and back lights are black and white.
    assert_eq!(check(&mut health, &torn(40, 3)), None);
    assert_eq!(check(&mut health, &torn(40, 255)), None);
    // The green of a buffer of zeros in Y, Cb, Cr.
    let mut samples: Vec<u8> = surface(3).into_iter().flat_map(|v| [v; 3]).collect();
    let half = samples.len() / 2;
    for pixel in samples[half..].chunks_exact_mut(3) {
        pixel.copy_from_slice(&[0, 135, 0]);
    }
    let green = Frame::from_u8(SIDE, SIDE, PixelFormat::Rgb8, samples, "camera").unwrap();
    says(check(&mut health, &green), "the lowest 50 %");
    let any = HealthSettings {
        torn: false,
        ..settings
    };
    assert_eq!(check(&mut self::health(any, true), &green), None);
}

#[test]
fn black_frames_are_called_black_and_not_frozen_or_blurred() {
    let mut health = health(HealthSettings::default(), true);
    let black = grey(SIDE, SIDE, vec![0; (SIDE * SIDE) as usize]);
    for _ in 0..20 {
        assert_eq!(
            check(&mut health, &black).as_deref(),
            Some("the frame is black")
        );
    }
}

#[test]
fn settings_are_read_and_refused() {
    let parse = |text: &str| toml::from_str::<HealthSettings>(text);
    assert_eq!(parse("").unwrap(), HealthSettings::default());
    assert_eq!(parse("frozen-after = 25").unwrap().frozen_after, 25);
    assert!(parse("frozen = 25").is_err());
    for (text, key) in [
        ("frozen-after = 1", "health.frozen-after: found 1"),
        ("blur = 1.0", "health.blur: found 1"),
        ("blur = -0.1", "health.blur: found -0.1"),
        ("blur = nan", "health.blur: found NaN"),
    ] {
        let error = Health::new(parse(text).unwrap(), &calibrated(), true).unwrap_err();
        assert!(error.to_string().starts_with(key), "{error}");
    }
    let mut health = Health::new(HealthSettings::default(), &uncalibrated(), true).unwrap();
    assert!(health.disabled_checks().is_some());
    assert_eq!(check(&mut health, &blurred(0, 3.0)), None);
}
