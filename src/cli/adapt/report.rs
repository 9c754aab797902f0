//! The result of an adaptation, for people and for programs.

use std::path::Path;

use edge_vae::{
    bundle::Bundle,
    calibration::{Calibration, OperatingTable},
};
use serde::Serialize;

use super::{AcceptedFrame, LeftOut};
use crate::cli::{
    output::{SCHEMA_VERSION, StandardOutput},
    reporter::count,
};

/// The result of an adaptation.
pub(super) struct Report<'a> {
    /// The adapted one, where it was written.
    pub(super) bundle: &'a Bundle,
    pub(super) from: &'a Bundle,
    /// Where the old one is kept.
    pub(super) previous: Option<&'a Path>,
    pub(super) frames: &'a [&'a AcceptedFrame],
    pub(super) left_out: LeftOut,
    /// Frames that the densities knew before, each as it counted.
    pub(super) knew: f64,
    pub(super) weight: f64,
    pub(super) pooled: bool,
    /// Sources of the map that stay as they are.
    pub(super) unchanged: &'a [String],
    pub(super) earlier: &'a Calibration,
}

/// The JSON object.
#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    model_id: &'a str,
    from: &'a str,
    bundle: String,
    previous: Option<String>,
    frames: usize,
    groups: Option<usize>,
    invalid: usize,
    unreadable: usize,
    weight: f64,
    known_before: f64,
    pooled: bool,
    unchanged_sources: &'a [String],
    false_alarm_rate: f64,
    threshold: f64,
    map_threshold: f64,
    statement: String,
    /// Accepted frames that were called anomalous.
    called_anomalous: Called,
    operating_table: OperatingTable,
}

#[derive(Serialize)]
struct Called {
    before: usize,
    /// Each by a model that was adapted to the others.
    after: usize,
}

impl Report<'_> {
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        let Some(calibration) = self.bundle.calibration() else {
            return Ok(());
        };
        let mut out = StandardOutput::new();
        if json {
            out.json(&self.record(calibration))?;
        } else {
            self.rows(calibration, &mut out)?;
        }
        out.finish()
    }

    fn called(&self, calibration: &Calibration) -> Called {
        let frames = self.frames.iter();
        let before = |frame: &&&AcceptedFrame| self.earlier.is_anomalous(frame.before.score);
        let after = |frame: &&&AcceptedFrame| {
            let scored = frame.after;
            scored.is_some_and(|scored| calibration.is_anomalous(scored.score))
        };
        Called {
            before: frames.clone().filter(before).count(),
            after: frames.filter(after).count(),
        }
    }

    fn record(&self, calibration: &Calibration) -> Record<'_> {
        Record {
            schema_version: SCHEMA_VERSION,
            model_id: self.bundle.model_id(),
            from: self.from.model_id(),
            bundle: self.bundle.path().display().to_string(),
            previous: self.previous.map(|path| path.display().to_string()),
            frames: self.frames.len(),
            groups: calibration.groups(),
            invalid: self.left_out.invalid,
            unreadable: self.left_out.unreadable,
            weight: self.weight,
            known_before: self.knew,
            pooled: self.pooled,
            unchanged_sources: self.unchanged,
            false_alarm_rate: calibration.false_alarm_rate,
            threshold: calibration.threshold,
            map_threshold: calibration.map_threshold,
            statement: calibration.statement(),
            called_anomalous: self.called(calibration),
            operating_table: OperatingTable::of(calibration, None),
        }
    }

    fn rows(&self, calibration: &Calibration, out: &mut StandardOutput) -> anyhow::Result<()> {
        let called = self.called(calibration);
        let frames = count(self.frames.len(), "accepted frame");
        let mut row = |name: &str, value: &str| out.line(format_args!("{name:<12} {value}"));
        row(
            "model",
            &format!("{}, was {}", self.bundle.model_id(), self.from.model_id()),
        )?;
        row("written to", &self.bundle.path().display().to_string())?;
        if let Some(previous) = self.previous {
            row(
                "kept",
                &format!(
                    "the old one, in {}: `--rollback` puts it back",
                    previous.display()
                ),
            )?;
        }
        row(
            "learned",
            &format!(
                "{frames}, which count {} beside {:.0} that it knew",
                self.frames.len() as f64 * self.weight,
                self.knew
            ),
        )?;
        row(
            "threshold",
            &format!(
                "{:.4}, was {:.4}",
                calibration.threshold, self.earlier.threshold
            ),
        )?;
        row("guarantee", &calibration.statement())?;
        if self.pooled {
            row(
                "pooled",
                "scores of the earlier calibration are those before the adaptation, so the rate is \
                 only about right",
            )?;
        }
        row(
            "anomalous",
            &format!("{} of these frames, before {}", called.after, called.before),
        )?;
        let LeftOut {
            invalid,
            unreadable,
        } = self.left_out;
        if invalid + unreadable > 0 {
            row(
                "left out",
                &format!("{invalid} invalid, {unreadable} unreadable"),
            )?;
        }
        out.line(format_args!("\n{}", OperatingTable::of(calibration, None)))
    }
}
