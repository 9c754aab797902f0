//! What a run ends with: the threshold, and which training frames are odd.

use std::path::{Path, PathBuf};

use anyhow::Result;
use edge_vae::{
    bundle::Bundle,
    calibration::{Calibration, OperatingTable},
};
use serde::Serialize;

use super::detector::FittedCandidates;
use crate::{
    calibration::ScoredFrame,
    features::FitData,
    nn::memory,
    outliers::{RANKING, RankedFrame, Ranking, ScoredBy},
    reporter::Reporter,
};

/// Frames that are named before the rest is counted.
const NAMED: usize = 10;
/// Frames that are named where none is odd.
const HIGHEST: usize = 3;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct FitReport {
    /// Of this record.
    schema_version: u32,
    model_id: String,
    /// Its folder.
    bundle: PathBuf,
    dataset: String,
    /// Frames that it was made of.
    training_frames: usize,
    threshold: f64,
    false_alarm_rate: f64,
    /// The guarantee.
    statement: String,
    operating_table: OperatingTable,
    scored_by: ScoredBy,
    false_discovery_rate: f64,
    /// Training frames that the others do not explain.
    suspicious: Vec<RankedFrame>,
    /// File with all scored frames.
    ranking: PathBuf,
    /// Of the process; none where the system does not tell.
    pub(super) peak_memory_bytes: Option<u64>,
}

/// A bundle that was written, and the scores that calibrated it.
#[derive(Debug)]
pub(super) struct Written {
    pub bundle: Bundle,
    pub calibration: Calibration,
    pub scored: Vec<ScoredFrame>,
    /// What a bundle of the same frames with a VAE need not fit again.
    pub fitted: FittedCandidates,
}

impl Written {
    /// Ranks the frames, writes the ranking into the run's `folder`, and names the odd ones.
    ///
    /// # Errors
    /// A ranking that can't be written.
    pub(super) fn report(&self, dataset: &str, data: &FitData, folder: &Path) -> Result<FitReport> {
        let (bundle, calibration) = (&self.bundle, &self.calibration);
        let scored_by = match calibration.folds {
            Some(_) => ScoredBy::OutOfFold,
            None if calibration.unguaranteed => ScoredBy::Model,
            None => ScoredBy::HeldOut,
        };
        let named =
            |frame: &ScoredFrame| (data.samples[frame.place].name().to_owned(), frame.score);
        let scores = self.scored.iter().map(named).collect();
        let ranking = Ranking::of(bundle.model_id(), dataset, scored_by, scores);
        ranking.write(folder)?;
        say(&ranking, bundle.path(), data.reporter);
        Ok(FitReport {
            schema_version: ranking.schema_version,
            model_id: ranking.model_id.clone(),
            bundle: bundle.path().to_owned(),
            dataset: ranking.dataset.clone(),
            training_frames: data.samples.len(),
            threshold: calibration.threshold,
            false_alarm_rate: calibration.false_alarm_rate,
            statement: calibration.statement(),
            operating_table: OperatingTable::of(calibration, bundle.synthetic_defects()),
            scored_by,
            false_discovery_rate: ranking.false_discovery_rate,
            suspicious: ranking.suspicious().cloned().collect(),
            ranking: folder.join(RANKING),
            peak_memory_bytes: memory::peak(),
        })
    }
}

/// Names the odd frames, else the highest.
fn say(ranking: &Ranking, bundle: &Path, reporter: &Reporter) {
    let all = ranking.frames.len();
    let suspicious = ranking.suspicious().count();
    if suspicious == 0 {
        let highest = ranking.frames.iter().take(HIGHEST);
        let highest = highest.map(|frame| format!("{} ({:.2})", frame.frame, frame.score));
        reporter.line(format_args!(
            "none of {all} normal frames, {}, stands out; the highest: {}",
            ranking.scored_by,
            highest.collect::<Vec<_>>().join(", ")
        ));
        return;
    }
    let mut text = format!(
        "{suspicious} of {all} normal frames, {}, {} unlike the others. Look at them with \
         `edge-vae-train review DATASET --model {} --out review.html`, and leave out with \
         --exclude what is no good part:",
        ranking.scored_by,
        if suspicious == 1 { "is" } else { "are" },
        bundle.display()
    );
    for frame in ranking.suspicious().take(NAMED) {
        text.push_str(&format!(
            "\n  {}. {}, score {:.2}, p {:.1e}",
            frame.rank, frame.frame, frame.score, frame.p_value
        ));
    }
    if suspicious > NAMED {
        text.push_str(&format!("\n  and {} more", suspicious - NAMED));
    }
    reporter.warn(text);
}
