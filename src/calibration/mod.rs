//! Split-conformal calibration: threshold, p-value and what they guarantee.
//!
//! With n scores of held-out normal frames and a new normal frame that is exchangeable with them,
//! the new score is equally likely to take any of the n + 1 ranks. So a frame that is called
//! anomalous when at most l − 1 of the n scores reach its own is called so with a probability of at
//! most l/(n + 1) (Vovk et al. 2005; Angelopoulos & Bates 2023, section 1). Here l is the largest
//! number with l/(n + 1) ≤ rate, and the threshold is the (n + 1 − l)-th smallest score, which is
//! the ⌈(n + 1)(1 − rate)⌉-th.
//!
//! Frames of one part or one shift resemble each other, so of K groups only the groups are
//! exchangeable, and within a group its frames. Then a frame counts 1/(size of its group), a group
//! 1, and with W(s) the sum over the frames whose score reaches s, (1 + W(s))/(K + 1) is a p-value
//! for a frame of a new group (hierarchical conformal prediction, HCP: Lee, Barber & Willett 2023;
//! the setting is that of Dunn, Wasserman & Ramdas 2023). Groups of one frame each give back the
//! rule above.
//!
//! Where a model was fitted to all frames, and each of them scored by a model of the frames of
//! other folds, the same rule is applied to these scores (cross-conformal prediction: Vovk 2015).
//! No theorem says then what is guaranteed; `docs/guide/calibrate.md` has what was measured.

mod distribution_shift;
mod error;
mod guarantee;
mod operating_table;
mod percentile;
mod reference;
mod review;
#[cfg(test)]
mod tests;
mod two_sample;
mod unguaranteed;

use std::collections::BTreeMap;

use crate::value::{ValueError, check_finite, check_length};

pub use error::CalibrationError;
pub use guarantee::percent_up;
pub use operating_table::{
    DefectClasses, FoundDefects, OPERATING_RATES, OperatingPoint, OperatingTable, Share,
    SyntheticDefects,
};
pub use percentile::Percentile;
pub use reference::{MAX_REFERENCE_FRAMES, ReferenceFrame, ReferenceStatistics};
pub use review::ReviewBand;
pub use two_sample::{TwoSample, two_sample};

/// Most frames of a calibration: more would tell nothing that matters.
pub const MAX_CALIBRATION_FRAMES: usize = 300_000;

/// Relative tolerance with which a rate meets l/(n + 1): 0.29 is 29 of 100, although 0.29·100 falls
/// below 29 in `f64`.
const RATE_TOLERANCE: f64 = 1e-12;

/// What rounding may add to a sum of weights 1/size: three thirds are a whole.
const WEIGHT_TOLERANCE: f64 = 1e-9;

/// Scores of held-out normal frames, from which come threshold, p-value and the target false-alarm
/// rate by split-conformal prediction (Vovk et al. 2005; Angelopoulos & Bates 2023). With
/// [folds](Self::folds) of frames scored out of fold: then what is said here of rates and p-values
/// is no theorem, but what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The target probability that a normal frame is called anomalous, in (0, 1).
    pub false_alarm_rate: f64,
    /// A frame with a score above it is anomalous.
    pub threshold: f64,
    /// A pixel of the anomaly map above it belongs to a region: the same quantile of the maps'
    /// maxima.
    pub map_threshold: f64,
    /// The second, larger rate, where frames that are nearly anomalous shall be looked at.
    pub review: Option<ReviewBand>,
    /// When it was calibrated, RFC 3339 in UTC; absent where that was done with the training.
    pub date: Option<String>,
    /// Scores of the calibration frames, ascending.
    pub scores: Vec<f64>,
    /// For each of `scores` the number of calibration frames of its group, itself counted in;
    /// absent where each frame stands for itself.
    pub group_sizes: Option<Vec<u32>>,
    /// Where the model was fitted to the calibration frames too: in how many folds, each scored by
    /// a model of the others, at least 2. Absent where the frames were held out.
    pub folds: Option<u32>,
    /// Whether nothing is guaranteed, the scores being those of augmented samples of frames that
    /// the model knows ([`Calibration::without_guarantee`]).
    pub unguaranteed: bool,
    /// Training frames that were left out because they looked least normal; 0 where none was. Had
    /// they been normal, the rate of false alarms is higher by up to their share.
    pub trimmed: u32,
    /// What the calibration frames looked like: what tells that camera or light have changed.
    /// Absent where only scores were calibrated on.
    pub reference: Option<ReferenceStatistics>,
}

impl Calibration {
    /// Calibrates on the scores of held-out normal frames, and on the maxima of their anomaly maps
    /// in the same order, for a target `rate` in (0, 1).
    ///
    /// # Errors
    /// A rate outside of (0, 1); scores and maxima of different number; NaN or an infinity; more
    /// than [`MAX_CALIBRATION_FRAMES`]; [`CalibrationError::TooFewFrames`] with fewer than
    /// [`Calibration::needed`].
    pub fn fit(
        scores: Vec<f64>,
        map_maxima: Vec<f64>,
        rate: f64,
    ) -> Result<Self, CalibrationError> {
        Self::fit_sizes(scores, map_maxima, None, rate)
    }

    /// [`Calibration::fit`] for frames that belong together: `groups` has a number for each frame,
    /// the same for frames of one group. The guarantee is for a frame of a new group, each group
    /// counting alike, and the number of groups limits the rate. Groups of one frame each are
    /// single frames.
    ///
    /// # Errors
    /// Those of [`Calibration::fit`], with [`CalibrationError::TooFewGroups`] in the place of too
    /// few frames, and `groups` of another number than the scores.
    pub fn fit_grouped(
        scores: Vec<f64>,
        map_maxima: Vec<f64>,
        groups: &[usize],
        rate: f64,
    ) -> Result<Self, CalibrationError> {
        let sizes = sizes(Some(groups), scores.len())?;
        Self::fit_sizes(scores, map_maxima, sizes, rate)
    }

    fn fit_sizes(
        scores: Vec<f64>,
        map_maxima: Vec<f64>,
        sizes: Option<Vec<u32>>,
        rate: f64,
    ) -> Result<Self, CalibrationError> {
        check_rate(rate)?;
        check_length("maxima of the anomaly maps", map_maxima.len(), scores.len())?;
        check_finite("calibration score", &scores)?;
        check_finite("calibration frame: maximum of its anomaly map", &map_maxima)?;
        check_count(scores.len())?;
        let (scores, score_sizes) = sorted(scores, sizes.as_deref());
        let (map_maxima, maximum_sizes) = sorted(map_maxima, sizes.as_deref());
        let allowed = allowed_tail(units(&score_sizes), sizes.is_some(), rate)?;
        Ok(Self {
            false_alarm_rate: rate,
            threshold: threshold(&scores, &score_sizes, allowed),
            map_threshold: threshold(&map_maxima, &maximum_sizes, allowed),
            review: None,
            date: None,
            scores,
            group_sizes: sizes.map(|_| score_sizes),
            folds: None,
            unguaranteed: false,
            trimmed: 0,
            reference: None,
        })
    }

    /// Like [`Calibration::fit`], or [`Calibration::fit_grouped`] where there are `groups`, but
    /// where frames or groups are too few for `rate`, guarantees the smallest rate that n of them
    /// can, 1/(n + 1), and returns that rate beside the calibration, for the caller to say aloud;
    /// `None` where the wanted rate is kept.
    ///
    /// # Errors
    /// As [`Calibration::fit_grouped`]; too few frames only where there is none.
    pub fn fit_attainable(
        scores: Vec<f64>,
        map_maxima: Vec<f64>,
        groups: Option<&[usize]>,
        rate: f64,
    ) -> Result<(Self, Option<f64>), CalibrationError> {
        check_rate(rate)?;
        let sizes = sizes(groups, scores.len())?;
        let count = sizes.as_deref().map_or(scores.len(), units);
        let coarser = match allowed_tail(count, sizes.is_some(), rate) {
            Err(_) if count > 0 => Some(1.0 / (count as f64 + 1.0)),
            _ => None,
        };
        let calibration = Self::fit_sizes(scores, map_maxima, sizes, coarser.unwrap_or(rate))?;
        Ok((calibration, coarser))
    }

    /// Calibrates on scores of frames in `folds`, each scored by a model of the other folds, where
    /// the model that will score was fitted to all of them. `map_maxima` may be those of fewer
    /// frames, if what makes the maps has seen the others: regions then go by the highest-scoring
    /// where they are too few for the rate. `groups`, if frames have some, are those of the scores'
    /// frames and those of the maxima's; a group's frames then are of one fold. As
    /// [`Calibration::fit_attainable`] otherwise.
    ///
    /// # Errors
    /// As [`Calibration::fit_attainable`]; fewer than 2 folds, or more than frames or groups; no
    /// maxima.
    pub fn fit_folds(
        scores: Vec<f64>,
        map_maxima: Vec<f64>,
        groups: Option<[&[usize]; 2]>,
        folds: u32,
        rate: f64,
    ) -> Result<(Self, Option<f64>), CalibrationError> {
        check_finite("calibration frame: maximum of its anomaly map", &map_maxima)?;
        if map_maxima.is_empty() {
            return Err(CalibrationError::Invalid {
                reason: "no frame has a maximum of its anomaly map".into(),
            });
        }
        // The maxima have a threshold of their own below.
        let of_scores = groups.map(|[of_scores, _]| of_scores);
        let (mut calibration, coarser) =
            Self::fit_attainable(scores.clone(), scores, of_scores, rate)?;
        let sizes = sizes(groups.map(|[_, of_maxima]| of_maxima), map_maxima.len())?;
        let count = sizes.as_deref().map_or(map_maxima.len(), units);
        let rate = calibration.false_alarm_rate.max(1.0 / (count as f64 + 1.0));
        let allowed = allowed_tail(count, sizes.is_some(), rate)?;
        let (map_maxima, sizes) = sorted(map_maxima, sizes.as_deref());
        calibration.map_threshold = threshold(&map_maxima, &sizes, allowed);
        calibration.folds = Some(folds);
        calibration.validate()?;
        Ok((calibration, coarser))
    }

    /// How many frames, or groups of frames, it takes to guarantee a rate: ⌈1/rate⌉ − 1, at least
    /// 1.
    ///
    /// # Errors
    /// A rate outside of (0, 1).
    pub fn needed(rate: f64) -> Result<usize, CalibrationError> {
        check_rate(rate)?;
        let needed = (1.0 / rate * (1.0 - RATE_TOLERANCE)).ceil() as usize;
        Ok(needed.saturating_sub(1).max(1))
    }

    /// Checks what a manifest may say: that [`Calibration::fit`], [`Calibration::fit_grouped`] or
    /// [`Calibration::fit_folds`] would have made this of the same scores, groups and rate.
    ///
    /// # Errors
    /// A rate outside of (0, 1); too few scores or groups for it; NaN or an infinity; scores that
    /// are not ascending; impossible group sizes; a threshold that does not follow from them; a
    /// date that is none; reference statistics that no frames have.
    pub fn validate(&self) -> Result<(), CalibrationError> {
        let invalid = |reason: String| Err(CalibrationError::Invalid { reason });
        check_rate(self.false_alarm_rate)?;
        check_finite("calibration score", &self.scores)?;
        check_finite("threshold", &[self.threshold])?;
        check_finite("threshold of the anomaly map", &[self.map_threshold])?;
        check_count(self.scores.len())?;
        if let Some(index) = self.scores.windows(2).position(|pair| pair[0] > pair[1]) {
            return invalid(format!("score {} is below the one before it", index + 1));
        }
        if let Some(date) = &self.date
            && humantime::parse_rfc3339(date).is_err()
        {
            return invalid("the date is not of the form 2026-01-31T12:00:00Z".into());
        }
        if let Some(sizes) = &self.group_sizes {
            check_sizes(sizes, self.scores.len())?;
        }
        if let Some(folds) = self.folds
            && (folds < 2 || folds as usize > self.units())
        {
            return invalid(format!(
                "{} {} are said to be scored in {folds} folds",
                self.units(),
                match self.group_sizes {
                    Some(_) => "groups",
                    None => "frames",
                }
            ));
        }
        if let Some(reference) = &self.reference {
            reference.validate(self.scores.len())?;
        }
        let expected = match (self.unguaranteed, self.scores.last()) {
            (true, Some(_)) if self.units() > 1 || self.folds.is_some() => {
                return invalid("copies of known frames are said to guarantee a rate".into());
            }
            (true, Some(&largest)) => largest,
            _ => self.threshold_at(self.false_alarm_rate)?,
        };
        if self.threshold != expected {
            return invalid(format!(
                "the threshold is {}, but {expected} follows from the scores and the false-alarm \
                 rate {}",
                self.threshold, self.false_alarm_rate
            ));
        }
        self.check_review()
    }

    /// The threshold that would guarantee another false-alarm `rate` in (0, 1), which for a larger
    /// rate is lower or the same.
    ///
    /// # Errors
    /// A rate outside of (0, 1), and one that these frames are too few for; any where nothing is
    /// guaranteed.
    pub fn threshold_at(&self, rate: f64) -> Result<f64, CalibrationError> {
        check_rate(rate)?;
        let allowed = self.allowed(rate)?;
        let sizes = self.group_sizes.as_deref().unwrap_or_default();
        Ok(threshold(&self.scores, sizes, allowed))
    }

    /// Takes another target `rate` in (0, 1), and the threshold that belongs to it. What regions of
    /// the anomaly map go by stays: the maps' maxima are not kept.
    ///
    /// # Errors
    /// Those of [`Calibration::threshold_at`]; a rate that reaches that of the review band.
    pub fn set_rate(&mut self, rate: f64) -> Result<(), CalibrationError> {
        let moved = Self {
            threshold: self.threshold_at(rate)?,
            false_alarm_rate: rate,
            ..self.clone()
        };
        moved.check_review()?;
        *self = moved;
        Ok(())
    }

    /// The smallest false-alarm rate that these frames can guarantee: 1/(n + 1); where they
    /// guarantee nothing, no smaller p-value is given.
    pub fn least_rate(&self) -> f64 {
        1.0 / (self.units() as f64 + 1.0)
    }

    /// The false-alarm rate that a `threshold` guarantees: the smallest whose own threshold is not
    /// higher. Where that is no rate, since every calibration frame is above it, the largest that
    /// is one, n/(n + 1).
    pub fn rate_above(&self, threshold: f64) -> f64 {
        let most = 1.0 - self.least_rate();
        self.p_value(threshold.next_up()).min(most)
    }

    /// The number of groups of the calibration frames; `None` where each frame stands for itself.
    pub fn groups(&self) -> Option<usize> {
        self.group_sizes.as_deref().map(units)
    }

    /// Whether a frame of this score is anomalous: score > threshold.
    ///
    /// For a calibration that guarantees a rate this is the same as
    /// `p_value(score) ≤ false_alarm_rate`, ties included (the rate met to a relative 10⁻¹², with
    /// groups to 10⁻⁹): a score equal to the threshold is normal.
    pub fn is_anomalous(&self, score: f64) -> bool {
        score > self.threshold
    }

    /// Conformal p-value (1 + #{scores ≥ score})/(n + 1), in [1/(n + 1), 1]: the probability that a
    /// normal frame is at least as anomalous, at most, on average over calibrations. Calibration
    /// scores equal to `score` count as at least as anomalous. With groups a frame counts
    /// 1/(size of its group), n is the number of groups, and the normal frame is one of a new
    /// group. NaN for NaN.
    pub fn p_value(&self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        let below = self.below(score);
        let reached = match &self.group_sizes {
            None => (self.scores.len() - below) as f64,
            Some(sizes) => sizes.iter().skip(below).map(|&size| weight(size)).sum(),
        };
        ((1.0 + reached) / (self.units() as f64 + 1.0)).min(1.0)
    }

    /// How many calibration scores are below this one.
    fn below(&self, score: f64) -> usize {
        self.scores.partition_point(|&other| other < score)
    }

    /// What is exchangeable: groups, or frames.
    fn units(&self) -> usize {
        self.groups().unwrap_or(self.scores.len())
    }

    /// [`allowed_tail`] of this calibration for a target `rate`.
    fn allowed(&self, rate: f64) -> Result<f64, CalibrationError> {
        if self.unguaranteed {
            return Err(CalibrationError::Unguaranteed);
        }
        allowed_tail(self.units(), self.group_sizes.is_some(), rate)
    }
}

fn weight(size: u32) -> f64 {
    1.0 / f64::from(size)
}

/// For each of so many frames the number of frames of its group; `None` where each stands for
/// itself.
fn sizes(groups: Option<&[usize]>, frames: usize) -> Result<Option<Vec<u32>>, CalibrationError> {
    let Some(groups) = groups else {
        return Ok(None);
    };
    check_length("groups of the frames", groups.len(), frames)?;
    let mut members = BTreeMap::<usize, u32>::new();
    for &group in groups {
        *members.entry(group).or_default() += 1;
    }
    let several = members.len() < groups.len();
    Ok(several.then(|| groups.iter().map(|group| members[group]).collect()))
}

/// The number of groups of frames whose groups have these sizes.
fn units(sizes: &[u32]) -> usize {
    sizes.iter().map(|&size| weight(size)).sum::<f64>().round() as usize
}

/// Values in ascending order, each with the size of its frame's group, which is 1 without groups.
fn sorted(values: Vec<f64>, sizes: Option<&[u32]>) -> (Vec<f64>, Vec<u32>) {
    let size = |index: usize| sizes.map_or(1, |sizes| sizes[index]);
    let mut pairs: Vec<(f64, u32)> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| (value, size(index)))
        .collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    pairs.into_iter().unzip()
}

/// The smallest of the ascending values with at most `allowed` of weight above it; the smallest of
/// all where that is all the weight. `sizes` may be empty: all 1.
fn threshold(values: &[f64], sizes: &[u32], allowed: f64) -> f64 {
    let mut reached = 0.0;
    for (index, &value) in values.iter().enumerate().rev() {
        reached += sizes.get(index).map_or(1.0, |&size| weight(size));
        if reached > allowed + WEIGHT_TOLERANCE {
            return value;
        }
    }
    values.first().copied().unwrap_or(f64::INFINITY)
}

/// The weight that may lie above the threshold: (units + 1)·rate − 1, for single frames the whole
/// number below, l − 1.
fn allowed_tail(units: usize, grouped: bool, rate: f64) -> Result<f64, CalibrationError> {
    let expected = (units as f64 + 1.0) * rate * (1.0 + RATE_TOLERANCE);
    if units == 0 || expected < 1.0 {
        let needed = Calibration::needed(rate)?;
        return Err(if grouped {
            CalibrationError::TooFewGroups {
                found: units,
                needed,
                rate,
            }
        } else {
            CalibrationError::TooFewFrames {
                found: units,
                needed,
                rate,
            }
        });
    }
    // A rate just below 1 rounds to all of them; of single frames the last one stays normal.
    Ok(if grouped {
        (expected - 1.0).min(units as f64)
    } else {
        (expected.floor() - 1.0).min(units as f64 - 1.0)
    })
}

fn check_rate(rate: f64) -> Result<(), ValueError> {
    if rate > 0.0 && rate < 1.0 {
        Ok(())
    } else {
        Err(ValueError::Setting {
            setting: "false-alarm rate",
            found: rate,
            expected: "a probability above 0 and below 1",
        })
    }
}

fn check_count(frames: usize) -> Result<(), CalibrationError> {
    if frames > MAX_CALIBRATION_FRAMES {
        return Err(CalibrationError::TooManyFrames {
            found: frames,
            most: MAX_CALIBRATION_FRAMES,
        });
    }
    Ok(())
}

/// Refuses sizes that no groups have: those of m frames come in multiples of m.
fn check_sizes(sizes: &[u32], frames: usize) -> Result<(), CalibrationError> {
    check_length("group sizes", sizes.len(), frames)?;
    let mut found = BTreeMap::<u32, usize>::new();
    for &size in sizes {
        *found.entry(size).or_default() += 1;
    }
    match found
        .into_iter()
        .find(|&(size, frames)| size == 0 || !frames.is_multiple_of(size as usize))
    {
        Some((size, frames)) => Err(CalibrationError::Invalid {
            reason: format!(
                "{frames} of its frames are said to be of groups of {size}, which is no whole \
                 number of groups"
            ),
        }),
        None => Ok(()),
    }
}
