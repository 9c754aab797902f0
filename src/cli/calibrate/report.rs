//! What a calibration came to, for people and for programs.

use std::path::Path;

use edge_vae::calibration::Calibration;
use serde::Serialize;

use super::Material;
use crate::cli::{
    output::{SCHEMA_VERSION, StandardOutput},
    score::count,
};

/// Confidence of the interval in the JSON, as in the statement.
const CONFIDENCE: f64 = 0.9;

/// What [`Report::print`] tells of.
pub(super) struct Report<'a> {
    pub(super) model_id: &'a str,
    /// The folder that was written.
    pub(super) place: &'a Path,
    pub(super) material: &'a Material,
    pub(super) calibration: &'a Calibration,
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
    false_alarm_rate: f64,
    threshold: f64,
    map_threshold: f64,
    confidence: f64,
    rate_interval: [f64; 2],
    statement: String,
    reference: Option<Seen>,
    earlier: Option<Earlier>,
    warnings: &'a [String],
}

/// The frames whose looks were kept.
#[derive(Serialize)]
struct Seen {
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

/// The calibration that was replaced, and how it would have judged the new frames.
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
            material,
            ..
        } = self;
        let (low, high) = calibration.rate_interval(CONFIDENCE);
        Record {
            schema_version: SCHEMA_VERSION,
            model_id: self.model_id,
            bundle: self.place.display().to_string(),
            date: calibration.date.as_deref(),
            frames: calibration.scores.len(),
            groups: calibration.groups(),
            left_out: LeftOut {
                invalid: material.invalid,
                unreadable: material.unreadable,
                rejected: material.rejected,
                other_models: material.foreign,
            },
            false_alarm_rate: calibration.false_alarm_rate,
            threshold: calibration.threshold,
            map_threshold: calibration.map_threshold,
            confidence: CONFIDENCE,
            rate_interval: [low, high],
            statement: calibration.statement(),
            reference: calibration.reference.as_ref().map(|seen| Seen {
                frames: seen.frames(),
                width: seen.width,
                height: seen.height,
            }),
            earlier: self.earlier.map(|earlier| self.compared(earlier)),
            warnings: self.warnings,
        }
    }

    fn compared(&self, earlier: &Calibration) -> Earlier {
        let scores = &self.calibration.scores;
        let distribution_shift = match self.calibration.groups() {
            None => earlier.distribution_shift(scores),
            Some(_) => None,
        };
        Earlier {
            false_alarm_rate: earlier.false_alarm_rate,
            threshold: earlier.threshold,
            frames: earlier.scores.len(),
            date: earlier.date.clone(),
            called_anomalous: scores.iter().filter(|&&s| earlier.is_anomalous(s)).count(),
            distance: distribution_shift.map(|distribution_shift| distribution_shift.distance),
            p_value: distribution_shift.map(|distribution_shift| distribution_shift.p_value),
        }
    }

    fn rows(&self, out: &mut StandardOutput) -> anyhow::Result<()> {
        let calibration = self.calibration;
        let mut row = |name: &str, value: &str| out.line(format_args!("{name:<12} {value}"));
        row("model", self.model_id)?;
        row("written to", &self.place.display().to_string())?;
        let was = self.earlier.map_or_else(String::new, |earlier| {
            format!(", was {:.4}", earlier.threshold)
        });
        row("threshold", &format!("{:.4}{was}", calibration.threshold))?;
        row("promise", &calibration.statement())?;
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
        if let Some(seen) = &calibration.reference {
            let size = match seen.size() {
                Some([width, height]) => format!("{width}×{height} pixels"),
                None => "of several sizes".to_owned(),
            };
            row(
                "reference",
                &format!(
                    "light and focus of {}, {size}",
                    count(seen.frames(), "frame")
                ),
            )?;
        }
        let material = self.material;
        let left_out: Vec<String> = [
            (material.invalid, "invalid"),
            (material.unreadable, "unreadable"),
            (material.rejected, "not accepted"),
            (material.foreign, "of other models"),
        ]
        .into_iter()
        .filter(|&(number, _)| number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
        if !left_out.is_empty() {
            row("left out", &left_out.join(", "))?;
        }
        Ok(())
    }
}
