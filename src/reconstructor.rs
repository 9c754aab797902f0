//! `Reconstructor`: from a frame to its posterior and its reconstruction.

use std::time::{Duration, Instant};

use crate::{
    Error,
    anomaly::{AnomalyError, Scorer},
    backend::Engine,
    bundle::Bundle,
    frame::Frame,
    preprocess::{Geometry, Preprocessor},
    vae::{Decoded, Vae},
};

/// Preprocessing and model of a bundle on an engine, one frame at a time, with all buffers.
///
/// It says nothing about what is normal, and so serves bundles without a scoring, and the trainer
/// while it fits one; [`Detector`](crate::Detector) judges.
pub struct Reconstructor {
    preprocessor: Preprocessor,
    vae: Vae,
    description: String,
    input: Vec<f32>,
    mean: Vec<f32>,
    log_variance: Vec<f32>,
    decoded: Decoded,
}

/// How long the stages of [`Reconstructor::run`] took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    pub(crate) prepare: Duration,
    pub(crate) encode: Duration,
    pub(crate) decode: Duration,
}

impl Reconstructor {
    /// Loads the graphs of a bundle. The golden frame is not looked at: see [`Bundle::proved`].
    ///
    /// # Errors
    /// A graph that the engine can't load, or whose names or shapes are not those of the manifest.
    pub fn new(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let spec = &bundle.manifest().vae;
        let preprocessor = bundle.preprocessor()?;
        let vae = bundle.vae(engine, 1)?;
        Ok(Self {
            preprocessor,
            description: engine.description(),
            input: vec![0.0; spec.dimensions()],
            mean: vec![0.0; spec.latent.dimensions()],
            log_variance: vec![0.0; spec.latent.dimensions()],
            decoded: Decoded::default(),
            vae,
        })
    }

    /// Prepares a frame, encodes it, and decodes its posterior mean.
    ///
    /// # Errors
    /// A frame that can't be prepared, and failures of the engine.
    pub fn run(&mut self, frame: &Frame) -> Result<Geometry, Error> {
        self.run_timed(frame).map(|(geometry, _)| geometry)
    }

    pub(crate) fn run_timed(&mut self, frame: &Frame) -> Result<(Geometry, Stages), Error> {
        let begin = Instant::now();
        let geometry = self.preprocessor.prepare(frame, &mut self.input)?;
        let prepared = Instant::now();
        self.vae
            .encode_into(&self.input, &mut self.mean, &mut self.log_variance)?;
        let encoded = Instant::now();
        self.vae.decode_into(&self.mean, &mut self.decoded)?;
        let stages = Stages {
            prepare: prepared - begin,
            encode: encoded - prepared,
            decode: encoded.elapsed(),
        };
        Ok((geometry, stages))
    }

    /// Scores the last frame: its anomaly map goes into `map` (`H×W`).
    ///
    /// # Errors
    /// Those of [`Scorer::score`].
    pub fn score(&self, scorer: &mut Scorer, map: &mut [f32]) -> Result<f64, AnomalyError> {
        scorer.score(
            &self.input,
            &self.decoded.reconstruction,
            &self.decoded.log_variance,
            map,
        )
    }

    /// Number of values of a map: H·W.
    pub fn positions(&self) -> usize {
        let spec = self.vae.spec();
        spec.height * spec.width
    }

    /// The prepared frame, `C×H×W`.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// Posterior mean of the last frame, `L` or `L×h×w`.
    pub fn posterior_mean(&self) -> &[f32] {
        &self.mean
    }

    /// Posterior log-variance of the last frame, `L` or `L×h×w`.
    pub fn posterior_log_variance(&self) -> &[f32] {
        &self.log_variance
    }

    /// What the decoder made of the last frame's posterior mean.
    pub fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    /// The model, to encode and decode by hand, one frame at a time.
    pub fn vae(&mut self) -> &mut Vae {
        &mut self.vae
    }

    /// The model alone, of batch 1.
    pub fn into_vae(self) -> Vae {
        self.vae
    }

    /// The engine and where it runs, as [`Engine::description`] names it.
    pub fn description(&self) -> &str {
        &self.description
    }
}
