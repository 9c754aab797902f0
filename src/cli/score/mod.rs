//! `edge-vae score`.

mod frame_scorer;
mod in_order;
mod output;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Instant,
};

use clap::Args;
use edge_vae::{Detector, Explain, backend::Device};

use super::{
    Outcome,
    evidence::EvidenceFlags,
    flags::{ModelFlags, ModelOptions, ReviewRate},
    frames::{self, FrameFlags, PictureFlags},
    interrupt,
    names::ResultNames,
    output::{StandardOutput, prepare_folder},
    reporter::Reporter,
};
use frame_scorer::{FrameScorer, Wanted};
use in_order::{Workers, in_order};
use output::{Output, Tally};

/// Score frames: one line for each says normal, anomalous or invalid.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae score frame.png
  edge-vae score frames/ --json > verdicts.jsonl
  find . -name '*.png' | edge-vae score - --exit-code
  edge-vae score --model models/surface 'frames/*.png' --overlay seen/ --map maps/
  edge-vae score frames/ --review-rate 0.05 --json | jq -c 'select(.review)'

A frame is anomalous when its score is above the model's threshold, which `calibrate` sets. The p is
a share: of this frame and the normal frames that set the threshold, so many score at least as high.
A frame that shows nothing (black, saturated, empty) is invalid: it has no score, and is never
called normal.

Keys of a JSON line:
  frame_id, path, timestamp   number in this run from 0, file, and time of the file
  pred_label                  normal, anomalous or invalid
  review                      true for normal frames above the threshold of the review rate
  pred_score, threshold       the frame's score, and what it is compared with
  p_value                     p, as above
  percentile_of_normals       percent of the frames that set the threshold that score lower
  map_max                     largest value of the anomaly map (see --map)
  regions                     places that look anomalous, of anomalous frames only: bbox (x, y,
                              width, height in pixels of the frame), area (pixels), max (largest
                              value of the map), and the score sources that are high there
  reasons                     why the frame is anomalous, invalid or for review
  model_id, backend, device   what scored it
  latency_ms                  milliseconds: read (the picture), prepare (to the size and values
                              that the networks take), encode and decode (the VAE's networks),
                              detect (the networks after them), score, total; 0 where a stage was
                              not needed
  overlay, map                files that were written

The files are named after the frames and lie in folders as theirs: a/1.png and b/1.png give
a/1.png.overlay.png and b/1.png.overlay.png. Files that an earlier run wrote into these folders are
not taken for frames. A map has the size of its frame: as NPY the raw values, as 16-bit
PNG from its smallest value (0) to its largest (65535), which stand in the JSON line and in the PNG.

Exit codes: 0 all frames were scored; 1 with --exit-code, a frame is anomalous or invalid;
2 something failed.")]
pub(crate) struct ScoreFlags {
    #[command(flatten)]
    frames: FrameFlags,

    /// Print a JSON object for each frame.
    #[arg(long)]
    json: bool,

    /// Draw each frame with its heat map and the outlines of what is anomalous into this folder.
    #[arg(long, value_name = "DIR")]
    overlay: Option<PathBuf>,

    /// Write each frame's anomaly map, which says how anomalous each pixel is, into this folder, as
    /// NPY (32-bit floats) and as 16-bit PNG.
    #[arg(long, value_name = "DIR")]
    map: Option<PathBuf>,

    /// End with exit code 1 when a frame is anomalous or invalid.
    #[arg(long)]
    exit_code: bool,

    /// A second, larger rate of false alarms: normal frames above its threshold are for review;
    /// `off` for none [default: that of the model's calibration].
    #[arg(long, value_name = "RATE")]
    review_rate: Option<ReviewRate>,

    /// Score this many frames side by side, each with a model of its own in memory; the order of
    /// the output stays [default: one on each core of the CPU, divided by --threads; 1 on a GPU].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    #[command(flatten)]
    evidence: EvidenceFlags,

    #[command(flatten)]
    pictures: PictureFlags,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`ScoreFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct ScoreOptions {
    frames: Vec<PathBuf>,
    pictures: PictureFlags,
    model: ModelOptions,
    json: bool,
    overlay: Option<PathBuf>,
    map: Option<PathBuf>,
    exit_code: bool,
    review_rate: Option<ReviewRate>,
    jobs: Option<NonZeroUsize>,
    evidence: EvidenceFlags,
}

impl ScoreFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<ScoreOptions> {
        Ok(ScoreOptions {
            frames: self.frames.resolve(),
            pictures: self.pictures,
            model: self.model.resolve()?,
            json: self.json,
            overlay: self.overlay,
            map: self.map,
            exit_code: self.exit_code,
            review_rate: self.review_rate,
            jobs: self.jobs,
            evidence: self.evidence,
        })
    }
}

pub(crate) fn run(options: &ScoreOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let folders: Vec<&Path> = [&options.overlay, &options.map]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let list = frames::find(&options.frames, &folders, reporter)?;
    let (bundle, engine) = options.model.open(reporter)?;
    let decode = options.pictures.over(&bundle.manifest().preprocess);
    let open = || {
        let mut detector = Detector::new(&bundle, &engine)?;
        detector.explain(Explain::Anomalous);
        if let Some(review) = options.review_rate {
            detector.calibration_mut().set_review_rate(review.rate())?;
        }
        anyhow::Ok(detector)
    };
    let began = Instant::now();
    let first = open()?;
    // A further detector takes as long: few frames are scored sooner without it.
    let opened = began.elapsed();
    if first.calibration().unguaranteed {
        reporter.note(&first.calibration().statement());
    }
    for folder in folders {
        prepare_folder(folder)?;
    }
    let wanted = Wanted {
        decode,
        names: &ResultNames::new(&list.paths),
        overlay: options.overlay.as_deref(),
        map: options.map.as_deref(),
        digest: options.evidence.evidence.is_some(),
    };
    let mut output = Output {
        evidence: options.evidence.open(&first)?,
        json: options.json,
        reporter,
        out: StandardOutput::new(),
        tally: Tally {
            failed: list.failed,
            ..Tally::default()
        },
        calibration: first.calibration().clone(),
        model_id: first.model_id().to_owned(),
        backend: first.backend(),
        device: first.device(),
    };

    let began = Instant::now();
    interrupt::watch();
    // Without a reader, what remains are files and the exit code.
    let only_prints = options.overlay.is_none()
        && options.map.is_none()
        && options.evidence.evidence.is_none()
        && !options.exit_code;
    let scorer = |detector| FrameScorer { detector, wanted };
    let done = in_order(
        list.paths.len(),
        Workers {
            count: jobs(options, first.device()).min(list.paths.len()),
            first: scorer(first),
            open: || open().map(scorer),
            alone: opened,
        },
        |scorer, place| scorer.score(&list.paths[place]),
        |place, scored| {
            output.frame(place, &list.paths[place], scored)?;
            Ok(!(interrupt::requested() || (only_prints && output.out.is_closed())))
        },
    )?;
    let tally = output.finish(began.elapsed())?;
    interrupt::check_after(done, list.paths.len())?;
    Ok(if tally.failed + tally.lost_files > 0 {
        Outcome::Failed
    } else if options.exit_code && tally.anomalous + tally.invalid > 0 {
        Outcome::NotNormal
    } else {
        Outcome::Done
    })
}

/// How many frames are judged side by side.
fn jobs(options: &ScoreOptions, device: Device) -> usize {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let usual = match device {
        Device::Cpu => cores / options.model.engine.threads.unwrap_or(1),
        _ => 1,
    };
    options.jobs.map_or(usual, NonZeroUsize::get).max(1)
}
