//! Frames that belong together.

use std::path::Path;

use anyhow::{Result, bail};
use edge_vae::dataset::{Grouping, Sample};

use super::params::PARAMS;
use crate::reporter::Reporter;

/// The groups of frames: what is dealt to the parts of a split, and counted. Where nothing groups
/// frames, each is a group of its own.
#[derive(Clone, Debug)]
pub struct Groups {
    numbers: Vec<usize>,
    count: usize,
}

impl Groups {
    /// Groups of `samples` by a pattern of [`Grouping`].
    ///
    /// # Errors
    /// A pattern that can't group, a sample that it finds no group for.
    pub fn of(samples: &[&Sample], pattern: Option<&str>) -> Result<Self> {
        let numbers = match pattern {
            None => (0..samples.len()).collect(),
            Some(pattern) => {
                let named = samples.iter().map(|sample| {
                    let own = sample.path();
                    own.unwrap_or_else(|| Path::new(sample.name()))
                });
                Grouping::parse(pattern)?.groups(&named.collect::<Vec<_>>())?
            }
        };
        let count = numbers.iter().max().map_or(0, |last| last + 1);
        Ok(Self { numbers, count })
    }

    /// The number of each frame's group, from 0.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Refuses fewer groups than can be split.
    ///
    /// # Errors
    /// Fewer than three.
    pub fn check(&self) -> Result<()> {
        if self.count < PARAMS.least_groups {
            bail!(
                "--group-by finds {} of at least {} groups in {} frames: some are needed to \
                 train, some to choose by and some to calibrate",
                self.count,
                PARAMS.least_groups,
                self.numbers.len()
            );
        }
        Ok(())
    }

    /// Says before training when `calibration` groups, this `share` of all, can't guarantee the
    /// false-alarm rate.
    pub fn warn_of_rate(&self, calibration: usize, share: f64, rate: f64, reporter: &Reporter) {
        if (calibration + 1) as f64 * rate >= 1.0 {
            return;
        }
        let what = match self.count == self.numbers.len() {
            true => "frames",
            false => "groups",
        };
        reporter.warn(format_args!(
            "of {} {what} {calibration} calibrate, which can guarantee a false-alarm rate of \
             {:.4}, not {rate}; that takes about {} {what} in all",
            self.count,
            1.0 / (calibration + 1) as f64,
            ((1.0 / rate - 1.0) / share).ceil()
        ));
    }
}
