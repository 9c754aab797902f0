//! `Reconstructor`: from a frame to its posterior, its reconstruction, and what the bundle's
//! further graphs make of them.

use std::time::{Duration, Instant};

use crate::{
    Error,
    anomaly::{GraphShapes, Observed},
    backend::Engine,
    bundle::Bundle,
    frame::Frame,
    observer::{Observer, Stages},
    preprocess::{Geometry, Preprocessor},
    vae::{Decoded, Vae},
};

/// Preprocessing and model of a bundle on an engine, one frame at a time, with all buffers.
///
/// It says nothing about what is normal, and so serves bundles without a scoring;
/// [`Detector`](crate::Detector) judges.
pub struct Reconstructor {
    preprocessor: Preprocessor,
    observer: Observer,
    description: String,
    input: Vec<f32>,
}

impl Reconstructor {
    /// Loads the graphs of a bundle. The golden frame is not looked at: see [`Bundle::proved`].
    ///
    /// # Errors
    /// A graph that the engine can't load, or whose names or shapes are not those of the manifest.
    pub fn new(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let spec = &bundle.manifest().vae;
        Ok(Self {
            preprocessor: bundle.preprocessor()?,
            observer: bundle.observer(engine)?,
            description: engine.description(),
            input: vec![0.0; spec.dimensions()],
        })
    }

    /// Prepares a frame, encodes it, decodes its posterior mean, and runs the further graphs.
    ///
    /// # Errors
    /// A frame that can't be prepared, and failures of the engine.
    pub fn run(&mut self, frame: &Frame) -> Result<Geometry, Error> {
        self.run_timed(frame).map(|(geometry, ..)| geometry)
    }

    /// The same, with the time that preparing took, and that of the graphs.
    pub(crate) fn run_timed(
        &mut self,
        frame: &Frame,
    ) -> Result<(Geometry, Duration, Stages), Error> {
        let begin = Instant::now();
        let geometry = self.preprocessor.prepare(frame, &mut self.input)?;
        let prepared = begin.elapsed();
        let stages = self.observer.observe_timed(&self.input)?;
        Ok((geometry, prepared, stages))
    }

    /// Everything that was computed for the last frame.
    pub fn observed(&self) -> Observed<'_> {
        self.observer.observed(&self.input)
    }

    /// Rows and columns of the maps that the further graphs make.
    pub fn graph_shapes(&self) -> GraphShapes {
        self.observer.graph_shapes()
    }

    /// The prepared frame, `C×H×W`.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// Posterior mean of the last frame, `L` or `L×h×w`.
    pub fn posterior_mean(&self) -> &[f32] {
        self.observer.posterior_mean()
    }

    /// Posterior log-variance of the last frame, `L` or `L×h×w`.
    pub fn posterior_log_variance(&self) -> &[f32] {
        self.observer.posterior_log_variance()
    }

    /// What the decoder made of the last frame's posterior mean.
    pub fn decoded(&self) -> &Decoded {
        self.observer.decoded()
    }

    /// The model, to encode and decode by hand, one frame at a time.
    pub fn vae(&mut self) -> &mut Vae {
        self.observer.vae()
    }

    /// The model alone, of batch 1.
    pub fn into_vae(self) -> Vae {
        self.observer.into_vae()
    }

    /// The engine and where it runs, as [`Engine::description`] names it.
    pub fn description(&self) -> &str {
        &self.description
    }
}
