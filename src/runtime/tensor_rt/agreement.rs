//! Whether an engine of reduced precision still judges as the trainer's did.

use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;

/// What a reduced precision may change.
#[derive(Clone, Copy, Debug)]
struct AgreementParams {
    /// Share of the false-alarm rate by which an error of the score, at the threshold, may change
    /// that rate: half of it is within what a calibration of some hundred frames leaves open.
    rate_change: f64,
    /// Largest change of a p-value. Verdicts hang on p-values near the rate; drift is told from
    /// those of all frames, in which a twentieth is below what its tests find.
    p_change: f64,
}

impl Default for AgreementParams {
    fn default() -> Self {
        Self {
            rate_change: 0.5,
            p_change: 0.05,
        }
    }
}

/// How the scores of an engine compare with those of another, on the same frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Agreement {
    /// Number of frames.
    pub frames: usize,
    /// Where they come from.
    pub source: String,
    /// Largest difference of a score.
    pub largest_difference: f64,
    /// Largest one that is allowed: it moves the rate of false alarms by at most half of it, as
    /// the calibration's scores lie.
    pub tolerance: f64,
    /// Largest change of a p-value.
    pub largest_p_change: f64,
    /// Frames whose verdict is another.
    pub flips: usize,
    /// Why the engine is not accepted; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Agreement {
    /// Compares scores of the same frames, `expected` those of an engine that reproduces the golden
    /// frame.
    pub(super) fn of(
        calibration: &Calibration,
        source: &str,
        expected: &[f64],
        found: &[f64],
    ) -> Self {
        let params = AgreementParams::default();
        let pairs = || expected.iter().copied().zip(found.iter().copied());
        // NaN is the largest of all.
        let largest = |changes: &mut dyn Iterator<Item = f64>| {
            changes.fold(0.0, |a: f64, b: f64| if b <= a { a } else { b })
        };
        let mut agreement = Self {
            frames: expected.len(),
            source: source.to_owned(),
            largest_difference: largest(&mut pairs().map(|(a, b)| (a - b).abs())),
            tolerance: tolerance(calibration, &params).unwrap_or(0.0),
            largest_p_change: largest(&mut pairs().map(|(a, b)| {
                let p = |score| calibration.p_value(score);
                (p(a) - p(b)).abs()
            })),
            flips: pairs()
                .filter(|&(a, b)| calibration.is_anomalous(a) != calibration.is_anomalous(b))
                .count(),
            refused: None,
        };
        agreement.refused = agreement.problem(&params, found.len());
        agreement
    }

    fn problem(&self, params: &AgreementParams, found: usize) -> Option<String> {
        if self.frames == 0 || self.frames != found {
            return Some(format!("{found} scores for {} frames", self.frames));
        }
        if self.tolerance <= 0.0 {
            return Some(
                "the calibration has too few frames to say how much a score may change".to_owned(),
            );
        }
        if self.flips > 0 {
            return Some(format!(
                "{} of {} verdicts are others",
                self.flips, self.frames
            ));
        }
        let within = |found: f64, allowed: f64| found <= allowed;
        if !within(self.largest_difference, self.tolerance) {
            return Some(format!(
                "a score differs by {:.3e}, allowed are {:.3e}",
                self.largest_difference, self.tolerance
            ));
        }
        if !within(self.largest_p_change, params.p_change) {
            return Some(format!(
                "a p-value differs by {:.3}, allowed are {:.3}",
                self.largest_p_change, params.p_change
            ));
        }
        None
    }
}

/// The change of a score that, at the threshold, changes the rate of false alarms by the allowed
/// share; `None` where the calibration is too small to tell.
fn tolerance(calibration: &Calibration, params: &AgreementParams) -> Option<f64> {
    let rate = calibration.false_alarm_rate;
    let change = |factor: f64| {
        let other = calibration.threshold_at(rate * factor).ok()?;
        Some((other - calibration.threshold).abs())
    };
    // Too few frames may be left above the threshold for a smaller rate to be told from it.
    let of_larger = change(1.0 + params.rate_change)?;
    let of_smaller = change(1.0 - params.rate_change).filter(|&change| change > 0.0);
    Some(of_smaller.map_or(of_larger, |of_smaller| of_larger.min(of_smaller)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores 0.01, 0.02, … 1.00 at a rate of 5 %: the threshold is the 96th of them.
    fn calibration() -> Calibration {
        let scores: Vec<f64> = (1..=100).map(|i| f64::from(i) * 0.01).collect();
        Calibration::fit(scores.clone(), scores, 0.05).unwrap()
    }

    fn agreement(expected: &[f64], found: &[f64]) -> Agreement {
        Agreement::of(&calibration(), "test frames", expected, found)
    }

    #[test]
    fn the_tolerance_comes_from_the_calibration() {
        let found = agreement(&[0.5], &[0.5]);
        // At 7.5 % two more frames are above the threshold, at 2.5 % three fewer.
        assert!((found.tolerance - 0.02).abs() < 1e-9, "{found:?}");
        assert_eq!((found.flips, &found.refused), (0, &None));
    }

    #[test]
    fn small_errors_are_accepted_and_others_refused() {
        let accepted = agreement(&[0.2, 0.5, 1.5], &[0.21, 0.49, 1.515]);
        assert_eq!(accepted.refused, None, "{accepted:?}");
        for (expected, found, why) in [
            (0.95, 0.965, "verdicts are others"),
            (0.5, 0.53, "a score differs by 3"),
            (0.5, f64::NAN, "a score differs by NaN"),
        ] {
            let refused = agreement(&[0.1, expected], &[0.1, found]).refused.unwrap();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(agreement(&[], &[]).refused.is_some());
        assert!(agreement(&[0.1, 0.2], &[0.1]).refused.is_some());
    }

    #[test]
    fn a_dense_calibration_bounds_the_p_value() {
        // All but the upper ones lie within a thousandth.
        let scores: Vec<f64> = (0..100)
            .map(|i| {
                if i < 90 {
                    1e-5 * f64::from(i)
                } else {
                    f64::from(i)
                }
            })
            .collect();
        let calibration = Calibration::fit(scores.clone(), scores, 0.05).unwrap();
        let found = Agreement::of(&calibration, "test frames", &[2e-4], &[8e-4]);
        assert!(found.largest_difference < found.tolerance);
        let refused = found.refused.unwrap();
        assert!(refused.contains("p-value"), "{refused}");
    }
}
