//! Precision and recall of «anomalous where the score is at least the threshold».

use super::Ranking;

/// Average precision Σ (R_k − R_{k−1})·P_k over the distinct scores as thresholds, descending,
/// without interpolation: scikit-learn's `average_precision_score`. In (0, 1]; chance is the share
/// of anomalous frames.
///
/// `None` without a frame of either kind or with NaN among the scores.
pub fn average_precision(normal: &[f64], anomalous: &[f64]) -> Option<f64> {
    let ranking = Ranking::of_two(normal, anomalous)?;
    Some(precision_sum(&ranking.counts(0), &ranking.counts(1)))
}

/// The largest F1 and where it is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct F1Max {
    /// F1 = 2·precision·recall/(precision + recall), in (0, 1].
    pub value: f64,
    /// Frames with this score or a higher one count as anomalous; the highest of several thresholds
    /// that are as good.
    pub threshold: f64,
}

/// The largest F1 over all thresholds. As the threshold is chosen on the scores that it is judged
/// by, it flatters; it serves for comparison with published figures only.
///
/// `None` without a frame of either kind or with NaN among the scores.
pub fn f1_max(normal: &[f64], anomalous: &[f64]) -> Option<F1Max> {
    let ranking = Ranking::of_two(normal, anomalous)?;
    let (value, group) = largest_f1(&ranking.counts(0), &ranking.counts(1));
    Some(F1Max {
        value,
        threshold: ranking.scores[group],
    })
}

/// Average precision from the counts of normal and anomalous frames in groups of equal score,
/// descending.
pub(super) fn precision_sum(normal: &[u64], anomalous: &[u64]) -> f64 {
    let total: u64 = anomalous.iter().sum();
    let (mut true_positives, mut positives) = (0, 0);
    let mut sum = 0.0;
    for (&normal, &anomalous) in normal.iter().zip(anomalous) {
        true_positives += anomalous;
        positives += anomalous + normal;
        // Groups without an anomalous frame add no recall; a resample may leave a group empty.
        if anomalous > 0 {
            sum += anomalous as f64 / total as f64 * (true_positives as f64 / positives as f64);
        }
    }
    sum
}

/// The largest F1 and its group, from the counts of normal and anomalous frames in groups of equal
/// score, descending; the first of several groups that are as good. There is an anomalous frame.
pub(super) fn largest_f1(normal: &[u64], anomalous: &[u64]) -> (f64, usize) {
    let total: u64 = anomalous.iter().sum();
    let (mut true_positives, mut positives) = (0, 0);
    let mut best = (0.0, 0);
    for ((&normal, &anomalous), group) in normal.iter().zip(anomalous).zip(0..) {
        true_positives += anomalous;
        positives += anomalous + normal;
        let f1 = 2.0 * true_positives as f64 / (positives + total) as f64;
        if f1 > best.0 {
            best = (f1, group);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::test_scores;

    /// Precision and recall of one threshold, by counting.
    fn counted(normal: &[f64], anomalous: &[f64], threshold: f64) -> (f64, f64) {
        let above = |scores: &[f64]| scores.iter().filter(|&&s| s >= threshold).count() as f64;
        let (true_positives, false_positives) = (above(anomalous), above(normal));
        (
            true_positives / (true_positives + false_positives),
            true_positives / anomalous.len() as f64,
        )
    }

    fn descending(normal: &[f64], anomalous: &[f64]) -> Vec<f64> {
        let mut thresholds = [normal, anomalous].concat();
        thresholds.sort_unstable_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        thresholds
    }

    #[test]
    fn both_are_their_definitions() {
        for (factor, modulus) in [(7, 11), (13, 29), (31, 97), (1, 2)] {
            let normal = test_scores::formula(41, factor, 1, modulus);
            let anomalous = test_scores::formula(23, factor + 4, 5, modulus + 6);
            let (mut precision_sum, mut recall_before) = (0.0, 0.0);
            let mut best = (0.0, f64::NAN);
            for threshold in descending(&normal, &anomalous) {
                let (precision, recall) = counted(&normal, &anomalous, threshold);
                precision_sum += (recall - recall_before) * precision;
                recall_before = recall;
                let f1 = 2.0 * precision * recall / (precision + recall);
                if f1 > best.0 + 1e-12 {
                    best = (f1, threshold);
                }
            }
            let found = average_precision(&normal, &anomalous).unwrap();
            assert!((found - precision_sum).abs() < 1e-12);
            let found = f1_max(&normal, &anomalous).unwrap();
            assert!((found.value - best.0).abs() < 1e-12);
            assert_eq!(found.threshold, best.1);
        }
    }

    #[test]
    fn both_are_those_of_scikit_learn() {
        let (normal, anomalous) = test_scores::reference();
        let found = average_precision(&normal, &anomalous).unwrap();
        assert!((found - AVERAGE_PRECISION).abs() < 1e-12, "{found}");
        let found = f1_max(&normal, &anomalous).unwrap();
        assert!((found.value - F1_MAX).abs() < 1e-12, "{found:?}");
        assert_eq!(found.threshold, F1_THRESHOLD);
    }

    #[test]
    fn perfect_separation_is_one() {
        assert_eq!(average_precision(&[0.0, 1.0], &[2.0, 3.0]), Some(1.0));
        assert_eq!(
            f1_max(&[0.0, 1.0], &[2.0, 3.0]),
            Some(F1Max {
                value: 1.0,
                threshold: 2.0
            })
        );
    }

    #[test]
    fn undefined_figures_are_none() {
        for (normal, anomalous) in [
            (vec![], vec![1.0]),
            (vec![1.0], vec![]),
            (vec![f64::NAN], vec![1.0]),
        ] {
            assert_eq!(average_precision(&normal, &anomalous), None);
            assert_eq!(f1_max(&normal, &anomalous), None);
        }
    }

    /// `sklearn.metrics.average_precision_score` of the reference scores.
    const AVERAGE_PRECISION: f64 = 0.601_063_040_851_805_1;
    /// Largest F1 over `sklearn.metrics.precision_recall_curve` of the reference scores.
    const F1_MAX: f64 = 0.546_012_269_938_650_3;
    /// Its threshold.
    const F1_THRESHOLD: f64 = 0.125;
}
