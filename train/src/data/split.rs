//! How many frames serve what.

use anyhow::Result;
use edge_vae::dataset::{Split, SplitFractions, split_groups};

use super::{groups::Groups, params::PARAMS};
use crate::options::FitOptions;

/// Parts of the frames to train on, to select by and to calibrate with; groups stay whole.
///
/// # Errors
/// Too few groups.
pub fn split(groups: &Groups, options: &FitOptions) -> Result<Split> {
    let fractions = fractions(groups.count(), options.false_alarm_rate);
    Ok(split_groups(groups.numbers(), options.seed, fractions)?)
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
