//! What an evaluation found, before it is printed, written as JSON or drawn.

use edge_vae::{
    Detector,
    calibration::OperatingTable,
    metrics::{
        Bootstrap, Curve, Estimate, ImageMetrics, PixelMetrics, Rate, RegionMetrics,
        evaluate_images, roc_curve,
    },
};

use super::{
    Pixels,
    measure::Measurement,
    operating::{self, OperatingRow},
};

/// Confidence of all intervals.
pub(super) const CONFIDENCE: f64 = 0.95;

/// What was evaluated, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) dataset: &'a str,
    pub(super) backend: &'static str,
    pub(super) device: &'static str,
    pub(super) pixels: Pixels,
    pub(super) bootstrap: Bootstrap,
    /// Whether the bundle says of which frames the model was made.
    pub(super) knows_its_frames: bool,
    /// Only some of the frames were taken.
    pub(super) limited: bool,
}

/// What an evaluation found.
pub(super) struct Report<'a> {
    pub(super) setting: &'a Setting<'a>,
    pub(super) model_id: String,
    /// The engine and where it runs.
    pub(super) engine: String,
    pub(super) threshold: f64,
    /// The target false-alarm rate.
    pub(super) target: f64,
    /// Whether it is guaranteed.
    pub(super) guaranteed: bool,
    /// What other rates would do.
    pub(super) operating_table: OperatingTable,
    pub(super) operating_rows: Vec<OperatingRow>,
    /// All kinds of defects.
    pub(super) all: Metrics,
    /// The kinds, normal frames first.
    pub(super) kinds: Vec<Kind>,
    /// Normal frames that were called anomalous.
    pub(super) false_alarms: Rate,
    /// Frames with a defect that were called normal.
    pub(super) misses: Rate,
    /// The receiver operating characteristic of frames.
    pub(super) roc: Option<Curve>,
}

/// Metrics of frames and of pixels, where they are defined.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) image: Option<ImageMetrics>,
    pub(super) pixel: Option<PixelMetrics>,
    /// Known where those of pixels are.
    pub(super) region: Option<RegionMetrics>,
}

/// A kind of frames.
pub(super) struct Kind {
    pub(super) name: String,
    /// Frames that were to be scored.
    pub(super) frames: usize,
    pub(super) scored: usize,
    pub(super) invalid: usize,
    pub(super) unreadable: usize,
    /// Frames that were called anomalous.
    pub(super) anomalous: usize,
    /// Scored frames that the model was made of.
    pub(super) seen: usize,
    /// Against the normal frames; none of these themselves.
    pub(super) metrics: Metrics,
}

impl Kind {
    /// Frames that were called normal.
    pub(super) fn misses(&self) -> Rate {
        Rate {
            count: (self.scored - self.anomalous) as u64,
            total: self.scored as u64,
        }
    }
}

/// How many frames of the test part a model was made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) normal: usize,
    pub(super) defective: usize,
}

/// Where the target rate lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guarantee {
    /// More false alarms than chance explains.
    Broken,
    /// Inside the interval.
    Inside,
    /// Fewer false alarms than the target, beyond chance.
    Surpassed,
}

impl Report<'_> {
    pub(super) fn new<'a>(
        setting: &'a Setting<'a>,
        detector: &Detector,
        operating_table: OperatingTable,
        measured: &mut Measurement,
    ) -> Report<'a> {
        let scores = measured.scores();
        let strata: Vec<&[f64]> = scores.iter().map(Vec::as_slice).collect();
        let bootstrap = (setting.bootstrap.resamples > 0).then_some(setting.bootstrap);
        let image = evaluate_images(&strata, bootstrap);
        let pixel = measured
            .pixels
            .as_mut()
            .map(|pixels| pixels.evaluate(bootstrap));
        let (pixel_all, mut pixel_by_kind) =
            pixel.map_or((None, Vec::new()), |pixel| (pixel.all, pixel.by_stratum));
        pixel_by_kind.resize(measured.kinds.len(), None);
        let region = measured.regions.evaluate(bootstrap);

        let kinds: Vec<Kind> = measured
            .kinds
            .iter()
            .zip(image.by_stratum)
            .zip(pixel_by_kind)
            .zip(region.by_stratum)
            .zip(0..)
            .map(|((((name, image), pixel), region), stratum)| {
                let count = |problems: &[super::measure::Problem]| {
                    problems.iter().filter(|p| p.stratum == stratum).count()
                };
                let frames = || measured.frames.iter().filter(|f| f.stratum == stratum);
                Kind {
                    name: name.clone(),
                    frames: measured.frames_of_kind[stratum],
                    scored: frames().count(),
                    invalid: count(&measured.invalid),
                    unreadable: count(&measured.unreadable),
                    anomalous: frames().filter(|frame| frame.anomalous).count(),
                    seen: frames().filter(|frame| frame.seen).count(),
                    metrics: Metrics {
                        image,
                        pixel,
                        region,
                    },
                }
            })
            .collect();
        let defects = kinds.iter().skip(1);
        let misses = defects.fold(Rate { count: 0, total: 0 }, |sum, kind| Rate {
            count: sum.count + kind.misses().count,
            total: sum.total + kind.misses().total,
        });
        let normal = &kinds[0];
        let calibration = detector.calibration();
        Report {
            setting,
            model_id: detector.model_id().to_owned(),
            engine: detector.description().to_owned(),
            threshold: calibration.threshold,
            target: calibration.false_alarm_rate,
            guaranteed: !calibration.unguaranteed,
            operating_rows: operating::rows(&operating_table, measured),
            operating_table,
            all: Metrics {
                image: image.all,
                pixel: pixel_all,
                region: region.all,
            },
            false_alarms: Rate {
                count: normal.anomalous as u64,
                total: normal.scored as u64,
            },
            misses,
            roc: roc_curve(&scores[0], &scores[1..].concat()),
            kinds,
        }
    }

    /// The kinds of defects.
    pub(super) fn defects(&self) -> &[Kind] {
        self.kinds.get(1..).unwrap_or_default()
    }

    /// Frames with a defect that were scored, and normal ones.
    pub(super) fn scored(&self) -> (u64, u64) {
        (self.misses.total, self.false_alarms.total)
    }

    /// Normal frames that the model was made of, and ones with a defect; `None` where the bundle
    /// does not say.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.setting.knows_its_frames.then(|| Seen {
            normal: self.kinds[0].seen,
            defective: self.defects().iter().map(|kind| kind.seen).sum(),
        })
    }

    /// What frames that the model was made of do to the metrics.
    pub(super) fn warnings_of_seen(&self) -> Vec<String> {
        let Some(seen) = self.seen() else {
            return Vec::new();
        };
        let (defective, normal) = self.scored();
        let of_normal = (seen.normal > 0).then(|| {
            format!(
                "{} of {normal} normal frames were used to train this model: image AUROC and \
                 false alarms say {} about new frames",
                seen.normal,
                match seen.normal as u64 == normal {
                    true => "nothing",
                    false => "too much good",
                }
            )
        });
        let of_defective = (seen.defective > 0).then(|| {
            format!(
                "{} of {defective} frames with a defect were used to train this model, which \
                 took them for normal: leave them out with `edge-vae-train fit --exclude`",
                seen.defective
            )
        });
        of_normal.into_iter().chain(of_defective).collect()
    }

    /// Whether the guarantee is kept as far as this many normal frames can tell; `None` where
    /// there is none.
    pub(super) fn guarantee(&self) -> Option<Guarantee> {
        let interval = self.false_alarms.interval(CONFIDENCE);
        let interval = interval.filter(|_| self.guaranteed)?;
        Some(if self.target < interval.lower {
            Guarantee::Broken
        } else if self.target > interval.upper {
            Guarantee::Surpassed
        } else {
            Guarantee::Inside
        })
    }
}

impl Guarantee {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Broken => "more false alarms than the target rate",
            Self::Inside => "the target rate lies inside",
            Self::Surpassed => "fewer false alarms than the target rate",
        }
    }
}

impl Metrics {
    /// The metrics by their names in JSON; those of frames always, `None` where not defined, those
    /// of pixels where they are.
    pub(super) fn named(&self) -> Vec<(&'static str, Option<Estimate>)> {
        let image = |of: fn(&ImageMetrics) -> Estimate| self.image.as_ref().map(of);
        let mut named = vec![
            ("image_AUROC", image(|m| m.auroc)),
            ("image_AP", image(|m| m.average_precision)),
            ("image_F1Max", image(|m| m.f1_max)),
        ];
        if let Some(pixel) = &self.pixel {
            named.extend([
                ("pixel_AUROC", Some(pixel.auroc)),
                ("pixel_F1Max", Some(pixel.f1_max)),
                ("pixel_AUPRO", Some(pixel.aupro)),
                ("pixel_AUPRO_5", Some(pixel.aupro_5)),
            ]);
        }
        if let Some(region) = &self.region {
            named.extend([
                ("region_precision", region.precision),
                ("region_recall", region.recall),
            ]);
        }
        named
    }
}
