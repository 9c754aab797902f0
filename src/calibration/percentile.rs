//! Where a score stands among those of normal frames, for people.

use std::fmt;

use super::Calibration;
use crate::text::with_commas;

/// With fewer frames, a percentage would claim more than was counted.
const COUNTED_IN_PERCENT: usize = 100;

/// How many of the calibration's normal frames a score is higher than.
///
/// It is displayed as `higher than 99.7 % of 1,200 normal frames`, the percentage rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentile {
    /// Calibration frames with a smaller score.
    pub below: usize,
    /// All calibration frames.
    pub frames: usize,
    /// Whether these are augmented samples of known frames ([`Calibration::unguaranteed`]).
    pub copies: bool,
}

impl Calibration {
    /// Where a score stands among those of the calibration frames: a plain count, in which groups
    /// weigh nothing, beside [`Calibration::p_value`], which is what is guaranteed.
    pub fn percentile(&self, score: f64) -> Percentile {
        Percentile {
            below: self.below(score),
            frames: self.scores.len(),
            copies: self.unguaranteed,
        }
    }
}

impl Percentile {
    /// Calibration frames with a smaller score, in percent of all; 0 where there is none.
    pub fn percent(&self) -> f64 {
        100.0 * self.below as f64 / self.frames.max(1) as f64
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = with_commas(self.below);
        let frames = with_commas(self.frames);
        let (one, many) = match self.copies {
            true => ("augmented sample", "augmented samples"),
            false => ("normal frame", "normal frames"),
        };
        let tenths = self.below * 1000 / self.frames.max(1);
        if self.below == 0 {
            write!(f, "not higher than any of {frames} {many}")
        } else if self.below == self.frames {
            match self.frames {
                1 => write!(f, "higher than the only {one}"),
                2 => write!(f, "higher than both {many}"),
                _ => write!(f, "higher than all {frames} {many}"),
            }
        } else if self.frames < COUNTED_IN_PERCENT || tenths == 0 {
            write!(f, "higher than {below} of {frames} {many}")
        } else {
            let (whole, tenth) = (tenths / 10, tenths % 10);
            write!(f, "higher than {whole}.{tenth} % of {frames} {many}")
        }
    }
}
