//! The evaluation as one page that needs nothing beside itself.

mod chart;
mod gallery;

use edge_vae::{
    Detector,
    dataset::Sample,
    metrics::{Estimate, Rate},
    render::{Page, PageText as Text},
};

use super::{
    Pixels,
    measure::{Measurement, Problem},
    operating,
    report::{CONFIDENCE, Metrics, Report},
    table::{error, rate, region_counts, threshold, title},
};
use crate::cli::model_card;
use chart::{Line, curves, histograms};

pub(super) use gallery::Gallery;

/// Problems of one sort that are listed by name.
const LISTED: usize = 50;

/// The whole page.
pub(super) fn html(
    report: &Report<'_>,
    detector: &Detector,
    measured: &Measurement,
    samples: &[&Sample],
    gallery: &Gallery,
) -> String {
    let (defective, normal) = report.scored();
    let heading = format!("{} on {}", report.model_id, report.setting.dataset);
    let mut page = Page::open(&heading, "");
    page.push(format_args!(
        "<h1>{}</h1>\n<p class=\"lead\">{normal} normal frames and {defective} with a \
         defect{}.</p>\n",
        Text(&heading),
        if report.setting.limited {
            ", drawn at random from the test part"
        } else {
            ""
        }
    ));
    for warning in report.warnings_of_seen() {
        page.push(format_args!("<p class=\"wrong\">{}</p>\n", Text(&warning)));
    }
    metrics(&mut page, report);
    rates(&mut page, report);
    operating_table(&mut page, report);
    kinds(&mut page, report);
    charts(&mut page, report, measured);
    gallery.section(&mut page, measured, samples, report.threshold);
    problems(&mut page, measured);
    model(&mut page, report, detector);
    definitions(&mut page, report);
    page.close("")
}

/// The metrics of all kinds, large.
fn metrics(page: &mut Page, report: &Report<'_>) {
    page.push("<div class=\"metrics\">\n");
    for (name, estimate) in report.all.named() {
        let value = estimate.map_or_else(|| "–".to_owned(), |e| format!("{:.3}", e.value));
        page.push(format_args!(
            "<div class=\"metric\"><span class=\"name\">{}</span><span \
             class=\"value\">{value}</span><span class=\"interval\">{}</span></div>\n",
            title(name),
            estimate.map_or_else(String::new, interval),
        ));
    }
    page.push("</div>\n");
}

fn interval(estimate: Estimate) -> String {
    estimate.interval.map_or_else(String::new, |interval| {
        format!("{:.3} – {:.3}", interval.lower, interval.upper)
    })
}

fn rates(page: &mut Page, report: &Report<'_>) {
    page.heading("At the calibrated threshold");
    let guarantee = report
        .guarantee()
        .map_or_else(String::new, |guarantee| format!(" – {}", guarantee.words()));
    page.push("<table class=\"plain\">\n");
    for (name, value) in [
        ("False alarms", rate(report.false_alarms) + &guarantee),
        ("Misses", rate(report.misses)),
        ("Threshold", threshold(report)),
    ] {
        page.push(format_args!(
            "<tr><th>{name}</th><td>{}</td></tr>\n",
            Text(&value)
        ));
    }
    page.push("</table>\n");
}

fn operating_table(page: &mut Page, report: &Report<'_>) {
    page.heading("At other rates of false alarms");
    let table = &report.operating_table;
    let cells = operating::cells(table, &report.operating_rows, rate);
    page.push("<div class=\"wide\"><table class=\"operating\">\n");
    for (row, set) in cells.iter().zip(
        [false]
            .into_iter()
            .chain(table.rows.iter().map(|row| row.is_set)),
    ) {
        page.push(if set { "<tr class=\"set\">" } else { "<tr>" });
        for (column, cell) in row.iter().enumerate() {
            let tag = if column == 0 { "th" } else { "td" };
            page.push(format_args!("<{tag}>{}</{tag}>", Text(cell)));
        }
        page.push("</tr>\n");
    }
    page.push("</table></div>\n");
    for line in table.legend() {
        page.push(format_args!("<p>{}</p>\n", Text(&line)));
    }
}

fn kinds(page: &mut Page, report: &Report<'_>) {
    page.heading("By kind of defect");
    page.push(
        "<div class=\"wide\"><table>\n<thead><tr><th>Kind</th><th>Frames</th><th>Missed</th>",
    );
    for (name, _) in report.all.named() {
        page.push(format_args!("<th>{}</th>", title(name)));
    }
    page.push("</tr></thead>\n<tbody>\n");
    let columns = report.all.named().len();
    let mut row = |name: &str, misses: Rate, metrics: &Metrics| {
        page.push(format_args!(
            "<tr><th>{}</th><td>{}</td><td>{}</td>",
            Text(name),
            misses.total,
            misses.count
        ));
        let mut estimates: Vec<_> = metrics.named().into_iter().map(|(_, e)| e).collect();
        estimates.resize(columns, None);
        for estimate in estimates {
            match estimate {
                None => page.push("<td>–</td>"),
                Some(estimate) => page.push(format_args!(
                    "<td>{:.3} <span class=\"interval\">{}</span></td>",
                    estimate.value,
                    interval(estimate)
                )),
            }
        }
        page.push("</tr>\n");
    };
    row("all", report.misses, &report.all);
    for kind in report.defects() {
        row(&kind.name, kind.misses(), &kind.metrics);
    }
    page.push("</tbody>\n</table></div>\n");
}

fn charts(page: &mut Page, report: &Report<'_>, measured: &Measurement) {
    page.heading("Scores by kind");
    page.push(
        "<p>Each bar counts frames of one range of scores; the line is the threshold. <span \
         class=\"legend\"><span class=\"key called-normal\"></span> called normal,</span> <span \
     class=\"legend\"><span class=\"key called-anomalous\"></span> called anomalous.</span></p>\n",
    );
    let scores = measured.scores();
    let kinds: Vec<(&str, &[f64])> = report
        .kinds
        .iter()
        .zip(&scores)
        .map(|(kind, scores)| (kind.name.as_str(), scores.as_slice()))
        .filter(|(_, scores)| !scores.is_empty())
        .collect();
    page.push(histograms(&kinds, report.threshold));

    let pixel = report.all.pixel.as_ref();
    let mut lines = Vec::new();
    if let (Some(roc), Some(image)) = (&report.roc, &report.all.image) {
        lines.push(Line {
            name: format!("frames, AUROC {:.3}", image.auroc.value),
            points: &roc.points,
        });
    }
    if let Some(pixel) = pixel {
        lines.push(Line {
            name: format!("pixels, AUROC {:.3}", pixel.auroc.value),
            points: &pixel.roc.points,
        });
    }
    if lines.is_empty() {
        return;
    }
    page.push("<div class=\"charts\">\n<figure>\n");
    page.push(curves(
        &lines,
        1.0,
        "False-positive rate",
        "True-positive rate",
    ));
    page.push("<figcaption>Receiver operating characteristic</figcaption>\n</figure>\n");
    if let Some(pixel) = pixel {
        let line = Line {
            name: format!(
                "AUPRO {:.3} to 30 %, {:.3} to 5 %",
                pixel.aupro.value, pixel.aupro_5.value
            ),
            points: &pixel.pro.points,
        };
        page.push("<figure>\n");
        page.push(curves(
            &[line],
            0.3,
            "False-positive rate",
            "Mean overlap with regions",
        ));
        page.push("<figcaption>Per-region overlap</figcaption>\n</figure>\n");
    }
    page.push("</div>\n");
}

fn problems(page: &mut Page, measured: &Measurement) {
    let kinds_of_problem: [(&str, &[Problem]); 5] = [
        (
            "Invalid frames: no picture in them, not part of the metrics",
            &measured.invalid,
        ),
        (
            "Frames that could not be read or scored",
            &measured.unreadable,
        ),
        (
            "Frames without a mask, not part of the pixel metrics",
            &measured.unmasked,
        ),
        (
            "Unusable masks, not part of the pixel metrics",
            &measured.bad_masks,
        ),
        (
            "Empty masks: all their pixels count as background",
            &measured.empty_masks,
        ),
    ];
    if kinds_of_problem
        .iter()
        .all(|(_, problems)| problems.is_empty())
    {
        return;
    }
    page.heading("What was left out");
    for (what, problems) in kinds_of_problem
        .iter()
        .filter(|(_, problems)| !problems.is_empty())
    {
        page.push(format_args!("<p>{what}: {}</p>\n<ul>\n", problems.len()));
        for problem in problems.iter().take(LISTED) {
            page.push(format_args!(
                "<li>{} <span class=\"interval\">{}</span></li>\n",
                Text(&problem.name),
                Text(&problem.reason)
            ));
        }
        if problems.len() > LISTED {
            page.push(format_args!(
                "<li>and {} more</li>\n",
                problems.len() - LISTED
            ));
        }
        page.push("</ul>\n");
    }
}

fn model(page: &mut Page, report: &Report<'_>, detector: &Detector) {
    page.heading("The model");
    page.push("<table class=\"plain\">\n");
    let mut row = |name: &str, value: &str| {
        page.push(format_args!(
            "<tr><th>{}</th><td>{}</td></tr>\n",
            Text(name),
            Text(value)
        ));
    };
    row("model", &report.model_id);
    row("runs on", &report.engine);
    for (name, value) in model_card::rows(detector.manifest(), Some(detector.calibration())) {
        row(name, &value);
    }
    page.push("</table>\n");
}

fn definitions(page: &mut Page, report: &Report<'_>) {
    let bootstrap = report.setting.bootstrap;
    page.heading("How it was computed");
    page.push(
        "<p>All metrics come from raw scores. AUROC is the probability that a frame (or \
     pixel) with a defect scores higher than one without, a tie counting half; AP is the average \
     precision; F1-max is the largest F1 over all thresholds, chosen on these very frames, so it \
         flatters. Each kind is held against all normal frames.</p>\n",
    );
    if report.all.pixel.is_some() {
        let size = match report.setting.pixels {
            Pixels::Frame => "frames",
            Pixels::Tensor => "tensor",
        };
        page.push(format_args!(
            "<p>Pixels of maps and masks are compared in the size of the \
         {size}. AUPRO is the mean overlap with the 8-connected regions of all masks, integrated \
             over the false-positive rate of all pixels outside up to the limit, and divided by \
             it{}.</p>\n",
            error(&report.all)
        ));
    }
    if let Some(regions) = &report.all.region {
        page.push(format_args!(
            "<p>Regions, in the size of the frames: {}. Predicted ones are the verdicts' and match \
             those of the masks one to one, by descending intersection over union; precision is \
             the share of predicted ones that match, recall that of the masks'.</p>\n",
            region_counts(regions)
        ));
    }
    let intervals = if bootstrap.resamples == 0 {
        "Metrics have no intervals".to_owned()
    } else {
        format!(
            "Intervals of metrics are {} % percentile bootstrap intervals: frames were drawn anew \
             within each kind, {} times, seed {}",
            100.0 * CONFIDENCE,
            bootstrap.resamples,
            bootstrap.seed
        )
    };
    page.push(format_args!(
        "<p>{intervals}. Intervals of rates are exact (Clopper–Pearson), {} %. Both take frames \
         as independent.</p>\n",
        100.0 * CONFIDENCE
    ));
}
