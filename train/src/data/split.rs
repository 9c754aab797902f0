//! How many frames serve what.

use anyhow::Result;
use edge_vae::dataset::{Split, SplitFractions, split_groups};

use super::{groups::Groups, params::PARAMS};
use crate::options::FitOptions;

/// Parts of the frames to train on, to select by and to calibrate with; groups stay whole. Two
/// groups can't be three parts: one is to train on, the other for the rest. A single one serves
/// all.
///
/// # Errors
/// None that a caller can cause.
pub fn split(groups: &Groups, options: &FitOptions) -> Result<Split> {
    let of = groups.numbers();
    let fractions = fractions(groups.count(), options.false_alarm_rate);
    let split = split_groups(of, options.seed, fractions)?;
    if !split.calibration.is_empty() {
        return Ok(split);
    }
    let first = |&frame: &usize| of[frame] == 0;
    let (train, others): (Vec<usize>, Vec<usize>) = split.train.into_iter().partition(first);
    let others = if others.is_empty() {
        train.clone()
    } else {
        others
    };
    Ok(Split {
        train,
        validation: others.clone(),
        calibration: others,
    })
}

/// Whether frames that calibrate also train or select.
pub fn is_shared(split: &Split) -> bool {
    let calibrates = |frame: &usize| split.calibration.binary_search(frame).is_ok();
    split.train.iter().chain(&split.validation).any(calibrates)
}

fn fractions(groups: usize, rate: f64) -> SplitFractions {
    let usual = SplitFractions::default();
    let most = PARAMS.most_calibration.max((1.0 / rate).ceil());
    let validation = usual.validation.min(PARAMS.most_validation / groups as f64);
    let calibration = usual.calibration.min(most / groups as f64);
    SplitFractions {
        train: 1.0 - validation - calibration,
        validation,
        calibration,
    }
}
