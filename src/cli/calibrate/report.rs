//! The result of a calibration, for people and for programs.

use std::path::Path;

use edge_vae::calibration::{Calibration, OperatingTable, ReviewBand, SyntheticDefects};
use serde::Serialize;

use super::NormalFrames;
use crate::cli::{
    output::{SCHEMA_VERSION, StandardOutput},
    reporter::count,
};

/// Confidence of the interval in the JSON, as in the statement.
const CONFIDENCE: f64 = 0.9;

/// The result of a calibration.
pub(super) struct Report<'a> {
    pub(super) model_id: &'a str,
    /// The folder that was written.
    pub(super) folder: &'a Path,
    pub(super) normal: &'a NormalFrames,
    pub(super) calibration: &'a Calibration,
    pub(super) synthetic_defects: Option<&'a SyntheticDefects>,
    pub(super) earlier: Option<&'a Calibration>,
    pub(super) warnings: &'a [String],
}

/// The JSON object.
#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    model_id: &'a str,
    bundle: String,
    date: Option<&'a str>,
    frames: usize,
    groups: Option<usize>,
    left_out: LeftOut,
    /// Frames that the model was made of; `null` where that is not known.
    seen_in_training: Option<usize>,
    false_alarm_rate: f64,
    threshold: f64,
    map_threshold: f64,
    review: Option<ReviewBand>,
    confidence: f64,
    rate_interval: [f64; 2],
    statement: String,
    operating_table: OperatingTable,
    reference: Option<ReferenceRecord>,
    earlier: Option<Earlier>,
    warnings: &'a [String],
}

/// The frames whose looks were kept.
#[derive(Serialize)]
struct ReferenceRecord {
    frames: usize,
    /// Where all frames have one size.
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Serialize)]
struct LeftOut {
    invalid: usize,
    unreadable: usize,
    rejected: usize,
    other_models: usize,
}

/// The calibration that was replaced, and what it would have called the new frames.
#[derive(Serialize)]
struct Earlier {
    false_alarm_rate: f64,
    threshold: f64,
    frames: usize,
    date: Option<String>,
    called_anomalous: usize,
    /// Kolmogorov–Smirnov statistic and p-value; absent with groups.
    distance: Option<f64>,
    p_value: Option<f64>,
}

impl Report<'_> {
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut out = StandardOutput::new();
        if json {
            out.json(&self.record())?;
        } else {
            self.rows(&mut out)?;
        }
        out.finish()
    }

    fn record(&self) -> Record<'_> {
        let Self {
            calibration,
            normal,
            ..
        } = self;
        let (low, high) = calibration.rate_interval(CONFIDENCE);
        Record {
            schema_version: SCHEMA_VERSION,
            model_id: self.model_id,
            bundle: self.folder.display().to_string(),
            date: calibration.date.as_deref(),
            frames: calibration.scores.len(),
            groups: calibration.groups(),
            left_out: LeftOut {
                invalid: normal.invalid,
                unreadable: normal.unreadable,
                rejected: normal.rejected,
                other_models: normal.other_models,
            },
            seen_in_training: normal.seen,
            false_alarm_rate: calibration.false_alarm_rate,
            threshold: calibration.threshold,
            map_threshold: calibration.map_threshold,
            review: calibration.review,
            confidence: CONFIDENCE,
            rate_interval: [low, high],
            statement: calibration.statement(),
            operating_table: self.operating_table(),
            reference: calibration
                .reference
                .as_ref()
                .map(|reference| ReferenceRecord {
                    frames: reference.frames(),
                    width: reference.width,
                    height: reference.height,
                }),
            earlier: self.earlier.map(|earlier| self.compared(earlier)),
            warnings: self.warnings,
        }
    }

    fn operating_table(&self) -> OperatingTable {
        OperatingTable::of(self.calibration, self.synthetic_defects)
    }

    fn compared(&self, earlier: &Calibration) -> Earlier {
        let scores = &self.calibration.scores;
        let shift = match self.calibration.groups() {
            None => earlier.distribution_shift(scores),
            Some(_) => None,
        };
        Earlier {
            false_alarm_rate: earlier.false_alarm_rate,
            threshold: earlier.threshold,
            frames: earlier.scores.len(),
            date: earlier.date.clone(),
            called_anomalous: scores.iter().filter(|&&s| earlier.is_anomalous(s)).count(),
            distance: shift.map(|shift| shift.statistic),
            p_value: shift.map(|shift| shift.p_value),
        }
    }

    fn rows(&self, out: &mut StandardOutput) -> anyhow::Result<()> {
        let calibration = self.calibration;
        let mut row = |name: &str, value: &str| out.line(format_args!("{name:<12} {value}"));
        row("model", self.model_id)?;
        row("written to", &self.folder.display().to_string())?;
        let was = self.earlier.map_or_else(String::new, |earlier| {
            format!(", was {:.4}", earlier.threshold)
        });
        row("threshold", &format!("{:.4}{was}", calibration.threshold))?;
        row("guarantee", &calibration.statement())?;
        if let Some(band) = calibration.review {
            let review = format!(
                "normal frames above {:.4}, for a rate of {}",
                band.threshold, band.rate
            );
            row("review", &review)?;
        }
        if let Some(earlier) = self.earlier {
            let compared = self.compared(earlier);
            row(
                "earlier",
                &format!(
                    "its threshold calls {} of these {} anomalous",
                    compared.called_anomalous,
                    count(calibration.scores.len(), "frame")
                ),
            )?;
        }
        if let Some(reference) = &calibration.reference {
            let size = match reference.size() {
                Some([width, height]) => format!("{width}×{height} pixels"),
                None => "of several sizes".to_owned(),
            };
            row(
                "reference",
                &format!(
                    "light and focus of {}, {size}",
                    count(reference.frames(), "frame")
                ),
            )?;
        }
        let normal = self.normal;
        let left_out: Vec<String> = [
            (normal.invalid, "invalid"),
            (normal.unreadable, "unreadable"),
            (normal.rejected, "not accepted"),
            (normal.other_models, "of other models"),
        ]
        .into_iter()
        .filter(|&(number, _)| number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
        if !left_out.is_empty() {
            row("left out", &left_out.join(", "))?;
        }
        out.line(format_args!("\n{}", self.operating_table()))
    }
}
