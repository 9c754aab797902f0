//! From a trained network to a verified and calibrated bundle.

use std::path::Path;

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
    detector::{FittedDetector, Fitting, RESIDUAL, ScoreComparison, graphs_of},
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
    options::Golden,
    selection::{self, Label, SelectionParams, SyntheticSample},
    vae::{Network, State},
};

/// A trained network and all that its bundle is made of.
pub(super) struct Finished<'a> {
    /// Name of the data set.
    pub dataset: &'a str,
    /// Structure.
    pub network: &'a Network,
    /// Values to export.
    pub values: &'a Snapshot,
    /// The run that made them.
    pub state: &'a State,
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

/// Frames on which graphs and network are compared.
const COMPARED: usize = 8;
/// Tolerance of distances, anomaly map and score, in standard deviations.
const MAP_TOLERANCE: f64 = 1e-2;

impl Finished<'_> {
    /// Exports the graphs, compares them with the trained network, fits the detector and the
    /// threshold, by the runtime's own code but for out-of-fold distances, which are compared with
    /// the graph's, and writes the bundle.
    ///
    /// # Errors
    /// A disagreement above [`export::TOLERANCE`], and files that can't be written.
    pub(super) fn write(&self, out: &Path, review_rate: Option<f64>) -> Result<Written> {
        let name = model_name(out);
        let network = NetworkGraphs::export(self.network, self.values, &name)?;
        let models = self.models(&network);
        let worst = self.verify_graphs(&models)?;
        let detector = self.fitting(&models, &name, |fitting| fitting.fit())?;
        let (mut calibration, scored) = self.calibrate(&models, &detector)?;
        calibration.trimmed = self.trimmed;
        if let Err(error) = calibration.set_review_rate(review_rate) {
            // So few frames that their rate reaches it are no reason to lose the training.
            self.data
                .reporter
                .warn(format_args!("{error}: no frame will be for review"));
        }
        let defects = self.synthetic_defects(&models, &detector)?;
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
        })
    }

    /// The scores of the normal frames, each by a density that did not know it.
    ///
    /// # Errors
    /// As [`Self::write`], and frames of which only some could be scored so.
    pub(super) fn out_of_fold_scores(&self) -> Result<Vec<ScoredFrame>> {
        let network = NetworkGraphs::export(self.network, self.values, self.dataset)?;
        let models = self.models(&network);
        let detector = self.fitting(&models, self.dataset, |fitting| fitting.fit())?;
        ensure!(
            detector.folds.is_some(),
            "--trim ranks all frames by densities of the others, and what was selected here is not \
             fitted again: look at the frames with `edge-vae-train review`, and leave out with \
             --exclude what is no good part"
        );
        Ok(self.calibrate(&models, &detector)?.1)
    }

    /// The largest difference between the exported graphs and the trained network.
    fn verify_graphs(&self, models: &Models) -> Result<f64> {
        let tiles = self.data.layout.tiles();
        // A tile in the middle rather than a corner, which a mask may leave out.
        let middle = tiles.count() / 2;
        let compared = self.data.split.calibration.iter().take(COMPARED);
        let compared: Vec<Vec<f32>> = compared
            .filter_map(|&index| tiles.cut(middle, self.data.frames.get(index)))
            .collect();
        let compared: Vec<&[f32]> = compared.iter().map(Vec::as_slice).collect();
        let worst = export::verify(
            self.network,
            &self.network.parameters(0, self.device)?,
            self.values,
            &mut models.network()?,
            &compared,
            self.device,
        )?;
        self.data.reporter.line(format_args!(
            "exported; {} differs from training by at most {worst:.1e}",
            self.engine.description()
        ));
        Ok(worst)
    }

    /// What every candidate makes of the synthetic validation set and of `test`.
    pub(super) fn compare(&self, test: &[Sample]) -> Result<Vec<ScoreComparison>> {
        let name = self.dataset;
        let network = NetworkGraphs::export(self.network, self.values, name)?;
        self.fitting(&self.models(&network), name, |fitting| {
            fitting.compare(test)
        })
    }

    fn models<'b>(&'b self, network: &'b NetworkGraphs) -> Models<'b> {
        Models {
            engine: self.engine,
            spec: self.network.spec(),
            network,
            backbone: self.backbone,
            prepared: &self.data.preprocess.normalise,
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
        let options = &self.state.options;
        let has_backbone = self.backbone.is_some();
        let residual = candidates::reads(options.score, Features::Residual, has_backbone)
            .then(|| residual::onnx(models.spec, name))
            .flatten();
        let head = models.network.head.as_deref();
        let graphs = [(HEAD, head), (RESIDUAL, residual.as_deref())];
        let graphs = graphs
            .into_iter()
            .filter_map(|(name, graph)| Some((name, graph?)));
        let pool = models.pool(&graphs.collect::<Vec<_>>(), true)?;
        work(&Fitting {
            score: options.score,
            may_fold: options.may_fold(),
            data: self.data,
            spec: models.spec,
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
        detector: &FittedDetector,
    ) -> Result<(Calibration, Vec<ScoredFrame>)> {
        let head = models.network.head.as_deref();
        let mut graphs = graphs_of(&detector.graphs, &detector.files, head)?;
        let params = CalibrationParams {
            false_alarm_rate: self.state.options.false_alarm_rate,
            tolerance: MAP_TOLERANCE,
        };
        let mut needs_backbone = true;
        let mut places = self.data.split.calibration.clone();
        if let Some(folds) = &detector.folds {
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
            spec: models.spec,
            folds: detector.folds.as_ref(),
        };
        let pool = models.pool(&graphs, needs_backbone)?;
        let scored = calibration::score(&scoring, &places, self.data, &pool)?;
        if detector.folds.is_none() && is_shared(self.data.split) {
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
            detector.folds.as_ref(),
            detector.map_is_out_of_fold,
            &params,
        )?;
        Ok((calibration, scored))
    }

    /// The defects of synthetic validation as the bundle scores them; `None` where none was drawn.
    fn synthetic_defects(
        &self,
        models: &Models,
        detector: &FittedDetector,
    ) -> Result<Option<SyntheticDefects>> {
        let mut samples = Vec::new();
        for split in &detector.selected_on {
            let data = FitData {
                split,
                ..*self.data
            };
            samples.extend(selection::make_defects(&data, detector.selected_on.len())?);
        }
        if samples.is_empty() {
            return Ok(None);
        }
        let head = models.network.head.as_deref();
        let graphs = graphs_of(&detector.graphs, &detector.files, head)?;
        let scoring = calibration::Scoring {
            scoring: &detector.scoring,
            statistics: &detector.statistics,
            spec: models.spec,
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
        worst: f64,
    ) -> Result<BundleWriter> {
        let (data, spec, network) = (self.data, models.spec, models.network);
        let head = network.head.as_deref();
        let graphs: Vec<Graph> = graphs_of(&detector.graphs, &detector.files, head)?;
        let with_head = graphs.iter().any(|(name, _)| *name == HEAD);
        let model = models.model(&graphs, true)?;
        let shapes = model.tensor_shapes();
        let (scoring, layout) = (detector.scoring.clone(), data.layout);
        let mut scorer = Scorer::new(&scoring, spec, layout, &shapes, &detector.statistics)?;
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
        let golden = GoldenFrame::of(self.golden, first, spec.width.max(spec.height))?;
        let preprocessor = Preprocessor::with_mask(data.preprocess.clone(), data.mask)?;
        let mut session = InferenceSession::new(preprocessor, model, self.engine.description());
        let values = GoldenValues::compute(&golden.frame, &mut session, Some(&mut scorer))?;

        let mut files = detector.files;
        files.extend([
            (ENCODER.to_owned(), network.encoder.clone()),
            (DECODER.to_owned(), network.decoder.clone()),
            (GOLDEN_FRAME.to_owned(), golden.png),
            (GOLDEN_VALUES.to_owned(), values.to_npz()?),
            (TRAINING_FRAMES.to_owned(), self.pictures.to_file()),
        ]);
        files.extend(data.mask.map(|mask| (MASK.to_owned(), mask.to_vec())));
        let head = head.filter(|_| with_head);
        files.extend(head.map(|head| (HEAD.to_owned(), head.to_vec())));
        let backbone = self.backbone.filter(|_| detector.backbone.is_some());
        files.extend(backbone.map(|b| (b.settings.file.clone(), b.onnx.clone())));
        let mut metrics = detector.metrics;
        metrics.insert("export-largest-difference".to_owned(), worst);
        Ok(BundleWriter {
            name,
            preprocess: data.preprocess.clone(),
            vae: spec.clone(),
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
            card: export::model_card(self.dataset, data.split, self.state, self.values, metrics),
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
