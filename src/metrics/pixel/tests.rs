//! Metrics of pixels against their definitions, scikit-learn and anomalib.

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;
use crate::metrics::auroc;

type Frame = (usize, Array2<f32>, Option<Array2<bool>>);

fn collected(frames: &[Frame], limit: usize) -> PixelScores {
    let mut scores = PixelScores::with_limit(3, limit);
    for (stratum, map, mask) in frames {
        let mask = mask.as_ref().map(|mask| mask.view());
        scores.add(*stratum, map.view(), mask).unwrap();
    }
    scores
}

/// Regions by growing each from a seed until nothing changes.
fn regions(mask: &Array2<bool>) -> Vec<Vec<(usize, usize)>> {
    let mut left: Vec<(usize, usize)> = mask
        .indexed_iter()
        .filter(|(_, set)| **set)
        .map(|(place, _)| place)
        .collect();
    let mut regions = Vec::new();
    while let Some(seed) = left.pop() {
        let mut region = vec![seed];
        while let Some(i) = left.iter().position(|a| {
            region
                .iter()
                .any(|b| a.0.abs_diff(b.0) <= 1 && a.1.abs_diff(b.1) <= 1)
        }) {
            region.push(left.swap_remove(i));
        }
        regions.push(region);
    }
    regions
}

/// AUROC, F1-max, AUPRO to 30 % and to 5 %, each by its definition, pixel by pixel for every
/// threshold.
fn by_definition(frames: &[Frame]) -> [f64; 4] {
    let (mut background, mut defective, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (_, map, mask) in frames {
        let none = Array2::from_elem(map.dim(), false);
        let mask = mask.as_ref().unwrap_or(&none);
        for (place, &score) in map.indexed_iter() {
            let side = if mask[place] {
                &mut defective
            } else {
                &mut background
            };
            side.push(f64::from(score));
        }
        for region in regions(mask) {
            parts.push(
                region
                    .into_iter()
                    .map(|p| f64::from(map[p]))
                    .collect::<Vec<_>>(),
            );
        }
    }
    let mut thresholds = [&background[..], &defective].concat();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let reach = |scores: &[f64], t: f64| scores.iter().filter(|s| **s >= t).count() as f64;
    let mut points = vec![[0.0, 0.0]];
    let mut f1: f64 = 0.0;
    for &t in &thresholds {
        let (found, wrong) = (reach(&defective, t), reach(&background, t));
        f1 = f1.max(2.0 * found / (found + wrong + defective.len() as f64));
        let overlap: f64 = parts.iter().map(|r| reach(r, t) / r.len() as f64).sum();
        points.push([
            wrong / background.len() as f64,
            overlap / parts.len() as f64,
        ]);
    }
    let aupro = |limit: f64| {
        let mut area = 0.0;
        for pair in points.windows(2) {
            let [[x1, y1], [x2, y2]] = [pair[0], pair[1]];
            if x2 <= limit {
                area += (x2 - x1) * (y1 + y2) / 2.0;
            } else if x1 < limit {
                let y = y1 + (y2 - y1) * (limit - x1) / (x2 - x1);
                area += (limit - x1) * (y1 + y) / 2.0;
            }
        }
        area / limit
    };
    [
        auroc(&background, &defective).unwrap(),
        f1,
        aupro(0.3),
        aupro(0.05),
    ]
}

fn values(metrics: &PixelMetrics) -> [Estimate; 4] {
    [
        metrics.auroc,
        metrics.f1_max,
        metrics.aupro,
        metrics.aupro_5,
    ]
}

/// Frames of three strata, of several sizes, with masks that overlap high scores.
fn drawn(seed: u64, levels: u32, frames: usize) -> Vec<Frame> {
    let mut rng = Pcg64::seed_from_u64(seed);
    (0..frames)
        .map(|i| {
            let stratum = i % 3;
            let (height, width) = (rng.random_range(3..9), rng.random_range(3..9));
            let mask = Array2::from_shape_fn((height, width), |_| rng.random_bool(0.2));
            let mut map = Array2::from_shape_fn((height, width), |_| {
                f64::from(rng.random_range(0..levels)) / f64::from(levels)
            });
            if stratum > 0 {
                map.zip_mut_with(&mask, |score, set| *score += if *set { 0.4 } else { 0.0 });
            }
            let mask = (stratum > 0).then_some(mask);
            (stratum, map.mapv(|score| (score * 10.0 - 3.0) as f32), mask)
        })
        .collect()
}

#[test]
fn every_metric_is_its_definition() {
    for (seed, levels) in [(1, 1), (2, 2), (3, 7), (4, 40), (5, 100_000), (6, 100_000)] {
        let frames = drawn(seed, levels, 9);
        let found = collected(&frames, 1 << 20).evaluate(None);
        let check = |found: &Option<PixelMetrics>, kinds: &[usize]| {
            let frames: Vec<Frame> = frames
                .iter()
                .filter(|frame| kinds.contains(&frame.0))
                .cloned()
                .collect();
            let found = found.as_ref().unwrap();
            for (found, expected) in values(found).into_iter().zip(by_definition(&frames)) {
                assert!(
                    (found.value - expected).abs() < 1e-12,
                    "{found:?} {expected}"
                );
                assert_eq!((found.error, found.interval), (0.0, None));
            }
        };
        check(&found.all, &[0, 1, 2]);
        check(&found.by_stratum[1], &[0, 1]);
        check(&found.by_stratum[2], &[0, 2]);
        assert_eq!(found.by_stratum[0], None);
    }
}

#[test]
fn where_scores_are_not_told_apart_the_error_is_bounded() {
    for (seed, limit) in [(1, 300), (2, 120), (3, 48), (4, 6)] {
        let frames = drawn(seed, 100_000, 40);
        let found = collected(&frames, limit).evaluate(None).all.unwrap();
        for (found, expected) in values(&found).into_iter().zip(by_definition(&frames)) {
            let off = (found.value - expected).abs();
            assert!(
                off > 0.0 && off <= found.error + 1e-12,
                "{found:?} {expected}"
            );
        }
    }
    // What a few thousand scores, and not all, can do on half a million pixels.
    let frames: Vec<Frame> = (0..60)
        .map(|i| {
            let mask = Array2::from_shape_fn((100, 100), |(y, x)| (y / 7 + x / 5 + i) % 13 == 0);
            let map = Array2::from_shape_fn((100, 100), |(y, x)| {
                let score = ((y * 7919 + x * 104_729 + i * 1_299_709) % 65_521) as f32 / 6552.1;
                score + if mask[[y, x]] { 3.0 } else { 0.0 }
            });
            (i % 3, map, (i % 3 > 0).then_some(mask))
        })
        .collect();
    let exact = collected(&frames, 1 << 22).evaluate(None).all.unwrap();
    let coarse = collected(&frames, 1 << 14).evaluate(None).all.unwrap();
    for (exact, coarse) in values(&exact).into_iter().zip(values(&coarse)) {
        assert_eq!(exact.error, 0.0);
        assert!(coarse.error > 0.0 && coarse.error < 2e-3, "{coarse:?}");
        assert!(
            (exact.value - coarse.value).abs() <= coarse.error,
            "{exact:?} {coarse:?}"
        );
    }
}

#[test]
fn the_figures_are_those_of_scikit_learn_and_anomalib() {
    for (levels, auroc, f1_max, aupro, aupro_5) in REFERENCE {
        let frames: Vec<Frame> = (0..6)
            .map(|n| {
                let set = |y: usize, x: usize| {
                    n >= 2
                        && (x * (n + 1) + y * 5) % 11 < 3
                        && (x / 4 + y / 3 + n).is_multiple_of(3)
                };
                let map = Array2::from_shape_fn((12, 15), |(y, x)| {
                    let i = y * 15 + x;
                    let more = if set(y, x) {
                        (i * 7 + n) % (levels / 3)
                    } else {
                        0
                    };
                    ((i * 37 + n * 101 + 11) % levels + more) as f32 / 8.0 - 4.0
                });
                let mask = Array2::from_shape_fn((12, 15), |(y, x)| set(y, x));
                (usize::from(n >= 2), map, Some(mask))
            })
            .collect();
        let found = collected(&frames, 1 << 20).evaluate(None).all.unwrap();
        assert_eq!(
            (found.regions, found.defective, found.background),
            (32, 77, 1003)
        );
        assert!((found.auroc.value - auroc).abs() < 1e-12, "{found:?}");
        assert!((found.f1_max.value - f1_max).abs() < 1e-12, "{found:?}");
        // anomalib sums in f32.
        assert!((found.aupro.value - aupro).abs() < 1e-6, "{found:?}");
        assert!((found.aupro_5.value - aupro_5).abs() < 1e-6, "{found:?}");
    }
}

#[test]
fn one_score_everywhere_is_chance() {
    let mask = Array2::from_shape_fn((4, 5), |(y, x)| y == 1 && x < 2);
    let map = Array2::from_elem((4, 5), -0.0);
    let frames = [(0, Array2::zeros((4, 5)), None), (1, map, Some(mask))];
    let found = collected(&frames, 1000).evaluate(None).all.unwrap();
    assert_eq!(found.auroc.value, 0.5);
    // The only line goes from (0, 0) to (1, 1).
    assert!((found.aupro.value - 0.15).abs() < 1e-15);
    assert!((found.aupro_5.value - 0.025).abs() < 1e-15);
    assert_eq!(found.pro.points, [[0.0, 0.0], [1.0, 1.0]]);
}

#[test]
fn what_is_undefined_is_none_and_what_is_wrong_is_refused() {
    let map = Array2::from_elem((2, 3), 1.0);
    let empty = || Some(Array2::from_elem((2, 3), false));
    let full = || Some(Array2::from_elem((2, 3), true));
    let all = |frames: &[Frame]| {
        collected(frames, 1000)
            .evaluate(Some(Bootstrap::default()))
            .all
    };
    assert_eq!(all(&[]), None);
    assert_eq!(
        all(&[(0, map.clone(), None), (1, map.clone(), empty())]),
        None
    );
    assert_eq!(all(&[(1, map.clone(), full())]), None);
    assert!(all(&[(0, map.clone(), None), (1, map.clone(), full())]).is_some());

    let mut scores = PixelScores::new(2);
    let tall = Array2::from_elem((3, 2), true);
    let error = scores.add(1, map.view(), Some(tall.view())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("2×3 pixels and the anomaly map 3×2"),
        "{error}"
    );
    assert!(scores.add(2, map.view(), None).is_err());
    let mut nan = map.clone();
    nan[[1, 2]] = f32::NAN;
    let error = scores.add(0, nan.view(), None).unwrap_err();
    assert_eq!(error, PixelError::NotANumber { x: 2, y: 1 });
    assert_eq!(scores.frames(), 0);
}

/// Each resample as frames in their own right, evaluated exactly.
#[test]
fn intervals_are_those_of_frames_drawn_anew() {
    let frames = drawn(11, 100_000, 24);
    let bootstrap = Bootstrap {
        resamples: 120,
        seed: 4,
    };
    let strata: Vec<Vec<&Frame>> = (0..3)
        .map(|stratum| frames.iter().filter(|frame| frame.0 == stratum).collect())
        .collect();
    let sizes: Vec<usize> = strata.iter().map(Vec::len).collect();
    let drawn = bootstrap.map(
        &sizes,
        || (),
        |(), times| {
            let mut drawn = Vec::new();
            for (frames, times) in strata.iter().zip(times) {
                for (frame, &times) in frames.iter().zip(times) {
                    drawn.extend((0..times).map(|_| (*frame).clone()));
                }
            }
            let all = collected(&drawn, 1 << 20).evaluate(None).all.unwrap();
            values(&all).map(|estimate| estimate.value)
        },
    );
    let found = collected(&frames, 1 << 20)
        .evaluate(Some(bootstrap))
        .all
        .unwrap();
    for (figure, estimate) in values(&found).into_iter().enumerate() {
        let expected = percentile_interval(drawn.iter().map(|values| values[figure])).unwrap();
        let interval = estimate.interval.unwrap();
        // The bins of the resamples are a little coarser than the scores.
        for (found, expected) in [
            (interval.lower, expected.lower),
            (interval.upper, expected.upper),
        ] {
            assert!(
                (found - expected).abs() < 5e-3,
                "{figure}: {interval:?} {expected}"
            );
        }
        assert!(interval.contains(estimate.value), "{estimate:?}");
    }
    let again = collected(&frames, 1 << 20)
        .evaluate(Some(bootstrap))
        .all
        .unwrap();
    assert_eq!(found, again);
}

#[test]
fn histograms_stay_small() {
    let frames = drawn(3, 100_000, 30);
    let mut small = Histograms::limited(200);
    let mut large = Histograms::limited(1 << 20);
    for (stratum, map, _) in &frames {
        let mut keys: Vec<u32> = map.iter().map(|score| key_of(*score)).collect();
        keys.sort_unstable();
        for histograms in [&mut small, &mut large] {
            let background = keys.iter().map(|key| (*key, 1));
            histograms.push(*stratum, 0, background, std::iter::empty());
        }
    }
    assert!(small.entries() <= 200, "{}", small.entries());
    assert!(large.entries() > 600, "{}", large.entries());
}

/// `sklearn.metrics.roc_auc_score`, the largest F1 over `precision_recall_curve`, and anomalib's
/// AUPRO to 0.3 and 0.05 (version of August 2026), for maps of so many levels.
const REFERENCE: [(usize, f64, f64, f64, f64); 2] = [
    (
        29,
        0.654_322_746_047_571_5,
        0.326_086_956_521_739_14,
        0.352_288_712_755_064,
        0.220_747_283_760_019_3,
    ),
    (
        997,
        0.688_486_488_586_189_4,
        0.395_833_333_333_333_3,
        0.335_810_881_589_191,
        0.221_911_348_975_24,
    ),
];

#[test]
fn pixels_that_were_not_looked_at_are_as_if_cut_off() {
    let mut random = Pcg64::seed_from_u64(8);
    let (mut whole, mut cut) = (PixelScores::new(2), PixelScores::new(2));
    for frame in 0..6 {
        let map = Array2::from_shape_fn((9, 12), |_| random.random::<f32>());
        // Across the border between what was looked at and what was not.
        let mask = Array2::from_shape_fn((9, 12), |(y, x)| (3..6).contains(&y) && x >= 4);
        let within = Array2::from_shape_fn((9, 12), |(_, x)| x < 7);
        let mask = (frame > 2).then_some(mask);
        let stratum = usize::from(mask.is_some());
        let seen = mask.as_ref().map(|mask| mask.view());
        whole
            .add_within(stratum, map.view(), seen, Some(within.view()))
            .unwrap();
        let left = ndarray::s![.., ..7];
        let seen = mask.as_ref().map(|mask| mask.slice(left));
        cut.add(stratum, map.slice(left), seen).unwrap();
    }
    assert_eq!(whole.evaluate(None).all, cut.evaluate(None).all);
    let map = Array2::zeros((2, 2));
    let within = Array2::from_elem((2, 3), true);
    let refused = whole.add_within(0, map.view(), None, Some(within.view()));
    assert!(matches!(refused, Err(PixelError::Size { .. })));
}
