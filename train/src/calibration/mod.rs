//! Thresholds from normal frames that the density was not fitted to: out of fold, or held out.

mod folds;
mod scores;

use anyhow::{Result, bail};
use edge_vae::{
    Model,
    calibration::{Calibration, ReferenceFrame, ReferenceStatistics},
};
pub use folds::{Folds, fit_in_folds, obstacle};
pub use scores::{ScoredFrame, Scoring, score, score_canvases};

use crate::features::FitData;

/// What a threshold is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationParams {
    /// Target false-alarm rate α.
    pub false_alarm_rate: f64,
    /// Largest difference that distances of the bundle's graph may have from those of the density
    /// that gave the out-of-fold scores, in standard deviations.
    pub tolerance: f64,
}

/// The calibration by the frames `scored`: all of them out of fold where there are `folds`, else
/// those that were held out. `map_is_out_of_fold` says whether the same holds of the anomaly map.
///
/// # Errors
/// Scores that are not finite; too few frames for any rate.
pub fn calibrate(
    data: &FitData,
    scored: &[ScoredFrame],
    folds: Option<&Folds>,
    map_is_out_of_fold: bool,
    params: &CalibrationParams,
) -> Result<Calibration> {
    let held_out = &data.split.calibration;
    let mut scored: Vec<&ScoredFrame> = scored.iter().collect();
    scored.sort_by_key(|frame| frame.place);
    let is_held_out = |frame: &ScoredFrame| held_out.binary_search(&frame.place).is_ok();
    let group = |frame: &ScoredFrame| data.groups[frame.place];
    let scores = scored.iter().map(|frame| frame.score).collect();
    let groups: Vec<usize> = scored.iter().map(|frame| group(frame)).collect();
    let (of_maxima, maxima): (Vec<usize>, Vec<f64>) = scored
        .iter()
        // What else makes the map was fitted to the others.
        .filter(|frame| map_is_out_of_fold || is_held_out(frame))
        .map(|frame| (group(frame), frame.map_maximum))
        .unzip();
    let wanted = params.false_alarm_rate;
    let (mut calibration, attained) = match folds {
        Some(folds) => {
            let count = u32::try_from(folds.count())?;
            let groups = Some([&groups[..], &of_maxima]);
            Calibration::fit_folds(scores, maxima, groups, count, wanted)?
        }
        None => Calibration::fit_attainable(scores, maxima, Some(&groups), wanted)?,
    };
    if let Some(rate) = attained {
        data.reporter.warn(format_args!(
            "calibrated for a false-alarm rate of {rate:.4} instead of {wanted}: {} cannot \
             guarantee less",
            match calibration.groups() {
                Some(groups) => format!("{groups} groups of calibration frames"),
                None => format!("{} calibration frames", calibration.scores.len()),
            }
        ));
    }
    data.reporter.line(calibration.statement());
    let unseen = scored.iter().filter(|frame| is_held_out(frame));
    let divergences: Vec<Option<f64>> = unseen.map(|frame| frame.divergence).collect();
    add_reference(&mut calibration, data, &divergences);
    Ok(calibration)
}

/// The calibration by changed `copies` of frames that trained or selected, where there are no
/// others; `scored` are those that were to calibrate.
///
/// # Errors
/// Scores that are not finite; no copy.
pub fn calibrate_without_guarantee(
    data: &FitData,
    copies: &[ScoredFrame],
    scored: &[ScoredFrame],
    params: &CalibrationParams,
) -> Result<Calibration> {
    let scores = copies.iter().map(|copy| copy.score).collect();
    let maxima = copies.iter().map(|copy| copy.map_maximum).collect();
    let mut calibration = Calibration::without_guarantee(scores, maxima, params.false_alarm_rate)?;
    data.reporter.warn(calibration.statement());
    let divergences: Vec<Option<f64>> = scored.iter().map(|frame| frame.divergence).collect();
    add_reference(&mut calibration, data, &divergences);
    Ok(calibration)
}

fn add_reference(calibration: &mut Calibration, data: &FitData, divergences: &[Option<f64>]) {
    calibration.reference = reference(data, divergences);
    if calibration.reference.is_none() {
        data.reporter.warn(
            "calibration frames can't be read any more: the bundle will not know what they look \
             like",
        );
    }
}

/// What the held-out frames look like, before any preprocessing; `None` where one of them can't be
/// read again.
fn reference(data: &FitData, divergences: &[Option<f64>]) -> Option<ReferenceStatistics> {
    let held_out = data.split.calibration.iter();
    let frames = held_out
        .clone()
        .zip(divergences)
        .map(|(&index, &divergence)| {
            let frame = data.samples[index].frame().ok()?;
            Some(ReferenceFrame::of(&frame, divergence))
        });
    let frames = frames.collect::<Option<Vec<_>>>()?;
    let groups: Vec<usize> = held_out.map(|&frame| data.groups[frame]).collect();
    ReferenceStatistics::of(&frames, Some(&groups))
}

/// Compares distances of the density that gave the out-of-fold scores with those of the bundle's
/// graph, which `model` runs.
///
/// # Errors
/// A difference above [`CalibrationParams::tolerance`].
pub fn verify_folds(
    data: &FitData,
    folds: &Folds,
    model: &mut Model,
    params: &CalibrationParams,
) -> Result<()> {
    for (frame, expected) in folds.compared() {
        let input = data.frames.get(frame);
        model.run(input)?;
        let found = folds.map_of(&model.outputs(input)).to_vec();
        let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let worst = f64::from(differences.fold(0.0, f32::max));
        if found.len() != expected.len() || worst > params.tolerance {
            bail!(
                "{}: the graph's distances differ from the fitted ones by {worst:.1e}, more than \
                 {}: such features can't be calibrated in folds, give --calibration held-out",
                data.samples[frame].name(),
                params.tolerance
            );
        }
    }
    Ok(())
}
