//! A model that learns from accepted frames, where it runs: the Gaussians of the feature route, and
//! the calibration, without training.
//!
//! A density of Gaussians at each location says of a frame what it expects, y = μ + B a + e. Its
//! file holds μ, B and the covariance of e, and how many frames they come from; so frames can be
//! added as if they had been there. What all locations share stays: the features, their principal
//! components, the covariate, B, and the scale correction.
//!
//! The threshold comes from the same frames, each scored by densities that were adapted to the
//! frames of other folds, as `fit` does where it fits to all frames (cross-conformal prediction:
//! Vovk 2015).

mod density_file;
mod sums;

use nalgebra::DMatrix;

use super::{GoldenCheck, InferenceSession, load_scorer, renew_golden};
use crate::{
    Error, Frame,
    backend::Engine,
    bundle::{Adaptation, Bundle, BundleError, TrainingFrames},
    calibration::{Calibration, ReferenceFrame},
    frame::FrameStatistics,
    model::GraphSettings,
    scoring::Scorer,
};

use density_file::DensityFile;
use sums::CellSums;

/// How a model is adapted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptationParams {
    /// In how many folds the frames calibrate, 2 or more. Those that a fold's model lacks are few
    /// beside those that it knows from training, so a handful is enough.
    pub folds: usize,
    /// How often each frame counts, against those of training; above 0.
    pub weight: f64,
}

impl Default for AdaptationParams {
    fn default() -> Self {
        Self {
            folds: 5,
            weight: 1.0,
        }
    }
}

/// An accepted frame as a model scored it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptationScore {
    /// Raw score.
    pub score: f64,
    /// The maximum of its anomaly map.
    pub map_maximum: f64,
    /// What it looks like.
    pub reference: ReferenceFrame,
}

/// A density that learns.
struct Learning {
    /// Its file in the bundle.
    name: String,
    file: DensityFile,
    /// B of each location.
    slopes: Vec<DMatrix<f64>>,
    /// By fold, then by location.
    sums: Vec<Vec<CellSums>>,
    /// Tensors of the probe.
    vectors: String,
    covariate: String,
}

/// Learns from accepted frames, one after the other: [`learn`](Self::learn) each, score each by the
/// [`model`](Self::model) of the others, and [`finish`](Self::finish).
///
/// Memory does not grow with the frames: for each fold there are r² + r numbers of each location.
pub struct Adapter<'a> {
    bundle: &'a Bundle,
    engine: &'a Engine,
    params: AdaptationParams,
    learning: Vec<Learning>,
    /// Graphs of the map that stay as they are.
    unchanged: Vec<String>,
    probe: Scored,
    /// Tiles in each fold.
    tiles: Vec<usize>,
    /// Frames.
    frames: usize,
    /// The frames that the model was made of, and those learned; `None` where it does not say.
    seen: Option<TrainingFrames>,
}

/// A model that scores, and what comes of its tiles.
struct Scored {
    session: InferenceSession,
    scorer: Scorer,
    map: Vec<f32>,
}

impl<'a> Adapter<'a> {
    /// For a bundle, which stays as it is.
    ///
    /// # Errors
    /// [`BundleError::Lacks`] for a bundle whose score needs training to change; an engine that
    /// disagrees on the golden frame, and its failures.
    pub fn new(
        bundle: &'a Bundle,
        engine: &'a Engine,
        params: AdaptationParams,
    ) -> Result<Self, Error> {
        let lacks = |problem: String| BundleError::Lacks {
            path: bundle.path().to_owned(),
            problem,
        };
        GoldenCheck::verify(bundle, engine)?;
        let manifest = bundle.manifest();
        let scoring = manifest
            .scoring
            .as_ref()
            .filter(|_| bundle.calibration().is_some());
        let scoring = scoring.ok_or_else(|| {
            lacks("has no scoring or no calibration: there is nothing to adapt".to_owned())
        })?;
        let session = InferenceSession::open(bundle, engine)?;
        let graph_of = |source: &String| {
            let read = scoring.sources.iter().find(|known| known.name == *source)?;
            let [tensor] = read.reads.tensors()[..] else {
                return None;
            };
            let place = session.graph_of(tensor)?;
            Some(manifest.graphs[place].file.clone())
        };
        let mut learning: Vec<Learning> = Vec::new();
        let mut unchanged = Vec::new();
        for (is_score, source) in [
            (true, &scoring.image.sources),
            (false, &scoring.map.sources),
        ]
        .into_iter()
        .flat_map(|(is_score, sources)| sources.iter().map(move |name| (is_score, name)))
        {
            let Some(name) = graph_of(source) else {
                if is_score {
                    return Err(lacks(format!(
                        "scores by `{source}`, which is of the VAE: only training can change it"
                    ))
                    .into());
                }
                unchanged.push(source.clone());
                continue;
            };
            if learning.iter().any(|known| known.name == name) {
                continue;
            }
            match DensityFile::read(bundle.listed(&name)) {
                Ok(file) => learning.push(Learning::new(name, file, params.folds, learning.len())),
                Err(problem) if is_score => {
                    return Err(lacks(format!("can't be adapted: {name} {problem}")).into());
                }
                Err(_) => unchanged.push(source.clone()),
            }
        }
        drop(session);
        let mut probing = bundle.clone();
        for (place, of) in learning.iter().enumerate() {
            let name = format!("probe{place}.onnx");
            probing.put(&name, of.file.probe(&of.vectors, &of.covariate));
            probing.manifest_mut().graphs.push(GraphSettings::new(name));
        }
        Ok(Self {
            probe: Scored::open(&probing, engine)?,
            bundle,
            engine,
            tiles: vec![0; params.folds],
            params,
            learning,
            unchanged,
            frames: 0,
            seen: bundle.training_frames()?,
        })
    }

    /// Sources of the anomaly map that stay as they are, since only training can change them.
    pub fn unchanged(&self) -> &[String] {
        &self.unchanged
    }

    /// Frames that the densities knew before, each as it counted; the fewest of several.
    pub fn known(&self) -> f64 {
        let known = self.learning.iter().map(|of| of.file.known.weight);
        known.fold(f64::INFINITY, f64::min)
    }

    /// Takes a frame into a fold, and scores it by the model as it is.
    ///
    /// # Errors
    /// A frame that can't be prepared, failures of the engine, values that are not finite.
    pub fn learn(&mut self, frame: &Frame, fold: usize) -> Result<AdaptationScore, Error> {
        let learning = &mut self.learning;
        let tiles = &mut self.tiles[fold];
        let scored = self.probe.score(frame, |outputs| {
            *tiles += 1;
            for of in learning.iter_mut() {
                let [vectors, covariate] =
                    [&of.vectors, &of.covariate].map(|name| outputs.values(name));
                of.file
                    .add(&of.slopes, (vectors, covariate), &mut of.sums[fold]);
            }
        })?;
        self.frames += 1;
        if let Some(seen) = &mut self.seen {
            seen.insert(frame.digest());
        }
        Ok(scored)
    }

    /// The model that was adapted to all frames but those of `fold`.
    ///
    /// # Errors
    /// Features that make no covariance, and failures of the engine.
    pub fn model(&self, fold: usize) -> Result<FoldModel, Error> {
        let adapted = self.adapted(Some(fold))?;
        Ok(FoldModel(Scored::open(&adapted, self.engine)?))
    }

    /// The adapted bundle in memory, with its new golden values and `calibration`, and without the
    /// scores of synthetic defects, which are of the old densities. `date` is the time of now, RFC
    /// 3339 in UTC.
    ///
    /// # Errors
    /// Features that make no covariance, and failures of the engine.
    pub fn finish(self, calibration: Calibration, date: String) -> Result<Bundle, Error> {
        let mut adapted = self.adapted(None)?;
        let earlier = self.bundle.manifest().adaptation.as_ref();
        adapted.manifest_mut().adaptation = Some(Adaptation {
            date,
            frames: self.frames + earlier.map_or(0, |earlier| earlier.frames),
            weight: self.params.weight,
            from: self.bundle.model_id().to_owned(),
        });
        adapted.put_synthetic_defects(None)?;
        if let Some(seen) = &self.seen {
            adapted.set_training_frames(seen);
        }
        adapted.put_calibration(Some(calibration))?;
        renew_golden(&mut adapted, self.engine)?;
        Ok(adapted)
    }

    /// The bundle with the frames of all folds, or of all but one.
    fn adapted(&self, without: Option<usize>) -> Result<Bundle, BundleError> {
        let mut adapted = self.bundle.clone();
        let taken = |fold: &usize| Some(*fold) != without;
        let folds: Vec<usize> = (0..self.params.folds).filter(taken).collect();
        let frames: usize = folds.iter().map(|&fold| self.tiles[fold]).sum();
        for of in &self.learning {
            let mut sums = vec![CellSums::new(of.file.components); of.file.cells.len()];
            for &fold in &folds {
                let each = sums.iter_mut().zip(&of.sums[fold]);
                each.for_each(|(all, of_fold)| all.merge(of_fold));
            }
            let counted = (frames as f64, self.params.weight);
            let bytes = of.file.with(&sums, counted);
            let bytes = bytes.map_err(|problem| BundleError::Lacks {
                path: self.bundle.path().join(&of.name),
                problem,
            })?;
            adapted.put(&of.name, bytes);
        }
        Ok(adapted)
    }
}

impl Learning {
    fn new(name: String, file: DensityFile, folds: usize, place: usize) -> Self {
        let none = vec![CellSums::new(file.components); file.cells.len()];
        let slope = |cell: &sums::Gaussian| cell.slope();
        let slopes: Option<Vec<_>> = file.cells.iter().map(slope).collect();
        Self {
            slopes: slopes.unwrap_or_default(),
            sums: vec![none; folds],
            vectors: format!("probe{place}_vectors"),
            covariate: format!("probe{place}_covariate"),
            name,
            file,
        }
    }
}

/// A model that some of the frames were not shown to.
pub struct FoldModel(Scored);

impl FoldModel {
    /// Scores a frame.
    ///
    /// # Errors
    /// As [`Adapter::learn`].
    pub fn score(&mut self, frame: &Frame) -> Result<AdaptationScore, Error> {
        self.0.score(frame, |_| ())
    }
}

impl Scored {
    fn open(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let session = InferenceSession::open(bundle, engine)?;
        let scorer = load_scorer(bundle, &session.tensor_shapes())?;
        let scorer = scorer.ok_or_else(|| BundleError::Lacks {
            path: bundle.path().to_owned(),
            problem: "has no scoring".to_owned(),
        })?;
        Ok(Self {
            map: vec![0.0; scorer.positions()],
            session,
            scorer,
        })
    }

    fn score(
        &mut self,
        frame: &Frame,
        mut see: impl FnMut(&crate::model::ModelOutputs),
    ) -> Result<AdaptationScore, Error> {
        let scorer = &mut self.scorer;
        self.session.run_tiles(frame, |tile, outputs| {
            see(outputs);
            Ok(scorer.add_tile(tile, outputs)?)
        })?;
        let score = scorer.finish(&mut self.map)?;
        let map_maximum = self.map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Ok(AdaptationScore {
            score,
            map_maximum: f64::from(map_maximum),
            reference: ReferenceFrame {
                statistics: FrameStatistics::of(frame),
                divergence: scorer.divergence(),
                size: [frame.width(), frame.height()],
            },
        })
    }
}
