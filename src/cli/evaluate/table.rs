//! The evaluation as a table for people.

use edge_vae::{
    aligned,
    metrics::{Estimate, MINIMUM_IOU, Rate, RegionCounts, RegionMetrics},
};

use super::{
    Pixels,
    measure::Measurement,
    operating,
    report::{CONFIDENCE, Metrics, Report},
};
use crate::cli::{output::StandardOutput, reporter::count};

/// Metrics whose intervals are in the table.
const INTERVALS: [&str; 2] = ["image_AUROC", "pixel_AUPRO"];

/// Prints the evaluation.
pub(super) fn print(
    out: &mut StandardOutput,
    report: &Report<'_>,
    measured: &Measurement,
) -> anyhow::Result<()> {
    let (defective, normal) = report.scored();
    out.line(format_args!(
        "{} on {}: {normal} normal, {defective} with a defect{}",
        report.model_id,
        report.setting.dataset,
        if report.setting.limited {
            ", drawn at random"
        } else {
            ""
        }
    ))?;
    out.line(format_args!(""))?;
    for line in aligned(&rows(report)) {
        out.line(format_args!("{line}"))?;
    }
    out.line(format_args!(""))?;
    out.line(format_args!("threshold {}", threshold(report)))?;
    let guarantee = report
        .guarantee()
        .map_or_else(String::new, |guarantee| format!("; {}", guarantee.words()));
    out.line(format_args!(
        "false alarms  {}{guarantee}",
        rate(report.false_alarms)
    ))?;
    out.line(format_args!("misses        {}", rate(report.misses)))?;
    out.line(format_args!(""))?;
    let operating = &report.operating_table;
    for line in aligned(&operating::cells(operating, &report.operating_rows, rate)) {
        out.line(format_args!("{line}"))?;
    }
    for line in operating.legend() {
        out.line(format_args!("{line}"))?;
    }
    out.line(format_args!(""))?;
    if let Some(pixel) = &report.all.pixel {
        out.line(format_args!(
            "pixels        {} of {} in {}, compared in the {}'s size{}",
            pixel.defective,
            pixel.defective + pixel.background,
            count(
                usize::try_from(pixel.regions).unwrap_or(usize::MAX),
                "region"
            ),
            match report.setting.pixels {
                Pixels::Frame => "frame",
                Pixels::Tensor => "tensor",
            },
            error(&report.all)
        ))?;
    }
    if let Some(regions) = &report.all.region {
        out.line(format_args!("regions       {}", region_counts(regions)))?;
    }
    for (number, what) in [
        (
            measured.invalid.len(),
            "invalid: no picture in them, not part of the metrics",
        ),
        (measured.unreadable.len(), "could not be read or scored"),
        (
            measured.unmasked.len(),
            "without a mask, not part of the pixel metrics",
        ),
        (
            measured.bad_masks.len(),
            "with an unusable mask, not part of the pixel metrics",
        ),
    ] {
        if number > 0 {
            out.line(format_args!("{} {what}", count(number, "frame")))?;
        }
    }
    for warning in report.warnings_of_seen() {
        out.line(format_args!("{warning}"))?;
    }
    Ok(())
}

/// Heading, all kinds, and each.
fn rows(report: &Report<'_>) -> Vec<Vec<String>> {
    let mut heading = vec!["", "frames", "missed"];
    let titles = |metrics: &Metrics| -> Vec<&'static str> {
        metrics
            .named()
            .iter()
            .map(|(name, _)| title(name))
            .collect()
    };
    heading.extend(titles(&report.all));
    let columns = heading.len();
    let row = |name: &str, misses: Rate, metrics: &Metrics| {
        let mut row = vec![
            name.to_owned(),
            misses.total.to_string(),
            misses.count.to_string(),
        ];
        let cells = metrics.named().into_iter().map(|(name, estimate)| {
            // All intervals would make lines that no terminal shows; JSON and page have them.
            match (estimate, INTERVALS.contains(&name)) {
                (Some(estimate), true) => cell(estimate),
                (Some(estimate), false) => format!("{:.3}", estimate.value),
                (None, _) => "–".to_owned(),
            }
        });
        row.extend(cells);
        row.resize(columns, "–".to_owned());
        row
    };
    let mut rows = vec![heading.into_iter().map(str::to_owned).collect()];
    rows.push(row("all", report.misses, &report.all));
    if report.defects().len() > 1 {
        let kinds = report.defects().iter();
        rows.extend(kinds.map(|kind| row(&kind.name, kind.misses(), &kind.metrics)));
    }
    rows
}

/// A metric's name for people.
pub(super) fn title(name: &str) -> &'static str {
    match name {
        "image_AUROC" => "image AUROC",
        "image_AP" => "image AP",
        "image_F1Max" => "image F1-max",
        "pixel_AUROC" => "pixel AUROC",
        "pixel_F1Max" => "pixel F1-max",
        "pixel_AUPRO" => "AUPRO 30 %",
        "region_precision" => "region precision",
        "region_recall" => "region recall",
        _ => "AUPRO 5 %",
    }
}

/// A metric with its interval.
fn cell(estimate: Estimate) -> String {
    let value = estimate.value;
    match estimate.interval {
        None => format!("{value:.3}"),
        Some(interval) => format!("{value:.3} ({:.3}–{:.3})", interval.lower, interval.upper),
    }
}

/// A rate with its interval.
pub(super) fn rate(rate: Rate) -> String {
    match (rate.value(), rate.interval(CONFIDENCE)) {
        (Some(value), Some(interval)) => format!(
            "{} of {} = {:.1} % ({:.1}–{:.1} %)",
            rate.count,
            rate.total,
            100.0 * value,
            100.0 * interval.lower,
            100.0 * interval.upper
        ),
        _ => "no frames".to_owned(),
    }
}

/// What region precision and recall are shares of.
pub(super) fn region_counts(metrics: &RegionMetrics) -> String {
    let RegionCounts {
        predicted,
        actual,
        matched,
    } = metrics.counts;
    format!("{predicted} predicted, {actual} in masks, {matched} match at IoU {MINIMUM_IOU}")
}

/// How far off pixel metrics may be, where close scores count as equal.
pub(super) fn error(metrics: &Metrics) -> String {
    let largest = metrics
        .named()
        .into_iter()
        .filter_map(|(_, estimate)| Some(estimate?.error))
        .fold(0.0, f64::max);
    if largest > 0.0 {
        format!("; metrics are off by at most {largest:.0e}")
    } else {
        String::new()
    }
}

/// The threshold and what it is for.
pub(super) fn threshold(report: &Report<'_>) -> String {
    let what = match report.guaranteed {
        true => format!(
            "for a false-alarm rate of {} %",
            round(100.0 * report.target)
        ),
        false => "which guarantees no rate of false alarms".to_owned(),
    };
    format!("{:.4}, {what}", report.threshold)
}

/// A number as short as it can be.
pub(super) fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use edge_vae::metrics::Interval;

    use super::*;

    #[test]
    fn numbers_are_short() {
        let estimate = Estimate {
            value: 0.947_12,
            error: 0.0,
            interval: Some(Interval {
                lower: 0.928,
                upper: 0.963_4,
            }),
        };
        assert_eq!(cell(estimate), "0.947 (0.928–0.963)");
        assert_eq!(rate(Rate { count: 0, total: 0 }), "no frames");
        // scipy.stats.binomtest(2, 108).proportion_ci(0.95, method="exact")
        assert_eq!(
            rate(Rate {
                count: 2,
                total: 108
            }),
            "2 of 108 = 1.9 % (0.2–6.5 %)"
        );
    }
}
