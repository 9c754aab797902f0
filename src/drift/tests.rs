use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

use super::*;
use crate::{
    calibration::{ReferenceFrame, ReferenceStatistics},
    frame::{Frame, PixelFormat},
    image::GaussianSmoothing,
    synth::{Defects, SurfaceSettings, surface_frame},
};

const SIDE: usize = 96;

fn calibration(frames: &[DriftFrame]) -> Calibration {
    let scores: Vec<f64> = frames.iter().map(|frame| frame.score).collect();
    let frames: Vec<ReferenceFrame> = frames
        .iter()
        .map(|frame| ReferenceFrame {
            statistics: frame.statistics,
            divergence: frame.divergence,
            size: frame.size,
        })
        .collect();
    Calibration {
        reference: ReferenceStatistics::of(&frames, None),
        ..Calibration::fit(scores.clone(), scores, 0.1).unwrap()
    }
}

fn monitor(calibration: &Calibration, settings: &DriftSettings) -> DriftMonitor {
    DriftMonitor::new(settings, calibration).unwrap().unwrap()
}

/// What a window of these frames comes to.
fn window(
    calibration: &Calibration,
    settings: &DriftSettings,
    frames: &[DriftFrame],
) -> WindowResult {
    let settings = DriftSettings {
        window: frames.len() + 1,
        ..settings.clone()
    };
    let mut monitor = monitor(calibration, &settings);
    for frame in frames {
        assert_eq!(monitor.observe(frame), None);
    }
    monitor.compare()
}

/// A frame whose quantities are random and depend on each other, as score and divergence do.
fn random_frame(rng: &mut Pcg64) -> DriftFrame {
    let mut normal = || -> f64 { rng.sample(StandardNormal) };
    let divergence: f64 = 50.0 + normal();
    let light = normal();
    DriftFrame {
        score: divergence + normal(),
        divergence: Some(divergence),
        statistics: FrameStatistics {
            brightness: 0.5 + 0.05 * light.tanh(),
            contrast: 0.1 + 0.01 * (light + normal()).tanh(),
            focus: normal().exp(),
        },
        size: [640, 480],
    }
}

fn random_frames(count: usize, rng: &mut Pcg64) -> Vec<DriftFrame> {
    (0..count).map(|_| random_frame(rng)).collect()
}

#[test]
fn frames_that_have_not_changed_are_called_drifted_as_rarely_as_stated() {
    let mut rng = Pcg64::seed_from_u64(17);
    let settings = DriftSettings {
        false_alarm_rate: 0.05,
        least_change: 0.0,
        ..DriftSettings::default()
    };
    let trials = 1500;
    let called = (0..trials)
        .filter(|_| {
            let calibration = calibration(&random_frames(120, &mut rng));
            let frames = random_frames(80, &mut rng);
            window(&calibration, &settings, &frames).cause.is_some()
        })
        .count();
    // 75 if the rate were just met, with a deviation of 8.4; not far below either.
    assert!((30..=100).contains(&called), "{called}");
}

#[test]
fn one_window_alone_tells_nothing() {
    let mut rng = Pcg64::seed_from_u64(2);
    let calibration = calibration(&random_frames(200, &mut rng));
    let settings = DriftSettings {
        window: 50,
        ..DriftSettings::default()
    };
    let mut monitor = monitor(&calibration, &settings);
    let mut run = |dark: bool| -> Vec<bool> {
        let mut told = Vec::new();
        for _ in 0..50 {
            let mut frame = random_frame(&mut rng);
            if dark {
                frame.statistics.brightness *= 0.7;
            }
            if monitor.observe(&frame).is_some() {
                told.push(monitor.is_drifted());
            }
        }
        told
    };
    let told: Vec<Vec<bool>> = [
        true, false, true, true, true, false, true, false, false, false,
    ]
    .map(&mut run)
    .to_vec();
    let empty = Vec::<bool>::new;
    assert_eq!(
        told,
        [
            empty(),
            empty(),
            empty(),
            vec![true],
            empty(),
            empty(),
            empty(),
            empty(),
            vec![false],
            empty()
        ]
    );
}

fn grey(light: &[f32]) -> Frame {
    let samples = light.iter().map(|v| v.round() as u8).collect();
    Frame::from_u8(
        SIDE as u32,
        SIDE as u32,
        PixelFormat::Gray8,
        samples,
        "camera",
    )
    .unwrap()
}

fn surface(seed: u64, index: u64, defects: Defects) -> (Vec<f32>, bool) {
    let settings = SurfaceSettings {
        width: SIDE as u32,
        height: SIDE as u32,
        defects,
        ..SurfaceSettings::default()
    };
    let frame = surface_frame(seed, index, &settings).unwrap();
    let light = frame.picture.as_raw().iter().map(|&v| v.into()).collect();
    (light, frame.mask.is_some())
}

/// Frames of the procedural camera after a change of the picture, with a score and a divergence
/// drawn by lot, `shift` deviations higher; defective ones score ten deviations more.
fn camera(
    seed: u64,
    count: u64,
    defects: f64,
    shift: f64,
    change: impl Fn(&mut Vec<f32>),
) -> Vec<DriftFrame> {
    let mut rng = Pcg64::seed_from_u64(seed);
    (0..count)
        .map(|index| {
            let (mut light, defective) = surface(seed, index, Defects::Rate(defects));
            change(&mut light);
            let frame = grey(&light);
            let mut normal = || -> f64 { rng.sample(StandardNormal) };
            let more = if defective { 10.0 } else { 0.0 };
            DriftFrame {
                score: normal() + shift + more,
                divergence: Some(50.0 + normal() + shift),
                statistics: FrameStatistics::of(&frame),
                size: [frame.width(), frame.height()],
            }
        })
        .collect()
}

fn gain(factor: f32) -> impl Fn(&mut Vec<f32>) {
    move |light| light.iter_mut().for_each(|v| *v *= factor)
}

fn blur(sigma: f32) -> impl Fn(&mut Vec<f32>) {
    move |light| {
        let mut smoothing = GaussianSmoothing::new(SIDE, SIDE, sigma).unwrap();
        smoothing.apply(light).unwrap();
    }
}

/// The camera turned: a dark fixture comes into view on the left.
fn fixture(columns: usize) -> impl Fn(&mut Vec<f32>) {
    move |light| {
        for row in light.chunks_exact_mut(SIDE) {
            row.rotate_right(columns);
            row[..columns].fill(30.0);
        }
    }
}

#[test]
fn what_changed_is_told_apart() {
    let calibration = calibration(&camera(1, 200, 0.0, 0.0, |_| {}));
    let settings = DriftSettings::default();
    let cause = |frames: Vec<DriftFrame>| window(&calibration, &settings, &frames).cause;
    assert_eq!(cause(camera(2, 80, 0.0, 0.0, |_| {})), None);
    // Light fails; with and without the model minding.
    assert_eq!(
        cause(camera(3, 80, 0.0, 0.0, gain(0.8))),
        Some(LikelyCause::Light)
    );
    assert_eq!(
        cause(camera(3, 80, 0.0, 2.0, gain(0.8))),
        Some(LikelyCause::Light)
    );
    assert_eq!(
        cause(camera(4, 80, 0.0, 0.0, gain(1.25))),
        Some(LikelyCause::Light)
    );
    assert_eq!(
        cause(camera(5, 80, 0.0, 2.0, blur(1.0))),
        Some(LikelyCause::Focus)
    );
    assert_eq!(
        cause(camera(6, 80, 0.0, 0.0, blur(0.7))),
        Some(LikelyCause::Focus)
    );
    assert_eq!(
        cause(camera(7, 80, 0.0, 2.0, fixture(24))),
        Some(LikelyCause::Scene)
    );
    assert_eq!(
        cause(camera(8, 80, 0.0, 2.0, |_| {})),
        Some(LikelyCause::Parts)
    );
    // A few bad parts among good ones.
    for seed in 10..16 {
        assert_eq!(cause(camera(seed, 80, 0.05, 0.0, |_| {})), None, "{seed}");
    }
    // Half of them bad: the parts, and never the camera.
    assert_eq!(
        cause(camera(20, 80, 0.5, 0.0, |_| {})),
        Some(LikelyCause::Parts)
    );
}

#[test]
fn without_reference_statistics_only_scores_are_compared() {
    let frames = camera(1, 100, 0.0, 0.0, |_| {});
    let mut bare = calibration(&frames);
    bare.reference = None;
    let settings = DriftSettings::default();
    let of = |frames: &[DriftFrame]| window(&bare, &settings, frames);
    assert!(!monitor(&bare, &settings).has_reference());
    let found = of(&camera(3, 80, 0.0, 2.0, gain(0.8)));
    assert_eq!(found.cause, Some(LikelyCause::Unknown));
    assert_eq!(found.tests.len(), 1);
    assert_eq!(of(&camera(3, 80, 0.0, 0.0, gain(0.8))).cause, None);

    // Scores of groups are not compared, and without reference statistics there is nothing.
    let scores: Vec<f64> = (0..40).map(f64::from).collect();
    let groups: Vec<usize> = (0..40).map(|k| k / 2).collect();
    let mut grouped = Calibration::fit_grouped(scores.clone(), scores, &groups, 0.1).unwrap();
    assert!(DriftMonitor::new(&settings, &grouped).unwrap().is_none());
    grouped.reference = calibration(&frames[..20]).reference;
    let found = window(&grouped, &settings, &frames);
    assert_eq!(found.tests.len(), 4);
    assert!(found.tests.iter().all(|t| t.quantity != Quantity::Score));
}

#[test]
fn frames_of_another_size_have_no_focus_to_compare() {
    let calibration = calibration(&camera(1, 100, 0.0, 0.0, |_| {}));
    let mut frames = camera(5, 80, 0.0, 0.0, blur(1.0));
    frames[7].size = [640, 480];
    let found = window(&calibration, &DriftSettings::default(), &frames);
    let quantities: Vec<_> = found.tests.iter().map(|t| t.quantity).collect();
    assert_eq!(quantities, Quantity::ALL[..4]);
}

#[test]
fn a_change_too_small_to_matter_is_none() {
    // A lamp without any flicker, half a percent brighter.
    let frame = |k: u32, brightness: f64| DriftFrame {
        score: f64::from(k % 10),
        divergence: Some(f64::from(k % 7)),
        statistics: FrameStatistics {
            brightness: brightness + 1e-6 * f64::from(k),
            contrast: 0.1,
            focus: 1.0,
        },
        size: [8, 8],
    };
    let frames = |brightness| (0..100).map(|k| frame(k, brightness)).collect::<Vec<_>>();
    let calibration = calibration(&frames(0.5));
    let of = |settings: &DriftSettings| window(&calibration, settings, &frames(0.5025));
    let found = of(&DriftSettings::default());
    assert_eq!(found.cause, None);
    assert!(found.tests[2].statistic == 1.0 && !found.tests[2].drifted);
    let strict = DriftSettings {
        least_change: 0.002,
        ..DriftSettings::default()
    };
    assert_eq!(of(&strict).cause, Some(LikelyCause::Light));
}

#[test]
fn values_that_are_no_numbers_are_not_taken() {
    let mut rng = Pcg64::seed_from_u64(6);
    let calibration = calibration(&random_frames(100, &mut rng));
    let settings = DriftSettings {
        window: 20,
        ..DriftSettings::default()
    };
    let mut monitor = monitor(&calibration, &settings);
    for _ in 0..100 {
        let frame = DriftFrame {
            divergence: Some(f64::INFINITY),
            ..random_frame(&mut rng)
        };
        assert_eq!(monitor.observe(&frame), None);
    }
    assert!(monitor.values.iter().all(Vec::is_empty));
}

#[test]
fn settings_are_read_and_refused() {
    let mut rng = Pcg64::seed_from_u64(1);
    let calibration = calibration(&random_frames(100, &mut rng));
    let parse = |text: &str| toml::from_str::<DriftSettings>(text);
    assert_eq!(parse("").unwrap(), DriftSettings::default());
    assert_eq!(parse("every = 2.5\nwindow = 20").unwrap().every, 2.5);
    assert!(parse("interval = 2").is_err());
    for (text, key) in [
        ("window = 19", "drift.window: found 19"),
        ("window = 10001", "drift.window: found 10001"),
        ("every = -1.0", "drift.every: found -1"),
        ("every = nan", "drift.every: found NaN"),
        ("false-alarm-rate = 0.0", "drift.false-alarm-rate: found 0"),
        ("false-alarm-rate = 1.0", "drift.false-alarm-rate: found 1"),
        ("least-change = 1.5", "drift.least-change: found 1.5"),
    ] {
        let error = DriftMonitor::new(&parse(text).unwrap(), &calibration).unwrap_err();
        assert!(error.to_string().starts_with(key), "{error}");
    }
    let off = parse("window = 0").unwrap();
    assert!(DriftMonitor::new(&off, &calibration).unwrap().is_none());
}

#[test]
fn scores_below_those_of_folds_are_no_drift() {
    let mut rng = Pcg64::seed_from_u64(23);
    let held_out = calibration(&random_frames(200, &mut rng));
    let mut folds = held_out.clone();
    folds.folds = Some(20);
    let settings = DriftSettings::default();
    let normal = random_frames(80, &mut rng);
    let drifted = |calibration: &Calibration, shift: f64| {
        let mut frames = normal.clone();
        frames.iter_mut().for_each(|frame| frame.score += shift);
        window(calibration, &settings, &frames).cause.is_some()
    };
    assert!(drifted(&held_out, -100.0) && drifted(&held_out, 100.0));
    assert!(!drifted(&folds, -100.0) && drifted(&folds, 100.0));
}
