//! The receiver operating characteristic and the area under it.

use super::{
    Bootstrap, Curve, Interval, Ranking, bootstrap::percentile_interval, curve::CurveBuilder,
    strata::Counts,
};

/// AUROC: the probability that an anomalous frame scores higher than a normal one, a tie counting
/// half (the Mann–Whitney statistic; Hanley & McNeil 1982), in [0, 1].
///
/// `None` without a frame of either kind or with NaN among the scores.
pub fn auroc(normal: &[f64], anomalous: &[f64]) -> Option<f64> {
    let ranking = Ranking::of_two(normal, anomalous)?;
    Some(area(&ranking.counts(0), &ranking.counts(1)))
}

/// The area under the curve up to the false-positive rate `most` (0–1], standardised so that chance
/// has 0.5 and perfection 1 whatever the rate (McClish 1989, "Analyzing a portion of the ROC
/// curve"): how much is found at the few false alarms that a line can bear.
///
/// `None` as for [`auroc`], and for a rate outside its range.
pub fn partial_auroc(normal: &[f64], anomalous: &[f64], most: f64) -> Option<f64> {
    let ranking = Ranking::of_two(normal, anomalous)?;
    if !(most > 0.0 && most <= 1.0) {
        return None;
    }
    let (mut area, mut x, mut y) = (0.0, 0.0, 0.0);
    for (n, a) in ranking.counts(0).into_iter().zip(ranking.counts(1)) {
        let across = n as f64 / normal.len() as f64;
        let up = a as f64 / anomalous.len() as f64;
        if x + across >= most {
            // The straight line between two points of the curve is cut.
            let left = most - x;
            area += left * (y + 0.5 * up * left / across.max(f64::MIN_POSITIVE));
            break;
        }
        area += across * (y + 0.5 * up);
        (x, y) = (x + across, y + up);
    }
    let chance = 0.5 * most * most;
    Some(0.5 * (1.0 + (area - chance) / (most - chance)))
}

/// The 95 % interval of the AUROC by the percentile [`Bootstrap`].
///
/// `None` without a frame of either kind, with NaN among the scores or without resamples.
pub fn auroc_interval(
    normal: &[f64],
    anomalous: &[f64],
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    let ranking = Ranking::of_two(normal, anomalous)?;
    let areas = Bootstrap { resamples, seed }.map(
        &[normal.len(), anomalous.len()],
        || [Counts::of(&ranking), Counts::of(&ranking)],
        |[normal, anomalous], times| {
            normal.drawn(&ranking.group_of[0], &times[0]);
            anomalous.drawn(&ranking.group_of[1], &times[1]);
            area(&normal.0, &anomalous.0)
        },
    );
    percentile_interval(areas.into_iter())
}

/// The curve itself: share of normal frames (x) and of anomalous frames (y) that reach the score,
/// for every distinct score from the highest on.
///
/// `None` without a frame of either kind or with NaN among the scores.
pub fn roc_curve(normal: &[f64], anomalous: &[f64]) -> Option<Curve> {
    let ranking = Ranking::of_two(normal, anomalous)?;
    let mut curve = CurveBuilder::new();
    let (mut false_positives, mut true_positives) = (0, 0);
    for (n, a) in ranking.counts(0).into_iter().zip(ranking.counts(1)) {
        false_positives += n;
        true_positives += a;
        curve.push(
            false_positives as f64 / normal.len() as f64,
            true_positives as f64 / anomalous.len() as f64,
        );
    }
    Some(curve.finish())
}

/// Area from the counts of normal and anomalous frames in groups of equal score, descending.
pub(super) fn area(normal: &[u64], anomalous: &[u64]) -> f64 {
    let mut anomalous_above = 0;
    let mut normal_frames = 0;
    // Twice the number of pairs in the right order, ties being one.
    let mut pairs: u128 = 0;
    for (&normal, &anomalous) in normal.iter().zip(anomalous) {
        pairs += u128::from(normal) * u128::from(2 * anomalous_above + anomalous);
        anomalous_above += anomalous;
        normal_frames += normal;
    }
    pairs as f64 / (2.0 * normal_frames as f64 * anomalous_above as f64)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;

    use super::*;
    use crate::metrics::test_scores;

    fn placement(normal: f64, anomalous: f64) -> f64 {
        if anomalous > normal {
            1.0
        } else if anomalous == normal {
            0.5
        } else {
            0.0
        }
    }

    fn by_all_pairs(normal: &[f64], anomalous: &[f64]) -> f64 {
        let mut sum = 0.0;
        for &n in normal {
            for &a in anomalous {
                sum += placement(n, a);
            }
        }
        sum / (normal.len() * anomalous.len()) as f64
    }

    #[test]
    fn area_is_that_of_all_pairs() {
        let mut rng = Pcg64::seed_from_u64(1);
        for levels in [1u32, 2, 5, 30, 10_000] {
            for _ in 0..40 {
                let mut scores = |count: usize| -> Vec<f64> {
                    (0..count)
                        .map(|_| f64::from(rng.random_range(0..levels)) - 3.0)
                        .collect()
                };
                let (normal, anomalous) = (scores(37), scores(22));
                let found = auroc(&normal, &anomalous).unwrap();
                assert!((found - by_all_pairs(&normal, &anomalous)).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn area_is_that_of_scikit_learn() {
        let (normal, anomalous) = test_scores::reference();
        let found = auroc(&normal, &anomalous).unwrap();
        assert!((found - AUROC).abs() < 1e-12, "{found}");
    }

    #[test]
    fn partial_area_by_hand() {
        // Of the curve (0, 0), (0, 0.5), (0.25, 0.5), (0.75, 1), (1, 1).
        let partial = |most| partial_auroc(&[1.0, 2.0, 2.0, 3.0], &[4.0, 2.0], most);
        // 0.25·0.5 + 0.25·(0.5 + 0.75)/2, chance 0.125 of 0.5.
        let expected = 0.5 * (1.0 + (0.28125 - 0.125) / (0.5 - 0.125));
        assert!((partial(0.5).unwrap() - expected).abs() < 1e-14);
        let whole = auroc(&[1.0, 2.0, 2.0, 3.0], &[4.0, 2.0]).unwrap();
        assert!((partial(1.0).unwrap() - whole).abs() < 1e-14);
        assert_eq!(partial(0.0), None);
        assert_eq!(partial_auroc(&[0.0, 1.0], &[2.0], 0.05), Some(1.0));
        assert_eq!(partial_auroc(&[], &[2.0], 0.05), None);
    }

    #[test]
    fn the_curve_has_the_points_of_the_definition() {
        // Thresholds 4, 3, 2, 1 of normal 1 2 2 3 and anomalous 2 4.
        let curve = roc_curve(&[1.0, 2.0, 2.0, 3.0], &[4.0, 2.0]).unwrap();
        let expected = [[0.0, 0.0], [0.0, 0.5], [0.25, 0.5], [0.75, 1.0], [1.0, 1.0]];
        assert_eq!(curve.points, expected);
        assert_eq!(roc_curve(&[], &[1.0]), None);
    }

    #[test]
    fn separated_and_infinite_scores() {
        assert_eq!(auroc(&[0.0, 1.0], &[2.0, 3.0]), Some(1.0));
        assert_eq!(auroc(&[2.0, 3.0], &[0.0, 1.0]), Some(0.0));
        assert_eq!(auroc(&[0.0], &[-0.0]), Some(0.5));
        assert_eq!(
            auroc(&[f64::NEG_INFINITY, 1.0], &[1.0, f64::INFINITY]),
            Some(0.875)
        );
    }

    #[test]
    fn undefined_areas_are_none() {
        assert_eq!(auroc(&[], &[1.0]), None);
        assert_eq!(auroc(&[1.0], &[]), None);
        assert_eq!(auroc(&[1.0, f64::NAN], &[2.0]), None);
        assert_eq!(auroc_interval(&[1.0], &[f64::NAN], 10, 0), None);
        assert_eq!(auroc_interval(&[1.0], &[2.0], 0, 0), None);
    }

    /// Standard error by DeLong et al. (1988), from the definition.
    fn standard_error(normal: &[f64], anomalous: &[f64]) -> f64 {
        let variance = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
        };
        let of_normal: Vec<f64> = normal
            .iter()
            .map(|&n| anomalous.iter().map(|&a| placement(n, a)).sum::<f64>())
            .map(|sum| sum / anomalous.len() as f64)
            .collect();
        let of_anomalous: Vec<f64> = anomalous
            .iter()
            .map(|&a| normal.iter().map(|&n| placement(n, a)).sum::<f64>())
            .map(|sum| sum / normal.len() as f64)
            .collect();
        (variance(&of_normal) + variance(&of_anomalous)).sqrt()
    }

    #[test]
    fn interval_has_the_width_of_delong() {
        let (normal, anomalous) = test_scores::reference();
        let interval = auroc_interval(&normal, &anomalous, 4000, 9).unwrap();
        let error = standard_error(&normal, &anomalous);
        let area = auroc(&normal, &anomalous).unwrap();
        assert!((interval.upper - (area + 1.96 * error)).abs() < 0.15 * error);
        assert!((interval.lower - (area - 1.96 * error)).abs() < 0.15 * error);
        assert_eq!(
            auroc_interval(&normal, &anomalous, 4000, 9).unwrap(),
            interval
        );
    }

    #[test]
    fn interval_covers_the_true_area() {
        // N(1, 1) against N(0, 1): the area is Φ(1/√2).
        let truth = 0.760_249_938_906_523_5;
        let mut rng = Pcg64::seed_from_u64(21);
        let mut normals = |mean: f64| -> Vec<f64> {
            (0..60)
                .map(|_| {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    mean + noise
                })
                .collect()
        };
        let covered = (0..300)
            .filter(|&seed| {
                let interval = auroc_interval(&normals(0.0), &normals(1.0), 300, seed).unwrap();
                interval.lower <= truth && truth <= interval.upper
            })
            .count();
        // 285 expected; four standard deviations of a binomial count are 15.
        assert!((270..=300).contains(&covered), "{covered}");
    }

    /// `sklearn.metrics.roc_auc_score` of the reference scores.
    const AUROC: f64 = 0.623_111_111_111_111_2;
}
