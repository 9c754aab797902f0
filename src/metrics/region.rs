//! Regions that were predicted against those that there are: precision and recall.

use std::{collections::BTreeMap, iter, ops::AddAssign};

use super::{
    Bootstrap, Components, Estimate, Evaluated, PixelError, bootstrap::percentile_interval,
    strata::Side,
};

/// Regions match from this intersection over union on. Maps of coarse cells seldom follow the edge
/// of a defect, so that the 0.5 that is usual for rectangles would count regions that show the
/// place well as misses.
pub const MINIMUM_IOU: f64 = 0.3;

/// Numbers of regions, of a frame or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionCounts {
    /// Regions that were predicted.
    pub predicted: u64,
    /// Regions of the masks.
    pub actual: u64,
    /// Pairs of the two that match.
    pub matched: u64,
}

impl RegionCounts {
    /// Of a frame; both are of one size. Regions p and t overlap by their intersection over union
    ///
    /// ```text
    /// IoU(p, t) = |p ∩ t| / |p ∪ t|
    /// ```
    ///
    /// Pairs of [`MINIMUM_IOU`] or more match one to one, in descending order of IoU: each takes
    /// its two regions away from the pairs after it. A defect that is predicted in two pieces is
    /// so found once at most, and the other piece is a false one (Everingham et al. 2010, section
    /// 4.2, where confidence orders the pairs). Of pairs with one IoU that of the lower number
    /// comes first.
    pub fn of(predicted: &Components, actual: &Components) -> Self {
        let mut shared = BTreeMap::<(u32, u32), u32>::new();
        for (&p, &t) in predicted.labels.iter().zip(&actual.labels) {
            if p > 0 && t > 0 {
                *shared.entry((p, t)).or_default() += 1;
            }
        }
        let mut pairs: Vec<(f64, usize, usize)> = shared
            .into_iter()
            .map(|((p, t), both)| {
                let (p, t) = (p as usize - 1, t as usize - 1);
                let union = predicted.sizes[p] + actual.sizes[t] - both;
                (f64::from(both) / f64::from(union), p, t)
            })
            .filter(|(iou, ..)| *iou >= MINIMUM_IOU)
            .collect();
        // Stable, so that numbers decide between equal ones.
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut free = [predicted, actual].map(|regions| vec![true; regions.sizes.len()]);
        let mut matched = 0;
        for (_, p, t) in pairs {
            if free[0][p] && free[1][t] {
                (free[0][p], free[1][t]) = (false, false);
                matched += 1;
            }
        }
        Self {
            predicted: predicted.sizes.len() as u64,
            actual: actual.sizes.len() as u64,
            matched,
        }
    }

    /// The share of predicted regions that match; `None` where there are none.
    pub fn precision(self) -> Option<f64> {
        (self.predicted > 0).then(|| self.matched as f64 / self.predicted as f64)
    }

    /// The share of the masks' regions that match; `None` where there are none.
    pub fn recall(self) -> Option<f64> {
        (self.actual > 0).then(|| self.matched as f64 / self.actual as f64)
    }

    fn times(self, times: u32) -> Self {
        let times = u64::from(times);
        Self {
            predicted: times * self.predicted,
            actual: times * self.actual,
            matched: times * self.matched,
        }
    }
}

impl AddAssign for RegionCounts {
    fn add_assign(&mut self, other: Self) {
        self.predicted += other.predicted;
        self.actual += other.actual;
        self.matched += other.matched;
    }
}

impl iter::Sum for RegionCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, counts| {
            sum += counts;
            sum
        })
    }
}

/// Precision and recall of regions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionMetrics {
    /// Matched of predicted regions, those of the normal frames among them; `None` where none was
    /// predicted.
    pub precision: Option<Estimate>,
    /// Matched of the masks' regions; `None` where there are none.
    pub recall: Option<Estimate>,
    /// What they are shares of.
    pub counts: RegionCounts,
}

/// Collects the regions of frames, and computes precision and recall of all of them.
#[derive(Clone, Debug)]
pub struct RegionScores {
    /// Of each frame, by stratum.
    strata: Vec<Vec<RegionCounts>>,
}

impl RegionScores {
    /// For frames of so many strata, stratum 0 being that of normal frames.
    pub fn new(strata: usize) -> Self {
        Self {
            strata: vec![Vec::new(); strata],
        }
    }

    /// Takes in the regions of a frame, both in one size: none were predicted for a frame that was
    /// called normal, and a frame without a defect has none.
    ///
    /// # Errors
    /// Regions of different size, a stratum that does not exist; nothing was taken in then.
    pub fn add(
        &mut self,
        stratum: usize,
        predicted: &Components,
        actual: &Components,
    ) -> Result<(), PixelError> {
        let strata = self.strata.len();
        let frames = self.strata.get_mut(stratum).ok_or(PixelError::Stratum {
            found: stratum,
            strata,
        })?;
        let (map, mask) = (&predicted.labels, &actual.labels);
        if map.dim() != mask.dim() {
            return Err(PixelError::Size {
                mask_width: mask.ncols(),
                mask_height: mask.nrows(),
                map_width: map.ncols(),
                map_height: map.nrows(),
            });
        }
        frames.push(RegionCounts::of(predicted, actual));
        Ok(())
    }

    /// The metrics of all frames, and of each kind with the normal frames; with the intervals of
    /// the bootstrap where one is given. Without a defective frame there are none.
    pub fn evaluate(&self, bootstrap: Option<Bootstrap>) -> Evaluated<RegionMetrics> {
        let frames: Vec<usize> = self.strata.iter().map(Vec::len).collect();
        let once: Vec<Vec<u32>> = frames.iter().map(|&frames| vec![1; frames]).collect();
        let sums = self.sums(&once);
        let resampled = bootstrap.map_or_else(Vec::new, |bootstrap| {
            bootstrap.map(&frames, || (), |(), times| self.sums(times))
        });
        let strata = self.strata.len();
        let mut evaluated = Evaluated {
            all: None,
            by_stratum: vec![None; strata],
        };
        for side in iter::once(Side::All).chain((1..strata).map(Side::Kind)) {
            if side.frames(&frames) == 0 {
                continue;
            }
            let of = |sums: &[RegionCounts]| -> RegionCounts {
                iter::once(0)
                    .chain(side.strata(strata))
                    .map(|stratum| sums[stratum])
                    .sum()
            };
            let estimate = |share: fn(RegionCounts) -> Option<f64>| {
                Some(Estimate {
                    value: share(of(&sums))?,
                    error: 0.0,
                    interval: percentile_interval(
                        resampled.iter().filter_map(|sums| share(of(sums))),
                    ),
                })
            };
            *side.place(&mut evaluated) = Some(RegionMetrics {
                precision: estimate(RegionCounts::precision),
                recall: estimate(RegionCounts::recall),
                counts: of(&sums),
            });
        }
        evaluated
    }

    /// Sums by stratum, of frames that were drawn so many times each.
    fn sums(&self, times: &[Vec<u32>]) -> Vec<RegionCounts> {
        let sum = |(frames, times): (&Vec<RegionCounts>, &Vec<u32>)| {
            let drawn = frames.iter().zip(times);
            drawn.map(|(counts, times)| counts.times(*times)).sum()
        };
        self.strata.iter().zip(times).map(sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn components(rows: &[&str]) -> Components {
        let width = rows.first().map_or(0, |row| row.len());
        let set = |(y, x): (usize, usize)| rows[y].as_bytes()[x] == b'#';
        Components::of(Array2::from_shape_fn((rows.len(), width), set).view())
    }

    fn counts(predicted: u64, actual: u64, matched: u64) -> RegionCounts {
        RegionCounts {
            predicted,
            actual,
            matched,
        }
    }

    #[test]
    fn three_tenths_match_and_less_does_not() {
        let actual = components(&["######....."]);
        // Three of ten, three of eleven, none.
        for (predicted, matched) in [("...#######.", 1), ("...########", 0), (".......####", 0)] {
            let found = RegionCounts::of(&components(&[predicted]), &actual);
            assert_eq!(found, counts(1, 1, matched), "{predicted}");
        }
    }

    #[test]
    fn a_defect_in_two_pieces_is_found_once() {
        let whole = components(&["########."]);
        // 4/8 and 3/8: both would match.
        let pieces = components(&["####.###."]);
        assert_eq!(RegionCounts::of(&pieces, &whole), counts(2, 1, 1));
        // Two defects that melt into one region.
        assert_eq!(RegionCounts::of(&whole, &pieces), counts(1, 2, 1));
    }

    #[test]
    fn the_largest_overlap_goes_first() {
        // The left region shares 8 of 22 pixels with the left defect and 13 of 31 with the right
        // one, and the right region 8 of 22 with that: with 13 of 31 taken, nothing else is left.
        let predicted = components(&["######################.########"]);
        let actual = components(&["########.######################"]);
        assert_eq!(RegionCounts::of(&predicted, &actual), counts(2, 2, 1));
    }

    #[test]
    fn without_regions_nothing_matches() {
        let [some, none] = [components(&["##.#"]), components(&["...."])];
        assert_eq!(RegionCounts::of(&none, &some), counts(0, 2, 0));
        assert_eq!(RegionCounts::of(&some, &none), counts(2, 0, 0));
        let nothing = RegionCounts::of(&none, &none);
        assert_eq!((nothing.precision(), nothing.recall()), (None, None));
    }

    #[test]
    fn kinds_are_held_against_normal_frames() {
        let [none, one, two] = ["....", "##..", "#..#"].map(|row| components(&[row]));
        let mut scores = RegionScores::new(4);
        let bootstrap = Some(Bootstrap {
            resamples: 200,
            seed: 1,
        });
        assert_eq!(scores.evaluate(bootstrap).all, None);
        // A false alarm on one of two normal frames.
        scores.add(0, &none, &none).unwrap();
        scores.add(0, &one, &none).unwrap();
        // A kind found, a kind missed.
        scores.add(1, &one, &one).unwrap();
        scores.add(1, &two, &two).unwrap();
        scores.add(2, &none, &two).unwrap();
        let found = scores.evaluate(bootstrap);
        let all = found.all.unwrap();
        assert_eq!(all.counts, counts(4, 5, 3));
        assert_eq!(all.precision.unwrap().value, 0.75);
        assert_eq!(all.recall.unwrap().value, 0.6);
        let kinds: Vec<_> = found
            .by_stratum
            .iter()
            .map(|kind| kind.map(|kind| kind.counts))
            .collect();
        assert_eq!(
            kinds,
            [None, Some(counts(4, 3, 3)), Some(counts(1, 2, 0)), None]
        );
        // Draws of the two normal frames have no, one or two false regions, beside two to four
        // found ones: 2/4 at worst.
        let interval = all.precision.unwrap().interval.unwrap();
        assert_eq!((interval.lower, interval.upper), (0.5, 1.0));
        let recall = found.by_stratum[1].unwrap().recall.unwrap();
        assert_eq!((recall.value, recall.interval.unwrap().lower), (1.0, 1.0));
        assert_eq!(
            scores.evaluate(None).all.unwrap().recall.unwrap().interval,
            None
        );
    }

    #[test]
    fn sizes_and_strata_are_checked() {
        let mut scores = RegionScores::new(1);
        let (narrow, wide) = (components(&["#."]), components(&["#.."]));
        assert!(matches!(
            scores.add(0, &narrow, &wide),
            Err(PixelError::Size { .. })
        ));
        assert!(matches!(
            scores.add(1, &wide, &wide),
            Err(PixelError::Stratum { .. })
        ));
    }
}
