//! The metrics of pixels: AUROC, F1-max and AUPRO, over frames that come one by one.

mod resample;
mod sweep;
mod tally;

#[cfg(test)]
mod tests;

use ndarray::ArrayView2;

use super::{
    Bootstrap, Components, Curve, Estimate, Evaluated, Interval, bootstrap::percentile_interval,
    strata::Side,
};
use resample::Histograms;
use sweep::{Bounded, Group, Swept, Totals, curves, sweep};
use tally::{Defective, Tally, key_of, score_of};

/// Distinct scores that are told apart: 4 M, with which some 250 MB are needed at most, while
/// everything is put together. They suffice for all pixels of some hundred small frames; beyond,
/// neighbouring scores are taken as one, and the error stays in the order of 10⁻⁶.
const DISTINCT_SCORES: usize = 1 << 22;

/// Collects the pixels of maps and masks, frame by frame, and computes the metrics of all of them.
///
/// Memory does not grow with the number of pixels: a pixel is counted by its score, and where there
/// are too many distinct scores, the lowest bits of all are dropped. Metrics then say how far off
/// they may be. For the bootstrap each frame leaves a short histogram of some kilobytes.
#[derive(Clone, Debug)]
pub struct PixelScores {
    /// Distinct scores of each kind of pixel that are told apart.
    limit: usize,
    strata: Vec<Stratum>,
    histograms: Histograms,
}

/// The pixels of the frames of one stratum.
#[derive(Clone, Debug)]
struct Stratum {
    frames: usize,
    totals: Totals,
    background: Tally<u64>,
    defective: Tally<Defective>,
}

/// Why a frame's pixels were not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PixelError {
    /// Map and mask are of different size.
    #[error(
        "the mask has {mask_width}×{mask_height} pixels and the anomaly map \
         {map_width}×{map_height}; they have to be of one size"
    )]
    Size {
        /// Columns of the mask.
        mask_width: usize,
        /// Rows of the mask.
        mask_height: usize,
        /// Columns of the map.
        map_width: usize,
        /// Rows of the map.
        map_height: usize,
    },
    /// NaN orders with nothing.
    #[error("the anomaly map has NaN at x {x}, y {y}; look for such values in the model")]
    NotANumber {
        /// Column.
        x: usize,
        /// Row.
        y: usize,
    },
    /// There is no such stratum.
    #[error("stratum {found} of {strata}: count from 0")]
    Stratum {
        /// The one that was asked for.
        found: usize,
        /// How many there are.
        strata: usize,
    },
}

/// The metrics of pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelMetrics {
    /// Probability that a pixel of a defect scores higher than one of the background, a tie
    /// counting half; background is every pixel outside of the masks, of normal frames and of
    /// defective ones.
    pub auroc: Estimate,
    /// The largest F1 over all thresholds.
    pub f1_max: Estimate,
    /// The threshold of the largest F1: pixels with this score or a higher one.
    pub f1_threshold: f32,
    /// AUPRO up to a false-positive rate of 30 % (Bergmann et al. 2020, section 5.2, as anomalib
    /// computes it): over all distinct scores as thresholds, the share of background pixels that
    /// reach the threshold (x) and the mean over all regions of the share of the region that does
    /// (y), from (0, 0) on; the area under the straight lines between these points, up to x = 0.3
    /// exactly, divided by 0.3. Regions are the 8-connected ones of all masks, each of the same
    /// weight.
    pub aupro: Estimate,
    /// The same up to 5 %.
    pub aupro_5: Estimate,
    /// The receiver operating characteristic.
    pub roc: Curve,
    /// Mean overlap with the regions (y) by the false-positive rate (x), up to 1.
    pub pro: Curve,
    /// Pixels outside of all regions.
    pub background: u64,
    /// Pixels of regions.
    pub defective: u64,
    /// Regions.
    pub regions: u64,
}

impl PixelScores {
    /// For frames of so many strata, stratum 0 being that of normal frames.
    pub fn new(strata: usize) -> Self {
        Self::with_limit(strata, DISTINCT_SCORES)
    }

    /// [`PixelScores::new`], telling apart at most so many distinct scores: each takes some twenty
    /// bytes.
    pub fn with_limit(strata: usize, distinct_scores: usize) -> Self {
        // So that all strata together stay below it.
        let share = distinct_scores / strata.max(1);
        let stratum = Stratum {
            frames: 0,
            totals: Totals::default(),
            background: Tally::new(share),
            defective: Tally::new(share),
        };
        Self {
            limit: distinct_scores,
            strata: vec![stratum; strata],
            histograms: Histograms::new(),
        }
    }

    /// Takes in the anomaly map of a frame, `H×W`, and its mask of the same size, set where the
    /// defect is; `None` for a frame without a defect. Of a frame whose mask is not known nothing
    /// can be taken in.
    ///
    /// # Errors
    /// A mask of another size, NaN, a stratum that does not exist; nothing was taken in then.
    pub fn add(
        &mut self,
        stratum: usize,
        map: ArrayView2<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
    ) -> Result<(), PixelError> {
        self.add_within(stratum, map, mask, None)
    }

    /// [`PixelScores::add`] for a frame of which only the pixels that are set in `within` (`H×W`)
    /// were looked at: the others are neither background nor defect.
    ///
    /// # Errors
    /// Those of [`PixelScores::add`]; a `within` of another size.
    pub fn add_within(
        &mut self,
        stratum: usize,
        map: ArrayView2<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        within: Option<ArrayView2<'_, bool>>,
    ) -> Result<(), PixelError> {
        let strata = self.strata.len();
        let place = self.strata.get_mut(stratum).ok_or(PixelError::Stratum {
            found: stratum,
            strata,
        })?;
        let unlike = |mask: &ArrayView2<'_, bool>| mask.dim() != map.dim();
        if let Some(mask) = mask.filter(unlike).or(within.filter(unlike)) {
            return Err(PixelError::Size {
                mask_width: mask.ncols(),
                mask_height: mask.nrows(),
                map_width: map.ncols(),
                map_height: map.nrows(),
            });
        }
        if let Some(((y, x), _)) = map.indexed_iter().find(|(_, value)| value.is_nan()) {
            return Err(PixelError::NotANumber { x, y });
        }
        let looked_at = |pixel| within.is_none_or(|within| within[pixel]);
        let components = match (mask, within) {
            (Some(mask), Some(within)) => Some(Components::of((&mask & &within).view())),
            (mask, _) => mask.map(Components::of),
        };
        let shares: Vec<f64> = components.as_ref().map_or_else(Vec::new, |components| {
            let share = |&size| 1.0 / f64::from(size);
            components.sizes.iter().map(share).collect()
        });
        let labels = components.as_ref().map(|components| &components.labels);
        let (mut background, mut defective) = (Vec::with_capacity(map.len()), Vec::new());
        let pixels = map.indexed_iter().filter(|(pixel, _)| looked_at(*pixel));
        for (pixel, &score) in pixels {
            let region = labels.map_or(0, |labels| labels[pixel]) as usize;
            match region.checked_sub(1) {
                None => background.push(key_of(score)),
                Some(region) => defective.push((key_of(score), shares[region])),
            }
        }
        background.sort_unstable();
        // Stable, so that sums of shares have one order.
        defective.sort_by_key(|(key, _)| *key);
        place.totals.background += background.len() as u64;
        place.totals.defective += defective.len() as u64;
        let background = || {
            background
                .chunk_by(|a, b| a == b)
                .map(|equal| (equal[0], equal.len() as u64))
        };
        let defective = || {
            defective
                .iter()
                .map(|&(key, overlap)| (key, Defective { pixels: 1, overlap }))
        };
        background().for_each(|(key, pixels)| place.background.push(key, pixels));
        defective().for_each(|(key, pixels)| place.defective.push(key, pixels));
        place.frames += 1;
        place.totals.regions += shares.len() as u64;
        self.histograms
            .push(stratum, shares.len() as u32, background(), defective());
        Ok(())
    }

    /// Frames that were taken in.
    pub fn frames(&self) -> usize {
        self.strata.iter().map(|stratum| stratum.frames).sum()
    }

    /// The metrics of all frames together and of each kind; `None` without a region or without a
    /// pixel outside of all. Without `bootstrap`, or without resamples, there are no intervals.
    ///
    /// A resample is computed from some thousand bins of scores. By how much the frames as they
    /// are differ in these bins from what they are exactly is known, and the intervals are shifted
    /// by it.
    pub fn evaluate(&mut self, bootstrap: Option<Bootstrap>) -> Evaluated<PixelMetrics> {
        for stratum in &mut self.strata {
            stratum.background.settle();
            stratum.defective.settle();
        }
        let strata = self.strata.len();
        let sides: Vec<Side> = [Side::All]
            .into_iter()
            .chain((1..strata).map(Side::Kind))
            .filter(|side| {
                let totals = self.totals(*side);
                totals.background > 0 && totals.regions > 0
            })
            .collect();
        let resampled = bootstrap
            .filter(|bootstrap| bootstrap.resamples > 0 && !sides.is_empty())
            .map(|bootstrap| self.histograms.resampled(bootstrap, strata, &sides));
        let mut evaluated = Evaluated {
            all: None,
            by_stratum: vec![None; strata],
        };
        for (place, &side) in sides.iter().enumerate() {
            let mut metrics = self.exact(side);
            if let Some((resampled, plain)) = &resampled {
                let estimates = [
                    &mut metrics.auroc,
                    &mut metrics.f1_max,
                    &mut metrics.aupro,
                    &mut metrics.aupro_5,
                ];
                for (figure, estimate) in estimates.into_iter().enumerate() {
                    let shift = estimate.value - plain[place][figure];
                    let drawn = resampled.iter().map(|drawn| drawn[place][figure]);
                    estimate.interval = percentile_interval(drawn).map(|interval| Interval {
                        lower: (interval.lower + shift).clamp(0.0, 1.0),
                        upper: (interval.upper + shift).clamp(0.0, 1.0),
                    });
                }
            }
            *side.place(&mut evaluated) = Some(metrics);
        }
        evaluated
    }

    /// The normal frames, and those of the side.
    fn chosen(&self, side: Side) -> impl Iterator<Item = &Stratum> {
        let defects = &self.strata[side.strata(self.strata.len())];
        self.strata.iter().take(1).chain(defects)
    }

    fn totals(&self, side: Side) -> Totals {
        let mut totals = Totals::default();
        for stratum in self.chosen(side) {
            totals.background += stratum.totals.background;
            totals.defective += stratum.totals.defective;
            totals.regions += stratum.totals.regions;
        }
        totals
    }

    /// The metrics without intervals; there are pixels of both kinds.
    fn exact(&self, side: Side) -> PixelMetrics {
        let mut background = Tally::new(self.limit);
        let mut defective = Tally::new(self.limit);
        for stratum in self.chosen(side) {
            background.absorb(&stratum.background);
            defective.absorb(&stratum.defective);
        }
        let totals = self.totals(side);
        let shift = background.shift().max(defective.shift());
        let groups = || grouped(&background, &defective, shift);
        let Swept {
            auroc,
            f1_max,
            f1_key,
            aupro: [aupro, aupro_5],
        } = sweep(groups(), totals, shift > 0);
        let (roc, pro) = curves(groups(), totals);
        let estimate = |Bounded { value, error }| Estimate {
            value,
            error,
            interval: None,
        };
        PixelMetrics {
            auroc: estimate(auroc),
            f1_max: estimate(f1_max),
            f1_threshold: score_of(f1_key << shift),
            aupro: estimate(aupro),
            aupro_5: estimate(aupro_5),
            roc,
            pro,
            background: totals.background,
            defective: totals.defective,
            regions: totals.regions,
        }
    }
}

/// The pixels of both kinds by descending key.
fn grouped(
    background: &Tally<u64>,
    defective: &Tally<Defective>,
    shift: u32,
) -> impl Iterator<Item = Group> {
    let mut background = background.descending(shift).peekable();
    let mut defective = defective.descending(shift).peekable();
    std::iter::from_fn(move || {
        let keys = [
            background.peek().map(|b| b.0),
            defective.peek().map(|d| d.0),
        ];
        let key = keys.into_iter().flatten().max()?;
        let mut group = Group {
            key,
            ..Group::default()
        };
        while let Some((_, pixels)) = background.next_if(|(found, _)| *found == key) {
            group.background += pixels;
        }
        while let Some((_, pixels)) = defective.next_if(|(found, _)| *found == key) {
            tally::Weight::add(&mut group.defective, pixels);
        }
        Some(group)
    })
}
