//! Detection metrics on raw scores, higher being stranger: of frames AUROC, average precision and
//! F1-max; of pixels AUROC, F1-max and AUPRO; of regions precision and recall; bootstrap intervals
//! of all of them, and exact intervals of rates.
//!
//! The plain functions take the scores of normal and of anomalous frames, and answer `None` where
//! the metric is not defined: without a frame of either kind, or with NaN among the scores.
//! Infinite scores are ordered like any other.
//!
//! [`evaluate_images`], [`PixelScores`] and [`RegionScores`] take frames in **strata**: stratum 0
//! holds the normal frames, every other one a kind of defect. They judge all kinds together, and
//! each kind by itself against the normal frames; the bootstrap draws frames anew within each
//! stratum.

mod bootstrap;
mod components;
mod curve;
mod image;
mod pixel;
mod precision_recall;
mod rate;
mod region;
mod roc;
mod strata;

pub use bootstrap::Bootstrap;
pub use components::Components;
pub use curve::Curve;
pub use image::{ImageMetrics, evaluate_images};
pub use pixel::{PixelError, PixelMetrics, PixelScores};
pub use precision_recall::{F1Max, average_precision, f1_max};
pub use rate::Rate;
pub use region::{MINIMUM_IOU, RegionCounts, RegionMetrics, RegionScores};
pub use roc::{auroc, auroc_interval, partial_auroc, roc_curve};

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Interval {
    /// Whether a value lies in it, its ends included.
    pub fn contains(&self, value: f64) -> bool {
        (self.lower..=self.upper).contains(&value)
    }
}

/// A metric, how exactly it was computed, and how far another set of frames may move it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The metric.
    pub value: f64,
    /// The metric by its definition differs from `value` by at most this, beside rounding; 0 where
    /// nothing was approximated.
    pub error: f64,
    /// The 95 % interval of the percentile bootstrap; absent where none was asked for.
    pub interval: Option<Interval>,
}

/// A metric of all kinds of defects together, and of each by itself against the normal frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated<T> {
    /// Of all frames; `None` where it is not defined.
    pub all: Option<T>,
    /// By stratum, each kind with the normal frames; `None` for stratum 0 and where it is not
    /// defined.
    pub by_stratum: Vec<Option<T>>,
}

/// Scores of frames in descending order, as groups of equal scores.
struct Ranking {
    /// The score of each group, descending.
    scores: Vec<f64>,
    /// Group of each frame, by stratum, as given.
    group_of: Vec<Vec<usize>>,
}

impl Ranking {
    /// `None` with NaN among the scores.
    fn new(strata: &[&[f64]]) -> Option<Self> {
        let all = || {
            strata.iter().zip(0..).flat_map(|(scores, stratum)| {
                scores.iter().zip(0..).map(move |(s, i)| (*s, stratum, i))
            })
        };
        if all().any(|(score, ..)| score.is_nan()) {
            return None;
        }
        // −0 and 0 are one score, but `total_cmp` would part them.
        let mut order: Vec<(f64, usize, usize)> = all()
            .map(|(score, stratum, i)| (score + 0.0, stratum, i))
            .collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut ranking = Self {
            scores: Vec::new(),
            group_of: strata.iter().map(|scores| vec![0; scores.len()]).collect(),
        };
        for (score, stratum, frame) in order {
            if ranking.scores.last() != Some(&score) {
                ranking.scores.push(score);
            }
            ranking.group_of[stratum][frame] = ranking.scores.len() - 1;
        }
        Some(ranking)
    }

    /// Of normal and anomalous frames; `None` without a frame of either kind, too.
    fn of_two(normal: &[f64], anomalous: &[f64]) -> Option<Self> {
        if normal.is_empty() || anomalous.is_empty() {
            return None;
        }
        Self::new(&[normal, anomalous])
    }

    /// Frames of a stratum in each group.
    fn counts(&self, stratum: usize) -> Vec<u64> {
        let mut counts = vec![0; self.scores.len()];
        for &group in &self.group_of[stratum] {
            counts[group] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod test_scores {
    /// Scores of `count` frames with many ties, by a formula that Python evaluates alike:
    /// `[((i * factor + offset) % modulus) / 8 for i in range(count)]`.
    pub(super) fn formula(count: u32, factor: u32, offset: u32, modulus: u32) -> Vec<f64> {
        (0..count)
            .map(|i| f64::from((i * factor + offset) % modulus) / 8.0)
            .collect()
    }

    /// The two kinds that the reference values are for.
    pub(super) fn reference() -> (Vec<f64>, Vec<f64>) {
        (formula(150, 37, 3, 53), formula(90, 29, 11, 71))
    }
}
