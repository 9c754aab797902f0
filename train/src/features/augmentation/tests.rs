use super::*;
use crate::random::{Purpose, stream};

const SCORED: AugmentationParams = AugmentationParams::SCORED;
const FITTED: AugmentationParams = AugmentationParams::FITTED;

fn augmentation(
    shape: [usize; 3],
    normalised: bool,
    params: AugmentationParams,
) -> FrameAugmentation {
    FrameAugmentation {
        shape,
        side: equivalent_side([shape[1], shape[2]]),
        cropped: 1.0,
        exposure: normalised,
        contrast: normalised,
        params,
    }
}

fn frame(shape: [usize; 3]) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    (0..count).map(|i| (i % 97) as f32 / 97.0).collect()
}

#[test]
fn augmented_frames_stay_in_range_and_differ() {
    for shape in [[3, 24, 32], [1, 80, 96], [3, 64, 64]] {
        let frame = frame(shape);
        for movement in [SMALL_JITTER, FULL_ROTATION] {
            let range_of_means = |normalised: bool| {
                let augmentation = augmentation(shape, normalised, SCORED);
                let means = (0..40).map(|counter| {
                    let mut random = stream(3, Purpose::SyntheticValidation, counter);
                    let taken = augmentation.apply(&frame, &movement, &mut random).unwrap();
                    assert_eq!(taken.len(), frame.len());
                    assert!(taken.iter().all(|v| (0.0..=1.0).contains(v)));
                    taken.iter().sum::<f32>() / taken.len() as f32
                });
                means.fold([f32::MAX, f32::MIN], |[least, most], mean| {
                    [least.min(mean), most.max(mean)]
                })
            };
            let [least, most] = range_of_means(true);
            assert!(least < 0.45 && most > 0.55, "{least} {most}");
            // Where nothing normalises the exposure, it hardly changes.
            let [least, most] = range_of_means(false);
            assert!(
                least > 0.46 && most < 0.54 && least < most,
                "{least} {most}"
            );
        }
    }
}

#[test]
fn more_is_saturated_of_what_is_fitted_on() {
    let shape = [1, 80, 96];
    let saturated = |params| {
        let augmentation = augmentation(shape, true, params);
        let shares = (0..40).map(|counter| {
            let mut random = stream(3, Purpose::AugmentedSample, counter);
            let taken = augmentation.apply(&frame(shape), &SMALL_JITTER, &mut random);
            let taken = taken.unwrap();
            taken.iter().filter(|value| **value > 0.99).count()
        });
        shares.sum::<usize>()
    };
    assert!(saturated(FITTED) > 2 * saturated(SCORED));
}

#[test]
fn dark_frames_are_overexposed_too() {
    let dark: Vec<f32> = frame([1, 80, 96]).iter().map(|v| 0.55 * v).collect();
    let lost = |params: AugmentationParams| -> Vec<f32> {
        let augmentation = augmentation([1, 80, 96], true, params);
        let each = (0..60).map(|counter| {
            let mut random = stream(3, Purpose::AugmentedSample, counter);
            let taken = augmentation.apply(&dark, &SMALL_JITTER, &mut random);
            let taken = taken.unwrap();
            let lost = taken.iter().filter(|value| **value > 0.97).count();
            lost as f32 / dark.len() as f32
        });
        each.collect()
    };
    let fitted = lost(FITTED);
    let with = |least: f32| fitted.iter().filter(|lost| **lost > least).count();
    // A fair share of the frames, and of each frame.
    assert!((15..48).contains(&with(0.05)), "{fitted:?}");
    assert!(with(0.2) > 0 && with(0.6) == 0, "{fitted:?}");
    assert!(lost(SCORED).iter().all(|lost| *lost < 0.01));
    // A fifth of it is bright, before a dark background.
    let part: Vec<f32> = (0..1000).map(|i| if i < 200 { 0.8 } else { 0.1 }).collect();
    let bright = -0.8f32.log2();
    let gain = |values: &[f32], share| FITTED.overexposing_gain(values, share);
    assert!((gain(&part, 0.1) - bright).abs() < 1e-6);
    assert!((gain(&part, 0.5) - bright - FITTED.beyond_white).abs() < 1e-6);
    assert_eq!(gain(&[0.0; 4], 0.5), FITTED.overexposed_gain);
}

/// A frame of three times the canvas's pixels is changed as it is, a much larger one on its canvas.
#[test]
fn frames_are_changed_before_they_are_resized() {
    let settings = PreprocessSettings {
        exposure: Some(edge_vae::preprocess::Exposure::default()),
        ..PreprocessSettings::new(64, 64, edge_vae::preprocess::Colour::Grey)
    };
    let mut plain = Preprocessor::new(PreprocessSettings {
        exposure: None,
        ..settings.clone()
    })
    .unwrap();
    let mut whole = Preprocessor::new(settings.clone()).unwrap();
    let augmentation = FrameAugmentation::to_fit(&settings, 100);
    for (side, bits) in [(110, Some(8)), (300, None)] {
        let shape = [1, side, side];
        let picture = planes::to_frame(&frame(shape), shape, 8, "drawn").unwrap();
        let original = augmentation.original(&picture, &mut plain).unwrap();
        assert_eq!(original.bits, bits);
        let kept = bits.map_or([1, 64, 64], |_| shape);
        assert_eq!(original.shape, kept);
        let mut canvases = (0..2).map(|counter| {
            let mut random = stream(3, Purpose::AugmentedSample, counter);
            let whole = &mut whole;
            augmentation
                .prepare(&original, &SMALL_JITTER, whole, &mut random)
                .unwrap();
            whole.canvas().to_vec()
        });
        let (a, b) = (canvases.next().unwrap(), canvases.next().unwrap());
        assert_eq!(a.len(), 64 * 64);
        assert_ne!(a, b);
    }
}

#[test]
fn compression_keeps_the_picture_and_costs_details() {
    for channels in [1, 3] {
        let shape = [channels, 64, 64];
        let smooth: Vec<f32> = (0..channels * 4096)
            .map(|i| 0.2 + 0.6 * ((i % 64) as f32 / 64.0))
            .collect();
        let mut stored = smooth.clone();
        compress(&mut stored, shape, 90).unwrap();
        let worst = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max)
        };
        assert!(worst(&smooth, &stored) < 0.03);
        let busy = frame(shape);
        let mut stored = busy.clone();
        compress(&mut stored, shape, 40).unwrap();
        assert!(worst(&busy, &stored) > 0.1);
    }
}

#[test]
fn small_frames_are_not_moved() {
    let shape = [1, 28, 28];
    let mut dot = vec![0.0; 784];
    dot[14 * 28 + 14] = 1.0;
    for counter in 0..20 {
        let mut random = stream(5, Purpose::SyntheticValidation, counter);
        let taken = augmentation(shape, false, SCORED)
            .apply(&dot, &SMALL_JITTER, &mut random)
            .unwrap();
        let brightest = taken.iter().position(|v| taken.iter().all(|o| o <= v));
        assert_eq!(brightest, Some(14 * 28 + 14));
    }
}
