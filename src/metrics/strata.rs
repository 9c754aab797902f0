//! Frames by stratum, and their counts in groups of equal score.

use super::{Evaluated, Ranking};

/// Which defects are held against the normal frames.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// All.
    All,
    /// Those of a stratum.
    Kind(usize),
}

impl Side {
    /// The strata of its defects, of so many.
    pub(super) fn strata(self, strata: usize) -> std::ops::Range<usize> {
        match self {
            Self::All => 1..strata.max(1),
            Self::Kind(stratum) => stratum..stratum + 1,
        }
    }

    pub(super) fn frames(self, sizes: &[usize]) -> usize {
        sizes[self.strata(sizes.len())].iter().sum()
    }

    /// Where its metrics belong.
    pub(super) fn place<T>(self, evaluated: &mut Evaluated<T>) -> &mut Option<T> {
        match self {
            Self::All => &mut evaluated.all,
            Self::Kind(stratum) => &mut evaluated.by_stratum[stratum],
        }
    }
}

/// Frames in each group of equal score, of one resample.
#[derive(Clone)]
pub(super) struct Counts(pub(super) Vec<u64>);

impl Counts {
    pub(super) fn of(ranking: &Ranking) -> Self {
        Self(vec![0; ranking.scores.len()])
    }

    /// Counts frames of these groups, each drawn so many times.
    pub(super) fn drawn(&mut self, groups: &[usize], times: &[u32]) {
        self.0.fill(0);
        for (&group, &times) in groups.iter().zip(times) {
            self.0[group] += u64::from(times);
        }
    }
}

/// Adds counts of another stratum.
pub(super) fn add(sum: &mut [u64], counts: &[u64]) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}
