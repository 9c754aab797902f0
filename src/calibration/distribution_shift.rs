//! Whether the scores of new normal frames are distributed like those of a calibration.

use statrs::function::gamma::ln_gamma;

use super::{Calibration, TwoSample, two_sample};

impl Calibration {
    /// Compares scores of single frames with those of the calibration. `None` where the calibration
    /// has groups (frames that depend on each other differ more than the test allows for), for no
    /// scores, and for NaN among them. With folds, whose models know fewer frames and find all a
    /// little more anomalous, scores of which the median is not higher have a p-value of 1.
    pub fn distribution_shift(&self, scores: &[f64]) -> Option<TwoSample> {
        if self.group_sizes.is_some() || scores.iter().any(|score| score.is_nan()) {
            return None;
        }
        let mut scores = scores.to_vec();
        scores.sort_unstable_by(f64::total_cmp);
        let found = two_sample(&self.scores, &scores)?;
        let median = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied();
        let is_expected = self.folds.is_some() && median(&scores) <= median(&self.scores);
        Some(TwoSample {
            p_value: if is_expected { 1.0 } else { found.p_value },
            ..found
        })
    }

    /// The probability that of so many new normal frames none is called anomalous, over
    /// calibrations and new frames: Π (n + 1 − l + i)/(n + 1 + i) for i from 0 to `frames` − 1
    /// (beta-binomial; continuous scores). `None` where the calibration has groups or folds, or is
    /// not valid.
    pub fn probability_of_no_alarm(&self, frames: usize) -> Option<f64> {
        if self.group_sizes.is_some() || self.folds.is_some() {
            return None;
        }
        let all = self.scores.len() as f64 + 1.0;
        let below = all - 1.0 - self.allowed(self.false_alarm_rate).ok()?;
        let frames = frames as f64;
        let logarithm =
            ln_gamma(below + frames) - ln_gamma(below) + ln_gamma(all) - ln_gamma(all + frames);
        Some(logarithm.exp().min(1.0))
    }
}
