//! Scores of frames.

use std::path::PathBuf;

use anyhow::bail;
use edge_vae::{
    Detector, bundle::TrainingFrames, calibration::ReferenceFrame, frame::DecodeOptions,
    runtime::Label,
};

use super::{NormalFrame, NormalFrames};
use crate::cli::{
    frames::with_frame,
    interrupt,
    reporter::{Reporter, one_line},
};

/// Scores each frame. What shows nothing, and what fails, is named, counted and left out.
pub(super) fn score(
    detector: &mut Detector,
    paths: &[PathBuf],
    decode: &DecodeOptions,
    trained_on: Option<&TrainingFrames>,
    reporter: Reporter,
) -> anyhow::Result<NormalFrames> {
    let mut normal = NormalFrames {
        seen: trained_on.map(|_| 0),
        ..NormalFrames::default()
    };
    let mut progress = reporter.progress(paths.len(), "frames");
    interrupt::watch();
    for (done, path) in paths.iter().enumerate() {
        if interrupt::requested() {
            progress.finish();
            bail!(
                "interrupted after {done} of {} frames; the model was not changed",
                paths.len()
            );
        }
        let scored = with_frame(path, decode, |frame| {
            let size = [frame.width(), frame.height()];
            let is_seen = trained_on.is_some_and(|seen| seen.contains(&frame));
            Ok((detector.score(&frame)?, size, is_seen))
        });
        match scored {
            Err(error) => {
                normal.unreadable += 1;
                progress.error(&one_line(&error));
            }
            Ok((detection, size, is_seen)) => {
                let verdict = detection.verdict;
                match (verdict.label, verdict.score, detector.map_maximum()) {
                    (Label::Normal | Label::Anomalous, Some(score), Some(map_maximum)) => {
                        normal.seen = normal.seen.map(|seen| seen + usize::from(is_seen));
                        normal.frames.push(NormalFrame {
                            path: path.clone(),
                            score,
                            map_maximum,
                            reference: Some(ReferenceFrame {
                                statistics: detection.statistics,
                                divergence: detection.divergence,
                                size,
                            }),
                        });
                    }
                    _ => {
                        normal.invalid += 1;
                        let reasons = verdict.reasons.join("; ");
                        progress.note(&format_args!("{}: {reasons}; left out", path.display()));
                    }
                }
            }
        }
        progress.advance(1);
    }
    progress.finish();
    Ok(normal)
}
