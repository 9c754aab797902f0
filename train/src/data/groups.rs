//! Frames that belong together.

use std::{collections::HashMap, path::Path};

use anyhow::{Result, bail};
use edge_vae::{
    calibration::{Calibration, percent_up},
    counted,
    dataset::{Grouping, Sample},
};

use super::{copies::originals, frames::Loaded, params::PARAMS};
use crate::reporter::Reporter;

/// The groups of frames: what is dealt to the parts of a split, and counted. Where nothing groups
/// frames, each is a group of its own.
#[derive(Clone, Debug)]
pub struct Groups {
    numbers: Vec<usize>,
    count: usize,
    /// What people call one of them.
    unit: &'static str,
}

/// Copies that are named before the rest is counted.
const NAMED: usize = 20;

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
        let unit = match pattern {
            None => "frame",
            Some(_) => "group",
        };
        Ok(Self {
            numbers,
            count,
            unit,
        })
    }

    /// Groups of loaded frames, of which those that show the same picture are in one, and named.
    ///
    /// # Errors
    /// Those of [`Self::of`], and fewer groups than can be split.
    pub fn of_loaded(loaded: &Loaded, pattern: Option<&str>, reporter: &Reporter) -> Result<Self> {
        let groups = Self::of(&loaded.samples, pattern)?;
        let originals = originals(&loaded.frames);
        report(&loaded.samples, &originals, reporter);
        let groups = groups.joined(&originals);
        if pattern.is_some() {
            groups.check()?;
        }
        Ok(groups)
    }

    /// The same, with the groups of each frame and its original as one.
    fn joined(self, originals: &[usize]) -> Self {
        let mut of: Vec<usize> = (0..self.count).collect();
        for (frame, &original) in originals.iter().enumerate() {
            let [first, second] = [frame, original].map(|frame| of[self.numbers[frame]]);
            if first != second {
                let (kept, gone) = (first.min(second), first.max(second));
                let merged = of.iter_mut().filter(|of| **of == gone);
                merged.for_each(|of| *of = kept);
            }
        }
        let mut numbers = HashMap::new();
        let each = self.numbers.iter().map(|&group| {
            let next = numbers.len();
            *numbers.entry(of[group]).or_insert(next)
        });
        let each: Vec<usize> = each.collect();
        let unit = match (numbers.len() == self.count, self.unit) {
            (false, "frame") => "distinct picture",
            (_, unit) => unit,
        };
        Self {
            count: numbers.len(),
            numbers: each,
            unit,
        }
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
    fn check(&self) -> Result<()> {
        if self.count < PARAMS.least_groups {
            bail!(
                "--group-by finds {} of at least {} groups in {} frames: some are needed to \
                 train, some to select by and some to calibrate",
                self.count,
                PARAMS.least_groups,
                self.numbers.len()
            );
        }
        Ok(())
    }

    /// Says before training what `calibration` groups, this `share` of all, can guarantee instead
    /// of a false-alarm `rate` that takes more, and how many more.
    ///
    /// # Errors
    /// A rate outside of (0, 1).
    pub fn warn_of_rate(
        &self,
        calibration: usize,
        share: f64,
        rate: f64,
        reporter: &Reporter,
    ) -> Result<()> {
        let needed = Calibration::needed(rate)?;
        if calibration >= needed {
            return Ok(());
        }
        let (wanted, own) = (percent_up(rate), counted(self.count, self.unit));
        let all = (needed as f64 / share).ceil() as usize;
        let can = match calibration {
            0 => format!("{own} can guarantee no false-alarm rate"),
            some => format!(
                "{} can guarantee a false-alarm rate of {}, not {wanted}",
                match some == self.count {
                    true => own,
                    false => format!("{some} of {own}, held out,"),
                },
                percent_up(1.0 / (some + 1) as f64)
            ),
        };
        reporter.warn(format_args!(
            "{can}; {wanted} takes {}: {} more",
            counted(all, self.unit),
            all - self.count
        ));
        Ok(())
    }
}

/// Names the frames that are copies.
fn report(samples: &[&Sample], originals: &[usize], reporter: &Reporter) {
    let each = originals.iter().enumerate();
    let copies: Vec<_> = each
        .filter(|(frame, original)| frame != *original)
        .collect();
    if copies.is_empty() {
        return;
    }
    let mut text = format!(
        "{} of {} training frames show the same picture as another; such frames stay together and \
         count once for the guarantee:",
        copies.len(),
        samples.len()
    );
    for (frame, original) in copies.iter().take(NAMED) {
        let names = [*frame, **original].map(|frame| samples[frame].name());
        text.push_str(&format!("\n  {} shows what {} shows", names[0], names[1]));
    }
    if copies.len() > NAMED {
        text.push_str(&format!("\n  and {} more", copies.len() - NAMED));
    }
    reporter.warn(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_copies_are_one() {
        let groups = |numbers: &[usize], unit| Groups {
            numbers: numbers.to_vec(),
            count: numbers.iter().max().unwrap() + 1,
            unit,
        };
        let single = groups(&[0, 1, 2, 3, 4], "frame");
        let same = single.clone().joined(&[0, 1, 2, 3, 4]);
        assert_eq!((same.numbers(), same.unit), (single.numbers(), "frame"));
        let joined = single.joined(&[0, 1, 0, 3, 1]);
        assert_eq!(joined.numbers(), [0, 1, 0, 2, 1]);
        assert_eq!((joined.count(), joined.unit), (3, "distinct picture"));
        // By frame 3 the second group is one with the first, by frame 5 the third with both.
        let joined = groups(&[0, 0, 1, 1, 2, 2, 3], "group").joined(&[0, 1, 2, 0, 4, 2, 6]);
        assert_eq!(joined.numbers(), [0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((joined.count(), joined.unit), (2, "group"));
    }
}
