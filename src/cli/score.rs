//! `edge-vae score`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use edge_vae::{
    Detection, Detector, Explain, Frame,
    render::{MapPicture, judged_overlay, png},
    runtime::Label,
    scoring::Region,
    stream::record::timestamp,
};
use ndarray::Array2;
use serde::Serialize;

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    frames::{self, FrameFlags},
    interrupt,
    messages::{Voice, one_line},
    names::{MAP, OVERLAY, ResultNames},
    output::{SCHEMA_VERSION, StandardOutput, prepare_folder, write_whole},
};

/// Judge frames: normal, anomalous or invalid, a line a frame.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae score frame.png
  edge-vae score frames/ --json > verdicts.jsonl
  find . -name '*.png' | edge-vae score - --exit-code
  edge-vae score --model models/surface 'frames/*.png' --overlay seen/ --map maps/

A JSON line has the keys schema_version, frame_id, path, timestamp (of the file), pred_label,
pred_score, threshold, p_value, percentile_of_normals (the share of the calibration's normal frames
with a smaller score), map_max (the largest value of the anomaly map), regions (bbox is x, y, width,
height in pixels of the frame), reasons, model_id, backend, device, latency_ms (read: the picture;
prepare: to a tensor; encode, decode: the model, 0 where it did not run because score and map are
made without it and the frame is normal; detect: the graphs after it and a second network; judge;
total), and overlay and map where they were written.

Results of an earlier run in these folders are not judged. Results are named after their frames, in folders as theirs: a/1.png and b/1.png give
a/1.png.overlay.png and b/1.png.overlay.png. The anomaly map has the size of the frame: as NPY the
raw values, as 16-bit PNG linear from the map's minimum (0) to its maximum (65535), both of which
are in the PNG's text and in the JSON line.

Regions, in the JSON line and on the overlay, are those of anomalous frames; so is the heat.

Exit codes: 0 all frames were judged; 1 with --exit-code, a frame is anomalous or invalid; 2
something failed.")]
pub(crate) struct ScoreFlags {
    #[command(flatten)]
    frames: FrameFlags,

    /// Print a JSON object a frame.
    #[arg(long)]
    json: bool,

    /// Write each frame with its heat map, regions and gauge into this folder.
    #[arg(long, value_name = "DIR")]
    overlay: Option<PathBuf>,

    /// Write each frame's anomaly map into this folder, as NPY (f32) and as 16-bit PNG.
    #[arg(long, value_name = "DIR")]
    map: Option<PathBuf>,

    /// Exit with 1 when a frame is anomalous or invalid.
    #[arg(long)]
    exit_code: bool,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`ScoreFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct ScoreOptions {
    frames: Vec<PathBuf>,
    model: ModelOptions,
    json: bool,
    overlay: Option<PathBuf>,
    map: Option<PathBuf>,
    exit_code: bool,
}

impl ScoreFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<ScoreOptions> {
        Ok(ScoreOptions {
            frames: self.frames.resolve(),
            model: self.model.resolve()?,
            json: self.json,
            overlay: self.overlay,
            map: self.map,
            exit_code: self.exit_code,
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
    /// The model's encoder; 0 where it did not run.
    encode: f64,
    /// The model's decoder; 0 where it did not run.
    decode: f64,
    /// The graphs after it.
    detect: f64,
    judge: f64,
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
    judged: usize,
    anomalous: usize,
    invalid: usize,
    failed: usize,
}

/// What [`run`] keeps from frame to frame.
struct Run<'a> {
    options: &'a ScoreOptions,
    detector: Detector,
    backend: &'static str,
    device: &'static str,
    names: ResultNames,
    out: StandardOutput,
}

pub(crate) fn run(options: &ScoreOptions, voice: Voice) -> anyhow::Result<Outcome> {
    let folders: Vec<&Path> = [&options.overlay, &options.map]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let list = frames::find(&options.frames, &folders, voice)?;
    if list.paths.is_empty() {
        return no_frames(list.failed);
    }
    let (bundle, engine) = options.model.open(voice)?;
    let mut detector = Detector::new(&bundle, &engine)?;
    detector.explain(Explain::Anomalous);
    let mut run = Run {
        options,
        detector,
        backend: engine.backend().name(),
        device: engine.device().name(),
        names: ResultNames::new(&list.paths),
        out: StandardOutput::new(),
    };
    drop(bundle);
    for folder in folders {
        prepare_folder(folder)?;
    }

    let begin = Instant::now();
    let mut tally = Tally {
        failed: list.failed,
        ..Tally::default()
    };
    let mut interrupted = false;
    interrupt::watch();
    // Without a reader, what remains are files and the exit code.
    let only_prints = options.overlay.is_none() && options.map.is_none() && !options.exit_code;
    for (id, path) in list.paths.iter().enumerate() {
        if interrupt::asked() {
            interrupted = true;
            break;
        }
        if only_prints && run.out.is_closed() {
            break;
        }
        let began = Instant::now();
        let frame = match Frame::open(path) {
            Ok(frame) => frame,
            Err(error) => {
                tally.failed += 1;
                voice.error(&one_line(&error.into()));
                continue;
            }
        };
        let read = began.elapsed();
        let detection = match run.detector.score(&frame) {
            Ok(detection) => detection,
            Err(error) => {
                tally.failed += 1;
                let error = anyhow::Error::from(error).context(path.display().to_string());
                voice.error(&one_line(&error));
                continue;
            }
        };
        tally.judged += 1;
        match detection.verdict.label {
            Label::Normal => {}
            Label::Anomalous => tally.anomalous += 1,
            Label::Invalid => tally.invalid += 1,
        }
        // Results that can't be written stop the run: those of the next frames could not either.
        run.report(id, path, &frame, &detection, read)?;
    }
    run.out.finish()?;

    let seconds = begin.elapsed().as_secs_f64();
    voice.note(&format_args!(
        "{} judged: {} anomalous, {} invalid; {} failed; {:.1} frames/s",
        count(tally.judged, "frame"),
        tally.anomalous,
        tally.invalid,
        tally.failed,
        tally.judged as f64 / seconds.max(1e-9)
    ));
    if interrupted {
        anyhow::bail!(
            "interrupted after {} of {} frames",
            tally.judged + tally.failed - list.failed,
            list.paths.len()
        );
    }
    Ok(if tally.failed > 0 {
        Outcome::Failed
    } else if options.exit_code && tally.anomalous + tally.invalid > 0 {
        Outcome::NotNormal
    } else {
        Outcome::Done
    })
}

/// The end of a verb that was led to no frame at all.
pub(crate) fn no_frames(failed: usize) -> anyhow::Result<Outcome> {
    if failed == 0 {
        anyhow::bail!("no frames: the list on standard input is empty");
    }
    // Each argument was reported.
    Ok(Outcome::Failed)
}

pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

impl Run<'_> {
    fn report(
        &mut self,
        id: usize,
        path: &Path,
        frame: &Frame,
        detection: &Detection,
        read: Duration,
    ) -> anyhow::Result<()> {
        let wants_map = self.options.overlay.is_some() || self.options.map.is_some();
        let frame_map = wants_map
            .then(|| self.detector.frame_map(detection))
            .flatten();
        let mut overlay_path = None;
        if let Some(folder) = &self.options.overlay {
            let target = self.names.path(folder, path, OVERLAY);
            let calibration = self.detector.calibration();
            let picture = judged_overlay(
                frame,
                detection,
                frame_map.as_ref().map(|map| map.view()),
                [0.0, calibration.map_threshold as f32],
                calibration.threshold,
                self.detector.model_id(),
            );
            write_whole(&target, &png(picture).context("PNG")?)?;
            overlay_path = Some(target.display().to_string());
        }
        let mut map_record = None;
        if let (Some(folder), Some(map)) = (&self.options.map, &frame_map) {
            map_record = Some(self.write_map(folder, path, map)?);
        }
        let verdict = &detection.verdict;
        let threshold = self.detector.calibration().threshold;
        if self.options.json {
            let milliseconds = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
            let latency = &detection.latency;
            let record = Record {
                schema_version: SCHEMA_VERSION,
                frame_id: id,
                path: &path.to_string_lossy(),
                timestamp: timestamp(frame.captured()),
                pred_label: verdict.label.as_str(),
                pred_score: verdict.score,
                threshold,
                p_value: verdict.p_value,
                // Of frames that were judged only, as the p-value.
                percentile_of_normals: verdict
                    .p_value
                    .and(verdict.score)
                    .map(|score| self.detector.calibration().percentile(score).percent()),
                map_max: self.detector.map_maximum(),
                regions: &verdict.regions,
                reasons: &verdict.reasons,
                model_id: self.detector.model_id(),
                backend: self.backend,
                device: self.device,
                latency_ms: LatencyRecord {
                    read: milliseconds(read),
                    prepare: milliseconds(latency.prepare),
                    encode: milliseconds(latency.encode),
                    decode: milliseconds(latency.decode),
                    detect: milliseconds(latency.detect),
                    judge: milliseconds(latency.score),
                    total: milliseconds(read + latency.total),
                },
                overlay: overlay_path,
                map: map_record,
            };
            return self.out.json(&record);
        }
        let path = path.display();
        match (verdict.label, verdict.score, verdict.p_value) {
            (label @ (Label::Normal | Label::Anomalous), Some(score), Some(p_value)) => {
                let standing = self.detector.calibration().percentile(score).to_string();
                self.out.line(format_args!(
                    "{label:<9}  score {score:>10.4}  threshold {threshold:>10.4}  p {p_value:<8.2e}  {standing:<43}  {path}"
                ))
            }
            (label, ..) => {
                let reasons = verdict.reasons.join("; ");
                self.out
                    .line(format_args!("{label:<9}  {reasons:<50}  {path}"))
            }
        }
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
}
