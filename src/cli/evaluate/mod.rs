//! `edge-vae evaluate`.

mod mask;
mod measure;
mod operating;
mod page;
mod record;
mod report;
mod table;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use edge_vae::{
    Detector, Explain,
    calibration::OperatingTable,
    dataset::{DatasetOptions, GOOD, TestPart},
    metrics::Bootstrap,
};

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    frames::{self, PictureFlags},
    interrupt,
    output::{FilePlace, StandardOutput},
    reporter::{Reporter, count},
};
use measure::{Measurement, and_more};
use report::{Report, Setting};

/// Measure how well a model finds defects, on the test part of a data set.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae evaluate --model models/part frames/
  edge-vae evaluate --model models/part frames/ --json | jq .image_AUROC
  edge-vae evaluate --model models/part frames/ --html report/
  edge-vae evaluate --model models/digit mnist/ --class 3

A data set is a folder with test/good, test/<kind> and, where there are masks,
ground_truth/<kind>/<stem>_mask.png; a folder with good/ and a folder for each kind of defect; or
IDX files as those of MNIST, with --class. Only the test part is used.

Metrics and rates are shares from 0 to 1 with 95 % intervals: of metrics by the bootstrap, of rates
exact (Clopper-Pearson). Map and mask are compared pixel by pixel, in the size of the frame; a mask
is set where it is above 0. AUPRO is anomalib's, up to a false-positive rate of 30 % and of 5 %.

JSON: one object with image_AUROC, image_AP, image_F1Max and, where there are masks, pixel_AUROC,
pixel_F1Max, pixel_AUPRO, pixel_AUPRO_5, region_precision, region_recall; the same for each kind in
by_kind; intervals, counts, rates, and everything that could not be scored.

Frames that show nothing (black, saturated, uniform) are invalid and have no score: they are named
and counted, and are part of no metric. Exit code 2 when a frame or a mask could not be read; the
rest is evaluated.")]
pub(crate) struct EvaluateFlags {
    /// Folder of the data set.
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,

    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,

    /// Write a page with charts and the worst frames: a file that ends in .html, or a folder that
    /// gets an index.html.
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,

    /// Take N frames only, drawn at random by the seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// Seed of the random numbers.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Bootstrap resamples for the intervals of metrics; 0 for no intervals.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(..=1_000_000)
    )]
    bootstrap: u32,

    /// IDX files: the label that is normal; all others are kinds of defects.
    #[arg(long, value_name = "LABEL")]
    class: Option<u8>,

    /// Size in which map and mask are compared: `frame`, or `tensor` as anomalib does, where the
    /// mask is reduced to the model's input by taking the nearest pixel.
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "frame",
        hide_possible_values = true
    )]
    pixels: Pixels,

    #[command(flatten)]
    pictures: PictureFlags,

    #[command(flatten)]
    model: ModelFlags,
}

/// Where anomaly map and mask are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pixels {
    /// In the frame's own size.
    Frame,
    /// In the tensor's size.
    Tensor,
}

/// What [`EvaluateFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct EvaluateOptions {
    dataset: PathBuf,
    class: Option<u8>,
    json: bool,
    /// The file of the page.
    html: Option<PathBuf>,
    limit: Option<usize>,
    bootstrap: Bootstrap,
    pixels: Pixels,
    pictures: PictureFlags,
    model: ModelOptions,
}

impl EvaluateFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<EvaluateOptions> {
        Ok(EvaluateOptions {
            dataset: self.dataset,
            class: self.class,
            json: self.json,
            html: self.html.map(page_file),
            limit: self.limit.map(|limit| limit as usize),
            bootstrap: Bootstrap {
                resamples: self.bootstrap as usize,
                seed: self.seed,
            },
            pixels: self.pixels,
            pictures: self.pictures,
            model: self.model.resolve()?,
        })
    }
}

/// A name that ends in .html is the file itself, any other that of its folder.
fn page_file(path: PathBuf) -> PathBuf {
    let is_page = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("html"))
    };
    if is_page(&path) && !path.is_dir() {
        path
    } else {
        path.join("index.html")
    }
}

/// What others call the folder of normal frames, in lower case.
const NORMAL: [&str; 7] = [
    "good",
    "ok",
    "normal",
    "io",
    "pass",
    "passed",
    "defect-free",
];

pub(crate) fn run(options: &EvaluateOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let (bundle, engine) = options.model.open(reporter)?;
    let dataset = TestPart::open(
        &options.dataset,
        &DatasetOptions {
            class: options.class,
            decode: options.pictures.over(&bundle.manifest().preprocess),
        },
    )?;
    tell_of_names(&dataset, reporter);
    let seed = options.bootstrap.seed;
    let chosen = frames::choose(dataset.samples.len(), options.limit, seed);
    let samples: Vec<_> = chosen
        .into_iter()
        .map(|index| &dataset.samples[index])
        .collect();
    let mut detector = Detector::new(&bundle, &engine)?;
    detector.explain(Explain::Anomalous);
    let calibration = detector.calibration();
    let operating_table = OperatingTable::of(calibration, bundle.synthetic_defects());
    let trained_on = bundle.training_frames()?;
    drop(bundle);
    let page = options
        .html
        .as_deref()
        .map(|path| FilePlace::check(path, "html"))
        .transpose()?;
    if let Some(page) = page {
        page.prepare()?;
    }

    interrupt::watch();
    let mut measurement = Measurement::of(
        &mut detector,
        &samples,
        trained_on.as_ref(),
        options.pixels,
        reporter,
    )?;
    ensure!(
        !measurement.frames.is_empty(),
        "{}: none of {} could be scored",
        options.dataset.display(),
        count(samples.len(), "frame")
    );
    let setting = Setting {
        dataset: &dataset.name,
        backend: engine.backend().name(),
        device: engine.device().name(),
        pixels: options.pixels,
        bootstrap: options.bootstrap,
        knows_its_frames: trained_on.is_some(),
        limited: options
            .limit
            .is_some_and(|limit| limit < dataset.samples.len()),
    };
    let report = Report::new(&setting, &detector, operating_table, &mut measurement);
    if let Some(page) = page {
        let gallery = page::Gallery::collect(&mut detector, &samples, &measurement)?;
        page.write(page::html(&report, &detector, &measurement, &samples, &gallery).as_bytes())?;
        reporter.note(&format_args!("{}: written", page.path().display()));
    }
    let mut out = StandardOutput::new();
    if options.json {
        out.json(&record::Record::of(&report, &measurement))?;
    } else {
        table::print(&mut out, &report, &measurement)?;
    }
    out.finish()?;
    Ok(if measurement.failed() {
        Outcome::Failed
    } else {
        Outcome::Done
    })
}

/// Says what the names of folders and masks leave in doubt.
fn tell_of_names(dataset: &TestPart, reporter: Reporter) {
    let unused = &dataset.unused_masks;
    if let Some(first) = unused.first() {
        reporter.note(&format_args!(
            "{}{}: {} of no frame: call them <kind>/<frame>_mask.png",
            first.display(),
            and_more(unused.len() - 1),
            count(unused.len(), "mask"),
        ));
    }
    let mut kinds: Vec<&str> = dataset
        .samples
        .iter()
        .map(|sample| sample.kind.as_str())
        .collect();
    kinds.dedup();
    for kind in kinds {
        if kind != GOOD && NORMAL.contains(&kind.to_lowercase().as_str()) {
            reporter.note(&format_args!(
                "{kind}/ is taken for a kind of defect: if its frames are normal, call it {GOOD}/"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_file_or_lies_in_a_folder() {
        for (given, file) in [
            ("report.html", "report.html"),
            ("a/b.HTML", "a/b.HTML"),
            ("report", "report/index.html"),
            ("report.d/", "report.d/index.html"),
        ] {
            assert_eq!(page_file(given.into()), Path::new(file));
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("odd.html");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(page_file(folder.clone()), folder.join("index.html"));
    }
}
