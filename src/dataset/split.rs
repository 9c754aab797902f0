//! Seeded splits of the normal samples.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::DatasetError;

/// Which part of the samples goes where; each at least 0, and their sum 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitFractions {
    /// To fit weights.
    pub train: f64,
    /// For early stopping and for choosing a score.
    pub validation: f64,
    /// For the threshold; seen by nothing that is trained.
    pub calibration: f64,
}

impl Default for SplitFractions {
    fn default() -> Self {
        Self {
            train: 0.70,
            validation: 0.10,
            calibration: 0.20,
        }
    }
}

/// Indices of samples, each in exactly one part, each part in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// To fit weights.
    pub train: Vec<usize>,
    /// For early stopping and for choosing a score.
    pub validation: Vec<usize>,
    /// For the threshold.
    pub calibration: Vec<usize>,
}

/// Splits `n` samples at random, the same way for the same `n`, seed and fractions on every
/// machine. Sizes are rounded, the rest is for training; from three samples on, every part whose
/// fraction is above 0 has at least one. One or two samples are all for training.
///
/// # Errors
///
/// [`DatasetError::Fractions`] if the fractions are negative, not finite, or their sum is not 1.
pub fn split(n: usize, seed: u64, fractions: SplitFractions) -> Result<Split, DatasetError> {
    let found = [fractions.train, fractions.validation, fractions.calibration];
    let valid = found.iter().all(|fraction| *fraction >= 0.0)
        && (found.iter().sum::<f64>() - 1.0).abs() < 1e-9;
    if !valid {
        return Err(DatasetError::Fractions { found });
    }
    let size = |fraction: f64| {
        let least = usize::from(fraction > 0.0);
        ((n as f64 * fraction).round() as usize).max(least)
    };
    let (mut validation, mut calibration) = match n {
        0..3 => (0, 0),
        _ => (size(fractions.validation), size(fractions.calibration)),
    };
    let train = usize::from(fractions.train > 0.0 || n < 3).min(n);
    while train + validation + calibration > n {
        // rounding and the least sizes took too much: the larger one gives
        if calibration >= validation {
            calibration -= 1;
        } else {
            validation -= 1;
        }
    }

    // Fisher–Yates by our own hand, because the generator's stream is fixed while the `rand`
    // crate's shuffle may change. Multiply-shift: its bias is below n/2⁶⁴.
    let mut random = Pcg64::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let other = (u128::from(random.next_u64()) * (last as u128 + 1)) >> 64;
        order.swap(last, other as usize);
    }
    let mut take = |count: usize| {
        let mut part = order.split_off(order.len() - count);
        part.sort_unstable();
        part
    };
    let train = n - validation - calibration;
    let (validation, calibration, train) = (take(validation), take(calibration), take(train));
    Ok(Split {
        train,
        validation,
        calibration,
    })
}

/// As [`split`], of samples that belong together: `groups` has a number for each, and those of a
/// group go into one part. The fractions are of the groups.
///
/// # Errors
///
/// As [`split`].
pub fn split_groups(
    groups: &[usize],
    seed: u64,
    fractions: SplitFractions,
) -> Result<Split, DatasetError> {
    let numbers: BTreeSet<usize> = groups.iter().copied().collect();
    let numbers: Vec<usize> = numbers.into_iter().collect();
    let of_groups = split(numbers.len(), seed, fractions)?;
    let members = |part: &[usize]| {
        let part: BTreeSet<usize> = part.iter().map(|&place| numbers[place]).collect();
        (0..groups.len())
            .filter(|&sample| part.contains(&groups[sample]))
            .collect()
    };
    Ok(Split {
        train: members(&of_groups.train),
        validation: members(&of_groups.validation),
        calibration: members(&of_groups.calibration),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(n: usize, fractions: SplitFractions) -> [usize; 3] {
        let split = split(n, 1, fractions).unwrap();
        let mut all = [
            split.train.clone(),
            split.validation.clone(),
            split.calibration.clone(),
        ]
        .concat();
        all.sort_unstable();
        assert_eq!(all, (0..n).collect::<Vec<_>>());
        for part in [&split.train, &split.validation, &split.calibration] {
            assert!(part.is_sorted());
        }
        [
            split.train.len(),
            split.validation.len(),
            split.calibration.len(),
        ]
    }

    #[test]
    fn sizes_are_those_of_the_fractions() {
        let default = SplitFractions::default();
        assert_eq!(sizes(762, default), [534, 76, 152]);
        assert_eq!(sizes(0, default), [0, 0, 0]);
        assert_eq!(sizes(1, default), [1, 0, 0]);
        assert_eq!(sizes(2, default), [2, 0, 0]);
        assert_eq!(sizes(3, default), [1, 1, 1]);
        assert_eq!(sizes(4, default), [2, 1, 1]);
        let fractions = |train, validation, calibration| SplitFractions {
            train,
            validation,
            calibration,
        };
        assert_eq!(sizes(10, fractions(0.0, 0.0, 1.0)), [0, 0, 10]);
        assert_eq!(sizes(10, fractions(1.0, 0.0, 0.0)), [10, 0, 0]);
        assert_eq!(sizes(3, fractions(0.02, 0.49, 0.49)), [1, 1, 1]);
        assert_eq!(sizes(3, fractions(0.0, 0.5, 0.5)), [0, 2, 1]);
    }

    #[test]
    fn the_seed_decides() {
        let fractions = SplitFractions::default();
        let first = split(100, 7, fractions).unwrap();
        assert_eq!(first, split(100, 7, fractions).unwrap());
        assert_ne!(first, split(100, 8, fractions).unwrap());
        // every sample gets into the calibration part about as often as another
        let mut times = [0; 20];
        for seed in 0..2000 {
            for index in split(20, seed, fractions).unwrap().calibration {
                times[index] += 1;
            }
        }
        // 4 of 20: mean 400, standard deviation √(2000·0.2·0.8) = 18
        assert!(times.iter().all(|&t| (310..490).contains(&t)), "{times:?}");
    }

    #[test]
    fn fractions_are_checked() {
        for [train, validation, calibration] in [
            [0.5, 0.5, 0.5],
            [-0.1, 0.6, 0.5],
            [f64::NAN, 0.5, 0.5],
            [0.0; 3],
        ] {
            let fractions = SplitFractions {
                train,
                validation,
                calibration,
            };
            assert!(split(10, 1, fractions).is_err());
        }
    }

    #[test]
    fn groups_stay_together() {
        // Groups of one to seven samples, in any order of numbers.
        let groups: Vec<usize> = (0..40)
            .map(|i| [9, 2, 2, 5, 5, 5, 7, 1, 1, 1][i % 10] + 10 * (i / 20))
            .collect();
        let fractions = SplitFractions::default();
        let split = split_groups(&groups, 3, fractions).unwrap();
        let parts = [&split.train, &split.validation, &split.calibration];
        let mut all: Vec<usize> = parts.into_iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>());
        for part in parts {
            assert!(!part.is_empty() && part.is_sorted());
            for &sample in part {
                let group = (0..40).filter(|&other| groups[other] == groups[sample]);
                assert!(group.clone().all(|other| part.contains(&other)));
            }
        }
        // Samples that stand for themselves are split as without groups.
        let alone: Vec<usize> = (0..40).collect();
        assert_eq!(
            split_groups(&alone, 3, fractions).unwrap(),
            super::split(40, 3, fractions).unwrap()
        );
    }
}
