//! Frames that belong together.

use super::*;

#[test]
fn groups_in_folds_calibrate_like_groups() {
    let groups: Vec<usize> = (0..40).map(|i| i / 2).collect();
    let of = |maxima: usize, folds: u32, rate: f64| {
        let of_maxima = &groups[..maxima];
        let groups = Some([&groups[..], of_maxima]);
        Calibration::fit_folds(ascending(40), ascending(maxima), groups, folds, rate)
    };
    let (calibration, coarser) = of(40, 20, 0.1).unwrap();
    let held_out = Calibration::fit_grouped(ascending(40), ascending(40), &groups, 0.1).unwrap();
    assert_eq!(coarser, None);
    assert_eq!(
        Calibration {
            folds: None,
            ..calibration.clone()
        },
        held_out
    );
    assert_eq!(
        calibration.statement(),
        "calibrated on 40 normal frames of 20 groups, each group scored out of fold (20 folds): of \
         normal frames of new groups like these, about 10 % or fewer, each group counting alike, \
         are called anomalous (between 0.13 % and 27 % with 90 % confidence, if their scores were \
         independent)"
    );
    // Twenty groups guarantee 1/21; maxima of five groups 1/6, so regions go by the
    // highest-scoring.
    let (calibration, coarser) = of(10, 4, 0.01).unwrap();
    assert_eq!(coarser, Some(1.0 / 21.0));
    assert_eq!(calibration.groups(), Some(20));
    assert_eq!(
        (calibration.threshold, calibration.map_threshold),
        (40.0, 10.0)
    );
    // More folds than groups.
    assert!(of(40, 21, 0.1).is_err());
    // Groups of one frame each are frames.
    let alone: Vec<usize> = (0..40).collect();
    let (calibration, _) = Calibration::fit_folds(
        ascending(40),
        ascending(40),
        Some([&alone, &alone]),
        10,
        0.05,
    )
    .unwrap();
    assert_eq!(calibration.groups(), None);
    let (grouped, coarser) =
        Calibration::fit_attainable(ascending(40), ascending(40), Some(&groups), 0.01).unwrap();
    assert_eq!((grouped.groups(), coarser), (Some(20), Some(1.0 / 21.0)));
}

#[test]
fn a_grouped_threshold_by_hand() {
    // Groups a (1, 4), b (2), c (3, 5, 6): weights 1/2, 1, 1/3. Four ranks of groups.
    let scores = vec![4.0, 2.0, 3.0, 1.0, 5.0, 6.0];
    let groups = [7, 0, 5, 7, 5, 5];
    let fit = |rate| {
        Calibration::fit_grouped(scores.clone(), vec![1.0; 6], &groups, rate).inspect(
            |calibration| {
                calibration.validate().unwrap();
                assert_eq!(calibration.scores, ascending(6));
                assert_eq!(calibration.group_sizes, Some(vec![2, 1, 3, 2, 3, 3]));
                assert_eq!(calibration.groups(), Some(3));
            },
        )
    };
    // p-values of scores just above 6, 5, …: (1 + W)/4 with W = 0, 1/3, 2/3, 7/6, 3/2, 5/2, 3.
    let calibration = fit(0.25).unwrap();
    for (score, reached) in [
        (6.5, 0.0),
        (6.0, 1.0 / 3.0),
        (5.0, 2.0 / 3.0),
        (4.0, 7.0 / 6.0),
        (3.0, 1.5),
        (2.0, 2.5),
        (1.0, 3.0),
        (0.0, 3.0),
    ] {
        let expected = (1.0 + reached) / 4.0;
        assert!((calibration.p_value(score) - expected).abs() < 1e-12);
    }
    for (rate, threshold) in [
        (0.25, 6.0),
        (0.33, 6.0),
        (1.0 / 3.0, 5.0),
        (5.0 / 12.0, 4.0),
        (0.54, 4.0),
        (13.0 / 24.0, 3.0),
        (0.999, 1.0),
    ] {
        assert_eq!(fit(rate).unwrap().threshold, threshold, "{rate}");
    }
    assert!(matches!(
        fit(0.2),
        Err(CalibrationError::TooFewGroups {
            found: 3,
            needed: 4,
            ..
        })
    ));
}

#[test]
fn groups_of_one_frame_are_single_frames() {
    let scores: Vec<f64> = (0..120).map(|i| f64::from(i * 37 % 120)).collect();
    let numbers: Vec<usize> = (0..120).map(|i| i * 7 % 120).collect();
    let grouped = Calibration::fit_grouped(scores.clone(), scores.clone(), &numbers, 0.03).unwrap();
    assert_eq!(
        grouped,
        Calibration::fit(scores.clone(), scores.clone(), 0.03).unwrap()
    );
    assert!(matches!(
        Calibration::fit_grouped(scores.clone(), scores, &numbers[..119], 0.03),
        Err(CalibrationError::Value(ValueError::Length { .. }))
    ));
}

#[test]
fn grouped_threshold_and_p_value_agree() {
    let mut rng = Pcg64::seed_from_u64(5);
    for round in 0..200 {
        let count = rng.random_range(1..200);
        let levels = if round % 2 == 0 { 8 } else { 1_000_000 };
        let scores: Vec<f64> = (0..count)
            .map(|_| f64::from(rng.random_range(0..levels)))
            .collect();
        let groups: Vec<usize> = (0..count).map(|_| rng.random_range(0..60)).collect();
        for rate in [0.02, 0.05, 0.1, 1.0 / 3.0, 0.5, 0.95] {
            let Ok(calibration) =
                Calibration::fit_grouped(scores.clone(), scores.clone(), &groups, rate)
            else {
                continue;
            };
            calibration.validate().unwrap();
            assert_eq!(calibration.map_threshold, calibration.threshold);
            for &score in &scores {
                for score in [score - 0.5, score, score + 0.5] {
                    assert_eq!(
                        calibration.is_anomalous(score),
                        calibration.p_value(score) <= rate + 1e-9,
                        "{rate} {score}"
                    );
                }
            }
        }
    }
}

#[test]
fn frames_of_few_groups_break_the_plain_guarantee_and_keep_the_grouped_one() {
    const ROUNDS: u64 = 6_000;
    const GROUPS: usize = 19;
    const RATE: f64 = 0.05;
    let mut rng = Pcg64::seed_from_u64(23);
    let (mut plain_alarms, mut grouped_alarms) = (0, 0);
    // The true rate of each calibration, against the interval that it states.
    let mut within = 0;
    for _ in 0..ROUNDS {
        let (mut scores, mut groups) = (Vec::new(), Vec::new());
        let effect = |rng: &mut Pcg64| -> f64 { StandardNormal.sample(rng) };
        let frame = |rng: &mut Pcg64, effect: f64| -> f64 {
            let noise: f64 = StandardNormal.sample(rng);
            effect + 0.1 * noise
        };
        for group in 0..GROUPS {
            let effect = effect(&mut rng);
            for _ in 0..rng.random_range(1..=30) {
                scores.push(frame(&mut rng, effect));
                groups.push(group);
            }
        }
        let plain = fit(scores.clone(), RATE).unwrap();
        let grouped = Calibration::fit_grouped(scores.clone(), scores, &groups, RATE).unwrap();
        let effect = effect(&mut rng);
        let new = frame(&mut rng, effect);
        plain_alarms += u64::from(plain.is_anomalous(new));
        grouped_alarms += u64::from(grouped.is_anomalous(new));
        assert!(grouped.p_value(new) >= 1.0 / (GROUPS as f64 + 1.0) - 1e-12);
        let normal = statrs::distribution::Normal::new(0.0, 1.01_f64.sqrt()).unwrap();
        let rate = normal.sf(grouped.threshold);
        let (low, high) = grouped.rate_interval(0.9);
        // None of 19 groups may be above, whose probability is (1 − r)^19.
        assert!(low == 0.0 && (high - (1.0 - 0.05_f64.powf(1.0 / 19.0))).abs() < 1e-9);
        within += u64::from(rate <= high);
    }
    let limit = Binomial::new(RATE, ROUNDS).unwrap().inverse_cdf(0.999);
    assert!(grouped_alarms <= limit, "{grouped_alarms} of {ROUNDS}");
    assert!(plain_alarms > limit, "{plain_alarms} of {ROUNDS}");
    assert!(within as f64 >= 0.9 * ROUNDS as f64, "{within}");
}

#[test]
fn a_hostile_grouped_manifest_is_refused() {
    let groups: Vec<usize> = (0..120).map(|i| i / 3).collect();
    let good = Calibration::fit_grouped(ascending(120), ascending(120), &groups, 0.05).unwrap();
    good.validate().unwrap();
    let refused = |change: fn(&mut Calibration)| {
        let mut changed = good.clone();
        change(&mut changed);
        let message = changed.validate().unwrap_err().to_string();
        assert!(!message.contains('\n'));
        changed.p_value(3.0);
        changed.statement();
        changed.percentile(3.0);
    };
    refused(|c| c.group_sizes = Some(vec![0; 120]));
    refused(|c| c.group_sizes = Some(vec![u32::MAX; 120]));
    refused(|c| c.group_sizes = Some(vec![7; 120]));
    refused(|c| c.group_sizes = Some(vec![120; 120]));
    refused(|c| c.group_sizes = Some(Vec::new()));
    refused(|c| c.group_sizes.as_mut().unwrap().truncate(119));
    refused(|c| c.group_sizes = None);
    refused(|c| c.threshold = 119.0);
    refused(|c| c.date = Some("yesterday".into()));
    refused(|c| c.date = Some(String::new()));
    let mut dated = good.clone();
    dated.date = Some("2026-01-31T12:00:00Z".into());
    dated.validate().unwrap();
    let many = vec![0.0; MAX_CALIBRATION_FRAMES + 1];
    assert!(matches!(
        Calibration::fit(many.clone(), many, 0.01),
        Err(CalibrationError::TooManyFrames { .. })
    ));
}
