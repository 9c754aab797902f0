//! What was selected, and from what, for people.

use super::{Fold, Label, Selection, SelectionParams};
use crate::{options::Score, reporter::Reporter};

/// Writes the tables of image scores and of anomaly maps.
pub fn report(
    score: Score,
    selection: &Selection,
    folds: &[Fold],
    params: &SelectionParams,
    reporter: &Reporter,
) {
    let samples = || folds.iter().flat_map(|fold| &fold.samples);
    let count = |is: fn(&Label) -> bool| samples().filter(|s| is(&s.label)).count();
    let (defects, shapes) = (count(Label::is_defect), count(Label::is_shape));
    let with_shapes = match shapes {
        0 => String::new(),
        shapes => format!(" and {shapes} changes of the whole shape (each in parentheses)"),
    };
    reporter.line(format_args!(
        "score `{score}`: AUROC, and up to {} % false positives, of {defects} synthetic \
         defects{with_shapes} against {} held-out normal frames, all augmented as by another \
         camera:",
        100.0 * params.false_positives,
        samples().count() - defects - shapes
    ));
    for row in &selection.images {
        let shapes = row.shapes.map(|shapes| {
            let [defects, shapes] = [row.defects, shapes].map(|of| 100.0 * of.auroc);
            format!(" ({defects:5.1}, {shapes:5.1})")
        });
        reporter.line(format_args!(
            "  {:5.1}, {:5.1} %{}  {}{}{}",
            100.0 * row.all.auroc,
            100.0 * row.all.partial,
            shapes.unwrap_or_default(),
            row.name,
            penalty(row.penalty),
            mark(row.selected)
        ));
    }
    reporter.line("map: AUROC and AUPRO of the defects' pixels:");
    for row in &selection.maps {
        reporter.line(format_args!(
            "  {:5.1}, {:4.1} %  {}{}{}",
            100.0 * row.metrics.auroc,
            100.0 * row.metrics.aupro,
            row.name,
            penalty(row.penalty),
            mark(row.selected)
        ));
    }
    reporter.line(format_args!(
        "  of what is within {} % after penalties, the first in the order of preference is taken{}",
        100.0 * params.tie,
        match shapes {
            0 => "",
            _ => "; changes of the whole shape decide before defects",
        }
    ));
}

fn penalty(penalty: f64) -> String {
    match penalty > 0.0 {
        true => format!(" (less {} %)", (100.0 * penalty).round()),
        false => String::new(),
    }
}

fn mark(selected: bool) -> &'static str {
    if selected { "  <- selected" } else { "" }
}
