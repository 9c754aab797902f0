//! Whether new normal frames look like those of a calibration.

use statrs::{
    function::gamma::ln_gamma,
    stats_tests::{
        NaNPolicy,
        ks_test::{KSTwoSampleAlternativeMethod, ks_twosample},
    },
};

use super::Calibration;

/// How far the scores of some frames are from those of a calibration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistributionShift {
    /// The largest difference of the two empirical distribution functions, in [0, 1]: the
    /// Kolmogorov–Smirnov statistic.
    pub distance: f64,
    /// The probability of a distance at least as large, were both of one distribution; by Hodges'
    /// approximation of the one-sided test (1957, equation 5.3), twice the smaller side.
    pub p_value: f64,
}

impl Calibration {
    /// Compares scores of single frames with those of the calibration, by the two-sample test of
    /// Kolmogorov and Smirnov. `None` where the calibration has groups (frames that depend on each
    /// other differ more than the test allows for), for no scores, and for NaN among them. With folds,
    /// whose models know fewer frames and find all a little more anomalous, scores of which the median is not
    /// higher have a p-value of 1.
    pub fn distribution_shift(&self, scores: &[f64]) -> Option<DistributionShift> {
        if self.group_sizes.is_some() {
            return None;
        }
        // The two-sided approximation of this crate does not end at a distance of 0.
        let side = |method| {
            ks_twosample(
                self.scores.clone(),
                scores.to_vec(),
                method,
                NaNPolicy::Error,
            )
            .ok()
        };
        let greater = side(KSTwoSampleAlternativeMethod::GreaterAsymptotic)?;
        let less = side(KSTwoSampleAlternativeMethod::LessAsymptotic)?;
        let median = |scores: &[f64]| {
            let mut sorted = scores.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).copied()
        };
        let expected = self.folds.is_some() && median(scores) <= median(&self.scores);
        Some(DistributionShift {
            // Summed up from shares, it may be above 1 by rounding.
            distance: greater.0.max(less.0).min(1.0),
            p_value: match expected {
                true => 1.0,
                false => (2.0 * greater.1.min(less.1)).min(1.0),
            },
        })
    }

    /// The probability that of so many new normal frames none is called anomalous, over
    /// calibrations and new frames: Π (n + 1 − l + i)/(n + 1 + i) for i from 0 to `frames` − 1
    /// (beta-binomial; continuous scores). `None` where the calibration has groups or folds, or is not
    /// valid.
    pub fn probability_of_no_alarm(&self, frames: usize) -> Option<f64> {
        if self.group_sizes.is_some() || self.folds.is_some() {
            return None;
        }
        let all = self.scores.len() as f64 + 1.0;
        let below = all - 1.0 - self.allowed().ok()?;
        let frames = frames as f64;
        let logarithm =
            ln_gamma(below + frames) - ln_gamma(below) + ln_gamma(all) - ln_gamma(all + frames);
        Some(logarithm.exp().min(1.0))
    }
}
