//! The metrics file and the loss curve of a run.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use super::{checkpoint::State, checkpoint::write_whole, record::Record};

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

fn draw(records: &[Record], best_step: u64) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (900, 540)).into_drawing_area();
        area.fill(&WHITE)?;
        let (upper, lower) = area.split_vertically(360);
        type Curve = (&'static str, RGBColor, fn(&Record) -> f64);
        let loss: [Curve; 2] = [
            (
                "training −log p(x|z) + KL",
                RGBColor(150, 150, 150),
                |r| r.train_nll + r.train_kl,
            ),
            ("validation −ELBO", RGBColor(200, 60, 30), |r| {
                r.validation_nll + r.validation_kl
            }),
        ];
        let divergence: [Curve; 2] = [
            ("training KL", RGBColor(150, 150, 150), |r| r.train_kl),
            ("validation KL", RGBColor(30, 90, 200), |r| r.validation_kl),
        ];
        for (area, curves, title) in [(upper, loss, "nats a frame"), (lower, divergence, "KL")] {
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
        area.present()?;
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
