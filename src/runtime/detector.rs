//! `Detector`: bundle, engine and calibration in one object.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ndarray::{Array2, ArrayView2};

use super::{
    GoldenCheck, InferenceSession, Latency, Verdict,
    golden_check::Checked,
    regions::{RegionMap, part_of_canvas},
};
use crate::{
    Error,
    backend::{BackendKind, Device, Engine, EngineOptions},
    bundle::{Bundle, BundleError, Manifest, sha256},
    calibration::Calibration,
    frame::{Frame, FrameStatistics},
    model::{ExecutionPlan, StageTimes},
    preprocess::{CanvasLayout, Geometry},
    scoring::{Scorer, Scoring, SourceSubset},
    vae::Decoded,
};

/// How to open a [`Detector`].
#[derive(Clone, Debug, Default)]
pub struct DetectorOptions {
    /// The engine and where it runs; what is left open is measured, see [`Engine::for_bundle`].
    pub engine: EngineOptions,
}

/// Bundle, engine and calibration in one object: scores frames one after the other.
///
/// Tensor, posterior, reconstruction and map have buffers that are kept. What is allocated for each
/// frame: the engine's intermediate tensors (tract makes them anew in every run), some kilobytes of
/// resampling weights, for an anomalous frame its map in the frame's geometry and its regions, and
/// reasons where there are such.
pub struct Detector {
    manifest: Manifest,
    model_sha256: Arc<str>,
    calibration: Calibration,
    session: InferenceSession,
    scorer: Scorer,
    explain: Explain,
    all: ExecutionPlan,
    score_only: Option<ScoreOnly>,
    golden_check: GoldenCheck,
    /// `H×W` of the canvas, of the last frame if that was scored.
    map: Array2<f32>,
    scored: bool,
    /// Whether encoder and decoder ran for the last frame.
    explained: bool,
    score_is_of_map: bool,
    backend: BackendKind,
    device: Device,
}

/// For which frames a [`Detector`] runs the graphs that the verdict does not need.
///
/// Where score and map are made of a second network alone, the verdict needs neither encoder nor
/// decoder. Scores, maps, verdicts and regions are the same either way; for a bundle whose score or
/// map needs the encoder, so is everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    /// All of them: each has a reconstruction and a divergence.
    #[default]
    Always,
    /// Anomalous ones only: a normal frame has no reconstruction and no divergence, and
    /// [`Latency`] has zeros for encoder and decoder.
    Anomalous,
}

/// The work for a verdict alone, where that is less than all.
struct ScoreOnly {
    scoring: ExecutionPlan,
    /// What is left after it for the same frame.
    explaining: ExecutionPlan,
}

/// What a [`Detector`] says of one frame.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Normal, anomalous or invalid; why; and where.
    pub verdict: Verdict,
    /// What the canvas covers of the frame; absent for a frame that was not scored.
    pub geometry: Option<Geometry>,
    /// The verdict's regions are where the frame's map is above it; only anomalous frames have
    /// regions, at least one.
    pub region_threshold: Option<f32>,
    /// Brightness, contrast and focus of the frame, as the calibration's
    /// [`conditions`](Calibration::reference) have them.
    pub statistics: FrameStatistics,
    /// [`Scorer::divergence`] of the frame; absent for one that was not scored, and where
    /// [`Explain`] left the encoder out or there is no VAE.
    pub divergence: Option<f64>,
    /// How long it took.
    pub latency: Latency,
}

impl Detection {
    /// Of a frame that could not be scored, and was not scored.
    pub fn invalid(reason: String, statistics: FrameStatistics) -> Self {
        Self {
            verdict: Verdict::invalid(reason),
            geometry: None,
            region_threshold: None,
            statistics,
            divergence: None,
            latency: Latency::default(),
        }
    }
}

/// How much wider or higher in proportion a frame may be than those of the calibration: beyond a
/// camera turned by a quarter from 3:2, it is not the same picture.
const OTHER_PROPORTIONS: f64 = 2.5;

impl Detector {
    /// Opens a bundle and an engine, and proves that this engine computes for the golden frame
    /// what the trainer saw.
    ///
    /// # Errors
    /// Those of [`Bundle::open`], [`Engine::for_bundle`] and [`GoldenCheck::verify`], and a bundle
    /// without scoring or calibration, which can give no verdict.
    pub fn open(path: &Path, options: &DetectorOptions) -> Result<Self, Error> {
        let bundle = Bundle::open(path)?;
        let engine = Engine::for_bundle(&bundle, &options.engine)?;
        Self::new(&bundle, &engine)
    }

    /// [`Detector::open`] with a bundle and an engine that are open already. The bundle's files
    /// are not needed afterwards.
    ///
    /// # Errors
    /// Those of [`Detector::open`].
    pub fn new(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let lacks = |problem: &str| BundleError::Lacks {
            path: bundle.path().to_owned(),
            problem: problem.to_owned(),
        };
        let no_scoring = || {
            lacks(
                "has no [scoring]: it can encode, reconstruct and sample, but not score frames; \
                 train it with a scoring",
            )
        };
        if bundle.manifest().scoring.is_none() {
            return Err(no_scoring().into());
        }
        let calibration = bundle.calibration().cloned().ok_or_else(|| {
            lacks(
                "has no calibration, so there is no threshold: `edge-vae-train fit` calibrates \
                   what it trains",
            )
        })?;
        let Checked {
            session,
            scorer,
            check,
        } = Checked::verified(bundle, engine)?;
        let scorer = scorer.ok_or_else(no_scoring)?;
        let tiles = session.canvas_layout().tiles();
        let (canvas, several) = (tiles.canvas_size(), tiles.count() > 1);
        let all = session.full_plan();
        let scoring = session.plan_for(&scorer.scored_tensors());
        let score_only = (!scoring.vae).then(|| ScoreOnly {
            // Buffers hold what was made of the last tile.
            explaining: if several { all.clone() } else { scoring.rest() },
            scoring,
        });
        Ok(Self {
            explain: Explain::default(),
            all,
            score_only,
            explained: false,
            manifest: bundle.manifest().clone(),
            model_sha256: sha256([bundle.manifest_bytes()?.as_slice()]).into(),
            calibration,
            session,
            scorer,
            golden_check: check,
            map: Array2::zeros(canvas),
            scored: false,
            score_is_of_map: bundle
                .manifest()
                .scoring
                .as_ref()
                .is_some_and(Scoring::score_is_of_map),
            backend: engine.backend(),
            device: engine.device(),
        })
    }

    /// Judges a frame.
    ///
    /// A frame without a picture (black, saturated, uniform) is invalid: that is a verdict, not an
    /// error.
    ///
    /// # Errors
    /// A frame that the preprocessing can't take, failures of the engine, and a model that gives
    /// values that are not finite: the frame is then not scored, and never called normal.
    pub fn score(&mut self, frame: &Frame) -> Result<Detection, Error> {
        let begin = Instant::now();
        let mut with_bits = None;
        if let Some(bits) = self.bits()
            && frame.format().bits() == 16
            && frame.bits().is_none()
        {
            let frame = with_bits.insert(frame.clone());
            if let Err(error) = frame.set_bits(bits) {
                let statistics = FrameStatistics::of(frame);
                return Ok(Detection::invalid(error.to_string(), statistics));
            }
        }
        let frame = with_bits.as_ref().unwrap_or(frame);
        let statistics = FrameStatistics::of(frame);
        let took = begin.elapsed();
        let mut detection = self.score_with(frame, statistics)?;
        detection.latency.prepare += took;
        detection.latency.total += took;
        Ok(detection)
    }

    /// Bits of 16 that the frames of this model use, where they are fewer: see
    /// [`Frame::set_bits`], which [`Detector::score`] does to a copy.
    pub fn bits(&self) -> Option<u32> {
        self.manifest.preprocess.bits
    }

    /// What is wrong with a frame that is much wider or higher than those that the model was
    /// calibrated on: what it would be squeezed into looks like nothing that was judged.
    fn other_proportions(&self, frame: &Frame) -> Option<String> {
        let [wide, high] = self.calibration.reference.as_ref()?.size()?;
        let (width, height) = (frame.width(), frame.height());
        let proportion = |width: u32, height: u32| f64::from(width) / f64::from(height);
        let change = proportion(width, height) / proportion(wide, high);
        (change.max(1.0 / change) > OTHER_PROPORTIONS).then(|| {
            format!(
                "the frame has {width}×{height} pixels, quite other proportions than the \
                 {wide}×{high} that were calibrated on"
            )
        })
    }

    /// [`Detector::score`] of a frame whose statistics are known already, as after a check of its
    /// health: computing them takes up to half a millisecond.
    ///
    /// # Errors
    /// Those of [`Detector::score`].
    pub fn score_with(
        &mut self,
        frame: &Frame,
        statistics: FrameStatistics,
    ) -> Result<Detection, Error> {
        let begin = Instant::now();
        self.scored = false;
        self.explained = false;
        if let Some(problem) = frame.problem().or_else(|| self.other_proportions(frame)) {
            let took = begin.elapsed();
            return Ok(Detection {
                latency: Latency {
                    prepare: took,
                    total: took,
                    ..Latency::default()
                },
                ..Detection::invalid(problem, statistics)
            });
        }
        let geometry = self.session.prepare(frame)?;
        let mut spent = Spent {
            prepared: begin.elapsed(),
            ..Spent::default()
        };
        let score_only = match self.explain {
            Explain::Always => None,
            Explain::Anomalous => self.score_only.as_ref(),
        };
        let (subset, plan) = match score_only {
            None => (SourceSubset::All, &self.all),
            Some(score_only) => (SourceSubset::Scoring, &score_only.scoring),
        };
        spent.run(&mut self.session, &mut self.scorer, subset, plan)?;
        let mut ran = Instant::now();
        let map = self.map.as_slice_mut().unwrap_or_default();
        let score = self.scorer.finish(map)?;
        let anomalous = self.calibration.is_anomalous(score);
        if let (Some(score_only), true) = (score_only, anomalous) {
            spent.scoring += ran.elapsed();
            spent.run(
                &mut self.session,
                &mut self.scorer,
                SourceSubset::Explaining,
                &score_only.explaining,
            )?;
            ran = Instant::now();
            self.scorer.post_process()?;
        }
        self.explained = score_only.is_none() || anomalous;
        self.scored = true;
        let (found, region_threshold) = if anomalous {
            let map = self.region_map(self.map.view(), &geometry);
            let threshold = map.threshold(self.region_thresholds());
            let mut found = map.extent(threshold).regions(1);
            for region in &mut found {
                region.sources = self.scorer.source_shares(part_of_canvas(
                    &geometry,
                    region.bbox,
                    self.map.dim(),
                ));
            }
            (found, Some(threshold))
        } else {
            (Vec::new(), None)
        };
        Ok(Detection {
            verdict: Verdict::of(score, &self.calibration, None, found),
            geometry: Some(geometry),
            region_threshold,
            statistics,
            divergence: self.scorer.divergence().filter(|_| self.explained),
            latency: Latency {
                prepare: spent.prepared,
                encode: spent.stages.encode,
                decode: spent.stages.decode,
                detect: spent.stages.detect,
                score: spent.scoring + ran.elapsed(),
                total: begin.elapsed(),
            },
        })
    }

    fn region_map(&self, map: ArrayView2<'_, f32>, geometry: &Geometry) -> RegionMap {
        RegionMap::of(map, self.scorer.cell(), geometry, self.canvas_layout())
    }

    /// Thresholds for the regions of an anomalous frame; the first that its map reaches is taken.
    ///
    /// The map's own threshold guarantees the false-alarm rate for peaks, and the score's for
    /// scores: a frame can be above one and below the other. Where the score is the largest of the
    /// map or a mean of the largest, the peak is above the score's threshold too, unless
    /// interpolation lowered it; where neither helps, the highest tenth of the map's range is
    /// shown.
    fn region_thresholds(&self) -> impl Iterator<Item = f64> + use<> {
        let of_score = self.score_is_of_map.then_some(self.calibration.threshold);
        [Some(self.calibration.map_threshold), of_score]
            .into_iter()
            .flatten()
    }

    /// The verdict's region of each pixel of the last frame, `H×W` of the frame: 0 for none, else a
    /// number of its own; `None` if that frame was not anomalous. `detection` is what
    /// [`Detector::score`] gave for it.
    pub fn region_labels(&self, detection: &Detection) -> Option<Array2<u32>> {
        let map = self.region_map(self.anomaly_map()?, detection.geometry.as_ref()?);
        Some(map.extent(detection.region_threshold?).labels())
    }

    /// The anomaly map of the last frame, `H×W` of the canvas, higher is more anomalous, in
    /// standard deviations where the bundle's map is standardised; `None` if that frame was
    /// invalid.
    pub fn anomaly_map(&self) -> Option<ArrayView2<'_, f32>> {
        self.scored.then(|| self.map.view())
    }

    /// The anomaly map of the last frame in the frame's own geometry; `None` if that frame was
    /// invalid. `detection` is what [`Detector::score`] gave for it.
    pub fn frame_map(&self, detection: &Detection) -> Option<Array2<f32>> {
        let map = self.anomaly_map()?;
        Some(detection.geometry.as_ref()?.map_to_frame(map))
    }

    /// Tiles and mask of the canvas that maps cover.
    pub fn canvas_layout(&self) -> &CanvasLayout {
        self.session.canvas_layout()
    }

    /// The prepared frame, of several tiles the last one, `C×H×W`.
    pub fn input(&self) -> &[f32] {
        self.session.input()
    }

    /// What the decoder made of the last frame, of several tiles of the last one; `C×H×W`. `None`
    /// if that frame was invalid, [`Explain`] left the decoder out, or there is no VAE.
    pub fn reconstruction(&self) -> Option<&Decoded> {
        self.session.decoded().filter(|_| self.explained)
    }

    /// Sets for which frames, from the next on, the graphs are run that the verdict does not need;
    /// at first for all.
    pub fn explain(&mut self, explain: Explain) {
        self.explain = explain;
    }

    /// The manifest of the bundle.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The calibration of the bundle.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The calibration, to judge by another threshold or review rate from the next frame on.
    pub fn calibration_mut(&mut self) -> &mut Calibration {
        &mut self.calibration
    }

    /// The model's id.
    pub fn model_id(&self) -> &str {
        &self.manifest.model_id
    }

    /// SHA-256 of the bundle's manifest, which has the digests of all files of the model, in
    /// lower-case hexadecimal.
    pub fn model_sha256(&self) -> &Arc<str> {
        &self.model_sha256
    }

    /// The engine and where it runs: `tract 0.23.9 on cpu`.
    pub fn description(&self) -> &str {
        self.session.description()
    }

    /// The engine.
    pub fn backend(&self) -> BackendKind {
        self.backend
    }

    /// Where it runs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The largest value of the last frame's anomaly map; `None` if that frame was invalid.
    pub fn map_maximum(&self) -> Option<f64> {
        let map = self.anomaly_map()?;
        let maximum = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Some(f64::from(maximum))
    }

    /// How well the engine agreed on the golden frame.
    pub fn golden_check(&self) -> &GoldenCheck {
        &self.golden_check
    }
}

/// Time that was spent on a frame.
#[derive(Default)]
struct Spent {
    prepared: Duration,
    stages: StageTimes,
    scoring: Duration,
}

impl Spent {
    /// Does some work for each tile of the frame, for a part of the sources.
    fn run(
        &mut self,
        session: &mut InferenceSession,
        scorer: &mut Scorer,
        subset: SourceSubset,
        plan: &ExecutionPlan,
    ) -> Result<(), Error> {
        let (cut, stages) = session.run_plan(plan, |tile, outputs| {
            let begin = Instant::now();
            scorer.add_tile_for(subset, tile, outputs)?;
            self.scoring += begin.elapsed();
            Ok(())
        })?;
        self.prepared += cut;
        self.stages += stages;
        Ok(())
    }
}
