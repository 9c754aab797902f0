//! The operating table of an evaluation: what each rate of false alarms does to the test part.

use std::collections::BTreeMap;

use edge_vae::{
    calibration::{OperatingPoint, OperatingTable},
    metrics::Rate,
};

use super::measure::Measurement;

/// What a rate of false alarms does to the frames of the test part.
pub(super) struct OperatingRow {
    pub(super) point: OperatingPoint,
    /// Of its threshold, where the calibration promises the rate.
    pub(super) at: Option<AtThreshold>,
}

/// Frames above a threshold.
pub(super) struct AtThreshold {
    /// Normal ones.
    pub(super) false_alarms: Rate,
    /// Those with a defect.
    pub(super) found: Rate,
    /// Those of each kind of defect.
    pub(super) by_kind: BTreeMap<String, Rate>,
}

/// The rows of `table`, with what is above their thresholds.
pub(super) fn rows(table: &OperatingTable, measured: &Measurement) -> Vec<OperatingRow> {
    let scores = measured.scores();
    let row = |point: &OperatingPoint| OperatingRow {
        point: *point,
        at: point.threshold.map(|threshold| {
            let above = |scores: &[f64]| Rate {
                count: scores.iter().filter(|&&score| score > threshold).count() as u64,
                total: scores.len() as u64,
            };
            AtThreshold {
                false_alarms: above(&scores[0]),
                found: above(&scores[1..].concat()),
                by_kind: measured.kinds[1..]
                    .iter()
                    .zip(&scores[1..])
                    .map(|(kind, scores)| (kind.clone(), above(scores)))
                    .collect(),
            }
        }),
    };
    table.rows.iter().map(row).collect()
}

/// The table's own columns, then what was measured. `rate` writes a rate with its interval.
pub(super) fn cells(
    table: &OperatingTable,
    rows: &[OperatingRow],
    rate: fn(Rate) -> String,
) -> Vec<Vec<String>> {
    let mut cells = table.cells();
    let measured = rows.iter().map(|row| match &row.at {
        Some(at) => [rate(at.false_alarms), rate(at.found)],
        None => ["–", "–"].map(str::to_owned),
    });
    let heading = ["normal frames called anomalous", "defects found"].map(str::to_owned);
    let added = [heading].into_iter().chain(measured);
    for (row, added) in cells.iter_mut().zip(added) {
        // Before the columns of synthetic defects.
        let tail = row.split_off(OperatingTable::OWN_COLUMNS);
        row.extend(added);
        row.extend(tail);
    }
    cells
}
