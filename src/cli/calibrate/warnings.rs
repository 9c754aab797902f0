//! What may be wrong with frames that a threshold was set by.

use std::collections::HashSet;

use edge_vae::{calibration::Calibration, dataset::Grouping};

use super::{NormalFrame, NormalFrames};
use crate::cli::reporter::count;

/// Below this p-value chance explains little.
const UNLIKELY: f64 = 0.01;

/// Groups were requested, and each is a single frame.
pub(super) fn of_groups(grouping: Option<&Grouping>, calibration: &Calibration) -> Option<String> {
    (grouping.is_some() && calibration.groups().is_none())
        .then(|| "no two frames are of one group, so each stands for itself".to_owned())
}

/// Two frames of a camera never have exactly one score and one peak.
pub(super) fn of_copies(frames: &[NormalFrame]) -> Option<String> {
    let mut seen = HashSet::new();
    let copies = frames
        .iter()
        .filter(|frame| !seen.insert((frame.score.to_bits(), frame.map_maximum.to_bits())))
        .count();
    (copies > 0).then(|| {
        format!(
            "{copies} of {} have exactly the score and the map's maximum of another: \
             with copies of one picture the guarantee does not hold",
            count(frames.len(), "frame")
        )
    })
}

/// A model scores the frames that it was made of lower than new ones.
pub(super) fn of_seen(normal: &NormalFrames) -> Option<String> {
    let seen = normal.seen.filter(|&seen| seen > 0)?;
    Some(format!(
        "{seen} of {} were used to train this model, which scores them lower than new ones: \
         false alarms will be more than the guarantee says; calibrate on frames that it has not \
         seen",
        count(normal.frames.len(), "frame")
    ))
}

/// The scores are distributed otherwise than those of the earlier calibration.
pub(super) fn of_shift(earlier: &Calibration, calibration: &Calibration) -> Option<String> {
    if calibration.groups().is_some() {
        return None;
    }
    let shift = earlier.distribution_shift(&calibration.scores)?;
    (shift.p_value < UNLIKELY).then(|| {
        format!(
            "these frames look unlike those of the earlier calibration (Kolmogorov-Smirnov \
             distance {:.3}, p-value {:.1e}): light, camera or parts have changed, or the frames \
             are not all normal and new to the model; look at them before you rely on it",
            shift.statistic, shift.p_value
        )
    })
}

/// Of lines of a whole period, too few were above the earlier threshold.
pub(super) fn of_missing_alarms(
    earlier: &Calibration,
    calibration: &Calibration,
) -> Option<String> {
    let scores = &calibration.scores;
    if calibration.groups().is_some() || scores.iter().any(|&s| earlier.is_anomalous(s)) {
        return None;
    }
    let probability = earlier.probability_of_no_alarm(scores.len())?;
    (probability < UNLIKELY).then(|| {
        format!(
            "none of {} is above the earlier threshold, which has a probability of \
             {probability:.1e}: if the lines of false alarms were removed, there will be more \
             false alarms than the guarantee says",
            count(scores.len(), "frame")
        )
    })
}
