//! `edge-vae score`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use edge_vae::{
    Detection, Detector, Explain, Frame,
    frame::DecodeOptions,
    render::{MapPicture, judged_overlay, png},
    runtime::Label,
    scoring::Region,
    timestamp,
};
use ndarray::Array2;
use serde::Serialize;

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions, ReviewRate},
    frames::{self, FrameFlags, PictureFlags, with_frame},
    interrupt,
    names::{MAP, OVERLAY, ResultNames},
    output::{SCHEMA_VERSION, StandardOutput, prepare_folder, write_whole},
    reporter::{Reporter, count, one_line},
};

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
        })
    }
}

/// One JSON line.
#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    frame_id: usize,
    path: &'a str,
    timestamp: String,
    pred_label: &'static str,
    review: bool,
    pred_score: Option<f64>,
    threshold: f64,
    p_value: Option<f64>,
    percentile_of_normals: Option<f64>,
    map_max: Option<f64>,
    regions: &'a [Region],
    reasons: &'a [String],
    model_id: &'a str,
    backend: &'static str,
    device: &'static str,
    latency_ms: LatencyRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<MapRecord>,
}

#[derive(Serialize)]
struct LatencyRecord {
    /// Reading the picture's file and decoding it.
    read: f64,
    prepare: f64,
    encode: f64,
    decode: f64,
    detect: f64,
    score: f64,
    total: f64,
}

#[derive(Serialize)]
struct MapRecord {
    npy: String,
    png: String,
    minimum: f32,
    maximum: f32,
}

/// What became of the frames.
#[derive(Debug, Default)]
struct Tally {
    scored: usize,
    anomalous: usize,
    /// Normal ones for review.
    review: usize,
    invalid: usize,
    failed: usize,
    /// Pictures and maps that could not be written.
    lost_files: usize,
}

/// What [`run`] keeps from frame to frame.
struct Run<'a> {
    options: &'a ScoreOptions,
    reporter: Reporter,
    detector: Detector,
    decode: DecodeOptions,
    names: ResultNames,
    out: StandardOutput,
    tally: Tally,
}

pub(crate) fn run(options: &ScoreOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let folders: Vec<&Path> = [&options.overlay, &options.map]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let list = frames::find(&options.frames, &folders, reporter)?;
    let (bundle, engine) = options.model.open(reporter)?;
    let mut detector = Detector::new(&bundle, &engine)?;
    detector.explain(Explain::Anomalous);
    if let Some(review) = options.review_rate {
        detector.calibration_mut().set_review_rate(review.rate())?;
    }
    if detector.calibration().unguaranteed {
        reporter.note(&detector.calibration().statement());
    }
    let decode = options.pictures.over(&bundle.manifest().preprocess);
    drop((bundle, engine));
    for folder in folders {
        prepare_folder(folder)?;
    }
    let mut run = Run {
        options,
        reporter,
        detector,
        decode,
        names: ResultNames::new(&list.paths),
        out: StandardOutput::new(),
        tally: Tally {
            failed: list.failed,
            ..Tally::default()
        },
    };

    let began = Instant::now();
    interrupt::watch();
    // Without a reader, what remains are files and the exit code.
    let only_prints = options.overlay.is_none() && options.map.is_none() && !options.exit_code;
    let mut done = 0;
    for path in &list.paths {
        if interrupt::requested() || (only_prints && run.out.is_closed()) {
            break;
        }
        run.frame(done, path)?;
        done += 1;
    }
    run.out.finish()?;

    let tally = run.tally;
    reporter.note(&format_args!(
        "{} scored: {} anomalous,{} {} invalid; {} failed; {:.1} frames/s",
        count(tally.scored, "frame"),
        tally.anomalous,
        match run.detector.calibration().review {
            Some(_) => format!(" {} for review,", tally.review),
            None => String::new(),
        },
        tally.invalid,
        tally.failed,
        tally.scored as f64 / began.elapsed().as_secs_f64().max(1e-9)
    ));
    if tally.lost_files > 1 {
        let lost = tally.lost_files;
        reporter.error(&format_args!("{lost} files could not be written"));
    }
    interrupt::check_after(done, list.paths.len())?;
    Ok(if tally.failed + tally.lost_files > 0 {
        Outcome::Failed
    } else if options.exit_code && tally.anomalous + tally.invalid > 0 {
        Outcome::NotNormal
    } else {
        Outcome::Done
    })
}

/// A frame, what was found in it, and how long it took to read.
struct Scored {
    frame: Frame,
    detection: Detection,
    read: Duration,
}

/// The files that were written of a frame.
#[derive(Default)]
struct Files {
    overlay: Option<String>,
    map: Option<MapRecord>,
}

impl Run<'_> {
    /// Scores one frame, writes its files and prints its line. Only a line that can't be printed is
    /// an error: everything else is reported and counted.
    fn frame(&mut self, id: usize, path: &Path) -> anyhow::Result<()> {
        let began = Instant::now();
        let scored = with_frame(path, &self.decode, |frame| {
            let read = began.elapsed();
            let detection = self.detector.score(&frame)?;
            Ok(Scored {
                frame,
                detection,
                read,
            })
        });
        let scored = match scored {
            Ok(scored) => scored,
            Err(error) => {
                self.tally.failed += 1;
                self.reporter.error(&one_line(&error));
                return Ok(());
            }
        };
        self.tally.scored += 1;
        match scored.detection.verdict.label {
            Label::Normal => self.tally.review += usize::from(scored.detection.verdict.review),
            Label::Anomalous => self.tally.anomalous += 1,
            Label::Invalid => self.tally.invalid += 1,
        }
        let files = self.write_files(path, &scored);
        if self.options.json {
            self.print_json(id, path, &scored, files)
        } else {
            self.print_line(path, &scored.detection)
        }
    }

    fn write_files(&mut self, path: &Path, scored: &Scored) -> Files {
        let mut files = Files::default();
        let (overlay, map) = (&self.options.overlay, &self.options.map);
        if overlay.is_none() && map.is_none() {
            return files;
        }
        let frame_map = self.detector.frame_map(&scored.detection);
        if let Some(folder) = overlay {
            match self.write_overlay(folder, path, scored, frame_map.as_ref()) {
                Ok(written) => files.overlay = Some(written),
                Err(error) => self.lose_file(&error),
            }
        }
        if let (Some(folder), Some(frame_map)) = (map, &frame_map) {
            match self.write_map(folder, path, frame_map) {
                Ok(written) => files.map = Some(written),
                Err(error) => self.lose_file(&error),
            }
        }
        files
    }

    /// A full disk would say the same of every frame: the first is reported, the rest counted.
    fn lose_file(&mut self, error: &anyhow::Error) {
        if self.tally.lost_files == 0 {
            let error = one_line(error);
            self.reporter
                .error(&format_args!("{error}; verdicts go on without the files"));
        }
        self.tally.lost_files += 1;
    }

    fn write_overlay(
        &self,
        folder: &Path,
        path: &Path,
        scored: &Scored,
        map: Option<&Array2<f32>>,
    ) -> anyhow::Result<String> {
        let target = self.names.path(folder, path, OVERLAY);
        let calibration = self.detector.calibration();
        let picture = judged_overlay(
            &scored.frame,
            &scored.detection,
            map.map(|map| map.view()),
            [0.0, calibration.map_threshold as f32],
            calibration.threshold,
            self.detector.model_id(),
        );
        write_whole(&target, &png(picture).context("PNG")?)?;
        Ok(target.display().to_string())
    }

    fn write_map(
        &self,
        folder: &Path,
        path: &Path,
        map: &Array2<f32>,
    ) -> anyhow::Result<MapRecord> {
        let npy_path = self.names.path(folder, path, ".map.npy");
        let png_path = self.names.path(folder, path, MAP);
        let mut npy = Vec::new();
        ndarray_npy::WriteNpyExt::write_npy(map, &mut npy).context("NPY")?;
        let picture = MapPicture::of(map.view());
        write_whole(&npy_path, &npy)?;
        write_whole(&png_path, &picture.png().context("PNG")?)?;
        Ok(MapRecord {
            npy: npy_path.display().to_string(),
            png: png_path.display().to_string(),
            minimum: picture.minimum(),
            maximum: picture.maximum(),
        })
    }

    fn print_json(
        &mut self,
        id: usize,
        path: &Path,
        scored: &Scored,
        files: Files,
    ) -> anyhow::Result<()> {
        let milliseconds = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let (verdict, latency) = (&scored.detection.verdict, &scored.detection.latency);
        let calibration = self.detector.calibration();
        let record = Record {
            schema_version: SCHEMA_VERSION,
            frame_id: id,
            path: &path.to_string_lossy(),
            timestamp: timestamp(scored.frame.captured()),
            pred_label: verdict.label.as_str(),
            review: verdict.review,
            pred_score: verdict.score,
            threshold: calibration.threshold,
            p_value: verdict.p_value,
            // Of frames that were scored only, as the p-value.
            percentile_of_normals: verdict
                .p_value
                .and(verdict.score)
                .map(|score| calibration.percentile(score).percent()),
            map_max: self.detector.map_maximum(),
            regions: &verdict.regions,
            reasons: &verdict.reasons,
            model_id: self.detector.model_id(),
            backend: self.detector.backend().name(),
            device: self.detector.device().name(),
            latency_ms: LatencyRecord {
                read: milliseconds(scored.read),
                prepare: milliseconds(latency.prepare),
                encode: milliseconds(latency.encode),
                decode: milliseconds(latency.decode),
                detect: milliseconds(latency.detect),
                score: milliseconds(latency.score),
                total: milliseconds(scored.read + latency.total),
            },
            overlay: files.overlay,
            map: files.map,
        };
        self.out.json(&record)
    }

    fn print_line(&mut self, path: &Path, detection: &Detection) -> anyhow::Result<()> {
        let (path, verdict) = (path.display(), &detection.verdict);
        let calibration = self.detector.calibration();
        match (verdict.label, verdict.score, verdict.p_value) {
            (label @ (Label::Normal | Label::Anomalous), Some(score), Some(p_value)) => {
                let threshold = calibration.threshold;
                let percentile = calibration.percentile(score).to_string();
                let label = match verdict.review {
                    true => "review",
                    false => label.as_str(),
                };
                self.out.line(format_args!(
                    "{label:<9}  score {score:>10.4}  threshold {threshold:>10.4}  \
                     p {p_value:<8.2e}  {percentile:<43}  {path}"
                ))
            }
            (label, ..) => {
                let reasons = verdict.reasons.join("; ");
                self.out
                    .line(format_args!("{label:<9}  {reasons:<50}  {path}"))
            }
        }
    }
}
