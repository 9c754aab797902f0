//! Detection metrics on raw scores, higher being stranger: AUROC with a confidence interval,
//! average precision, F1-max.
//!
//! Every function takes the scores of normal and of anomalous frames, and answers `None` where
//! the metric is not defined: without a frame of either kind, or with NaN among the scores.
//! Infinite scores are ordered like any other.

mod precision_recall;
mod roc;

pub use precision_recall::{F1Max, average_precision, f1_max};
pub use roc::{Interval, auroc, auroc_interval};

/// Scores of both kinds in descending order, as groups of equal scores.
struct Ranking {
    /// The score of each group, descending.
    scores: Vec<f64>,
    /// Normal frames of each group.
    normal: Vec<u64>,
    /// Anomalous frames of each group.
    anomalous: Vec<u64>,
    /// Group of each normal frame, as given.
    group_of_normal: Vec<usize>,
    /// Group of each anomalous frame, as given.
    group_of_anomalous: Vec<usize>,
}

impl Ranking {
    /// `None` without a frame of either kind or with NaN among the scores.
    fn new(normal: &[f64], anomalous: &[f64]) -> Option<Self> {
        let all = || normal.iter().chain(anomalous).copied();
        if normal.is_empty() || anomalous.is_empty() || all().any(f64::is_nan) {
            return None;
        }
        // −0 and 0 are one score, but `total_cmp` would part them.
        let mut order: Vec<(f64, usize)> = all().map(|score| score + 0.0).zip(0..).collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut ranking = Self {
            scores: Vec::new(),
            normal: Vec::new(),
            anomalous: Vec::new(),
            group_of_normal: vec![0; normal.len()],
            group_of_anomalous: vec![0; anomalous.len()],
        };
        for (score, frame) in order {
            if ranking.scores.last() != Some(&score) {
                ranking.scores.push(score);
                ranking.normal.push(0);
                ranking.anomalous.push(0);
            }
            let group = ranking.scores.len() - 1;
            if frame < normal.len() {
                ranking.normal[group] += 1;
                ranking.group_of_normal[frame] = group;
            } else {
                ranking.anomalous[group] += 1;
                ranking.group_of_anomalous[frame - normal.len()] = group;
            }
        }
        Some(ranking)
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
