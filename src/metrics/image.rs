//! The metrics of frames, of all kinds of defects and of each, with bootstrap intervals.

use super::{
    Bootstrap, Estimate, Evaluated, F1Max, Ranking,
    bootstrap::percentile_interval,
    precision_recall::{largest_f1, precision_sum},
    roc::area,
    strata::{Counts, Side, add},
};

/// The metrics of frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageMetrics {
    /// [`auroc`](super::auroc).
    pub auroc: Estimate,
    /// [`average_precision`](super::average_precision).
    pub average_precision: Estimate,
    /// [`f1_max`](super::f1_max).
    pub f1_max: Estimate,
    /// The threshold of the largest F1.
    pub f1_threshold: f64,
}

/// Evaluates the scores of frames by stratum: of normal frames first, then of each kind of defect.
/// Without `bootstrap`, or without resamples, there are no intervals.
///
/// Metrics are `None` without normal frames, without frames of the kind, and with NaN among any
/// scores.
pub fn evaluate_images(strata: &[&[f64]], bootstrap: Option<Bootstrap>) -> Evaluated<ImageMetrics> {
    let undefined = Evaluated {
        all: None,
        by_stratum: vec![None; strata.len()],
    };
    let Some(ranking) = Ranking::new(strata) else {
        return undefined;
    };
    let sizes: Vec<usize> = strata.iter().map(|scores| scores.len()).collect();
    // Frames of which there are both sides: all defects, then each kind.
    let sides: Vec<Side> = [Side::All]
        .into_iter()
        .chain((1..strata.len()).map(Side::Kind))
        .filter(|side| sizes.first().is_some_and(|&n| n > 0) && side.frames(&sizes) > 0)
        .collect();

    let exact = |side: &Side| {
        let normal = ranking.counts(0);
        let mut anomalous = vec![0; normal.len()];
        for stratum in side.strata(strata.len()) {
            add(&mut anomalous, &ranking.counts(stratum));
        }
        let (f1, group) = largest_f1(&normal, &anomalous);
        let figures = [
            area(&normal, &anomalous),
            precision_sum(&normal, &anomalous),
            f1,
        ];
        (figures, ranking.scores[group])
    };
    let resampled = bootstrap.map_or_else(Vec::new, |bootstrap| {
        bootstrap.map(
            &sizes,
            || vec![Counts::of(&ranking); strata.len() + 1],
            |counts, times| {
                let (whole, counts) = counts.split_at_mut(1);
                let whole = &mut whole[0];
                whole.0.fill(0);
                for (stratum, counts) in counts.iter_mut().enumerate() {
                    counts.drawn(&ranking.group_of[stratum], &times[stratum]);
                    if stratum > 0 {
                        add(&mut whole.0, &counts.0);
                    }
                }
                let figures = |side: &Side| {
                    let normal = &counts[0].0;
                    let anomalous = match side {
                        Side::All => &whole.0,
                        Side::Kind(stratum) => &counts[*stratum].0,
                    };
                    [
                        area(normal, anomalous),
                        precision_sum(normal, anomalous),
                        largest_f1(normal, anomalous).0,
                    ]
                };
                sides.iter().map(figures).collect::<Vec<_>>()
            },
        )
    });

    let mut evaluated = undefined;
    for (place, side) in sides.iter().enumerate() {
        let (figures, f1_threshold) = exact(side);
        let [auroc, average_precision, f1_max] = [0, 1, 2].map(|figure| Estimate {
            value: figures[figure],
            error: 0.0,
            interval: percentile_interval(resampled.iter().map(|drawn| drawn[place][figure])),
        });
        *side.place(&mut evaluated) = Some(ImageMetrics {
            auroc,
            average_precision,
            f1_max,
            f1_threshold,
        });
    }
    evaluated
}

impl ImageMetrics {
    /// The largest F1 with its threshold.
    pub fn f1(&self) -> F1Max {
        F1Max {
            value: self.f1_max.value,
            threshold: self.f1_threshold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{auroc, auroc_interval, average_precision, f1_max, test_scores::formula};

    #[test]
    fn each_kind_is_held_against_the_normal_frames() {
        let normal = formula(80, 37, 3, 53);
        let kinds = [formula(30, 29, 11, 71), vec![], formula(17, 13, 5, 61)];
        let strata = [&normal[..], &kinds[0], &kinds[1], &kinds[2]];
        let found = evaluate_images(&strata, None);
        let check = |found: &Option<ImageMetrics>, anomalous: &[f64]| {
            let found = found.as_ref().unwrap();
            let near = |estimate: Estimate, expected: Option<f64>| {
                assert!((estimate.value - expected.unwrap()).abs() < 1e-12);
                assert_eq!((estimate.error, estimate.interval), (0.0, None));
            };
            near(found.auroc, auroc(&normal, anomalous));
            near(
                found.average_precision,
                average_precision(&normal, anomalous),
            );
            assert_eq!(Some(found.f1()), f1_max(&normal, anomalous));
        };
        check(&found.all, &[&kinds[0][..], &kinds[2]].concat());
        check(&found.by_stratum[1], &kinds[0]);
        check(&found.by_stratum[3], &kinds[2]);
        assert_eq!((found.by_stratum[0], found.by_stratum[2]), (None, None));
    }

    #[test]
    fn intervals_of_one_kind_are_those_of_the_plain_bootstrap() {
        let (normal, anomalous) = (formula(60, 37, 3, 53), formula(40, 29, 11, 71));
        let bootstrap = Bootstrap {
            resamples: 400,
            seed: 3,
        };
        let found = evaluate_images(&[&normal, &anomalous], Some(bootstrap));
        let all = found.all.unwrap();
        assert_eq!(
            all.auroc.interval,
            auroc_interval(&normal, &anomalous, 400, 3)
        );
        assert_eq!(found.by_stratum[1], Some(all));
        for estimate in [all.auroc, all.average_precision, all.f1_max] {
            let interval = estimate.interval.unwrap();
            assert!(interval.contains(estimate.value), "{estimate:?}");
            assert!(interval.upper - interval.lower > 0.02, "{estimate:?}");
        }
    }

    #[test]
    fn strata_stay_as_large_as_they_are() {
        // One kind is found with certainty, the other never: drawn without regard to the kind, the
        // area would vary.
        let strata: [&[f64]; 3] = [&[1.0; 10], &[2.0; 4], &[0.0; 12]];
        let bootstrap = Bootstrap {
            resamples: 100,
            seed: 1,
        };
        let all = evaluate_images(&strata, Some(bootstrap)).all.unwrap();
        let interval = all.auroc.interval.unwrap();
        assert_eq!((interval.lower, interval.upper), (0.25, 0.25));
    }

    #[test]
    fn what_is_undefined_is_none() {
        let empty: [&[f64]; 0] = [];
        assert_eq!(evaluate_images(&empty, None).all, None);
        let normal: &[f64] = &[1.0, 2.0];
        for strata in [
            &[normal][..],
            &[&[], normal],
            &[normal, &[]],
            &[normal, &[f64::NAN]],
        ] {
            let found = evaluate_images(strata, Some(Bootstrap::default()));
            assert_eq!(found.all, None);
            assert_eq!(found.by_stratum, vec![None; strata.len()]);
        }
    }
}
