//! A threshold that sinks over all pixels, and what it finds on its way.

use super::tally::Defective;
use crate::metrics::{Curve, curve::CurveBuilder};

/// Pixels of one score, or of scores that are not told apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) key: u32,
    pub(super) background: u64,
    pub(super) defective: Defective,
}

/// How many there are in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) background: u64,
    pub(super) defective: u64,
    pub(super) regions: u64,
}

/// A value, and by how much it may be wrong because scores were not told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bounded {
    pub(super) value: f64,
    pub(super) error: f64,
}

/// What the sweep found.
pub(super) struct Swept {
    pub(super) auroc: Bounded,
    pub(super) f1_max: Bounded,
    /// Key of the group at which F1 is largest.
    pub(super) f1_key: u32,
    /// Area under the PRO curve up to each limit, divided by it.
    pub(super) aupro: [Bounded; LIMITS.len()],
}

/// False-positive rates up to which the PRO curve is integrated.
pub(super) const LIMITS: [f64; 2] = [0.3, 0.05];

/// Sweeps over groups of descending score. `coarse`: groups may hold different scores, and the
/// errors are bounded: within a group the true curve rises from the group's first point to its
/// second in an unknown way, so that it and the straight line differ by half of the rectangle
/// between the two at most (by all of it where the limit cuts the group); F1 is at most that of
/// finding all of the group's defective pixels before any other.
///
/// There are pixels of both kinds, and regions.
pub(super) fn sweep(groups: impl Iterator<Item = Group>, totals: Totals, coarse: bool) -> Swept {
    let mut found = Swept {
        auroc: Bounded::default(),
        f1_max: Bounded::default(),
        f1_key: 0,
        aupro: [Bounded::default(); LIMITS.len()],
    };
    let (background, defective) = (totals.background as f64, totals.defective as f64);
    let mut f1_bound: f64 = 0.0;
    let (mut false_pixels, mut true_pixels, mut overlap) = (0, 0, 0.0);
    let mut last = [0.0; 3];
    for group in groups {
        let before = (false_pixels, true_pixels);
        false_pixels += group.background;
        true_pixels += group.defective.pixels;
        overlap += group.defective.overlap;
        let x = false_pixels as f64 / background;
        let y = true_pixels as f64 / defective;
        let pro = (overlap / totals.regions as f64).min(1.0);
        let width = x - last[0];
        found.auroc.value += 0.5 * width * (y + last[1]);
        found.auroc.error += 0.5 * width * (y - last[1]);
        let f1 = |true_pixels: u64, false_pixels: u64| {
            2.0 * true_pixels as f64 / (true_pixels + false_pixels + totals.defective) as f64
        };
        let value = f1(true_pixels, false_pixels);
        if value > found.f1_max.value {
            found.f1_max.value = value;
            found.f1_key = group.key;
        }
        f1_bound = f1_bound.max(f1(true_pixels, before.0));
        for (area, limit) in found.aupro.iter_mut().zip(LIMITS) {
            if last[0] >= limit || width <= 0.0 {
                continue;
            }
            let rise = pro - last[2];
            let inside = width.min(limit - last[0]);
            let end = last[2] + rise * (inside / width);
            area.value += 0.5 * inside * (end + last[2]) / limit;
            let share = if inside < width { 1.0 } else { 0.5 };
            area.error += share * inside * rise / limit;
        }
        last = [x, y, pro];
    }
    found.f1_max.error = f1_bound - found.f1_max.value;
    if !coarse {
        let all = [&mut found.auroc, &mut found.f1_max].into_iter();
        for bounded in all.chain(&mut found.aupro) {
            bounded.error = 0.0;
        }
    }
    found
}

/// The receiver operating characteristic, and the per-region overlap by the false-positive rate.
pub(super) fn curves(groups: impl Iterator<Item = Group>, totals: Totals) -> (Curve, Curve) {
    let (mut roc, mut pro) = (CurveBuilder::new(), CurveBuilder::new());
    let (mut false_pixels, mut true_pixels, mut overlap) = (0, 0, 0.0);
    for group in groups {
        false_pixels += group.background;
        true_pixels += group.defective.pixels;
        overlap += group.defective.overlap;
        let x = false_pixels as f64 / totals.background as f64;
        roc.push(x, true_pixels as f64 / totals.defective as f64);
        pro.push(x, (overlap / totals.regions as f64).min(1.0));
    }
    (roc.finish(), pro.finish())
}
