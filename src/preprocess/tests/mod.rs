//! Frames through the whole of preprocessing.

mod canvas;
mod properties;

use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::frame::PixelFormat;

fn settings(
    width: usize,
    height: usize,
    colour: Colour,
    filter: ResizeFilter,
) -> PreprocessSettings {
    PreprocessSettings {
        filter,
        ..PreprocessSettings::new(width, height, colour)
    }
}

const FILTERS: [ResizeFilter; 4] = [
    ResizeFilter::Area,
    ResizeFilter::Bilinear,
    ResizeFilter::Cubic,
    ResizeFilter::Lanczos3,
];

fn tiles(width: usize, height: usize, overlap: f32) -> Option<Tiles> {
    Some(Tiles {
        width,
        height,
        overlap,
    })
}

fn random_bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
    (0..count).map(|_| random.next_u32() as u8).collect()
}

fn frame8(width: u32, height: u32, format: PixelFormat, samples: Vec<u8>) -> Frame {
    Frame::from_u8(width, height, format, samples, "test").unwrap()
}

fn prepare(settings: &PreprocessSettings, frame: &Frame) -> Vec<f32> {
    let mut out = vec![f32::NAN; settings.shape().iter().product()];
    Preprocessor::new(settings.clone())
        .unwrap()
        .prepare(frame, &mut out)
        .unwrap();
    out
}

fn assert_near(found: f32, expected: f64, tolerance: f64) {
    assert!(
        (f64::from(found) - expected).abs() <= tolerance,
        "found {found}, expected {expected}"
    );
}

#[test]
fn constant_pictures_stay_constant() {
    for filter in FILTERS {
        for (width, height) in [(640, 480), (3, 7), (61, 17)] {
            for colour in [Colour::Grey, Colour::Rgb] {
                let count = (width * height) as usize;
                let grey = frame8(width, height, PixelFormat::Gray8, vec![77; count]);
                let rgb = frame8(width, height, PixelFormat::Rgb8, vec![77; 3 * count]);
                for frame in [grey, rgb] {
                    for value in prepare(&settings(20, 30, colour, filter), &frame) {
                        assert_near(value, 77.0 / 255.0, 1e-6);
                    }
                }
            }
        }
    }
}

#[test]
fn area_is_the_mean_of_blocks() {
    let samples = random_bytes(60 * 40, 1);
    let frame = frame8(60, 40, PixelFormat::Gray8, samples.clone());
    let out = prepare(&settings(20, 10, Colour::Grey, ResizeFilter::Area), &frame);
    for y in 0..10 {
        for x in 0..20 {
            let block = (0..4).flat_map(|dy| (0..3).map(move |dx| (dx, dy)));
            let sum: u32 = block
                .map(|(dx, dy)| u32::from(samples[(4 * y + dy) * 60 + 3 * x + dx]))
                .sum();
            assert_near(out[y * 20 + x], f64::from(sum) / 12.0 / 255.0, 1e-7);
        }
    }
}

#[test]
fn edges_stay_where_they_are() {
    let samples: Vec<u8> = (0..100 * 50)
        .map(|i| if i % 100 < 50 { 0 } else { 255 })
        .collect();
    let frame = frame8(100, 50, PixelFormat::Gray8, samples);
    for filter in FILTERS {
        let out = prepare(&settings(10, 5, Colour::Grey, filter), &frame);
        for row in out.chunks(10) {
            // antisymmetric about the edge, and beyond the filter's reach black and white
            for x in 0..5 {
                assert_near(row[x] + row[9 - x], 1.0, 1e-6);
            }
            assert_near(row[0], 0.0, 0.01);
            assert!(row[4] < 0.2, "{filter:?}: {row:?}");
        }
    }
    let out = prepare(&settings(10, 5, Colour::Grey, ResizeFilter::Area), &frame);
    assert_eq!(
        out[..10],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    );
}

#[test]
fn bilinear_widens_when_shrinking() {
    // Triangle filter of a halving: weights 1, 3, 3, 1 over 8 in the middle; at the edge the
    // first is missing.
    let frame = frame8(4, 1, PixelFormat::Gray8, vec![10, 20, 60, 200]);
    let out = prepare(
        &settings(2, 1, Colour::Grey, ResizeFilter::Bilinear),
        &frame,
    );
    assert_near(out[0], (3.0 * 10.0 + 3.0 * 20.0 + 60.0) / 7.0 / 255.0, 1e-7);
    assert_near(
        out[1],
        (20.0 + 3.0 * 60.0 + 3.0 * 200.0) / 7.0 / 255.0,
        1e-7,
    );
}

#[test]
fn grey_is_luma_and_rgb_keeps_its_channels() {
    let frame = frame8(1, 1, PixelFormat::Rgb8, vec![200, 100, 50]);
    let grey = prepare(&settings(1, 1, Colour::Grey, ResizeFilter::Area), &frame);
    assert_near(
        grey[0],
        (0.299 * 200.0 + 0.587 * 100.0 + 0.114 * 50.0) / 255.0,
        1e-7,
    );
    let rgb = prepare(&settings(2, 1, Colour::Rgb, ResizeFilter::Area), &frame);
    let expected = [200.0, 200.0, 100.0, 100.0, 50.0, 50.0].map(|v: f32| v / 255.0);
    assert_eq!(rgb, expected);
    let frame = frame8(1, 1, PixelFormat::Gray8, vec![51]);
    let rgb = prepare(&settings(1, 1, Colour::Rgb, ResizeFilter::Area), &frame);
    assert_eq!(rgb, [0.2; 3]);
}

#[test]
fn eight_and_sixteen_bits_agree() {
    let samples = random_bytes(33 * 21 * 3, 2);
    let wide: Vec<u16> = samples.iter().map(|&v| u16::from(v) * 257).collect();
    for (format8, format16, count) in [
        (PixelFormat::Gray8, PixelFormat::Gray16, 33 * 21),
        (PixelFormat::Rgb8, PixelFormat::Rgb16, 33 * 21 * 3),
    ] {
        let frame = frame8(33, 21, format8, samples[..count].to_vec());
        let frame16 = Frame::from_u16(33, 21, format16, wide[..count].to_vec(), "test").unwrap();
        for denoise in [
            None,
            Some(Denoise::Median { radius: 1 }),
            Some(Denoise::Gaussian { sigma: 0.8 }),
        ] {
            for colour in [Colour::Grey, Colour::Rgb] {
                let settings = PreprocessSettings {
                    denoise,
                    ..settings(16, 16, colour, ResizeFilter::Cubic)
                };
                let narrow = prepare(&settings, &frame);
                for (a, b) in narrow.iter().zip(prepare(&settings, &frame16)) {
                    assert_near(*a, f64::from(b), 1.0 / 65535.0);
                }
            }
        }
    }
}

#[test]
fn grey_levels_between_eight_bits_survive() {
    // The mean of 100 and 101 must not be rounded to either.
    let frame = frame8(2, 1, PixelFormat::Gray8, vec![100, 101]);
    let out = prepare(&settings(1, 1, Colour::Grey, ResizeFilter::Area), &frame);
    assert_near(out[0], 100.5 / 255.0, 1e-7);
}

#[test]
fn crops_are_fractions() {
    let samples: Vec<u8> = (0..20 * 10).map(|i| (i % 20 * 10 + i / 20) as u8).collect();
    let frame = frame8(20, 10, PixelFormat::Gray8, samples);
    let settings = PreprocessSettings {
        crop: Some(Crop {
            left: 0.25,
            top: 0.3,
            right: 0.75,
            bottom: 0.5,
        }),
        ..settings(10, 2, Colour::Grey, ResizeFilter::Area)
    };
    let mut out = vec![0.0; 20];
    let geometry = Preprocessor::new(settings)
        .unwrap()
        .prepare(&frame, &mut out)
        .unwrap();
    let region = PixelRect {
        x: 5,
        y: 3,
        width: 10,
        height: 2,
    };
    assert_eq!(geometry.region, region);
    assert_eq!((geometry.frame_width, geometry.frame_height), (20, 10));
    for y in 0..2 {
        for x in 0..10 {
            let expected = ((x + 5) * 10 + y + 3) as f32 / 255.0;
            assert_eq!(out[y * 10 + x], expected);
        }
    }
}

#[test]
fn normalisation_and_back() {
    let frame = frame8(2, 1, PixelFormat::Rgb8, vec![0, 128, 255, 7, 200, 31]);
    let settings = PreprocessSettings {
        normalise: Normalise {
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        },
        ..settings(2, 1, Colour::Rgb, ResizeFilter::Area)
    };
    let tensor = prepare(&settings, &frame);
    assert_near(tensor[0], (0.0 - 0.485) / 0.229, 1e-6);
    assert_near(tensor[3], (200.0 / 255.0 - 0.456) / 0.224, 1e-6);
    let picture = denormalise(&settings, &tensor).unwrap();
    assert_eq!(picture.into_rgb8().into_raw(), [0, 128, 255, 7, 200, 31]);

    let grey = self::settings(4, 1, Colour::Grey, ResizeFilter::Area);
    let picture = denormalise(&grey, &[-1.0, f32::NAN, 0.5, f32::INFINITY]).unwrap();
    assert_eq!(picture.into_luma8().into_raw(), [0, 0, 128, 255]);
    assert!(denormalise(&grey, &[0.0; 3]).is_err());
}

#[test]
fn one_preprocessor_serves_frames_of_all_sizes() {
    let mut random = rand_pcg::Pcg64::seed_from_u64(3);
    for filter in FILTERS {
        for colour in [Colour::Grey, Colour::Rgb] {
            let settings = PreprocessSettings {
                crop: Some(Crop {
                    left: 0.4,
                    top: 0.0,
                    right: 0.6,
                    bottom: 0.999,
                }),
                ..settings(28, 17, colour, filter)
            };
            let mut preprocessor = Preprocessor::new(settings.clone()).unwrap();
            let mut sizes = vec![(1, 1), (4000, 3), (3, 4000), (1, 500), (28, 17), (2, 2)];
            sizes.extend(
                (0..10).map(|_| (random.random_range(1..200), random.random_range(1..200))),
            );
            for (width, height) in sizes {
                let samples = random_bytes((width * height * 3) as usize, 4);
                let frame = frame8(width, height, PixelFormat::Rgb8, samples);
                let mut out = vec![f32::NAN; settings.shape().iter().product()];
                let geometry = preprocessor.prepare(&frame, &mut out).unwrap();
                assert!(out.iter().all(|v| (-0.5..1.5).contains(v)));
                assert_eq!(out, prepare(&settings, &frame), "{width}×{height}");
                let PixelRect {
                    x,
                    y,
                    width: w,
                    height: h,
                } = geometry.region;
                assert!(w >= 1 && h >= 1 && x + w <= width && y + h <= height);
            }
        }
    }
}

#[test]
fn impossible_settings_are_refused() {
    let good = settings(8, 8, Colour::Grey, ResizeFilter::Area);
    type Spoil = fn(&mut PreprocessSettings);
    let crop = |left, right| Crop {
        left,
        top: 0.0,
        right,
        bottom: 1.0,
    };
    let crops = [
        crop(f64::NAN, 1.0),
        crop(0.5, 0.5),
        crop(0.6, 0.5),
        crop(-0.1, 0.5),
        crop(0.0, 1.1),
    ];
    for crop in crops {
        let settings = PreprocessSettings {
            crop: Some(crop),
            ..good.clone()
        };
        let error = Preprocessor::new(settings).unwrap_err().to_string();
        assert!(error.contains("crop has left"), "{error}");
    }
    let spoils: [(Spoil, &str); 20] = [
        (|s| s.width = 0, "width is 0"),
        (|s| s.height = 0, "height is 0"),
        (|s| s.width = 100_000, "width is 100000"),
        (|s| s.colour = Colour::Rgb, "colour asks for 3"),
        (|s| s.normalise.mean = vec![], "mean has 0 values"),
        (|s| s.normalise.mean = vec![f32::NAN], "mean has NaN"),
        (|s| s.normalise.std = vec![0.0], "std has 0"),
        (|s| s.normalise.std = vec![f32::INFINITY], "std has inf"),
        (|s| s.normalise.std = vec![-1.0], "std has -1"),
        (
            |s| s.denoise = Some(Denoise::Median { radius: 0 }),
            "radius is 0",
        ),
        (
            |s| s.denoise = Some(Denoise::Median { radius: 17 }),
            "radius is 17",
        ),
        (
            |s| s.denoise = Some(Denoise::Gaussian { sigma: f32::NAN }),
            "sigma is NaN",
        ),
        (
            |s| s.exposure = Some(Exposure { target: 0.0 }),
            "exposure target is 0;",
        ),
        (
            |s| s.contrast = Some(Contrast { target: f32::NAN }),
            "contrast target is NaN",
        ),
        (|s| s.mask = Some("mask.png".into()), "mask is `mask.png`"),
        (|s| s.tiles = tiles(7, 8, 0.5), "tiles width is 7"),
        (|s| s.tiles = tiles(8, 8193, 0.5), "tiles height is 8193"),
        (|s| s.tiles = tiles(8, 8, 0.8), "tiles overlap is 0.8"),
        (
            |s| s.tiles = tiles(8, 8192, 0.5),
            "cut the canvas into 2047",
        ),
        (
            |s| {
                s.colour = Colour::Rgb;
                s.normalise = Normalise::identity(3);
                s.tiles = tiles(8192, 8192, 0.0);
            },
            "canvas of 201326592 values",
        ),
    ];
    for (spoil, expected) in spoils {
        let mut settings = good.clone();
        spoil(&mut settings);
        let error = Preprocessor::new(settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let frame = frame8(1, 1, PixelFormat::Gray8, vec![0]);
    let mut preprocessor = Preprocessor::new(good).unwrap();
    for length in [0, 63, 65] {
        assert!(
            preprocessor
                .prepare(&frame, &mut vec![0.0; length])
                .is_err()
        );
    }
}
