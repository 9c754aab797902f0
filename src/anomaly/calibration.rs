//! Split-conformal calibration: threshold, p-value and what they promise.
//!
//! With n scores of held-out normal frames and a new normal frame that is exchangeable with them,
//! the new score is equally likely to take any of the n + 1 ranks. So a frame that is called
//! anomalous when at most l − 1 of the n scores reach its own is called so with a probability of at
//! most l/(n + 1) (Vovk et al. 2005; Angelopoulos & Bates 2023, section 1). Here l is the largest
//! number with l/(n + 1) ≤ rate, and the threshold is the (n + 1 − l)-th smallest score, which is
//! the ⌈(n + 1)(1 − rate)⌉-th.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use super::{AnomalyError, check_finite, check_length};

/// Relative tolerance with which a rate meets l/(n + 1): 0.29 is 29 of 100, although 0.29·100 falls
/// below 29 in `f64`.
const RATE_TOLERANCE: f64 = 1e-12;

/// Scores of held-out normal frames, from which come threshold, p-value and the promised
/// false-alarm rate by split-conformal prediction (Vovk et al. 2005; Angelopoulos & Bates 2023).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Calibration {
    /// The promised probability that a normal frame is called anomalous, in (0, 1).
    pub false_alarm_rate: f64,
    /// A frame with a score above it is anomalous.
    pub threshold: f64,
    /// A pixel of the anomaly map above it belongs to a region: the same quantile of the maps'
    /// maxima.
    pub map_threshold: f64,
    /// Scores of the calibration frames, ascending.
    pub scores: Vec<f64>,
}

impl Calibration {
    /// Calibrates on the scores of held-out normal frames, and on the maxima of their anomaly maps
    /// in the same order, for a promised `rate` in (0, 1).
    ///
    /// # Errors
    /// A rate outside of (0, 1); scores and maxima of different number; NaN or an infinity;
    /// [`AnomalyError::TooFewFrames`] with fewer than ⌈1/rate⌉ − 1 frames.
    pub fn fit(scores: Vec<f64>, map_maxima: Vec<f64>, rate: f64) -> Result<Self, AnomalyError> {
        check_rate(rate)?;
        check_length("maxima of the anomaly maps", map_maxima.len(), scores.len())?;
        check_finite("calibration score", &scores)?;
        check_finite("calibration frame: maximum of its anomaly map", &map_maxima)?;
        let (mut scores, mut map_maxima) = (scores, map_maxima);
        let rank = threshold_rank(scores.len(), rate)?;
        scores.sort_unstable_by(f64::total_cmp);
        map_maxima.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            false_alarm_rate: rate,
            threshold: scores[rank - 1],
            map_threshold: map_maxima[rank - 1],
            scores,
        })
    }

    /// Like [`Calibration::fit`], but where the frames are too few for `rate`, promises the
    /// smallest rate that n frames can, 1/(n + 1), and returns that rate beside the calibration,
    /// for the caller to say aloud; `None` where the wanted rate is kept.
    ///
    /// # Errors
    /// As [`Calibration::fit`]; too few frames only where there is none.
    pub fn fit_attainable(
        scores: Vec<f64>,
        map_maxima: Vec<f64>,
        rate: f64,
    ) -> Result<(Self, Option<f64>), AnomalyError> {
        check_rate(rate)?;
        let coarser = match threshold_rank(scores.len(), rate) {
            Err(AnomalyError::TooFewFrames { found, .. }) if found > 0 => {
                Some(1.0 / (found as f64 + 1.0))
            }
            _ => None,
        };
        let calibration = Self::fit(scores, map_maxima, coarser.unwrap_or(rate))?;
        Ok((calibration, coarser))
    }

    /// Checks what a manifest may say: that [`Calibration::fit`] would have made this of the same
    /// scores and rate.
    ///
    /// # Errors
    /// A rate outside of (0, 1); too few scores for it; NaN or an infinity; scores that are not
    /// ascending; a threshold that does not follow from them.
    pub fn validate(&self) -> Result<(), AnomalyError> {
        check_rate(self.false_alarm_rate)?;
        check_finite("calibration score", &self.scores)?;
        check_finite("threshold", &[self.threshold])?;
        check_finite("threshold of the anomaly map", &[self.map_threshold])?;
        if let Some(index) = self.scores.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(AnomalyError::InvalidCalibration {
                reason: format!("score {} is below the one before it", index + 1),
            });
        }
        let rank = threshold_rank(self.scores.len(), self.false_alarm_rate)?;
        let expected = self.scores[rank - 1];
        if self.threshold != expected {
            return Err(AnomalyError::InvalidCalibration {
                reason: format!(
                    "the threshold is {}, but {expected} follows from the scores and the false-alarm rate {}",
                    self.threshold, self.false_alarm_rate
                ),
            });
        }
        Ok(())
    }

    /// Whether a frame of this score is anomalous: score > threshold.
    ///
    /// For a calibration that [`Calibration::fit`] made this is the same as
    /// `p_value(score) ≤ false_alarm_rate`, ties included (the rate met to a relative 10⁻¹²): a
    /// score equal to the threshold is normal.
    pub fn is_anomalous(&self, score: f64) -> bool {
        score > self.threshold
    }

    /// Conformal p-value (1 + #{scores ≥ score})/(n + 1), in [1/(n + 1), 1]: the probability that a
    /// normal frame is at least as strange, at most, on average over calibrations. Calibration
    /// scores equal to `score` count as at least as strange. NaN for NaN.
    pub fn p_value(&self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        let below = self.scores.partition_point(|&other| other < score);
        let reached = self.scores.len() - below;
        (1 + reached) as f64 / (self.scores.len() + 1) as f64
    }

    /// The rate that false alarms stay below, for this very set of calibration frames, with the
    /// given confidence in (0, 1).
    ///
    /// [`Calibration::false_alarm_rate`] is an average over calibrations. For one calibration the
    /// rate is itself random, and follows Beta(l, n + 1 − l) for continuous scores (Vovk 2012;
    /// Angelopoulos & Bates 2023, section 3.2); with ties it is smaller. This is that
    /// distribution's quantile. 1 for a confidence outside of (0, 1) and for a
    /// calibration that is not valid.
    pub fn rate_with_confidence(&self, confidence: f64) -> f64 {
        let Ok(rank) = threshold_rank(self.scores.len(), self.false_alarm_rate) else {
            return 1.0;
        };
        let exceeding = self.scores.len() + 1 - rank;
        match Beta::new(exceeding as f64, rank as f64) {
            Ok(rates) if confidence > 0.0 && confidence < 1.0 => rates.inverse_cdf(confidence),
            _ => 1.0,
        }
    }

    /// What the calibration promises, in words for people.
    pub fn statement(&self) -> String {
        let frames = self.scores.len();
        format!(
            "calibrated on {frames} held-out normal frame{}: a new normal frame from the same line is called anomalous with probability at most {} (on average over calibrations); for this calibration set the rate is below {} with 95 % confidence",
            if frames == 1 { "" } else { "s" },
            percent(self.false_alarm_rate),
            percent(self.rate_with_confidence(0.95)),
        )
    }
}

fn check_rate(rate: f64) -> Result<(), AnomalyError> {
    if rate > 0.0 && rate < 1.0 {
        Ok(())
    } else {
        Err(AnomalyError::Setting {
            setting: "false-alarm rate",
            found: rate,
            expected: "a probability above 0 and below 1",
        })
    }
}

/// Rank of the threshold among n ascending scores, from 1 to n: n + 1 − l with
/// l = ⌊(n + 1)·rate⌋ ≥ 1.
fn threshold_rank(frames: usize, rate: f64) -> Result<usize, AnomalyError> {
    let exceeding = ((frames as f64 + 1.0) * rate * (1.0 + RATE_TOLERANCE)).floor() as usize;
    if frames == 0 || exceeding == 0 {
        let needed = (1.0 / rate * (1.0 - RATE_TOLERANCE)).ceil() as usize;
        return Err(AnomalyError::TooFewFrames {
            found: frames,
            needed: needed.saturating_sub(1).max(1),
            rate,
        });
    }
    Ok(frames + 1 - exceeding.min(frames))
}

/// A probability in percent with two significant digits, rounded up, for it follows «at most».
fn percent(probability: f64) -> String {
    let percent = 100.0 * probability;
    if !(percent > 0.0 && percent < 100.0) {
        return format!("{percent} %");
    }
    let digits = 1 - percent.log10().floor() as i32;
    let scale = 10f64.powi(digits);
    // What is 7 but for rounding errors stays 7.
    let rounded = (percent * scale * (1.0 - 1e-9)).ceil() / scale;
    let decimals = usize::try_from(digits).unwrap_or(0);
    format!("{rounded:.decimals$} %")
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    fn ascending(n: usize) -> Vec<f64> {
        (1..=n).map(|i| i as f64).collect()
    }

    fn fit(scores: Vec<f64>, rate: f64) -> Result<Calibration, AnomalyError> {
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
    fn too_few_frames_cannot_promise_the_rate() {
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
                Err(AnomalyError::TooFewFrames {
                    found, needed: n, ..
                }) => assert_eq!((found, n), (needed - 1, needed)),
                other => panic!("{other:?}"),
            }
        }
        for needed in 2..3000 {
            let rate = 1.0 / f64::from(needed + 1);
            assert!(threshold_rank(needed as usize, rate).is_ok());
            assert!(threshold_rank(needed as usize - 1, rate).is_err());
        }
    }

    #[test]
    fn the_attainable_rate_is_told() {
        let of = |n: usize| Calibration::fit_attainable(ascending(n), ascending(n), 0.01);
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
            Err(AnomalyError::TooFewFrames { needed: 99, .. })
        ));
        for n in 1..2000 {
            let scores = vec![0.0; n];
            let (calibration, _) =
                Calibration::fit_attainable(scores.clone(), scores, 1e-9).unwrap();
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
    fn the_promise_holds_on_average_over_calibrations() {
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
    fn the_statement_in_words() {
        let statement = fit(ascending(152), 0.01).unwrap().statement();
        assert_eq!(
            statement,
            "calibrated on 152 held-out normal frames: a new normal frame from the same line is called anomalous with probability at most 1.0 % (on average over calibrations); for this calibration set the rate is below 2.0 % with 95 % confidence"
        );
    }

    #[test]
    fn percentages_are_rounded_up_to_two_digits() {
        for (probability, text) in [
            (0.01, "1.0 %"),
            (0.07, "7.0 %"),
            (0.29, "29 %"),
            (1.0 / 153.0, "0.66 %"),
            (0.000_123_4, "0.013 %"),
            (0.0999, "10.0 %"),
            (0.999, "100 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(probability), text);
        }
    }

    #[test]
    fn unusable_scores_and_rates_are_refused() {
        for rate in [0.0, 1.0, -0.1, 2.0, f64::NAN] {
            assert!(matches!(
                fit(ascending(200), rate),
                Err(AnomalyError::Setting { .. })
            ));
            assert!(Calibration::fit_attainable(ascending(9), ascending(9), rate).is_err());
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut scores = ascending(200);
            scores[7] = value;
            assert!(matches!(
                Calibration::fit(scores.clone(), ascending(200), 0.01),
                Err(AnomalyError::NotFinite { index: 7, .. })
            ));
            assert!(Calibration::fit(ascending(200), scores, 0.01).is_err());
        }
        assert!(matches!(
            Calibration::fit(ascending(200), ascending(199), 0.01),
            Err(AnomalyError::Length { .. })
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

    #[test]
    fn a_calibration_survives_its_manifest() {
        let scores: Vec<f64> = (1..150)
            .map(|i| (f64::from(i) * 0.731).sin() / 3.0)
            .collect();
        let calibration = fit(scores, 0.01).unwrap();
        let text = toml::to_string(&calibration).unwrap();
        let read: Calibration = toml::from_str(&text).unwrap();
        assert_eq!(read, calibration);
        read.validate().unwrap();
    }
}
