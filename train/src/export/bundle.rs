//! From a trained network to a proved and calibrated bundle.

use std::{
    collections::BTreeMap,
    io::Cursor,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, anyhow, bail};
use candle_core::Device;
use edge_vae::{
    Frame,
    anomaly::{Aggregation, Calibration, PositionStatistics, ResidualMap, Scorer, Scoring},
    backend::{BackendKind, Engine, EngineOptions},
    bundle::{BundleWriter, DECODER, ENCODER, GoldenValues, ModelCard, write_npy},
    dataset::{Sample, Split},
    frame::{DecodeLimits, PixelFormat, Samples},
    preprocess::{PreprocessSettings, Preprocessor},
    vae::Vae,
};
use image::{DynamicImage, ImageFormat};

use super::{agreement, graphs};
use crate::{
    fit::{Frames, State},
    network::{Network, Snapshot},
};

/// The frame that proves an engine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Golden {
    /// One of the calibration frames.
    CalibrationFrame,
    /// A drawn digit.
    Glyph,
    /// A picture of the user's.
    File(PathBuf),
}

/// A trained network and all that its bundle is made of.
#[derive(Debug)]
pub struct Export<'a> {
    /// Name of the data set.
    pub dataset: &'a str,
    /// Structure.
    pub network: &'a Network,
    /// Values to export.
    pub values: &'a Snapshot,
    /// The run that made them.
    pub state: &'a State,
    /// From frame to tensor.
    pub preprocess: &'a PreprocessSettings,
    /// Prepared, normalised frames.
    pub frames: &'a Frames,
    /// Where they came from.
    pub samples: &'a [&'a Sample],
    /// Which of them served what.
    pub split: &'a Split,
    /// The golden frame.
    pub golden: &'a Golden,
    /// Where the network was trained.
    pub device: &'a Device,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// File of the bundle with mean and deviation of the residual at each position.
const STATISTICS: &str = "statistics.npy";
/// Files of the golden frame.
const GOLDEN_FRAME: &str = "golden.png";
const GOLDEN_VALUES: &str = "golden.npz";
/// Standard deviation of the residual's smoothing as a share of the tensor's side.
const SMOOTHING: f32 = 1.0 / 64.0;
/// Share of the pixels that make the score.
const TOP: f32 = 0.02;
/// Frames on which graphs and network are compared.
const COMPARED: usize = 8;
/// Frames that the statistics of a position need at most.
const STATISTICS_FRAMES: usize = 5000;
/// Longest side of the golden frame, in pixels.
const GOLDEN_SIDE: u32 = 512;
/// Tolerance of anomaly map and score, in standard deviations.
const MAP_TOLERANCE: f64 = 1e-2;

impl Export<'_> {
    /// Exports the graphs, compares them with the trained network, fits the statistics of the
    /// score on the training frames and the threshold on the calibration frames, both by the
    /// runtime's own code, and writes the bundle.
    ///
    /// # Errors
    /// A disagreement above [`agreement::TOLERANCE`], and files that can't be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let spec = self.network.spec().clone();
        let name = model_name(out);
        let encoder = graphs::encoder(self.network, self.values, &name)?;
        let decoder = graphs::decoder(self.network, self.values, &name)?;
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })?;
        let mut vae = Vae::new(
            spec.clone(),
            engine.load(&encoder, ENCODER, 1)?,
            engine.load(&decoder, DECODER, 1)?,
        )?;

        let compared: Vec<&[f32]> = self
            .split
            .calibration
            .iter()
            .take(COMPARED)
            .map(|&index| self.frames.get(index))
            .collect();
        let parameters = self.network.parameters(0, self.device)?;
        let worst = agreement::prove(
            self.network,
            &parameters,
            self.values,
            &mut vae,
            &compared,
            self.device,
        )?;
        eprintln!(
            "exported; {} differs from training by at most {worst:.1e}",
            engine.description()
        );

        let smoothing = SMOOTHING * spec.width.min(spec.height) as f32;
        let aggregation = Aggregation::TopFraction { fraction: TOP };
        let scoring = Scoring::ResidualZ {
            statistics: STATISTICS.to_owned(),
            smoothing,
            aggregation,
        };
        let mut map = vec![0.0; spec.height * spec.width];
        let mut residual = ResidualMap::new(&spec, smoothing)?;
        let mut statistics = PositionStatistics::new(spec.height, spec.width);
        // From the whole set: frames of one day or one camera lie together.
        let stride = self.split.train.len().div_ceil(STATISTICS_FRAMES).max(1);
        for &index in self.split.train.iter().step_by(stride) {
            self.check_interrupted()?;
            let input = self.frames.get(index);
            let decoded = vae.reconstruct(input)?;
            residual.compute(
                input,
                &decoded.reconstruction,
                &decoded.log_variance,
                &mut map,
            )?;
            statistics.push(&map)?;
        }
        let statistics = statistics.finish()?.to_array();
        let values: Vec<f32> = statistics.iter().copied().collect();
        let statistics_file = write_npy(statistics.shape(), &values)
            .map_err(|problem| anyhow!("cannot lay out {STATISTICS}: {problem}"))?;

        let mut scorer = Scorer::new(&scoring, &spec, statistics.view())?;
        let (mut scores, mut maxima) = (Vec::new(), Vec::new());
        for &index in &self.split.calibration {
            self.check_interrupted()?;
            let input = self.frames.get(index);
            let decoded = vae.reconstruct(input)?;
            let score = scorer.score(
                input,
                &decoded.reconstruction,
                &decoded.log_variance,
                &mut map,
            )?;
            scores.push(score);
            maxima.push(f64::from(map.iter().copied().fold(f32::MIN, f32::max)));
        }
        let wanted = self.state.options.false_alarm_rate;
        let (calibration, attained) = Calibration::fit_attainable(scores, maxima, wanted)?;
        if let Some(rate) = attained {
            eprintln!(
                "warning: calibrated for a false-alarm rate of {rate:.4} instead of {wanted}: {} \
                 calibration frames cannot promise less",
                calibration.scores.len()
            );
        }
        eprintln!("{}", calibration.statement());

        let (frame_png, frame) = self.golden_frame()?;
        let mut input = vec![0.0; spec.dimensions()];
        Preprocessor::new(self.preprocess.clone())?.prepare(&frame, &mut input)?;
        let decoded = vae.reconstruct(&input)?.clone();
        let score = scorer.score(
            &input,
            &decoded.reconstruction,
            &decoded.log_variance,
            &mut map,
        )?;
        let (mean, log_variance) = vae.last_posterior();
        let golden = GoldenValues {
            mean: mean.to_vec(),
            log_variance: log_variance.to_vec(),
            input,
            reconstruction: decoded.reconstruction,
            logits: decoded.logits,
            reconstruction_log_variance: decoded.log_variance,
            anomaly_map: map,
            score: Some(score),
        };

        let files = BTreeMap::from([
            (ENCODER.to_owned(), encoder),
            (DECODER.to_owned(), decoder),
            (STATISTICS.to_owned(), statistics_file),
            (GOLDEN_FRAME.to_owned(), frame_png),
            (GOLDEN_VALUES.to_owned(), golden.to_npz(&spec)?),
        ]);
        let writer = BundleWriter {
            name,
            preprocess: self.preprocess.clone(),
            vae: spec,
            scoring: Some(scoring),
            calibration: Some(calibration),
            golden: edge_vae::bundle::Golden {
                frame: GOLDEN_FRAME.to_owned(),
                expected: GOLDEN_VALUES.to_owned(),
                score: Some(score),
                tolerance: agreement::TOLERANCE,
                map_tolerance: MAP_TOLERANCE,
            },
            card: self.card(worst),
            files,
        };
        let mut bundle = writer.finish()?;
        bundle.prove(&engine)?;
        bundle.save(out)?;
        eprintln!("{}: {}", out.display(), bundle.manifest().model_id);
        Ok(())
    }

    fn check_interrupted(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    fn card(&self, worst: f64) -> ModelCard {
        let state = self.state;
        let mut figures = BTreeMap::from([("export-largest-difference".to_owned(), worst)]);
        let best = state.records.iter().find(|r| r.step == state.best_step);
        if let Some(record) = best {
            figures.insert("validation-nll-nats".to_owned(), record.validation_nll);
            figures.insert("validation-kl-nats".to_owned(), record.validation_kl);
            if let Some(bound) = record.validation_bound {
                figures.insert("validation-bound-nats".to_owned(), bound);
            }
        }
        ModelCard {
            dataset: self.dataset.to_owned(),
            train_frames: self.split.train.len(),
            validation_frames: self.split.validation.len(),
            calibration_frames: self.split.calibration.len(),
            preset: state.options.preset.name().to_owned(),
            seed: state.options.seed,
            steps: state.best_step,
            seconds: state.seconds.round(),
            parameters: parameters(self.values),
            trainer: format!("edge-vae-train {}", env!("CARGO_PKG_VERSION")),
            figures,
        }
    }

    /// The golden frame as a PNG and as it comes out of that PNG.
    fn golden_frame(&self) -> Result<(Vec<u8>, Frame)> {
        let picture = match self.golden {
            Golden::Glyph => {
                let side = self.preprocess.width.max(self.preprocess.height) as u32;
                DynamicImage::ImageLuma8(edge_vae::synth::glyph(side, '3')?)
            }
            Golden::File(path) => small_picture(&Frame::open(path)?)?,
            Golden::CalibrationFrame => {
                let Some(&index) = self.split.calibration.first() else {
                    bail!("no calibration frame to take for the golden one");
                };
                let sample = self.samples[index];
                eprintln!(
                    "golden frame: {} goes into the bundle (`--golden glyph` keeps your pictures out)",
                    sample.name()
                );
                small_picture(&sample.frame()?)?
            }
        };
        let mut png = Cursor::new(Vec::new());
        picture
            .write_to(&mut png, ImageFormat::Png)
            .context("cannot encode the golden frame")?;
        let png = png.into_inner();
        let frame = Frame::decode(&png, GOLDEN_FRAME, &DecodeLimits::default())?;
        Ok((png, frame))
    }
}

/// The frame as a picture, shrunk where it is large: a golden frame need not be a whole photograph.
fn small_picture(frame: &Frame) -> Result<DynamicImage> {
    let (width, height) = (frame.width(), frame.height());
    let picture = match (frame.samples().clone(), frame.format()) {
        (Samples::U8(samples), PixelFormat::Gray8) => {
            image::GrayImage::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
        }
        (Samples::U8(samples), _) => {
            image::RgbImage::from_raw(width, height, samples).map(DynamicImage::ImageRgb8)
        }
        (Samples::U16(samples), PixelFormat::Gray16) => {
            image::ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma16)
        }
        (Samples::U16(samples), _) => {
            image::ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb16)
        }
    };
    let picture = picture.context("the golden frame's samples do not fit its size")?;
    Ok(if width.max(height) > GOLDEN_SIDE {
        picture.resize(
            GOLDEN_SIDE,
            GOLDEN_SIDE,
            image::imageops::FilterType::Triangle,
        )
    } else {
        picture
    })
}

/// Number of trained values, without the running statistics.
fn parameters(values: &Snapshot) -> usize {
    values
        .0
        .iter()
        .filter(|(name, _)| !name.contains(".running_"))
        .map(|(_, t)| t.elem_count())
        .sum()
}

/// The model's name out of the bundle's: what [`BundleWriter`] accepts of it.
fn model_name(out: &Path) -> String {
    let stem = out.file_name().unwrap_or_default().to_string_lossy();
    let name: String = stem
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(64)
        .collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() {
        "model".to_owned()
    } else {
        name.to_owned()
    }
}
