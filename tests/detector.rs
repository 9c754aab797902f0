//! From a bundle on disk to verdicts, on a model that can be worked out by hand.

mod tiny;

use std::path::Path;

use edge_vae::{
    Detector, DetectorOptions, Error, Explain, Frame, InferenceSession,
    backend::{BackendKind, Device, Engine, EngineOptions, find_ort_library},
    bundle::{Bundle, BundleError, BundleWriter, DECODER, ENCODER, write_npy},
    calibration::Calibration,
    frame::PixelFormat,
    model::TensorShapes,
    preprocess::{Crop, Normalise},
    runtime::{GoldenCheck, GoldenValues, Label, load_scorer, load_vae},
    scoring::{Aggregation, ScoreSource, Scoring},
};

use tiny::{SIDE, STATISTICS};

fn engine() -> Engine {
    let options = EngineOptions {
        backend: Some(BackendKind::Tract),
        device: Device::Cpu,
        ..EngineOptions::default()
    };
    Engine::open(&options).unwrap()
}

fn tiny() -> Bundle {
    tiny::writer().finish().unwrap()
}

fn changed(change: impl FnOnce(&mut BundleWriter)) -> Bundle {
    let mut writer = tiny::writer();
    change(&mut writer);
    writer.finish().unwrap()
}

fn refusal<T>(result: Result<T, Error>) -> String {
    let Err(error) = result else {
        panic!("nothing is refused");
    };
    let message = error.to_string();
    assert!(!message.contains('\n'), "not one line: {message:?}");
    message
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} is not {expected}"
        );
    }
}

#[test]
fn a_bundle_on_disk_judges_frames() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("tiny");
    tiny().save(&folder).unwrap();
    let options = DetectorOptions {
        engine: EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        },
    };
    let mut detector = Detector::open(&folder, &options).unwrap();
    assert!(detector.golden_check().agrees());
    assert!(detector.anomaly_map().is_none());

    let dull = detector.score(&tiny::frame(1, None)).unwrap();
    assert_eq!(dull.verdict.label, Label::Normal);
    assert!(dull.verdict.regions.is_empty());

    let spotted = tiny::frame(1, Some((5, 2)));
    let expected = tiny::expected(&spotted);
    let detection = detector.score(&spotted).unwrap();
    let verdict = &detection.verdict;
    assert_eq!(verdict.label, Label::Anomalous);
    let (score, wanted) = (verdict.score.unwrap(), expected.score.unwrap());
    assert!((score - wanted).abs() < 1e-4, "{score} is not {wanted}");
    // Above all 100 calibration scores: (1 + 0) / (100 + 1).
    assert!((verdict.p_value.unwrap() - 1.0 / 101.0).abs() < 1e-12);
    assert_eq!(verdict.threshold, Some(detector.calibration().threshold));
    let map = detector.anomaly_map().unwrap();
    assert_eq!(map.dim(), (SIDE, SIDE));
    assert_close(
        map.as_standard_layout().as_slice().unwrap(),
        expected.values("anomaly_map"),
        1e-4,
    );
    assert_close(
        &detector.reconstruction().unwrap().reconstruction,
        expected.values("reconstruction"),
        1e-6,
    );
    let latency = detection.latency;
    assert!(
        latency.prepare + latency.encode + latency.decode + latency.score <= latency.total,
        "{latency:?}"
    );
}

#[test]
fn regions_lie_in_the_frame() {
    let mut detector = Detector::new(&tiny(), &engine()).unwrap();
    // Each tensor pixel is 10×10 frame pixels: the spot covers x 50–59, y 20–29.
    let detection = detector.score(&tiny::frame(10, Some((5, 2)))).unwrap();
    let map = detector.frame_map(&detection).unwrap();
    assert_eq!(map.dim(), (10 * SIDE, 10 * SIDE));
    let [region] = detection.verdict.regions.as_slice() else {
        panic!("one spot gives {:?}", detection.verdict.regions);
    };
    let [x, y, width, height] = region.bbox;
    assert!(x <= 50 && x + width >= 60, "{region:?}");
    assert!(y <= 20 && y + height >= 30, "{region:?}");
    assert!(width < 30 && height < 30, "{region:?}");
}

/// The tiny model with this map threshold, and 19 calibration scores that are all the same, so
/// that this is the score's threshold.
fn calibrated(threshold: f64, map_threshold: f64) -> Detector {
    let bundle = changed(|writer| {
        let mut calibration = Calibration::fit(vec![threshold; 19], vec![0.0; 19], 0.05).unwrap();
        calibration.map_threshold = map_threshold;
        writer.calibration = Some(calibration);
    });
    Detector::new(&bundle, &engine()).unwrap()
}

#[test]
fn anomalous_frames_have_regions_and_normal_ones_have_none() {
    let spotted = tiny::frame(4, Some((5, 2)));
    // A map threshold that the peak of a normal frame exceeds.
    let mut detector = calibrated(1e6, -1.0);
    let detection = detector.score(&spotted).unwrap();
    assert_eq!(detection.verdict.label, Label::Normal);
    assert!(detection.verdict.regions.is_empty());
    assert_eq!(detection.region_threshold, None);

    // One that the peak of an anomalous frame does not reach: that of the score takes its place.
    let mut detector = calibrated(0.25, 1e6);
    let detection = detector.score(&spotted).unwrap();
    assert_eq!(detection.verdict.label, Label::Anomalous);
    assert_eq!(detection.region_threshold, Some(0.25));
    let [region] = detection.verdict.regions.as_slice() else {
        panic!("one spot gives {:?}", detection.verdict.regions);
    };
    assert!(f64::from(region.max) <= detection.verdict.score.unwrap());

    // One that it reaches is taken first.
    let mut detector = calibrated(0.25, 0.5);
    let detection = detector.score(&spotted).unwrap();
    assert_eq!(detection.region_threshold, Some(0.5));
    assert!(!detection.verdict.regions.is_empty());
}

/// A frame of fewer pixels than the tensor has a map that is averaged, whose peak is lower.
#[test]
fn a_peak_that_averaging_lowers_below_the_score_still_gives_a_region() {
    let samples = (0..16)
        .map(|i| if i == 6 { 250 } else { 100 + i })
        .collect();
    let small = Frame::from_u8(4, 4, PixelFormat::Gray8, samples, "camera").unwrap();
    let score = calibrated(0.0, 0.0).score(&small).unwrap().verdict.score;
    let threshold = score.unwrap() * (1.0 - 1e-6);
    let mut detector = calibrated(threshold, threshold);
    let detection = detector.score(&small).unwrap();
    assert_eq!(detection.verdict.label, Label::Anomalous);
    let map = detector.frame_map(&detection).unwrap();
    let peak = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert!(f64::from(peak) < threshold, "{peak} {threshold}");
    let lowest = map.iter().copied().fold(f32::INFINITY, f32::min);
    let expected = peak - 0.1 * (peak - lowest);
    assert_eq!(detection.region_threshold, Some(expected));
    let [strongest, ..] = detection.verdict.regions.as_slice() else {
        panic!("no region");
    };
    assert_eq!(strongest.max, peak);
}

#[test]
fn frames_without_a_picture_are_invalid() {
    let mut detector = Detector::new(&tiny(), &engine()).unwrap();
    detector.score(&tiny::frame(1, Some((1, 1)))).unwrap();
    for (grey, word) in [(0, "black"), (255, "saturated"), (90, "uniform")] {
        let frame = Frame::from_u8(8, 8, PixelFormat::Gray8, vec![grey; 64], "camera").unwrap();
        let detection = detector.score(&frame).unwrap();
        assert_eq!(detection.verdict.label, Label::Invalid);
        assert_eq!(detection.verdict.score, None);
        assert!(
            detection.verdict.reasons[0].contains(word),
            "{:?}",
            detection.verdict.reasons
        );
        // The map of the frame before must not pass for this one's.
        assert!(detector.anomaly_map().is_none());
        assert!(detector.frame_map(&detection).is_none());
    }
}

#[test]
fn an_engine_proves_itself() {
    let check = GoldenCheck::verify(&tiny(), &engine()).unwrap();
    let names: Vec<_> = check
        .differences
        .iter()
        .map(|found| found.array.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "input",
            "mean",
            "log_variance",
            "reconstruction",
            "reconstruction_log_variance",
            "anomaly_map",
            "score"
        ]
    );
    assert!(check.engine.contains("tract"), "{}", check.engine);
}

#[test]
fn onnx_runtime_proves_itself_too() {
    if find_ort_library().is_none() {
        eprintln!("skipped: no ONNX Runtime library (set ORT_DYLIB_PATH)");
        return;
    }
    let options = EngineOptions {
        backend: Some(BackendKind::Ort),
        device: Device::Cpu,
        ..EngineOptions::default()
    };
    GoldenCheck::verify(&tiny(), &Engine::open(&options).unwrap()).unwrap();
}

/// One change for each step of the way; the first array after it disagrees.
#[test]
fn a_disagreement_is_named() {
    let engine = engine();
    let disagreeing = |change: fn(&mut BundleWriter), array: &str| {
        let bundle = changed(change);
        assert!(!GoldenCheck::run(&bundle, &engine).unwrap().agrees());
        let message = refusal(Detector::new(&bundle, &engine));
        assert!(
            message.contains(&format!("`{array}` differs by")),
            "{message}"
        );
        assert!(message.contains("tract"), "{message}");
    };
    disagreeing(
        |writer| {
            writer.preprocess.crop = Some(Crop {
                left: 0.0,
                top: 0.0,
                right: 0.5,
                bottom: 1.0,
            });
        },
        "input",
    );
    disagreeing(
        |writer| {
            writer.preprocess.normalise = Normalise {
                mean: vec![0.001],
                std: vec![1.0],
            };
        },
        "input",
    );
    disagreeing(
        |writer| drop(writer.files.insert(DECODER.into(), tiny::decoder(0.11))),
        "reconstruction_log_variance",
    );
    disagreeing(
        |writer| {
            let statistics = vec![1.0; 2 * SIDE * SIDE];
            writer.files.insert(
                "statistics.npy".into(),
                write_npy(&[2, SIDE, SIDE], &statistics).unwrap(),
            );
        },
        "anomaly_map",
    );
    disagreeing(
        |writer| writer.golden.score = writer.golden.score.map(|score| score + 0.01),
        "score",
    );
}

#[test]
fn unusable_parts_are_refused() {
    let engine = engine();
    let refused = |change: fn(&mut BundleWriter)| refusal(Detector::new(&changed(change), &engine));
    let message = refused(|writer| {
        writer.files.insert(ENCODER.into(), tiny::encoder(16));
    });
    assert!(message.contains("[1, 1, 16, 16]"), "{message}");
    let message = refused(|writer| {
        writer.files.insert(DECODER.into(), tiny::encoder(SIDE));
    });
    assert!(message.contains("decoder"), "{message}");
    let message = refused(|writer| {
        writer.files.insert(ENCODER.into(), b"not ONNX".to_vec());
    });
    assert!(message.contains("encoder.onnx"), "{message}");
    let message = refused(|writer| {
        writer.files.insert(DECODER.into(), tiny::decoder(f32::NAN));
    });
    assert!(message.contains("NaN"), "{message}");
    let message = refused(|writer| {
        writer
            .files
            .insert("golden.png".into(), b"not PNG".to_vec());
    });
    assert!(message.contains("golden.png"), "{message}");
    let message = refused(|writer| {
        writer
            .files
            .insert("golden.npz".into(), b"not NPZ".to_vec());
    });
    assert!(message.contains("golden.npz"), "{message}");
    for statistics in [
        write_npy(&[SIDE, SIDE], &[1.0; SIDE * SIDE]).unwrap(),
        write_npy(&[2, SIDE, SIDE], &[0.0; 2 * SIDE * SIDE]).unwrap(),
        write_npy(&[2, SIDE, SIDE], &[-1.0; 2 * SIDE * SIDE]).unwrap(),
        write_npy(&[2, SIDE, SIDE], &[f32::NAN; 2 * SIDE * SIDE]).unwrap(),
    ] {
        let bundle = changed(|writer| {
            writer.files.insert("statistics.npy".into(), statistics);
        });
        let message = refusal(Detector::new(&bundle, &engine));
        assert!(message.contains("statistics.npy: "), "{message}");
    }
}

#[test]
fn impossible_scorings_and_calibrations_are_refused() {
    let refused = |change: fn(&mut BundleWriter)| {
        let mut writer = tiny::writer();
        change(&mut writer);
        let message = writer.finish().unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    };
    fn scoring(writer: &mut BundleWriter, blur: f32, how: Aggregation) {
        writer.scoring = Some(Scoring::of_one(
            "residual",
            ScoreSource::Residual,
            blur,
            Some("statistics.npy".into()),
            how,
        ));
    }
    for refusal in [
        refused(|writer| scoring(writer, -1.0, Aggregation::Maximum)),
        refused(|writer| scoring(writer, f32::NAN, Aggregation::Maximum)),
        refused(|writer| scoring(writer, 1e9, Aggregation::Maximum)),
        refused(|writer| scoring(writer, 1.0, Aggregation::TopFraction { fraction: 0.0 })),
        refused(|writer| scoring(writer, 1.0, Aggregation::TopFraction { fraction: 1.5 })),
    ] {
        assert!(refusal.contains("scoring"), "{refusal}");
    }
    for refusal in [
        refused(|writer| writer.calibration.as_mut().unwrap().threshold = f64::NAN),
        refused(|writer| writer.calibration.as_mut().unwrap().false_alarm_rate = 1.5),
        refused(|writer| writer.calibration.as_mut().unwrap().scores.clear()),
        refused(|writer| writer.calibration.as_mut().unwrap().scores.reverse()),
        refused(|writer| {
            writer.scoring = None;
            writer.golden.score = None;
        }),
    ] {
        assert!(refusal.contains("calibration"), "{refusal}");
    }
}

#[test]
fn a_model_without_scoring_reconstructs_but_does_not_judge() {
    let engine = engine();
    let bundle = changed(|writer| {
        writer.scoring = None;
        writer.calibration = None;
        writer.golden.score = None;
    });
    GoldenCheck::verify(&bundle, &engine).unwrap();
    assert!(
        load_scorer(&bundle, &TensorShapes::default())
            .unwrap()
            .is_none()
    );
    let message = refusal(Detector::new(&bundle, &engine));
    assert!(message.contains("no [scoring]"), "{message}");

    let spotted = tiny::frame(1, Some((0, 7)));
    let mut session = InferenceSession::open(&bundle, &engine).unwrap();
    session.run(&spotted).unwrap();
    let expected = tiny::expected(&spotted);
    assert_close(session.posterior_mean(), expected.values("mean"), 1e-6);
    assert_close(
        &session.decoded().unwrap().reconstruction,
        expected.values("reconstruction"),
        1e-6,
    );

    let uncalibrated = changed(|writer| writer.calibration = None);
    let message = refusal(Detector::new(&uncalibrated, &engine));
    assert!(message.contains("no calibration, so"), "{message}");
}

#[test]
fn batches_are_encoded_together() {
    let mut vae = load_vae(&tiny(), &engine(), 2).unwrap();
    let expected = [(0, 0), (6, 6)].map(|spot| tiny::expected(&tiny::frame(1, Some(spot))));
    let input: Vec<f32> = expected
        .iter()
        .flat_map(|one| one.values("input").to_vec())
        .collect();
    let means: Vec<f32> = expected
        .iter()
        .flat_map(|one| one.values("mean").to_vec())
        .collect();
    let (mut mean, mut log_variance) = (vec![0.0; 8], vec![0.0; 8]);
    vae.encode_into(&input, &mut mean, &mut log_variance)
        .unwrap();
    assert_close(&mean, &means, 1e-6);
}

/// What a trainer does: fit the statistics with the scorer that will judge.
#[test]
fn smoothing_and_the_mean_of_the_largest_values_follow_the_formula() {
    let engine = engine();
    let bundle = changed(|writer| {
        writer.scoring = Some(Scoring::of_one(
            "residual",
            ScoreSource::Residual,
            0.8,
            Some("statistics.npy".into()),
            Aggregation::TopFraction { fraction: 0.05 },
        ));
    });
    let frame = tiny::frame(1, Some((3, 0)));
    let mut session = InferenceSession::open(&bundle, &engine).unwrap();
    let mut scorer = load_scorer(&bundle, &TensorShapes::default())
        .unwrap()
        .unwrap();
    let found = GoldenValues::compute(&frame, &mut session, Some(&mut scorer)).unwrap();

    // tiny::expected has the unsmoothed z; undo the standardisation, smooth, and do it again.
    let (mu, deviation) = STATISTICS;
    let residual: Vec<f64> = tiny::expected(&frame)
        .values("anomaly_map")
        .iter()
        .map(|z| f64::from(z * deviation + mu))
        .collect();
    let smoothed = smooth(&residual, 0.8);
    let map: Vec<f32> = smoothed
        .iter()
        .map(|a| ((a - f64::from(mu)) / f64::from(deviation)) as f32)
        .collect();
    assert_close(found.values("anomaly_map"), &map, 1e-4);
    // 5 % of 64 pixels are 3.2, rounded to 3.
    let mut sorted = map;
    sorted.sort_by(f32::total_cmp);
    let largest: f64 = sorted[61..].iter().copied().map(f64::from).sum();
    let score = found.score.unwrap();
    assert!((score - largest / 3.0).abs() < 1e-4, "{score}");
}

/// Gaussian of standard deviation `sigma` by the plain double sum, reaching to four deviations,
/// mirrored about the edges of the border pixels.
fn smooth(map: &[f64], sigma: f64) -> Vec<f64> {
    let side = SIDE as i64;
    let radius = (4.0 * sigma + 0.5) as i64;
    let mirrored = |i: i64| {
        let i = if i < 0 { -1 - i } else { i };
        if i >= side { 2 * side - 1 - i } else { i }
    };
    (0..side * side)
        .map(|index| {
            let (x, y) = (index % side, index / side);
            let (mut sum, mut weights) = (0.0, 0.0);
            for dy in -radius..=radius {
                for dx in -radius..=radius {
                    let weight = (-0.5 * (dx * dx + dy * dy) as f64 / (sigma * sigma)).exp();
                    sum += weight * map[(mirrored(y + dy) * side + mirrored(x + dx)) as usize];
                    weights += weight;
                }
            }
            sum / weights
        })
        .collect()
}

#[test]
fn what_the_mask_leaves_out_counts_nowhere() {
    let bundle = tiny::masked().finish().unwrap();
    let mut detector = Detector::new(&bundle, &engine()).unwrap();
    assert!(detector.golden_check().agrees());
    let dull = detector.score(&tiny::frame(1, None)).unwrap();
    assert_eq!(dull.verdict.label, Label::Normal);
    // A spot outside is not seen.
    let outside = detector.score(&tiny::frame(1, Some((6, 2)))).unwrap();
    assert_eq!(outside.verdict.label, Label::Normal);
    assert_eq!(outside.verdict.score, dull.verdict.score);

    let spotted = tiny::frame(1, Some((3, 2)));
    let expected = tiny::expected_masked(&spotted);
    let detection = detector.score(&spotted).unwrap();
    assert_eq!(detection.verdict.label, Label::Anomalous);
    let (score, wanted) = (detection.verdict.score.unwrap(), expected.score.unwrap());
    assert!((score - wanted).abs() < 1e-4, "{score} is not {wanted}");
    let map = detector.anomaly_map().unwrap();
    assert_close(
        map.as_slice().unwrap(),
        expected.values("anomaly_map"),
        1e-4,
    );
    for region in &detection.verdict.regions {
        let [x, _, width, _] = region.bbox;
        assert!(x as usize + width as usize <= SIDE / 2, "{region:?}");
        assert!(region.sources[0].z < 10.0, "{region:?}");
    }
    assert!(!detection.verdict.regions.is_empty());
}

/// Below every z: all that is looked at is one region, which ends where the mask does.
#[test]
fn regions_end_with_the_mask() {
    let mut writer = tiny::masked();
    let mut calibration = Calibration::fit(vec![0.1; 19], vec![0.0; 19], 0.05).unwrap();
    calibration.map_threshold = -10.0;
    writer.calibration = Some(calibration);
    let bundle = writer.finish().unwrap();
    let mut detector = Detector::new(&bundle, &engine()).unwrap();
    let detection = detector.score(&tiny::frame(3, Some((1, 1)))).unwrap();
    let [region] = detection.verdict.regions.as_slice() else {
        panic!("{:?}", detection.verdict.regions);
    };
    assert_eq!(region.bbox, [0, 0, 12, 24]);
}

#[test]
fn tiles_are_judged_as_one_canvas() {
    let bundle = tiny::tiled().finish().unwrap();
    let mut detector = Detector::new(&bundle, &engine()).unwrap();
    assert!(detector.golden_check().agrees());
    for spot in [None, Some((0, 7)), Some((5, 3)), Some((9, 0))] {
        let frame = tiny::canvas_frame(1, spot);
        let expected = tiny::expected_tiled(&frame);
        let detection = detector.score(&frame).unwrap();
        let (score, wanted) = (detection.verdict.score.unwrap(), expected.score.unwrap());
        assert!((score - wanted).abs() < 1e-4, "{score} is not {wanted}");
        let map = detector.anomaly_map().unwrap();
        assert_eq!(map.dim(), (SIDE, tiny::CANVAS));
        assert_close(
            map.as_slice().unwrap(),
            expected.values("anomaly_map"),
            1e-4,
        );
    }
    // What needs one tensor a frame says so.
    let mut session = InferenceSession::open(&bundle, &engine()).unwrap();
    let message = refusal(session.run(&tiny::canvas_frame(1, None)));
    assert!(message.contains("2 tensors"), "{message}");
}

/// Running less gives the same, bit for bit, and says what it left out.
#[test]
fn what_a_verdict_does_not_need_is_run_for_anomalous_frames_only() {
    for several in [false, true] {
        let bundle = tiny::without_vae(several).finish().unwrap();
        let [mut always, mut lean] = [Explain::Always, Explain::Anomalous].map(|explain| {
            let mut detector = Detector::new(&bundle, &engine()).unwrap();
            assert!(detector.golden_check().agrees());
            detector.explain(explain);
            detector
        });
        let frame = |spot| match several {
            true => tiny::canvas_frame(1, spot),
            false => tiny::frame(1, spot),
        };
        for spot in [None, Some((5, 3)), None, Some((0, 7)), Some((2, 2)), None] {
            let frame = frame(spot);
            let whole = always.score(&frame).unwrap();
            let part = lean.score(&frame).unwrap();
            assert_eq!(whole.verdict, part.verdict);
            assert_eq!(whole.region_threshold, part.region_threshold);
            let [all, some] = [&always, &lean].map(|d| d.anomaly_map().unwrap());
            assert!(
                all.iter()
                    .zip(some)
                    .all(|(a, b)| a.to_bits() == b.to_bits())
            );
            assert!(whole.divergence.is_some() && !whole.latency.encode.is_zero());
            if spot.is_some() {
                assert_eq!(part.verdict.label, Label::Anomalous);
                let sources = &part.verdict.regions[0].sources;
                assert_eq!(sources[0].source, "residual");
                assert!(sources[0].z > 1.0, "{sources:?}");
                assert_eq!(whole.divergence, part.divergence);
                assert_eq!(always.reconstruction(), lean.reconstruction());
                assert!(lean.reconstruction().is_some());
                assert!(!part.latency.encode.is_zero() && !part.latency.decode.is_zero());
            } else {
                assert_eq!(part.verdict.label, Label::Normal);
                assert_eq!((part.divergence, lean.reconstruction()), (None, None));
                assert!(part.latency.encode.is_zero() && part.latency.decode.is_zero());
            }
        }
    }
}

/// A score of the residual needs the decoder for each frame.
#[test]
fn what_a_verdict_needs_is_run_for_every_frame() {
    let mut detector = Detector::new(&tiny(), &engine()).unwrap();
    detector.explain(Explain::Anomalous);
    let detection = detector.score(&tiny::frame(1, None)).unwrap();
    assert_eq!(detection.verdict.label, Label::Normal);
    assert!(detection.divergence.is_some() && detector.reconstruction().is_some());
    assert!(!detection.latency.encode.is_zero());
}

#[test]
fn a_4k_frame_has_its_region_in_its_own_pixels() {
    let bundle = tiny::tiled().finish().unwrap();
    let mut detector = Detector::new(&bundle, &engine()).unwrap();
    let (width, height) = (3840_u32, 2160_u32);
    // Canvas pixel (7, 3) is 384×270 pixels at (2688, 810).
    let spot = |x: u32, y: u32| (2688..3072).contains(&x) && (810..1080).contains(&y);
    let samples = (0..width * height)
        .map(|index| match spot(index % width, index / width) {
            true => 250,
            false => 100 + (index % 7) as u8,
        })
        .collect();
    let frame = Frame::from_u8(width, height, PixelFormat::Gray8, samples, "4K").unwrap();
    let detection = detector.score(&frame).unwrap();
    assert_eq!(detection.verdict.label, Label::Anomalous);
    let region = &detection.verdict.regions[0];
    let [x, y, columns, rows] = region.bbox;
    assert!(x <= 2688 && x + columns >= 3072, "{region:?}");
    assert!(y <= 810 && y + rows >= 1080, "{region:?}");
    assert!(columns < 1300 && rows < 900, "{region:?}");
    assert_eq!(
        detector.frame_map(&detection).unwrap().dim(),
        (height as usize, width as usize)
    );
}

#[test]
fn errors_name_the_bundle() {
    let nowhere = Path::new("no/such/bundle");
    let result = Detector::open(nowhere, &DetectorOptions::default());
    assert!(matches!(
        result,
        Err(Error::Bundle(BundleError::Missing { .. }))
    ));
    assert!(refusal(result).contains("no/such/bundle"));
}
