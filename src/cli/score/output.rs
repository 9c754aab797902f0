//! What is printed of the frames, and what became of them.

use std::{path::Path, time::Duration};

use edge_vae::{
    Detection,
    backend::{BackendKind, Device},
    calibration::Calibration,
    runtime::Label,
    scoring::Region,
    timestamp,
};
use serde::Serialize;

use super::{
    super::{
        evidence::Evidence,
        output::{SCHEMA_VERSION, StandardOutput},
        reporter::{Reporter, count, one_line},
    },
    frame_scorer::{MapRecord, ScoredFrame},
};

/// One JSON line.
#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    frame_id: usize,
    path: &'a str,
    timestamp: String,
    pred_label: &'static str,
    review: bool,
    pred_score: Option<f64>,
    threshold: f64,
    p_value: Option<f64>,
    percentile_of_normals: Option<f64>,
    map_max: Option<f64>,
    regions: &'a [Region],
    reasons: &'a [String],
    model_id: &'a str,
    backend: &'static str,
    device: &'static str,
    latency_ms: LatencyRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<MapRecord>,
}

#[derive(Serialize)]
struct LatencyRecord {
    /// Reading the picture's file and decoding it.
    read: f64,
    prepare: f64,
    encode: f64,
    decode: f64,
    detect: f64,
    score: f64,
    total: f64,
}

/// What became of the frames.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) scored: usize,
    pub(super) anomalous: usize,
    /// Normal ones for review.
    pub(super) review: usize,
    pub(super) invalid: usize,
    pub(super) failed: usize,
    /// Pictures and maps that could not be written.
    pub(super) lost_files: usize,
}

/// Prints a line for each frame, in their order.
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) reporter: Reporter,
    pub(super) out: StandardOutput,
    pub(super) evidence: Option<Evidence>,
    pub(super) tally: Tally,
    pub(super) calibration: Calibration,
    pub(super) model_id: String,
    pub(super) backend: BackendKind,
    pub(super) device: Device,
}

impl Output {
    /// Counts a frame, keeps evidence of it and prints its line. Only lines that can't be printed
    /// or kept are errors; everything else is reported and counted.
    pub(super) fn frame(
        &mut self,
        id: usize,
        path: &Path,
        scored: anyhow::Result<ScoredFrame>,
    ) -> anyhow::Result<()> {
        let scored = match scored {
            Ok(scored) => scored,
            Err(error) => {
                self.tally.failed += 1;
                let error = one_line(&error);
                self.reporter.error(&error);
                return match &mut self.evidence {
                    Some(evidence) => evidence.failed(id, path, error),
                    None => Ok(()),
                };
            }
        };
        let verdict = &scored.detection.verdict;
        if let Some(evidence) = &mut self.evidence {
            evidence.scored(id, path, scored.sha256.clone(), verdict)?;
        }
        self.tally.scored += 1;
        match verdict.label {
            Label::Normal => self.tally.review += usize::from(verdict.review),
            Label::Anomalous => self.tally.anomalous += 1,
            Label::Invalid => self.tally.invalid += 1,
        }
        for error in &scored.lost_files {
            self.lose_file(error);
        }
        if self.json {
            self.print_json(id, path, scored)
        } else {
            self.print_line(path, &scored.detection)
        }
    }

    /// Says what became of all, after so much time.
    pub(super) fn finish(self, elapsed: Duration) -> anyhow::Result<Tally> {
        self.out.finish()?;
        self.evidence.map_or(Ok(()), Evidence::close)?;
        let tally = self.tally;
        self.reporter.note(&format_args!(
            "{} scored: {} anomalous,{} {} invalid; {} failed; {:.1} frames/s",
            count(tally.scored, "frame"),
            tally.anomalous,
            match self.calibration.review {
                Some(_) => format!(" {} for review,", tally.review),
                None => String::new(),
            },
            tally.invalid,
            tally.failed,
            tally.scored as f64 / elapsed.as_secs_f64().max(1e-9)
        ));
        if tally.lost_files > 1 {
            let lost = tally.lost_files;
            self.reporter
                .error(&format_args!("{lost} files could not be written"));
        }
        Ok(tally)
    }

    /// A full disk would say the same of every frame: the first is reported, the rest counted.
    fn lose_file(&mut self, error: &anyhow::Error) {
        if self.tally.lost_files == 0 {
            let error = one_line(error);
            self.reporter
                .error(&format_args!("{error}; verdicts go on without the files"));
        }
        self.tally.lost_files += 1;
    }

    fn print_json(&mut self, id: usize, path: &Path, scored: ScoredFrame) -> anyhow::Result<()> {
        let milliseconds = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let (verdict, latency) = (&scored.detection.verdict, &scored.detection.latency);
        let calibration = &self.calibration;
        let record = Record {
            schema_version: SCHEMA_VERSION,
            frame_id: id,
            path: &path.to_string_lossy(),
            timestamp: timestamp(scored.captured),
            pred_label: verdict.label.as_str(),
            review: verdict.review,
            pred_score: verdict.score,
            threshold: calibration.threshold,
            p_value: verdict.p_value,
            // Of frames that were scored only, as the p-value.
            percentile_of_normals: verdict
                .p_value
                .and(verdict.score)
                .map(|score| calibration.percentile(score).percent()),
            map_max: scored.map_max,
            regions: &verdict.regions,
            reasons: &verdict.reasons,
            model_id: &self.model_id,
            backend: self.backend.name(),
            device: self.device.name(),
            latency_ms: LatencyRecord {
                read: milliseconds(scored.read),
                prepare: milliseconds(latency.prepare),
                encode: milliseconds(latency.encode),
                decode: milliseconds(latency.decode),
                detect: milliseconds(latency.detect),
                score: milliseconds(latency.score),
                total: milliseconds(scored.read + latency.total),
            },
            overlay: scored.files.overlay,
            map: scored.files.map,
        };
        self.out.json(&record)
    }

    fn print_line(&mut self, path: &Path, detection: &Detection) -> anyhow::Result<()> {
        let (path, verdict) = (path.display(), &detection.verdict);
        let calibration = &self.calibration;
        match (verdict.label, verdict.score, verdict.p_value) {
            (label @ (Label::Normal | Label::Anomalous), Some(score), Some(p_value)) => {
                let threshold = calibration.threshold;
                let percentile = calibration.percentile(score).to_string();
                let label = match verdict.review {
                    true => "review",
                    false => label.as_str(),
                };
                self.out.line(format_args!(
                    "{label:<9}  score {score:>10.4}  threshold {threshold:>10.4}  \
                     p {p_value:<8.2e}  {percentile:<43}  {path}"
                ))
            }
            (label, ..) => {
                let reasons = verdict.reasons.join("; ");
                self.out
                    .line(format_args!("{label:<9}  {reasons:<50}  {path}"))
            }
        }
    }
}
