//! `Reconstructor`: from a frame to its posterior, its reconstruction, and what the bundle's
//! further graphs make of them.

use std::time::{Duration, Instant};

use crate::{
    Error,
    anomaly::{GraphShapes, Observed, Source},
    backend::Engine,
    bundle::Bundle,
    frame::Frame,
    observer::{Observer, Stages, Work},
    preprocess::{CanvasLayout, Geometry, Preprocessor},
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
        Ok(Self::of(
            bundle.preprocessor()?,
            bundle.observer(engine)?,
            engine.description(),
        ))
    }

    /// Of parts that are at hand; `description` says which engine they run on.
    pub fn of(preprocessor: Preprocessor, observer: Observer, description: String) -> Self {
        Self {
            input: vec![0.0; preprocessor.settings().shape().iter().product()],
            preprocessor,
            observer,
            description,
        }
    }

    /// Prepares a frame, encodes it, decodes its posterior mean, and runs the further graphs.
    ///
    /// # Errors
    /// A frame that can't be prepared, or that the bundle cuts into tiles, and failures of the
    /// engine.
    pub fn run(&mut self, frame: &Frame) -> Result<Geometry, Error> {
        let geometry = self.preprocessor.prepare(frame, &mut self.input)?;
        self.observer.observe(&self.input)?;
        Ok(geometry)
    }

    /// Prepares the canvas of a frame and does the same for each of its tiles, of which there may
    /// be one; `see` gets the tile's place and everything that was computed for it.
    ///
    /// # Errors
    /// A frame that can't be prepared, failures of the engine, and the errors of `see`.
    pub fn run_tiles(
        &mut self,
        frame: &Frame,
        see: impl FnMut(usize, &Observed) -> Result<(), Error>,
    ) -> Result<Geometry, Error> {
        let geometry = self.prepare(frame)?;
        let all = self.observer.all_work();
        self.observe_tiles(&all, see)?;
        Ok(geometry)
    }

    /// Prepares the canvas of a frame.
    pub(crate) fn prepare(&mut self, frame: &Frame) -> Result<Geometry, Error> {
        Ok(self.preprocessor.prepare_canvas(frame)?)
    }

    /// Does some of the work for each tile of the canvas that was prepared last, with the time that
    /// cutting took, and that of the graphs.
    pub(crate) fn observe_tiles(
        &mut self,
        work: &Work,
        mut see: impl FnMut(usize, &Observed) -> Result<(), Error>,
    ) -> Result<(Duration, Stages), Error> {
        let mut cut = Duration::ZERO;
        let mut stages = Stages::default();
        for tile in 0..self.preprocessor.layout().count() {
            let begin = Instant::now();
            self.preprocessor.tile(tile, &mut self.input)?;
            cut += begin.elapsed();
            stages += self.observer.observe_part(&self.input, work)?;
            see(tile, &self.observer.observed(&self.input))?;
        }
        Ok((cut, stages))
    }

    /// All graphs.
    pub(crate) fn all_work(&self) -> Work {
        self.observer.all_work()
    }

    /// The graphs that the maps of `sources` come from.
    pub(crate) fn work_for(&self, sources: &[Source]) -> Work {
        self.observer.work_for(sources)
    }

    /// Tiles and mask of the canvas.
    pub fn canvas_layout(&self) -> &CanvasLayout {
        self.preprocessor.canvas_layout()
    }

    /// Everything that was computed for the last frame, of several tiles for the last one.
    pub fn observed(&self) -> Observed<'_> {
        self.observer.observed(&self.input)
    }

    /// Rows and columns of the maps that the further graphs make.
    pub fn graph_shapes(&self) -> GraphShapes {
        self.observer.graph_shapes()
    }

    /// The prepared frame, of several tiles the last one, `C×H×W`.
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
