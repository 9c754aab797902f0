//! What holds for any scores: exactly, without drawing from distributions.

use proptest::prelude::*;

use super::*;

proptest! {
    /// The finite-sample statement itself. Of n + 1 exchangeable scores each is as likely the new
    /// one, so the rate is the share of them that lie above the threshold of the n others.
    #[test]
    fn the_guarantee_holds_for_any_scores(
        scores in prop::collection::vec(-1e6_f64..1e6, 3..60),
        rate in 0.01_f64..0.9,
        ties in any::<bool>(),
    ) {
        let scores: Vec<f64> = match ties {
            true => scores.iter().map(|score| (score / 2e5).round()).collect(),
            false => scores,
        };
        let all = scores.len();
        let above = (0..all).filter_map(|new| {
            let mut others = scores.clone();
            let new = others.remove(new);
            let calibration = fit(others, rate).ok()?;
            Some(usize::from(new > calibration.threshold))
        });
        let above: usize = above.sum();
        prop_assert!(above as f64 <= rate * all as f64 + 1e-9, "{above} of {all} at {rate}");
    }

    /// A frame is anomalous exactly where its p-value is at most the rate.
    #[test]
    fn threshold_and_p_value_are_one_rule(
        scores in prop::collection::vec(-10_i32..10, 20..200),
        score in -12_i32..12,
        rate in 0.06_f64..0.5,
    ) {
        let calibration = fit(scores.into_iter().map(f64::from).collect(), rate).unwrap();
        let score = f64::from(score);
        prop_assert_eq!(score > calibration.threshold, calibration.p_value(score) <= rate);
    }

    /// A higher rate has no higher threshold, and a higher score no higher p-value.
    #[test]
    fn rates_and_scores_are_in_order(
        scores in prop::collection::vec(-1e3_f64..1e3, 100..200),
        rates in [0.02_f64..0.5, 0.02_f64..0.5],
        new in [-2e3_f64..2e3, -2e3_f64..2e3],
    ) {
        let thresholds = rates.map(|rate| fit(scores.clone(), rate).unwrap().threshold);
        prop_assert!((rates[0] <= rates[1]) == (thresholds[0] >= thresholds[1])
            || thresholds[0] == thresholds[1]);
        let calibration = fit(scores, rates[0]).unwrap();
        let p_values = new.map(|score| calibration.p_value(score));
        prop_assert!((new[0] <= new[1]) == (p_values[0] >= p_values[1])
            || p_values[0] == p_values[1]);
        prop_assert!(p_values.iter().all(|p| *p > 0.0 && *p <= 1.0));
    }
}
