mod groups;
mod properties;
mod words;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use rand_distr::{Distribution, Exp1, StandardNormal};
use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, DiscreteCDF};

use super::{
    guarantee::{percent_down, percent_up},
    *,
};

fn ascending(n: usize) -> Vec<f64> {
    (1..=n).map(|i| i as f64).collect()
}

fn fit(scores: Vec<f64>, rate: f64) -> Result<Calibration, CalibrationError> {
    let maxima = scores.iter().map(|score| score * 10.0).collect();
    Calibration::fit(scores, maxima, rate)
}

#[test]
fn the_threshold_has_the_conformal_rank() {
    // ⌈(n + 1)(1 − rate)⌉, by hand.
    for (n, rate, rank) in [
        (99, 0.01, 99.0),
        (100, 0.01, 100.0),
        (198, 0.01, 198.0),
        (199, 0.01, 198.0),
        (9, 0.1, 9.0),
        (99, 0.29, 71.0),
        (99, 0.07, 93.0),
        (3, 0.5, 2.0),
        (2, 1.0 / 3.0, 2.0),
        (4, 0.999, 1.0),
    ] {
        let mut scores = ascending(n);
        scores.reverse();
        let calibration = fit(scores, rate).unwrap();
        assert_eq!(calibration.threshold, rank, "{n} {rate}");
        assert_eq!(calibration.map_threshold, 10.0 * rank);
        assert_eq!(calibration.scores, ascending(n));
        calibration.validate().unwrap();
    }
}

#[test]
fn too_few_frames_cannot_guarantee_the_rate() {
    for (rate, needed) in [
        (0.01, 99),
        (0.1, 9),
        (0.001, 999),
        (0.3, 3),
        (0.5, 1),
        (0.7, 1),
    ] {
        assert!(fit(ascending(needed), rate).is_ok());
        match fit(ascending(needed - 1), rate) {
            Err(CalibrationError::TooFewFrames {
                found, needed: n, ..
            }) => assert_eq!((found, n), (needed - 1, needed)),
            other => panic!("{other:?}"),
        }
    }
    for needed in 2..3000 {
        let rate = 1.0 / f64::from(needed + 1);
        assert!(allowed_tail(needed as usize, false, rate).is_ok());
        assert!(allowed_tail(needed as usize - 1, false, rate).is_err());
        assert_eq!(Calibration::needed(rate).unwrap(), needed as usize);
    }
}

#[test]
fn the_attainable_rate_is_told() {
    let of = |n: usize| Calibration::fit_attainable(ascending(n), ascending(n), None, 0.01);
    let (calibration, coarser) = of(120).unwrap();
    assert_eq!((calibration.false_alarm_rate, coarser), (0.01, None));
    let (calibration, coarser) = of(19).unwrap();
    assert_eq!(coarser, Some(0.05));
    assert_eq!(calibration.false_alarm_rate, 0.05);
    assert_eq!(calibration.threshold, 19.0);
    calibration.validate().unwrap();
    assert!(of(1).is_ok());
    assert!(matches!(
        of(0),
        Err(CalibrationError::TooFewFrames { needed: 99, .. })
    ));
    for n in 1..2000 {
        let scores = vec![0.0; n];
        let (calibration, _) =
            Calibration::fit_attainable(scores.clone(), scores, None, 1e-9).unwrap();
        calibration.validate().unwrap();
    }
}

#[test]
fn p_values_count_ties_as_reached() {
    let calibration = fit(vec![1.0, 2.0, 2.0, 3.0], 0.25).unwrap();
    for (score, p) in [
        (0.0, 1.0),
        (1.0, 1.0),
        (1.5, 0.8),
        (2.0, 0.8),
        (2.5, 0.4),
        (3.0, 0.4),
        (3.1, 0.2),
        (f64::INFINITY, 0.2),
    ] {
        assert_eq!(calibration.p_value(score), p, "{score}");
    }
    assert!(calibration.p_value(f64::NAN).is_nan());
}

#[test]
fn threshold_and_p_value_agree_with_and_without_ties() {
    let mut rng = Pcg64::seed_from_u64(4);
    for round in 0..400 {
        let n = rng.random_range(1..150);
        let levels = if round % 2 == 0 { 8 } else { 1_000_000 };
        let mut draw = || f64::from(rng.random_range(0..levels));
        let scores: Vec<f64> = (0..n).map(|_| draw()).collect();
        let tried: Vec<f64> = scores
            .iter()
            .copied()
            .chain((0..30).map(|_| draw()))
            .collect();
        for rate in [0.01, 0.07, 0.1, 0.29, 0.3, 0.5, 2.0 / 3.0, 0.95] {
            let Ok(calibration) = fit(scores.clone(), rate) else {
                assert!((n as f64 + 1.0) * rate < 1.0);
                continue;
            };
            for &score in &tried {
                assert_eq!(
                    calibration.is_anomalous(score),
                    calibration.p_value(score) <= rate,
                    "{n} {rate} {score}"
                );
            }
        }
    }
}

#[test]
fn the_guarantee_holds_on_average_over_calibrations() {
    // Scores uniform in [0, 1], so that the rate of one calibration is 1 − threshold.
    const CALIBRATIONS: usize = 4000;
    let mut rng = Pcg64::seed_from_u64(8);
    for (n, rate) in [(37, 0.1), (150, 0.01), (19, 0.05), (10, 0.5)] {
        let mut rates = Vec::with_capacity(CALIBRATIONS);
        let mut bound = 0.0;
        for _ in 0..CALIBRATIONS {
            let scores: Vec<f64> = (0..n).map(|_| rng.random::<f64>()).collect();
            let calibration = fit(scores, rate).unwrap();
            rates.push(1.0 - calibration.threshold);
            bound = calibration.rate_with_confidence(0.95);
        }
        let mean = rates.iter().sum::<f64>() / CALIBRATIONS as f64;
        let variance = rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>();
        let error = variance.sqrt() / CALIBRATIONS as f64;
        assert!(mean <= rate + 4.0 * error, "{n} {rate}: {mean}");
        assert!(mean >= rate - 1.0 / (n as f64 + 1.0) - 4.0 * error);
        // 95 % of the calibrations stay below the bound; four standard deviations are 0.014.
        let within = rates.iter().filter(|&&rate| rate < bound).count();
        let share = within as f64 / CALIBRATIONS as f64;
        assert!((share - 0.95).abs() < 0.014, "{n} {rate}: {share}");
    }
}

#[test]
fn the_bound_of_one_calibration_has_the_values_of_scipy() {
    // scipy.stats.beta.ppf(0.95, l, n + 1 − l).
    for (n, rate, expected) in [
        (152, 0.01, 0.019_515_816_917_848_233),
        (99, 0.01, 0.029_806_673_773_350_886),
        (100, 0.05, 0.089_196_250_158_879_87),
        (1000, 0.02, 0.027_755_286_045_479_104),
        (1, 0.5, 0.95),
        (100_000, 0.005, 0.005_372_366_037_288_871),
        (99, 0.9, 0.944_167_821_157_933_5),
    ] {
        let calibration = fit(ascending(n), rate).unwrap();
        let found = calibration.rate_with_confidence(0.95);
        assert!((found / expected - 1.0).abs() < 1e-7, "{n} {rate}: {found}");
    }
    let calibration = fit(ascending(99), 0.01).unwrap();
    for confidence in [0.0, 1.0, -1.0, f64::NAN] {
        assert_eq!(calibration.rate_with_confidence(confidence), 1.0);
    }
}

#[test]
fn the_interval_of_one_calibration_has_the_values_of_scipy() {
    // scipy.stats.beta.ppf(0.05, l, n + 1 − l) and (0.95, …).
    for (n, rate, low, high) in [
        (
            152,
            0.01,
            0.000_337_398_952_295_929_5,
            0.019_515_816_917_848_233,
        ),
        (
            100,
            0.05,
            0.019_905_563_662_171_832,
            0.089_196_250_158_879_87,
        ),
        (
            1000,
            0.02,
            0.013_293_005_534_560_481,
            0.027_755_286_045_479_104,
        ),
    ] {
        let found = fit(ascending(n), rate).unwrap().rate_interval(0.9);
        assert!((found.0 / low - 1.0).abs() < 1e-6, "{n} {rate}: {found:?}");
        assert!((found.1 / high - 1.0).abs() < 1e-7, "{n} {rate}: {found:?}");
    }
    // Groups of two: the roots of the two bounds, by scipy.stats.binom and scipy.optimize.brentq.
    for (groups, rate, low, high) in [
        (99, 0.01, 0.0, 0.029_806_673_773_345_112),
        (
            120,
            0.02,
            0.000_556_361_491_175_135_3,
            0.053_800_491_142_754_016,
        ),
        (40, 0.1, 0.013_986_701_754_003_064, 0.221_157_670_123_459_9),
        (
            25,
            0.05,
            2.045_237_164_229_159_5e-7,
            0.151_381_462_951_704_7,
        ),
    ] {
        let pairs: Vec<usize> = (0..2 * groups).map(|i| i / 2).collect();
        let scores = ascending(2 * groups);
        let calibration = Calibration::fit_grouped(scores.clone(), scores, &pairs, rate).unwrap();
        let found = calibration.rate_interval(0.9);
        assert!(
            (found.0 - low).abs() <= 1e-7 * low.max(1e-9),
            "{groups}: {found:?}"
        );
        assert!((found.1 / high - 1.0).abs() < 1e-7, "{groups}: {found:?}");
    }
    let calibration = fit(ascending(99), 0.01).unwrap();
    for confidence in [0.0, 1.0, -1.0, f64::NAN] {
        assert_eq!(calibration.rate_interval(confidence), (0.0, 1.0));
    }
}

#[test]
fn frames_in_folds_calibrate_like_others_and_say_so() {
    let maxima: Vec<f64> = ascending(40).iter().map(|score| 10.0 * score).collect();
    let folds = |scores: usize, maxima: &[f64], folds: u32, rate: f64| {
        Calibration::fit_folds(ascending(scores), maxima.to_vec(), None, folds, rate)
    };
    // As many maxima as scores: the rule of held-out frames.
    let (calibration, coarser) = folds(40, &maxima, 10, 0.05).unwrap();
    let held_out = fit(ascending(40), 0.05).unwrap();
    assert_eq!(coarser, None);
    assert_eq!(calibration.threshold, held_out.threshold);
    assert_eq!(calibration.map_threshold, held_out.map_threshold);
    for score in [0.5, 17.0, 17.5, 41.0] {
        assert_eq!(calibration.p_value(score), held_out.p_value(score));
    }
    assert_eq!(
        calibration.statement(),
        "calibrated on 40 normal frames, each scored out of fold (10 folds): of new normal frames \
         like these, about 5.0 % or fewer are called anomalous (between 0.89 % and 12 % with 90 % \
         confidence, if their scores were independent)"
    );
    // Models of fewer frames find all of them a little more anomalous: lower scores are no change.
    let p_value = |calibration: &Calibration, shift: f64| {
        let scores: Vec<f64> = ascending(40).iter().map(|score| score + shift).collect();
        calibration.distribution_shift(&scores).unwrap().p_value
    };
    assert!(p_value(&held_out, -20.0) < 0.001);
    assert_eq!(p_value(&calibration, -20.0), 1.0);
    assert!(p_value(&calibration, 20.0) < 0.001);
    assert_eq!(p_value(&calibration, 20.0), p_value(&held_out, 20.0));
    assert!(held_out.probability_of_no_alarm(10).is_some());
    assert!(calibration.probability_of_no_alarm(10).is_none());
    // Fewer maxima than 5 % takes: regions go by the highest-scoring.
    let (calibration, _) = folds(40, &maxima[..8], 10, 0.05).unwrap();
    assert_eq!(calibration.threshold, held_out.threshold);
    assert_eq!(calibration.map_threshold, 80.0);
    // Fewer frames than the rate takes: the rate that they can guarantee.
    let (calibration, coarser) = folds(30, &maxima[..30], 20, 0.01).unwrap();
    assert_eq!(coarser, Some(1.0 / 31.0));
    assert_eq!(calibration.threshold, 30.0);

    for (number, wanted) in [(0, false), (1, false), (2, true), (40, true), (41, false)] {
        let fitted = folds(40, &maxima, number, 0.05);
        assert_eq!(fitted.is_ok(), wanted, "{number}");
    }
    assert!(folds(40, &[], 10, 0.05).is_err());
    assert!(folds(40, &[1.0, f64::NAN], 10, 0.05).is_err());
}

#[test]
fn unusable_scores_and_rates_are_refused() {
    for rate in [0.0, 1.0, -0.1, 2.0, f64::NAN] {
        assert!(matches!(
            fit(ascending(200), rate),
            Err(CalibrationError::Value(ValueError::Setting { .. }))
        ));
        assert!(Calibration::fit_attainable(ascending(9), ascending(9), None, rate).is_err());
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut scores = ascending(200);
        scores[7] = value;
        assert!(matches!(
            Calibration::fit(scores.clone(), ascending(200), 0.01),
            Err(CalibrationError::Value(ValueError::NotFinite {
                index: 7,
                ..
            }))
        ));
        assert!(Calibration::fit(ascending(200), scores, 0.01).is_err());
    }
    assert!(matches!(
        Calibration::fit(ascending(200), ascending(199), 0.01),
        Err(CalibrationError::Value(ValueError::Length { .. }))
    ));
}

#[test]
fn a_hostile_manifest_is_refused() {
    let good = fit(ascending(120), 0.01).unwrap();
    let refused = |change: fn(&mut Calibration)| {
        let mut changed = good.clone();
        change(&mut changed);
        let message = changed.validate().unwrap_err().to_string();
        assert!(!message.contains('\n'));
        // Nothing panics on it either.
        changed.p_value(3.0);
        changed.statement();
    };
    refused(|c| c.scores.swap(3, 4));
    refused(|c| c.scores[5] = f64::NAN);
    refused(|c| c.scores.clear());
    refused(|c| c.scores.truncate(50));
    refused(|c| c.false_alarm_rate = 0.0);
    refused(|c| c.false_alarm_rate = f64::NAN);
    refused(|c| c.false_alarm_rate = 1e-300);
    refused(|c| c.false_alarm_rate = 1.5);
    refused(|c| c.false_alarm_rate = f64::INFINITY);
    refused(|c| c.false_alarm_rate = -0.5);
    refused(|c| c.threshold = 119.5);
    refused(|c| c.threshold = f64::INFINITY);
    refused(|c| c.map_threshold = f64::NAN);
    good.validate().unwrap();
}

/// Whether a count of events of this probability is inside its central 99.9 % interval.
fn inside(count: u64, of: u64, probability: f64) -> bool {
    let binomial = Binomial::new(probability, of).unwrap();
    let below = |count: u64| binomial.cdf(count);
    let at_most = below(count);
    let at_least = 1.0 - count.checked_sub(1).map_or(0.0, below);
    at_most > 0.0005 && at_least > 0.0005
}

#[test]
fn coverage_is_the_target_for_known_distributions() {
    const ROUNDS: u64 = 8_000;
    let mut rng = Pcg64::seed_from_u64(21);
    let distributions: [fn(&mut Pcg64) -> f64; 3] = [
        |rng| StandardNormal.sample(rng),
        |rng| Exp1.sample(rng),
        // Heavy tails, mean and variance infinite.
        |rng| rng.random::<f64>().powi(-2),
    ];
    for draw in distributions {
        for (n, rate) in [(99, 0.01), (120, 0.05), (199, 0.01)] {
            let mut alarms = 0;
            for _ in 0..ROUNDS {
                let scores: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
                let calibration = fit(scores, rate).unwrap();
                alarms += u64::from(calibration.is_anomalous(draw(&mut rng)));
            }
            // Continuous scores: exactly l/(n + 1), which is at most the rate.
            let exact = ((f64::from(n) + 1.0) * rate + 1e-9).floor() / (f64::from(n) + 1.0);
            assert!(exact <= rate + 1e-12);
            assert!(inside(alarms, ROUNDS, exact), "{n} {rate}: {alarms}");
        }
    }
}

#[test]
fn p_values_of_normal_frames_are_uniform_and_with_ties_conservative() {
    const N: usize = 19;
    const ROUNDS: usize = 20_000;
    let mut rng = Pcg64::seed_from_u64(22);
    let mut counts = [0_u32; N + 1];
    let mut tied = [0_u32; N + 1];
    for _ in 0..ROUNDS {
        let mut draw = || StandardNormal.sample(&mut rng);
        let scores: Vec<f64> = (0..N).map(|_| draw()).collect();
        let new: f64 = draw();
        let cell = |p: f64| (p * (N as f64 + 1.0)).round() as usize - 1;
        counts[cell(fit(scores.clone(), 0.05).unwrap().p_value(new))] += 1;
        let rounded = scores.into_iter().map(f64::round).collect();
        tied[cell(fit(rounded, 0.05).unwrap().p_value(new.round()))] += 1;
    }
    let expected = ROUNDS as f64 / (N as f64 + 1.0);
    let statistic: f64 = counts
        .iter()
        .map(|&count| (f64::from(count) - expected).powi(2) / expected)
        .sum();
    let limit = ChiSquared::new(N as f64).unwrap().inverse_cdf(0.999);
    assert!(statistic < limit, "{statistic} {counts:?}");
    let mut cumulated = 0;
    for (index, count) in tied.into_iter().enumerate() {
        cumulated += count;
        // Four standard deviations of a binomial count are below 2 √rounds.
        let most = expected * (index as f64 + 1.0) + 2.0 * (ROUNDS as f64).sqrt();
        assert!(f64::from(cumulated) <= most, "{index}");
    }
}

#[test]
fn likeness_is_near_that_of_scipy() {
    // As `[((i * factor + offset) % modulus) / 8 + shift for i in range(count)]` in Python.
    let formula = |count: u32, factor, offset, modulus, shift| -> Vec<f64> {
        (0..count)
            .map(|i| f64::from((i * factor + offset) % modulus) / 8.0 + shift)
            .collect()
    };
    let calibration = fit(formula(150, 37, 3, 53, 0.0), 0.05).unwrap();
    // scipy.stats.ks_2samp(…, method="exact").
    for (scores, distance, p_value) in [
        (formula(90, 29, 11, 71, 0.0), 0.244_444_444_444, 0.001_992_1),
        (formula(200, 31, 5, 53, 0.0), 0.013_333_333_333, 1.0),
        (formula(150, 37, 3, 53, 0.0), 0.0, 1.0),
        (formula(60, 41, 7, 53, 3.5), 0.533_333_333_333, 1.094e-11),
    ] {
        let found = calibration.distribution_shift(&scores).unwrap();
        assert!((found.statistic - distance).abs() < 1e-9, "{found:?}");
        assert!((found.p_value / p_value - 1.0).abs() < 1e-3, "{found:?}");
    }
    assert_eq!(calibration.distribution_shift(&[]), None);
    assert_eq!(calibration.distribution_shift(&[f64::NAN]), None);
    assert!(calibration.distribution_shift(&[1.0]).is_some());
}

#[test]
fn no_alarm_has_the_probability_of_scipy() {
    // scipy.stats.betabinom.pmf(0, frames, l, n + 1 − l).
    for (n, rate, frames, expected) in [
        (99, 0.01, 1, 0.99),
        (99, 0.01, 100, 0.497_487_437_185_875_74),
        (199, 0.05, 300, 8.853_861_329_703_8e-5),
        (1000, 0.01, 1000, 0.000_954_732_582_667_720_7),
        (99, 0.01, 0, 1.0),
    ] {
        let calibration = fit(ascending(n), rate).unwrap();
        let found = calibration.probability_of_no_alarm(frames).unwrap();
        assert!((found / expected - 1.0).abs() < 1e-8, "{n}: {found}");
    }
}
