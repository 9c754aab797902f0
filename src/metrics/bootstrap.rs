//! The bootstrap: frames drawn anew with replacement within each stratum.

use std::{num::NonZero, thread};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::Interval;

/// Share of resamples between the ends of an interval.
const CONFIDENCE: f64 = 0.95;

/// How confidence intervals are made: the percentile bootstrap (Efron & Tibshirani 1993, section
/// 13.3). Frames are drawn anew with replacement within each stratum, so that every resample has as
/// many frames of each kind as there are, and the 2.5 % and 97.5 % quantiles of a metric over the
/// resamples are the ends of its interval.
///
/// It takes frames as independent: several pictures of one part make it too narrow, and where the
/// kinds are separated without a single overlap it shrinks to [1, 1], which is no certainty.
///
/// The same seed gives the same bits, whatever the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples; 1000 or more are customary.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 1000,
            seed: 0,
        }
    }
}

impl Bootstrap {
    /// Calls `measure` for each resample with the number of times that each frame was drawn, by
    /// stratum, on all processors, and returns what it gave in the order of the resamples.
    /// `strata`: number of frames of each. `room`: what one thread keeps between calls.
    pub(super) fn map<S, T: Send>(
        self,
        strata: &[usize],
        room: impl Fn() -> S + Sync,
        measure: impl Fn(&mut S, &[Vec<u32>]) -> T + Sync,
    ) -> Vec<T> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = threads.clamp(1, self.resamples.max(1));
        let share = self.resamples.div_ceil(threads);
        let work = |part: usize| {
            let mut state = room();
            let mut times: Vec<Vec<u32>> = strata.iter().map(|&frames| vec![0; frames]).collect();
            (part * share..((part + 1) * share).min(self.resamples))
                .map(|resample| {
                    self.draw(resample, &mut times);
                    measure(&mut state, &times)
                })
                .collect::<Vec<T>>()
        };
        if threads == 1 {
            return work(0);
        }
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|part| scope.spawn(move || work(part)))
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| match worker.join() {
                    Ok(values) => values,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    }

    fn draw(self, resample: usize, times: &mut [Vec<u32>]) {
        // An odd multiplier keeps the states of all resamples apart; 2⁶⁴/φ spreads them. The
        // seeding itself mixes all bits.
        let mixed = (resample as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = Pcg64::seed_from_u64(self.seed ^ mixed);
        for times in times {
            times.fill(0);
            let frames = times.len();
            for _ in 0..frames {
                times[rng.random_range(0..frames)] += 1;
            }
        }
    }
}

/// The interval between the quantiles of the values, the nearest rank from both ends alike; NaN is
/// left out, and `None` where nothing else is there.
pub(super) fn percentile_interval(values: impl Iterator<Item = f64>) -> Option<Interval> {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len() - 1;
    let tail = (0.5 * (1.0 - CONFIDENCE) * last as f64).round() as usize;
    Some(Interval {
        lower: values[tail],
        upper: values[last - tail],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resample_has_as_many_frames_of_each_stratum() {
        let bootstrap = Bootstrap {
            resamples: 2000,
            seed: 5,
        };
        let drawn = bootstrap.map(&[7, 0, 3], || (), |(), times| times.to_vec());
        assert_eq!(drawn.len(), 2000);
        let mut sums = [0; 7];
        for times in &drawn {
            let total = |stratum: usize| times[stratum].iter().sum::<u32>();
            assert_eq!([total(0), total(1), total(2)], [7, 0, 3]);
            for (sum, times) in sums.iter_mut().zip(&times[0]) {
                *sum += times;
            }
        }
        // Mean 2000, standard deviation √(2000·7·(1/7)(6/7)) = 41.
        assert!(
            sums.iter().all(|sum| (1800..2200).contains(sum)),
            "{sums:?}"
        );
        assert_eq!(
            drawn,
            bootstrap.map(&[7, 0, 3], || (), |(), times| times.to_vec())
        );
        let other = Bootstrap {
            seed: 6,
            ..bootstrap
        };
        assert_ne!(
            drawn,
            other.map(&[7, 0, 3], || (), |(), times| times.to_vec())
        );
    }

    #[test]
    fn the_interval_has_the_nearest_ranks() {
        let interval = |values: Vec<f64>| percentile_interval(values.into_iter());
        assert_eq!(interval(vec![]), None);
        assert_eq!(interval(vec![f64::NAN]), None);
        let one = Interval {
            lower: 2.0,
            upper: 2.0,
        };
        assert_eq!(interval(vec![2.0]), Some(one));
        // Of 0…1000: ranks 25 and 975.
        let values = (0..=1000).rev().map(f64::from).collect();
        let expected = Interval {
            lower: 25.0,
            upper: 975.0,
        };
        assert_eq!(interval(values), Some(expected));
    }
}
