//! Scores of frames.

use std::path::PathBuf;

use anyhow::bail;
use edge_vae::{Detector, Frame, calibration::ReferenceFrame, runtime::Label};

use super::{Material, Sample};
use crate::cli::{
    interrupt,
    messages::{Voice, one_line},
    progress::Progress,
};

/// Scores each frame. What is no picture of anything, and what fails, is named, counted and left
/// out.
pub(super) fn score(
    detector: &mut Detector,
    paths: &[PathBuf],
    voice: Voice,
) -> anyhow::Result<Material> {
    let mut material = Material::default();
    let mut progress = Progress::new(voice, paths.len());
    interrupt::watch();
    for (done, path) in paths.iter().enumerate() {
        if interrupt::asked() {
            progress.finish();
            bail!(
                "interrupted after {done} of {} frames; the model is as it was",
                paths.len()
            );
        }
        let judged = Frame::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|frame| {
                let named = |error| anyhow::Error::from(error).context(path.display().to_string());
                let size = [frame.width(), frame.height()];
                Ok((detector.score(&frame).map_err(named)?, size))
            });
        match judged {
            Err(error) => {
                material.unreadable += 1;
                progress.beside(|| voice.error(&one_line(&error)));
            }
            Ok((detection, size)) => match (
                detection.verdict.label,
                detection.verdict.score,
                detector.map_maximum(),
            ) {
                (Label::Normal | Label::Anomalous, Some(score), Some(peak)) => {
                    material.samples.push(Sample {
                        path: path.clone(),
                        score,
                        peak,
                        reference: detection.divergence.map(|divergence| ReferenceFrame {
                            statistics: detection.statistics,
                            divergence,
                            size,
                        }),
                    });
                }
                _ => {
                    material.invalid += 1;
                    let reasons = detection.verdict.reasons.join("; ");
                    progress.beside(|| {
                        voice.note(&format_args!("{}: {reasons}; left out", path.display()));
                    });
                }
            },
        }
        progress.step();
    }
    progress.finish();
    Ok(material)
}
