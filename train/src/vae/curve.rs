//! The metrics file and the loss curve of a run.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use super::{
    checkpoint::{State, write_whole},
    record::Record,
};

/// One JSON object a validation.
pub(super) const METRICS: &str = "metrics.jsonl";
/// The loss curve.
pub(super) const CURVE: &str = "loss.svg";

/// Writes [`METRICS`] and [`CURVE`] into `folder`, whole each time.
///
/// # Errors
/// The folder can't be written.
pub(super) fn write(folder: &Path, state: &State) -> Result<()> {
    let mut lines = String::new();
    for record in &state.records {
        lines.push_str(&serde_json::to_string(record)?);
        lines.push('\n');
    }
    write_whole(&folder.join(METRICS), lines.as_bytes())?;
    let curve = draw(&state.records, state.best_step).context("cannot draw the loss curve")?;
    write_whole(&folder.join(CURVE), curve.as_bytes())
}

/// A line of a chart: its name, its colour, and its value in a record, NaN where there is none.
type Curve = (&'static str, RGBColor, fn(&Record) -> f64);

/// A chart: its height in pixels, what it shows, and its lines.
type Chart = (u32, &'static str, Vec<Curve>);

const GREY: RGBColor = RGBColor(150, 150, 150);
const RED: RGBColor = RGBColor(200, 60, 30);
const BLUE: RGBColor = RGBColor(30, 90, 200);

fn charts(with_head: bool) -> Vec<Chart> {
    let mut charts: Vec<Chart> = vec![
        (
            360,
            "nats a frame",
            vec![
                ("training −log p(x|z) + KL", GREY, |r| {
                    r.train_nll + r.train_kl
                }),
                ("validation −ELBO", RED, |r| {
                    r.validation_nll + r.validation_kl
                }),
            ],
        ),
        (
            180,
            "KL",
            vec![
                ("training KL", GREY, |r| r.train_kl),
                ("validation KL", BLUE, |r| r.validation_kl),
            ],
        ),
    ];
    if with_head {
        charts.push((
            180,
            "head",
            vec![
                ("training loss of the head", GREY, |r| {
                    r.head.map_or(f64::NAN, |h| h.train_loss)
                }),
                ("validation loss of the head", RED, |r| {
                    r.head.map_or(f64::NAN, |h| h.validation_loss)
                }),
            ],
        ));
        charts.push((
            180,
            "1 − AUROC",
            vec![("validation, synthetic defects", BLUE, |r| {
                r.head.map_or(f64::NAN, |h| 1.0 - h.validation_auroc)
            })],
        ));
    }
    charts
}

fn draw(records: &[Record], best_step: u64) -> Result<String> {
    let charts = charts(records.iter().any(|record| record.head.is_some()));
    let height = charts.iter().map(|(height, ..)| height).sum();
    let mut svg = String::new();
    {
        let whole = SVGBackend::with_string(&mut svg, (900, height)).into_drawing_area();
        whole.fill(&WHITE)?;
        let mut rest = whole.clone();
        for (height, title, curves) in charts {
            let (area, below) = rest.split_vertically(height);
            rest = below;
            let last = records.last().map_or(1, |r| r.step).max(1) as f64;
            let values: Vec<f64> = curves
                .iter()
                .flat_map(|(_, _, of)| records.iter().map(*of))
                .filter(|v| v.is_finite())
                .collect();
            // The first validations tower over the rest: the upper tenth may leave the picture.
            let (low, high) = range(values);
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                .x_label_area_size(34)
                .y_label_area_size(70)
                .build_cartesian_2d(0.0..last, low..high)?;
            chart
                .configure_mesh()
                .x_desc("step")
                .y_desc(title)
                .light_line_style(WHITE)
                .draw()?;
            for (name, colour, of) in curves {
                let points = records
                    .iter()
                    .filter(|r| of(r).is_finite())
                    .map(|r| (r.step as f64, of(r).clamp(low, high)));
                chart
                    .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                    .label(name)
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                    });
            }
            let mark = [(best_step as f64, low), (best_step as f64, high)];
            chart
                .draw_series(LineSeries::new(mark, RGBColor(60, 160, 60)))?
                .label("exported")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], RGBColor(60, 160, 60)));
            chart
                .configure_series_labels()
                .background_style(WHITE.mix(0.8))
                .border_style(RGBColor(200, 200, 200))
                .draw()?;
        }
        whole.present()?;
    }
    Ok(svg)
}

fn range(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (
        values.first(),
        values.get(values.len().saturating_sub(1) * 9 / 10),
    ) else {
        return (0.0, 1.0);
    };
    let margin = (0.05 * (high - low)).max(1e-3);
    (low - margin, high + margin)
}
