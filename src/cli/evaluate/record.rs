//! The JSON of an evaluation.

use std::collections::BTreeMap;

use edge_vae::{
    calibration::OperatingPoint,
    metrics::{Interval, MINIMUM_IOU, Rate, RegionMetrics},
};
use serde::Serialize;

use super::{
    Pixels,
    measure::{Measurement, Problem},
    operating::OperatingRow,
    report::{CONFIDENCE, Guarantee, Kind, Metrics, Report},
};
use crate::cli::output::SCHEMA_VERSION;

/// The one object that is printed.
#[derive(Serialize)]
pub(super) struct Record<'a> {
    schema_version: u32,
    model_id: &'a str,
    dataset: &'a str,
    backend: &'static str,
    device: &'static str,
    seed: u64,
    /// Metrics of all kinds of defects.
    #[serde(flatten)]
    metrics: MetricsRecord,
    threshold: f64,
    false_alarm_rate: f64,
    false_alarms: FalseAlarms,
    misses: RateRecord,
    operating_table: Vec<OperatingRecord<'a>>,
    by_kind: BTreeMap<&'a str, KindRecord>,
    counts: Counts,
    /// Frames that the model was made of; `null` where the bundle does not say.
    seen_in_training: Option<SeenRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pixels: Option<PixelRecord>,
    invalid: Vec<ProblemRecord<'a>>,
    unreadable: Vec<ProblemRecord<'a>>,
    /// Frames whose masks are missing, unusable or empty.
    masks: MaskRecord<'a>,
    confidence: f64,
    resamples: usize,
    seconds: f64,
}

/// Metrics by name, and their intervals.
#[derive(Serialize)]
struct MetricsRecord {
    #[serde(flatten)]
    values: BTreeMap<&'static str, Option<f64>>,
    /// Threshold of the largest F1.
    #[serde(rename = "image_F1Max_threshold")]
    f1_threshold: Option<f64>,
    /// Lower and upper end.
    intervals: BTreeMap<&'static str, [f64; 2]>,
    /// By how much a metric may be off; empty where nothing was approximated.
    errors: BTreeMap<&'static str, f64>,
    /// What region precision and recall are shares of.
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<RegionRecord>,
}

#[derive(Serialize)]
struct RegionRecord {
    minimum_iou: f64,
    predicted: u64,
    actual: u64,
    matched: u64,
}

#[derive(Serialize)]
struct KindRecord {
    frames: usize,
    scored: usize,
    invalid: usize,
    unreadable: usize,
    #[serde(flatten)]
    metrics: MetricsRecord,
    misses: RateRecord,
}

#[derive(Serialize)]
struct RateRecord {
    count: u64,
    frames: u64,
    rate: Option<f64>,
    interval: Option<[f64; 2]>,
}

/// A rate of false alarms, and the frames above its threshold.
#[derive(Serialize)]
struct OperatingRecord<'a> {
    #[serde(flatten)]
    point: OperatingPoint,
    false_alarms: Option<RateRecord>,
    found: Option<RateRecord>,
    by_kind: BTreeMap<&'a str, RateRecord>,
}

#[derive(Serialize)]
struct FalseAlarms {
    #[serde(flatten)]
    rate: RateRecord,
    target: f64,
    /// Whether the target rate is guaranteed.
    guaranteed: bool,
    /// Whether the target rate lies in the interval.
    target_inside: Option<bool>,
}

#[derive(Serialize)]
struct Counts {
    frames: usize,
    scored: usize,
    normal: u64,
    defective: u64,
    invalid: usize,
    unreadable: usize,
}

#[derive(Serialize)]
struct SeenRecord {
    normal: usize,
    defective: usize,
}

#[derive(Serialize)]
struct PixelRecord {
    /// In whose size maps and masks were compared.
    size: &'static str,
    background: u64,
    defective: u64,
    regions: u64,
}

#[derive(Serialize)]
struct ProblemRecord<'a> {
    name: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct MaskRecord<'a> {
    missing: Vec<&'a str>,
    unusable: Vec<ProblemRecord<'a>>,
    empty: Vec<&'a str>,
}

impl<'a> Record<'a> {
    pub(super) fn of(report: &'a Report<'a>, measured: &'a Measurement) -> Self {
        let setting = report.setting;
        let (defective, normal) = report.scored();
        let guarantee = report.guarantee();
        Self {
            schema_version: SCHEMA_VERSION,
            model_id: &report.model_id,
            dataset: setting.dataset,
            backend: setting.backend,
            device: setting.device,
            seed: setting.bootstrap.seed,
            metrics: MetricsRecord::of(&report.all),
            threshold: report.threshold,
            false_alarm_rate: report.target,
            false_alarms: FalseAlarms {
                rate: rate(report.false_alarms),
                target: report.target,
                guaranteed: report.guaranteed,
                target_inside: guarantee.map(|guarantee| guarantee == Guarantee::Inside),
            },
            misses: rate(report.misses),
            operating_table: report.operating_rows.iter().map(operating).collect(),
            by_kind: report
                .defects()
                .iter()
                .map(|kind| (kind.name.as_str(), KindRecord::of(kind)))
                .collect(),
            counts: Counts {
                frames: report.kinds.iter().map(|kind| kind.frames).sum(),
                scored: measured.frames.len(),
                normal,
                defective,
                invalid: measured.invalid.len(),
                unreadable: measured.unreadable.len(),
            },
            seen_in_training: report.seen().map(|seen| SeenRecord {
                normal: seen.normal,
                defective: seen.defective,
            }),
            pixels: report.all.pixel.as_ref().map(|pixel| PixelRecord {
                size: match setting.pixels {
                    Pixels::Frame => "frame",
                    Pixels::Tensor => "tensor",
                },
                background: pixel.background,
                defective: pixel.defective,
                regions: pixel.regions,
            }),
            invalid: problems(&measured.invalid),
            unreadable: problems(&measured.unreadable),
            masks: MaskRecord {
                missing: names(&measured.unmasked),
                unusable: problems(&measured.bad_masks),
                empty: names(&measured.empty_masks),
            },
            confidence: CONFIDENCE,
            resamples: setting.bootstrap.resamples,
            seconds: measured.seconds,
        }
    }
}

impl MetricsRecord {
    fn of(metrics: &Metrics) -> Self {
        let named = metrics.named();
        let known = || {
            named
                .iter()
                .filter_map(|(name, estimate)| Some((*name, (*estimate)?)))
        };
        Self {
            values: named
                .iter()
                .map(|(name, estimate)| (*name, estimate.map(|estimate| estimate.value)))
                .collect(),
            f1_threshold: metrics.image.as_ref().map(|image| image.f1_threshold),
            intervals: known()
                .filter_map(|(name, estimate)| Some((name, ends(estimate.interval?))))
                .collect(),
            errors: known()
                .filter(|(_, estimate)| estimate.error > 0.0)
                .map(|(name, estimate)| (name, estimate.error))
                .collect(),
            regions: metrics.region.as_ref().map(region),
        }
    }
}

impl KindRecord {
    fn of(kind: &Kind) -> Self {
        Self {
            frames: kind.frames,
            scored: kind.scored,
            invalid: kind.invalid,
            unreadable: kind.unreadable,
            metrics: MetricsRecord::of(&kind.metrics),
            misses: rate(kind.misses()),
        }
    }
}

fn operating(row: &OperatingRow) -> OperatingRecord<'_> {
    let at = row.at.as_ref();
    let by_kind = at.into_iter().flat_map(|at| &at.by_kind);
    OperatingRecord {
        point: row.point,
        false_alarms: at.map(|at| rate(at.false_alarms)),
        found: at.map(|at| rate(at.found)),
        by_kind: by_kind
            .map(|(kind, found)| (kind.as_str(), rate(*found)))
            .collect(),
    }
}

fn region(metrics: &RegionMetrics) -> RegionRecord {
    let counts = metrics.counts;
    RegionRecord {
        minimum_iou: MINIMUM_IOU,
        predicted: counts.predicted,
        actual: counts.actual,
        matched: counts.matched,
    }
}

fn rate(rate: Rate) -> RateRecord {
    RateRecord {
        count: rate.count,
        frames: rate.total,
        rate: rate.value(),
        interval: rate.interval(CONFIDENCE).map(ends),
    }
}

fn ends(interval: Interval) -> [f64; 2] {
    [interval.lower, interval.upper]
}

fn problems<'a>(problems: &'a [Problem]) -> Vec<ProblemRecord<'a>> {
    let record = |problem: &'a Problem| ProblemRecord {
        name: &problem.name,
        reason: &problem.reason,
    };
    problems.iter().map(record).collect()
}

fn names(problems: &[Problem]) -> Vec<&str> {
    problems
        .iter()
        .map(|problem| problem.name.as_str())
        .collect()
}
