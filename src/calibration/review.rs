//! The review band: frames that are normal, and nearly not.

use serde::Serialize;

use super::{Calibration, CalibrationError};
use crate::value::ValueError;

/// A second, larger target rate. Its threshold is the conformal one of the same calibration, so of
/// normal frames at most the share `rate` scores above it: anomalous at the false-alarm rate, for
/// review in between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReviewBand {
    /// Above the calibration's false-alarm rate, below 1.
    pub rate: f64,
    /// A normal frame with a score above it is for review.
    pub threshold: f64,
}

impl Calibration {
    /// Sets the second rate, or takes it away.
    ///
    /// # Errors
    /// A rate that is not above the false-alarm rate and below 1.
    pub fn set_review_rate(&mut self, rate: Option<f64>) -> Result<(), CalibrationError> {
        self.review = match rate {
            None => None,
            Some(rate) if rate > self.false_alarm_rate && rate < 1.0 => Some(ReviewBand {
                rate,
                threshold: self.threshold_at(rate)?,
            }),
            Some(rate) => return Err(not_between(rate)),
        };
        Ok(())
    }

    /// Whether a frame of this score is normal and for review: threshold of the band < score ≤
    /// threshold.
    pub fn is_for_review(&self, score: f64) -> bool {
        !self.is_anomalous(score) && self.review.is_some_and(|band| score > band.threshold)
    }

    /// Refuses a band that [`Calibration::set_review_rate`] would not have made.
    pub(super) fn check_review(&self) -> Result<(), CalibrationError> {
        let Some(ReviewBand { rate, threshold }) = self.review else {
            return Ok(());
        };
        if !(rate > self.false_alarm_rate && rate < 1.0) {
            return Err(not_between(rate));
        }
        let expected = self.threshold_at(rate)?;
        if threshold == expected {
            return Ok(());
        }
        Err(CalibrationError::Invalid {
            reason: format!(
                "the review threshold is {threshold}, but {expected} follows from the scores and \
                 the review rate {rate}"
            ),
        })
    }
}

fn not_between(found: f64) -> CalibrationError {
    CalibrationError::Value(ValueError::Setting {
        setting: "review rate",
        found,
        expected: "a probability above the false-alarm rate and below 1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> Calibration {
        let scores: Vec<f64> = (1..=99).map(f64::from).collect();
        Calibration::fit(scores.clone(), scores, 0.01).unwrap()
    }

    #[test]
    fn the_band_lies_between_two_thresholds_of_one_calibration() {
        let mut banded = calibration();
        assert!(!banded.is_for_review(98.5));
        banded.set_review_rate(Some(0.05)).unwrap();
        let band = banded.review.unwrap();
        assert_eq!((band.threshold, banded.threshold), (95.0, 99.0));
        assert_eq!(band.threshold, banded.threshold_at(0.05).unwrap());
        for (score, review) in [(95.0, false), (95.5, true), (99.0, true), (99.5, false)] {
            assert_eq!(banded.is_for_review(score), review, "{score}");
            // The band ends where the p-value does.
            let p_value = banded.p_value(score);
            assert_eq!(p_value <= 0.05, review || score > 99.0, "{score} {p_value}");
        }
        assert!(!banded.is_for_review(f64::NAN));
        banded.validate().unwrap();
    }

    #[test]
    fn a_band_below_the_false_alarm_rate_is_refused() {
        for rate in [0.01, 0.001, 0.0, 1.0, f64::NAN] {
            let error = calibration().set_review_rate(Some(rate)).unwrap_err();
            assert!(error.to_string().contains("review rate"), "{error}");
        }
        let mut banded = calibration();
        banded.set_review_rate(Some(0.05)).unwrap();
        assert!(banded.set_rate(0.05).is_err());
        assert_eq!(banded.false_alarm_rate, 0.01);
        banded.set_rate(0.02).unwrap();
        assert_eq!(banded.threshold, 98.0);
        banded.validate().unwrap();
        banded.review = Some(ReviewBand {
            rate: 0.05,
            threshold: 96.0,
        });
        assert!(banded.validate().is_err());
    }
}
