//! What a model makes of training frames.

use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_vae::{
    Detector, Explain,
    backend::{Engine, EngineOptions},
    bundle::Bundle,
    dataset::Sample,
    frame::DecodeOptions,
    render::{MapScale, Thumbnail},
};

use super::{Ranking, ScoredBy};
use crate::{reporter::Reporter, run_folder::run_folder};

/// A model that judges training frames once more.
pub struct Judge {
    detector: Detector,
}

impl Judge {
    /// Loads a bundle on the default engine.
    ///
    /// # Errors
    /// A bundle that can't be used, or does not score.
    pub fn open(model: &Bundle) -> Result<Self> {
        let engine = Engine::for_bundle(model, &EngineOptions::default())?;
        let mut detector = Detector::new(model, &engine)?;
        detector.explain(Explain::Anomalous);
        Ok(Self { detector })
    }

    /// How the model's frames are decoded.
    pub fn decode_options(&self) -> DecodeOptions {
        self.detector.manifest().preprocess.decode_options()
    }

    /// The ranking that `fit` wrote for this model; `None` where it is another's, or there is none.
    ///
    /// # Errors
    /// A file that is no ranking.
    pub fn ranking_of_fit(&self, model: &Path) -> Result<Option<Ranking>> {
        let ranking = Ranking::read(&run_folder(model)?)?;
        Ok(ranking.filter(|ranking| ranking.model_id == self.detector.model_id()))
    }

    /// Ranks `samples` by this model's own scores. What can't be read or scored is named and left
    /// out.
    ///
    /// # Errors
    /// No frame that could be scored.
    pub fn rank(
        &mut self,
        dataset: &str,
        samples: &[Sample],
        reporter: &Reporter,
    ) -> Result<Ranking> {
        let mut scores = Vec::with_capacity(samples.len());
        let mut bar = reporter.bar(samples.len(), "frames scored");
        for (done, sample) in samples.iter().enumerate() {
            bar.set(done);
            match self.score(sample) {
                Ok(score) => scores.push((sample.name().to_owned(), score)),
                Err(error) => reporter.line(format_args!("left out: {error:#}")),
            }
        }
        drop(bar);
        if scores.is_empty() {
            bail!(
                "none of {} frames of {dataset} could be scored",
                samples.len()
            );
        }
        let model_id = self.detector.model_id();
        Ok(Ranking::of(model_id, dataset, ScoredBy::Model, scores))
    }

    fn score(&mut self, sample: &Sample) -> Result<f64> {
        let detection = self.detector.score(&sample.frame()?)?;
        let verdict = detection.verdict;
        let reasons = || format!("{}: {}", sample.name(), verdict.reasons.join("; "));
        verdict.score.with_context(reasons)
    }

    /// A frame beside its anomaly map.
    ///
    /// # Errors
    /// A frame that can't be read or scored any more.
    pub fn look(&mut self, sample: &Sample) -> Result<Thumbnail> {
        let frame = sample.frame()?;
        let detection = self.detector.score(&frame)?;
        let map = self.detector.frame_map(&detection);
        let reasons = || {
            format!(
                "{}: {}",
                sample.name(),
                detection.verdict.reasons.join("; ")
            )
        };
        let map = map.with_context(reasons)?;
        // The cold end: the mean of normal frames, which is 0 for a standardised map.
        let threshold = self.detector.calibration().map_threshold as f32;
        let scale = MapScale::around(threshold, 0.0_f32.min(threshold.next_down()));
        Ok(Thumbnail::of(&frame, map.view(), &scale))
    }
}
