//! Tiles, masks and levels of a canvas, and the same tensor from Python.

use super::*;

fn scene(width: u32, height: u32, format: PixelFormat) -> Frame {
    let channels = format.channels();
    let mut random = rand_pcg::Pcg64::seed_from_u64(7);
    let samples = (0..width * height)
        .flat_map(|i| {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let (u, v) = (x / width as f32, y / height as f32);
            let light = 90.0 + 60.0 * (7.0 * u).sin() * (5.0 * v).cos() + 200.0 * (u - 0.6);
            let noise = random.random_range(-9.0..9.0);
            (0..channels).map(move |c| (light * (1.0 + 0.2 * c as f32) + noise) as u8)
        })
        .collect();
    frame8(width, height, format, samples)
}

fn png(width: u32, height: u32, white: impl Fn(u32, u32) -> bool) -> Vec<u8> {
    let picture = image::GrayImage::from_fn(width, height, |x, y| {
        image::Luma([255 * u8::from(white(x, y))])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn new_keys_are_absent_by_default() {
    let plain = PreprocessSettings::new(8, 4, Colour::Grey);
    let text = toml::to_string(&plain).unwrap();
    assert_eq!(
        text,
        "width = 8\nheight = 4\ncolour = \"grey\"\nfilter = \"area\"\n\n[normalise]\nmean = \
         [0.0]\nstd = [1.0]\n"
    );
    assert_eq!(toml::from_str::<PreprocessSettings>(&text).unwrap(), plain);
    let full = PreprocessSettings {
        exposure: Some(Exposure::default()),
        contrast: Some(Contrast::default()),
        mask: Some("mask.png".into()),
        tiles: tiles(16, 8, 0.25),
        ..plain
    };
    let text = toml::to_string(&full).unwrap();
    for line in [
        "[exposure]\ntarget = 0.4\n",
        "[contrast]\ntarget = 0.021568628\n",
        "mask = \"mask.png\"\n",
        "[tiles]\nwidth = 16\nheight = 8\noverlap = 0.25\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(toml::from_str::<PreprocessSettings>(&text).unwrap(), full);
    assert!(toml::from_str::<Exposure>("target = 0.4\ntint = 1").is_err());
}

#[test]
fn what_is_masked_does_not_reach_the_tensor() {
    let settings = PreprocessSettings {
        mask: Some("mask.png".into()),
        exposure: Some(Exposure::default()),
        contrast: Some(Contrast::default()),
        ..PreprocessSettings::new(64, 48, Colour::Rgb)
    };
    // A lamp at the right, of whole tensor pixels, and a mask of another size than the frame.
    let mask = png(16, 12, |x, _| x < 12);
    let mut preprocessor = Preprocessor::with_mask(settings.clone(), Some(&mask)).unwrap();
    let mut tensor = |lamp: u8| {
        let frame = scene(128, 96, PixelFormat::Rgb8);
        let Samples::U8(samples) = frame.samples() else {
            panic!("8 bits")
        };
        let mut samples = samples.clone();
        for (i, pixel) in samples.chunks_exact_mut(3).enumerate() {
            if i % 128 >= 96 {
                pixel.fill(lamp);
            }
        }
        let frame = frame8(128, 96, PixelFormat::Rgb8, samples);
        let mut out = vec![0.0; 3 * 64 * 48];
        preprocessor.prepare(&frame, &mut out).unwrap();
        out
    };
    let dark = tensor(0);
    assert_eq!(dark, tensor(255));
    for plane in dark.chunks_exact(64 * 48) {
        assert!(plane.chunks_exact(64).all(|row| row[48..] == plane[48..64]));
        assert!(plane[..48].iter().any(|v| (v - plane[63]).abs() > 0.01));
    }
    assert_eq!(preprocessor.mask().unwrap().coverage(1, 2), [1.0, 0.5]);

    assert!(Preprocessor::with_mask(settings.clone(), None).is_err());
    // However thin a mask is, the pixels it covers most are looked at.
    let thin = png(2000, 2000, |x, y| x == 3 && y == 3);
    let tiny = PreprocessSettings {
        width: 1,
        height: 1,
        ..settings
    };
    let made = Preprocessor::with_mask(tiny, Some(&thin));
    assert!(made.is_ok_and(|made| made.mask().is_some()));
}

#[test]
fn tiles_are_parts_of_the_canvas() {
    let settings = PreprocessSettings {
        tiles: tiles(80, 61, 0.25),
        exposure: Some(Exposure::default()),
        normalise: Normalise {
            mean: vec![0.3; 3],
            std: vec![0.5, 0.6, 0.7],
        },
        ..PreprocessSettings::new(32, 24, Colour::Rgb)
    };
    // The canvas is what settings of its size make of the frame, frames smaller than a tile too.
    let whole = PreprocessSettings {
        width: 80,
        height: 61,
        tiles: None,
        ..settings.clone()
    };
    let mut preprocessor = Preprocessor::new(settings).unwrap();
    for (width, height) in [(333, 222), (17, 11), (3840, 2160)] {
        let frame = scene(width, height, PixelFormat::Rgb8);
        let geometry = preprocessor.prepare_canvas(&frame).unwrap();
        assert_eq!(
            (geometry.frame_width, geometry.frame_height),
            (width, height)
        );
        let canvas = prepare(&whole, &frame);
        assert_eq!(preprocessor.canvas(), canvas);
        let layout = preprocessor.layout().clone();
        assert_eq!((layout.columns(), layout.rows()), (4, 4));
        let mut tensor = vec![0.0; 3 * 32 * 24];
        for tile in 0..layout.count() {
            preprocessor.tile(tile, &mut tensor).unwrap();
            let [left, top, ..] = layout.tile(tile).unwrap().as_usize();
            for (i, &value) in tensor.iter().enumerate() {
                let (channel, y, x) = (i / 768, i / 32 % 24, i % 32);
                let expected = canvas[(channel * 61 + top + y) * 80 + left + x];
                assert_eq!(value, expected);
            }
        }
        assert!(preprocessor.tile(16, &mut tensor).is_err());
        assert!(preprocessor.tile(0, &mut tensor[1..]).is_err());
        let error = preprocessor.prepare(&frame, &mut tensor).unwrap_err();
        assert!(error.to_string().contains("16 tensors"), "{error}");
    }
}

#[test]
fn a_peak_on_a_tile_lands_on_its_place_in_the_frame() {
    let settings = PreprocessSettings {
        tiles: tiles(512, 288, 0.25),
        ..PreprocessSettings::new(128, 128, Colour::Grey)
    };
    let mut preprocessor = Preprocessor::new(settings).unwrap();
    let mut samples = vec![40; 3840 * 2160];
    // One bright square of 30×30 pixels: 4×4 of the canvas.
    let (left, top) = (2700, 1500);
    for y in top..top + 30 {
        samples[y * 3840 + left..y * 3840 + left + 30].fill(240);
    }
    let frame = frame8(3840, 2160, PixelFormat::Gray8, samples);
    let geometry = preprocessor.prepare_canvas(&frame).unwrap();
    let layout = preprocessor.layout();
    let parts = TileBlend::new(layout, 32, 32);
    let [rows, columns] = parts.size();
    assert_eq!([rows, columns], [72, 128]);
    let mut map = ndarray::Array2::from_elem((rows, columns), f32::NAN);
    let mut tensor = vec![0.0; 128 * 128];
    for tile in 0..layout.count() {
        preprocessor.tile(tile, &mut tensor).unwrap();
        // A quarter of the resolution, by the largest value of each square.
        let found: Vec<f32> = (0..32 * 32)
            .map(|i| {
                let corner = i / 32 * 4 * 128 + i % 32 * 4;
                (0..16)
                    .map(|j| tensor[corner + j / 4 * 128 + j % 4])
                    .fold(0.0, f32::max)
            })
            .collect();
        parts.add(tile, &found, map.as_slice_mut().unwrap());
    }
    let map = geometry.map_to_frame(map.view());
    let (place, _) = map
        .indexed_iter()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .unwrap();
    assert!(place.1.abs_diff(left + 15) < 40, "{place:?}");
    assert!(place.0.abs_diff(top + 15) < 40, "{place:?}");
}

#[test]
fn measuring_gives_the_targets_that_change_nothing() {
    let frame = scene(200, 150, PixelFormat::Rgb8);
    let settings = PreprocessSettings::new(96, 96, Colour::Rgb);
    let found = Preprocessor::new(settings.clone())
        .unwrap()
        .measure(&frame)
        .unwrap();
    assert_eq!((found.gain, found.factor), (1.0, 1.0));
    let targets = PreprocessSettings {
        exposure: found.median.map(|target| Exposure { target }),
        contrast: found.contrast.map(|target| Contrast { target }),
        ..settings.clone()
    };
    let plain = prepare(&settings, &frame);
    for (found, expected) in prepare(&targets, &frame).into_iter().zip(plain) {
        assert_near(found, f64::from(expected), 2e-6);
    }
    let brought = PreprocessSettings {
        exposure: Some(Exposure { target: 0.25 }),
        contrast: Some(Contrast { target: 0.01 }),
        ..settings
    };
    let mut preprocessor = Preprocessor::new(brought).unwrap();
    let levels = preprocessor.measure(&frame).unwrap();
    assert_near(levels.median.unwrap() * levels.gain, 0.25, 1e-4);
    assert_near(levels.contrast.unwrap() * levels.factor, 0.01, 1e-5);
}

/// The preprocessing of the program in `docs/reference/bundle.md`, whose very text is run here, on
/// settings that no shipped model has.
#[test]
fn python_prepares_the_same_tensor() {
    let Ok(python) = std::env::var("EDGE_VAE_PYTHON") else {
        eprintln!(
            "SKIPPED: EDGE_VAE_PYTHON names no Python with onnxruntime, numpy, scipy, pillow"
        );
        return;
    };
    let document = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/reference/bundle.md"
    ))
    .unwrap();
    let program = document.split("```python\n").nth(1).unwrap();
    let program = program.split("def run(").next().unwrap();
    let script = format!(
        "{program}\nnp.save(sys.argv[3], prepare(picture, m[\"preprocess\"]).astype(np.float32))"
    );
    let room = tempfile::tempdir().unwrap();
    let crop = Some(Crop {
        left: 0.1,
        top: 0.05,
        right: 0.9,
        bottom: 1.0,
    });
    let exposure = Some(Exposure { target: 0.35 });
    let contrast = Some(Contrast { target: 0.03 });
    let masked = Some("mask.png".to_owned());
    // Odd sides: with even ones the centre of a frame pixel can fall on the edge of a tensor pixel,
    // and rounding decides to which of two the area filter gives it.
    let plain = PreprocessSettings::new;
    let variants = [
        PreprocessSettings {
            exposure,
            ..plain(129, 129, Colour::Grey)
        },
        PreprocessSettings {
            contrast,
            crop,
            ..plain(99, 61, Colour::Rgb)
        },
        PreprocessSettings {
            exposure,
            contrast,
            filter: ResizeFilter::Lanczos3,
            ..plain(201, 301, Colour::Grey)
        },
        PreprocessSettings {
            exposure,
            contrast,
            crop,
            mask: masked.clone(),
            normalise: Normalise {
                mean: vec![0.4, 0.3, 0.2],
                std: vec![0.1, 0.2, 0.3],
            },
            ..plain(65, 255, Colour::Rgb)
        },
        PreprocessSettings {
            mask: masked,
            ..plain(51, 41, Colour::Grey)
        },
    ];
    let mask = png(90, 70, |x, y| {
        (x as i32 - 40).pow(2) + (y as i32 - 30).pow(2) < 900
    });
    std::fs::write(room.path().join("mask.png"), &mask).unwrap();
    for (number, settings) in variants.into_iter().enumerate() {
        let format = [PixelFormat::Rgb8, PixelFormat::Gray8][number % 2];
        let frame = scene(331, 260, format);
        let picture = room.path().join("frame.png");
        frame.to_rgb8().save(&picture).unwrap();
        #[derive(serde::Serialize)]
        struct Part<'a> {
            preprocess: &'a PreprocessSettings,
        }
        let manifest = toml::to_string(&Part {
            preprocess: &settings,
        })
        .unwrap();
        std::fs::write(room.path().join("manifest.toml"), manifest).unwrap();
        let output = room.path().join("tensor.npy");
        let ran = std::process::Command::new(&python)
            .args(["-c", &script])
            .args([room.path(), &picture, &output])
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        let expected: ndarray::Array3<f32> = ndarray_npy::read_npy(&output).unwrap();
        let mut preprocessor = Preprocessor::with_mask(settings.clone(), Some(&mask)).unwrap();
        let mut found = vec![0.0; settings.shape().iter().product()];
        preprocessor.prepare(&frame, &mut found).unwrap();
        assert_eq!(expected.shape(), settings.shape(), "variant {number}");
        for (found, expected) in found.iter().zip(expected) {
            assert_near(
                *found,
                f64::from(expected),
                2e-5 / f64::from(settings.normalise.std[0]),
            );
        }
    }
}
