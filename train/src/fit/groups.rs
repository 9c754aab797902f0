//! Frames that belong together.

use std::path::Path;

use anyhow::{Result, bail};
use edge_vae::dataset::{Grouping, Sample};

/// Fewest groups that can be split into three parts.
const LEAST: usize = 3;

/// The number of each sample's group, from 0; its own where nothing groups them.
///
/// # Errors
/// A pattern that can't group, a sample that it finds no group for.
pub(super) fn of(samples: &[&Sample], pattern: Option<&str>) -> Result<Vec<usize>> {
    let Some(pattern) = pattern else {
        return Ok((0..samples.len()).collect());
    };
    let named = samples.iter().map(|sample| {
        let own = sample.path();
        own.unwrap_or_else(|| Path::new(sample.name()))
    });
    Ok(Grouping::parse(pattern)?.groups(&named.collect::<Vec<_>>())?)
}

/// What is dealt and counted: groups of frames, or frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// How many there are.
    pub count: usize,
    name: &'static str,
}

impl Units {
    /// Those of frames whose groups have these numbers, from 0.
    pub(super) fn of(groups: &[usize]) -> Self {
        let count = groups.iter().max().map_or(0, |last| last + 1);
        let name = match count == groups.len() {
            true => "frames",
            false => "groups",
        };
        Self { count, name }
    }

    /// Refuses fewer groups of `frames` frames than can be split.
    ///
    /// # Errors
    /// Fewer than [`LEAST`].
    pub(super) fn check(self, frames: usize) -> Result<()> {
        if self.count < LEAST {
            bail!(
                "--group-by finds {} of at least {LEAST} groups in {frames} frames: some are needed to train, \
                 some to choose by and some to calibrate",
                self.count
            );
        }
        Ok(())
    }

    /// Says before training when those that calibrate, this `share` of all, can't promise the rate.
    pub(super) fn warn_of_rate(self, calibration: usize, share: f64, rate: f64) {
        let Self { count, name } = self;
        if (calibration + 1) as f64 * rate < 1.0 {
            eprintln!(
                "warning: of {count} {name} {calibration} calibrate, which can promise a false-alarm \
                 rate of {:.4}, not {rate}; that takes about {} {name} in all",
                1.0 / (calibration + 1) as f64,
                ((1.0 / rate - 1.0) / share).ceil()
            );
        }
    }
}
