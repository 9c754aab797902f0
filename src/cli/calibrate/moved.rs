//! Along the operating table: other rates of the calibration that a model has.

use std::path::Path;

use anyhow::Context;
use edge_vae::bundle::Bundle;

use super::{CalibrateOptions, NormalFrames, Outcome, report::Report};
use crate::cli::{
    output::{check_writable, prepare_folder},
    reporter::Reporter,
    trust::{Changed, sign},
};

/// Sets the rates that were asked for; no frame is scored.
pub(super) fn run(options: &CalibrateOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let key = options
        .sign
        .key(&options.model.trust, Changed::Calibration)?;
    let mut bundle = options.model.trust.open(&options.model.bundle, reporter)?;
    if let Some(folder) = &options.out {
        Bundle::check_target(folder)?;
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => prepare_folder(parent)?,
            _ => check_writable(Path::new("."))?,
        }
    }
    let earlier = bundle.calibration().cloned().with_context(|| {
        format!(
            "{}: has no calibration whose rate could be changed: give normal frames",
            bundle.path().display()
        )
    })?;
    let mut calibration = earlier.clone();
    calibration.set_review_rate(None)?;
    if let Some(rate) = options.rate {
        calibration.set_rate(rate)?;
    }
    calibration.set_review_rate(options.review_rate(Some(&earlier)))?;
    bundle.set_calibration(calibration.clone())?;
    sign(&mut bundle, key.as_ref(), Changed::Calibration)?;
    match &options.out {
        Some(folder) => bundle.save(folder)?,
        None => bundle.write_calibration()?,
    }
    Report {
        model_id: bundle.model_id(),
        folder: options.out.as_ref().unwrap_or(&options.model.bundle),
        normal: &NormalFrames::default(),
        calibration: &calibration,
        synthetic_defects: bundle.synthetic_defects(),
        earlier: Some(&earlier),
        warnings: &[],
    }
    .print(options.json)?;
    Ok(Outcome::Done)
}
