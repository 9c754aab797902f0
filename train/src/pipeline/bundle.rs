//! From frames, and a VAE where there is one, to a verified and calibrated bundle.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use candle_core::Device;
use edge_vae::{
    backend::Engine,
    bundle::{BundleWriter, DECODER, ENCODER, TRAINING_FRAMES, TrainingFrames},
    calibration::{Calibration, OperatingTable, SyntheticDefects},
    dataset::Sample,
    preprocess::Preprocessor,
    runtime::{GoldenCheck, GoldenValues, InferenceSession},
    scoring::Scorer,
};

use super::{
    detector::{FittedCandidates, FittedDetector, Fitting, RESIDUAL, ScoreComparison, graphs_of},
    models::{Graph, HEAD, Models},
    report::Written,
};
use crate::{
    calibration::{self, CalibrationParams, ScoredFrame},
    candidates,
    data::{MASK, is_shared},
    export::{self, GOLDEN_FRAME, GOLDEN_VALUES, GoldenFrame, NetworkGraphs, residual},
    features::{Features, FitData, PretrainedBackbone},
    nn::Snapshot,
    options::{FitOptions, Golden},
    selection::{self, Label, SelectionParams, SyntheticSample},
    vae::{Network, State, Trained},
};

/// A trained VAE.
#[derive(Clone, Copy)]
pub(super) struct TrainedVae<'a> {
    /// Structure.
    pub network: &'a Network,
    /// Values to export.
    pub values: &'a Snapshot,
    /// The run that made them.
    pub state: &'a State,
}

impl<'a> TrainedVae<'a> {
    /// The best values of a run.
    pub(super) fn of(network: &'a Network, trained: &'a Trained) -> Self {
        Self {
            network,
            values: &trained.best,
            state: &trained.state,
        }
    }
}

/// All that a bundle is made of.
pub(super) struct Finished<'a> {
    /// Name of the data set.
    pub dataset: &'a str,
    /// What was asked for.
    pub options: &'a FitOptions,
    /// The VAE, where there is one.
    pub vae: Option<TrainedVae<'a>>,
    /// When the command began.
    pub began: Instant,
    /// The frames.
    pub data: &'a FitData<'a>,
    /// What the frames show.
    pub pictures: &'a TrainingFrames,
    /// The golden frame.
    pub golden: &'a Golden,
    /// A pretrained backbone, whose features are compared.
    pub backbone: Option<&'a PretrainedBackbone>,
    /// Runs the exported graphs.
    pub engine: &'a Engine,
    /// Where the network was trained.
    pub device: &'a Device,
    /// Frames that looked least normal and were left out.
    pub trimmed: u32,
}

/// Why frames can't be ranked.
pub(super) const NOT_RANKED: &str = "--trim ranks all frames by densities of the others, and what \
     was selected here is not fitted again: look at the frames with `edge-vae-train review`, and \
     leave out with --exclude what is no good part";

/// Frames on which graphs and network are compared.
const COMPARED: usize = 8;
/// Tolerance of distances, anomaly map and score, in standard deviations.
const MAP_TOLERANCE: f64 = 1e-2;

impl Finished<'_> {
    /// Exports the graphs, compares them with the trained network, fits the detector and the
    /// threshold, by the runtime's own code but for out-of-fold distances, which are compared with
    /// the graph's, and writes the bundle. `first` are the candidates of a bundle without a VAE of
    /// the same frames.
    ///
    /// # Errors
    /// A disagreement above [`export::TOLERANCE`], and files that can't be written.
    pub(super) fn write(
        &self,
        out: &Path,
        review_rate: Option<f64>,
        first: Option<FittedCandidates>,
    ) -> Result<Written> {
        let name = model_name(out);
        let network = self.export(&name)?;
        let models = self.models(network.as_ref());
        let worst = self.verify_graphs(&models)?;
        let (fitted, detector) = self.fitting(&models, &name, |fitting| {
            let fitted = match first {
                Some(first) => fitting.complete(first)?,
                None => fitting.fit()?,
            };
            let detector = fitting.detector(&fitted)?;
            Ok((fitted, detector))
        })?;
        let (mut calibration, scored) = self.calibrate(&models, &fitted, &detector)?;
        calibration.trimmed = self.trimmed;
        if let Err(error) = calibration.set_review_rate(review_rate) {
            // So few frames that their rate reaches it are no reason to lose the training.
            self.data
                .reporter
                .warn(format_args!("{error}: no frame will be for review"));
        }
        let defects = self.synthetic_defects(&models, &fitted, &detector)?;
        self.data
            .reporter
            .line(OperatingTable::of(&calibration, defects.as_ref()));
        let writer = self.assemble(
            name,
            &models,
            detector,
            (calibration.clone(), defects),
            worst,
        )?;
        let mut bundle = writer.finish()?;
        GoldenCheck::verify(&bundle, self.engine)?;
        bundle.save(out)?;
        self.data.reporter.line(format_args!(
            "{}: {}",
            out.display(),
            bundle.manifest().model_id
        ));
        Ok(Written {
            bundle,
            calibration,
            scored,
            fitted,
        })
    }

    /// The scores of the normal frames, each by a density that did not know it.
    ///
    /// # Errors
    /// As [`Self::write`], and frames of which only some could be scored so.
    pub(super) fn out_of_fold_scores(&self) -> Result<Vec<ScoredFrame>> {
        let network = self.export(self.dataset)?;
        let models = self.models(network.as_ref());
        let (fitted, detector) = self.fitting(&models, self.dataset, |fitting| {
            let fitted = fitting.fit()?;
            let detector = fitting.detector(&fitted)?;
            Ok((fitted, detector))
        })?;
        ensure!(fitted.folds.is_some(), NOT_RANKED);
        Ok(self.calibrate(&models, &fitted, &detector)?.1)
    }

    /// The graphs of the VAE, where there is one.
    fn export(&self, name: &str) -> Result<Option<NetworkGraphs>> {
        Ok(match self.vae {
            Some(vae) => Some(NetworkGraphs::export(vae.network, vae.values, name)?),
            None => None,
        })
    }

    /// The largest difference between the exported graphs and the trained network, where there is
    /// one.
    fn verify_graphs(&self, models: &Models) -> Result<Option<f64>> {
        let (Some(vae), Some(mut graphs)) = (self.vae, models.network()?) else {
            return Ok(None);
        };
        let tiles = self.data.layout.tiles();
        // A tile in the middle rather than a corner, which a mask may leave out.
        let middle = tiles.count() / 2;
        let compared = self.data.split.calibration.iter().take(COMPARED);
        let compared: Vec<Vec<f32>> = compared
            .filter_map(|&index| tiles.cut(middle, self.data.frames.get(index)))
            .collect();
        let compared: Vec<&[f32]> = compared.iter().map(Vec::as_slice).collect();
        let worst = export::verify(
            vae.network,
            &vae.network.parameters(0, self.device)?,
            vae.values,
            &mut graphs,
            &compared,
            self.device,
        )?;
        self.data.reporter.line(format_args!(
            "exported; {} differs from training by at most {worst:.1e}",
            self.engine.description()
        ));
        Ok(Some(worst))
    }

    /// What every candidate makes of the synthetic validation set and of `test`.
    pub(super) fn compare(&self, test: &[Sample]) -> Result<Vec<ScoreComparison>> {
        let name = self.dataset;
        let network = self.export(name)?;
        self.fitting(&self.models(network.as_ref()), name, |fitting| {
            fitting.compare(test)
        })
    }

    fn models<'b>(&'b self, network: Option<&'b NetworkGraphs>) -> Models<'b> {
        Models {
            engine: self.engine,
            vae: self
                .vae
                .and_then(|vae| Some((vae.network.spec(), network?))),
            shape: self.data.preprocess.shape(),
            backbone: self.backbone,
            prepared: &self.data.preprocess.normalise,
            round: self.data.memory.round,
            interrupted: self.data.interrupted,
        }
    }

    /// Does `work` with what a detector is fitted with.
    fn fitting<T>(
        &self,
        models: &Models,
        name: &str,
        work: impl FnOnce(&Fitting) -> Result<T>,
    ) -> Result<T> {
        let options = self.options;
        let has_backbone = self.backbone.is_some();
        let spec = models.vae.map(|(spec, _)| spec);
        let residual = spec
            .filter(|_| candidates::reads(options.score, Features::Residual, has_backbone))
            .and_then(|spec| residual::onnx(spec, name));
        let graphs = [(HEAD, models.head()), (RESIDUAL, residual.as_deref())];
        let graphs = graphs
            .into_iter()
            .filter_map(|(name, graph)| Some((name, graph?)));
        let pool = models.pool(&graphs.collect::<Vec<_>>(), true)?;
        work(&Fitting {
            score: options.score,
            may_fold: options.may_fold(),
            data: self.data,
            vae: spec,
            pool: &pool,
            residual: residual.as_deref(),
            backbone: self.backbone.map(|backbone| &backbone.settings),
            params: &SelectionParams::default(),
        })
    }

    /// The threshold, and the scores that it comes from: those of all frames out of fold, or of
    /// those that are held out.
    fn calibrate(
        &self,
        models: &Models,
        fitted: &FittedCandidates,
        detector: &FittedDetector,
    ) -> Result<(Calibration, Vec<ScoredFrame>)> {
        let mut graphs = graphs_of(&detector.graphs, &detector.files, models.head())?;
        let params = CalibrationParams {
            false_alarm_rate: self.options.false_alarm_rate,
            tolerance: MAP_TOLERANCE,
        };
        let mut needs_backbone = true;
        let mut places = self.data.split.calibration.clone();
        if let Some(folds) = &fitted.folds {
            let mut model = models.model(&graphs, true)?;
            calibration::verify_folds(self.data, folds, &mut model, &params)?;
            // Their distances are at hand.
            let at_hand = candidates::graph_file(folds.source());
            graphs.retain(|(name, _)| *name != at_hand);
            needs_backbone = graphs
                .iter()
                .any(|(name, _)| candidates::is_of_patches(name));
            places = folds.frames();
        }
        let scoring = calibration::Scoring {
            scoring: &detector.scoring,
            statistics: &detector.statistics,
            vae: models.vae.map(|(spec, _)| spec),
            folds: fitted.folds.as_ref(),
        };
        let pool = models.pool(&graphs, needs_backbone)?;
        let scored = calibration::score(&scoring, &places, self.data, &pool)?;
        if fitted.folds.is_none() && is_shared(self.data.split) {
            let copies = selection::make_normal(self.data)?;
            let copies: Vec<&[f32]> = copies.iter().map(|copy| &copy.canvas[..]).collect();
            let copies = calibration::score_canvases(&scoring, &copies, self.data, &pool)?;
            let calibration =
                calibration::calibrate_without_guarantee(self.data, &copies, &scored, &params)?;
            return Ok((calibration, scored));
        }
        let calibration = calibration::calibrate(
            self.data,
            &scored,
            fitted.folds.as_ref(),
            detector.map_is_out_of_fold,
            &params,
        )?;
        Ok((calibration, scored))
    }

    /// The defects of synthetic validation as the bundle scores them; `None` where none was drawn.
    fn synthetic_defects(
        &self,
        models: &Models,
        fitted: &FittedCandidates,
        detector: &FittedDetector,
    ) -> Result<Option<SyntheticDefects>> {
        let mut samples = Vec::new();
        for split in &fitted.selected_on {
            let data = FitData {
                split,
                ..*self.data
            };
            samples.extend(selection::make_defects(&data, fitted.selected_on.len())?);
        }
        if samples.is_empty() {
            return Ok(None);
        }
        let graphs = graphs_of(&detector.graphs, &detector.files, models.head())?;
        let scoring = calibration::Scoring {
            scoring: &detector.scoring,
            statistics: &detector.statistics,
            vae: models.vae.map(|(spec, _)| spec),
            folds: None,
        };
        let canvases: Vec<&[f32]> = samples.iter().map(|s| &s.canvas[..]).collect();
        let pool = models.pool(&graphs, true)?;
        let scored = calibration::score_canvases(&scoring, &canvases, self.data, &pool)?;
        let size = |sample: &SyntheticSample| match &sample.label {
            Label::Defect(mask) => {
                mask.iter().filter(|&&inside| inside).count() as f64 / mask.len() as f64
            }
            _ => 0.0,
        };
        Ok(Some(SyntheticDefects {
            scores: scored.iter().map(|sample| sample.score).collect(),
            sizes: samples.iter().map(size).collect(),
            contrasts: samples.iter().map(|s| f64::from(s.contrast)).collect(),
        }))
    }

    /// All files and settings of the bundle.
    fn assemble(
        &self,
        name: String,
        models: &Models,
        detector: FittedDetector,
        (calibration, defects): (Calibration, Option<SyntheticDefects>),
        worst: Option<f64>,
    ) -> Result<BundleWriter> {
        let (data, spec) = (self.data, models.vae.map(|(spec, _)| spec));
        let graphs: Vec<Graph> = graphs_of(&detector.graphs, &detector.files, models.head())?;
        let with_head = graphs.iter().any(|(name, _)| *name == HEAD);
        let model = models.model(&graphs, true)?;
        let shapes = model.tensor_shapes();
        let (scoring, layout) = (detector.scoring.clone(), data.layout);
        let mut scorer = Scorer::new(&scoring, spec, layout, &shapes, &detector.statistics)?;
        let [_, height, width] = models.shape;
        let first = data
            .split
            .calibration
            .first()
            .map(|&index| data.samples[index]);
        if let (Golden::CalibrationFrame, Some(sample)) = (self.golden, first) {
            data.reporter.line(format_args!(
                "golden frame: {} goes into the bundle (`--golden glyph` keeps your pictures out)",
                sample.name()
            ));
        }
        let golden = GoldenFrame::of(self.golden, first, height.max(width))?;
        let preprocessor = Preprocessor::with_mask(data.preprocess.clone(), data.mask)?;
        let mut session = InferenceSession::new(preprocessor, model, self.engine.description());
        let values = GoldenValues::compute(&golden.frame, &mut session, Some(&mut scorer))?;

        let mut files = detector.files;
        files.extend([
            (GOLDEN_FRAME.to_owned(), golden.png),
            (GOLDEN_VALUES.to_owned(), values.to_npz()?),
            (TRAINING_FRAMES.to_owned(), self.pictures.to_file()),
        ]);
        if let Some((_, network)) = models.vae {
            files.insert(ENCODER.to_owned(), network.encoder.clone());
            files.insert(DECODER.to_owned(), network.decoder.clone());
        }
        files.extend(data.mask.map(|mask| (MASK.to_owned(), mask.to_vec())));
        let head = models.head().filter(|_| with_head);
        files.extend(head.map(|head| (HEAD.to_owned(), head.to_vec())));
        let backbone = self.backbone.filter(|_| detector.backbone.is_some());
        files.extend(backbone.map(|b| (b.settings.file.clone(), b.onnx.clone())));
        let mut metrics = detector.metrics;
        metrics.extend(worst.map(|worst| ("export-largest-difference".to_owned(), worst)));
        let run = self.vae.map(|vae| (vae.state, vae.values));
        let seconds = self.began.elapsed().as_secs_f64();
        Ok(BundleWriter {
            name,
            preprocess: data.preprocess.clone(),
            vae: spec.cloned(),
            feature_extractor: detector.backbone,
            graphs: detector.graphs,
            scoring: Some(scoring),
            calibration: Some(calibration),
            synthetic_defects: defects,
            golden: edge_vae::bundle::Golden {
                frame: GOLDEN_FRAME.to_owned(),
                expected: GOLDEN_VALUES.to_owned(),
                score: values.score,
                tolerance: export::TOLERANCE,
                map_tolerance: MAP_TOLERANCE,
            },
            card: export::model_card(
                self.dataset,
                data.split,
                self.options,
                run,
                seconds,
                metrics,
            ),
            files,
        })
    }
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
