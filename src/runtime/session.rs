//! `InferenceSession`: from a frame to its posterior, its reconstruction, and what the bundle's
//! further graphs make of them.

use std::time::{Duration, Instant};

use super::{load_model, load_preprocessor};
use crate::{
    Error,
    backend::Engine,
    bundle::Bundle,
    frame::Frame,
    model::{ExecutionPlan, Model, ModelError, ModelOutputs, StageTimes, TensorShapes},
    preprocess::{CanvasLayout, Geometry, Preprocessor, TileBlend},
    vae::{Decoded, Vae},
};

/// Preprocessing and model of a bundle on an engine, one frame at a time, with all buffers.
///
/// It says nothing about what is normal, and so serves bundles without a scoring;
/// [`Detector`](crate::Detector) does.
pub struct InferenceSession {
    preprocessor: Preprocessor,
    model: Model,
    description: String,
    input: Vec<f32>,
    /// Of the tiles' reconstructions; absent for a single tile.
    blend: Option<TileBlend>,
}

impl InferenceSession {
    /// Loads the graphs of a bundle. The golden frame is not looked at: see
    /// [`InferenceSession::verified`].
    ///
    /// # Errors
    /// A graph that the engine can't load, or whose names or shapes are not those of the manifest.
    pub fn open(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        Ok(Self::new(
            load_preprocessor(bundle)?,
            load_model(bundle, engine)?,
            engine.description(),
        ))
    }

    /// Of parts that are at hand; `description` says which engine they run on.
    pub fn new(preprocessor: Preprocessor, model: Model, description: String) -> Self {
        let [channels, height, width] = preprocessor.settings().shape();
        Self {
            input: vec![0.0; channels * height * width],
            blend: preprocessor.canvas_layout().blend([height, width]),
            preprocessor,
            model,
            description,
        }
    }

    /// Prepares a frame and runs all graphs on it.
    ///
    /// # Errors
    /// A frame that can't be prepared, or that the bundle cuts into tiles, and failures of the
    /// engine.
    pub fn run(&mut self, frame: &Frame) -> Result<Geometry, Error> {
        let geometry = self.preprocessor.prepare(frame, &mut self.input)?;
        self.model.run(&self.input)?;
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
        see: impl FnMut(usize, &ModelOutputs) -> Result<(), Error>,
    ) -> Result<Geometry, Error> {
        let geometry = self.prepare(frame)?;
        let all = self.model.full_plan();
        self.run_plan(&all, see)?;
        Ok(geometry)
    }

    /// Prepares the canvas of a frame.
    pub(crate) fn prepare(&mut self, frame: &Frame) -> Result<Geometry, Error> {
        Ok(self.preprocessor.prepare_canvas(frame)?)
    }

    /// Does some of the work for each tile of the canvas that was prepared last, with the time that
    /// cutting took, and that of the graphs.
    pub(crate) fn run_plan(
        &mut self,
        plan: &ExecutionPlan,
        mut see: impl FnMut(usize, &ModelOutputs) -> Result<(), Error>,
    ) -> Result<(Duration, StageTimes), Error> {
        let mut cut = Duration::ZERO;
        let mut stages = StageTimes::default();
        for tile in 0..self.preprocessor.layout().count() {
            let begin = Instant::now();
            self.preprocessor.tile(tile, &mut self.input)?;
            cut += begin.elapsed();
            stages += self.model.run_plan(&self.input, plan)?;
            see(tile, &self.model.outputs(&self.input))?;
        }
        Ok((cut, stages))
    }

    /// All graphs.
    pub(crate) fn full_plan(&self) -> ExecutionPlan {
        self.model.full_plan()
    }

    /// The graphs that `tensors` come from.
    pub(crate) fn plan_for(&self, tensors: &[&str]) -> ExecutionPlan {
        self.model.plan_for(tensors)
    }

    /// Which of the manifest's graphs makes a tensor, counted from 0.
    pub(super) fn graph_of(&self, tensor: &str) -> Option<usize> {
        self.model.graph_of(tensor)
    }

    /// Prepares the canvas of a frame, and writes the decoder's mean for all of it into `out`,
    /// C×H'×W' in units of the tensor: of a single tile what [`run`](Self::run) makes; of several
    /// each tile's from its own posterior mean, blended by [`TileBlend`] as maps are. `out` is
    /// resized where it does not fit.
    ///
    /// # Errors
    /// A frame that can't be prepared, and failures of the engine.
    pub fn reconstruct_canvas(
        &mut self,
        frame: &Frame,
        out: &mut Vec<f32>,
    ) -> Result<Geometry, Error> {
        let geometry = self.preprocessor.prepare_canvas(frame)?;
        out.resize(self.preprocessor.canvas().len(), 0.0);
        let channels = self.preprocessor.settings().channels();
        for tile in 0..self.preprocessor.layout().count() {
            self.preprocessor.tile(tile, &mut self.input)?;
            self.model.run(&self.input)?;
            let Some(decoded) = self.model.decoded() else {
                return Err(ModelError::NoVae.into());
            };
            let made = &decoded.reconstruction;
            let Some(blend) = &self.blend else {
                out.copy_from_slice(made);
                continue;
            };
            let size = out.len() / channels;
            let planes = out.chunks_exact_mut(size);
            for (canvas, plane) in planes.zip(made.chunks_exact(made.len() / channels)) {
                blend.add(tile, plane, canvas);
            }
        }
        Ok(geometry)
    }

    /// Tiles and mask of the canvas.
    pub fn canvas_layout(&self) -> &CanvasLayout {
        self.preprocessor.canvas_layout()
    }

    /// Everything that was computed for the last frame, of several tiles for the last one.
    pub fn outputs(&self) -> ModelOutputs<'_> {
        self.model.outputs(&self.input)
    }

    /// Names and shapes of all tensors.
    pub fn tensor_shapes(&self) -> TensorShapes {
        self.model.tensor_shapes()
    }

    /// The canvas of the last frame, C×H'×W', of which [`input`](Self::input) is a tile.
    pub fn canvas(&self) -> &[f32] {
        self.preprocessor.canvas()
    }

    /// The prepared frame, of several tiles the last one, `C×H×W`.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// Posterior mean of the last frame, `L` or `L×h×w`; empty without a VAE.
    pub fn posterior_mean(&self) -> &[f32] {
        self.model.posterior_mean()
    }

    /// Posterior log-variance of the last frame, `L` or `L×h×w`; empty without a VAE.
    pub fn posterior_log_variance(&self) -> &[f32] {
        self.model.posterior_log_variance()
    }

    /// What the decoder made of the last frame's posterior mean; `None` without a VAE.
    pub fn decoded(&self) -> Option<&Decoded> {
        self.model.decoded()
    }

    /// The VAE alone, of batch 1, to encode and decode by hand.
    ///
    /// # Errors
    /// A model without one.
    pub fn into_vae(self) -> Result<Vae, Error> {
        Ok(self.model.into_vae().ok_or(ModelError::NoVae)?)
    }

    /// The engine and where it runs, as [`Engine::description`] names it.
    pub fn description(&self) -> &str {
        &self.description
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::{Graph, test_graphs::FakeGraph},
        frame::PixelFormat,
        preprocess::{Colour, PreprocessSettings, Tiles},
        vae::{Latent, Likelihood, VaeSpec},
    };

    const SIDE: usize = 4;

    /// A graph whose first output is its input, and whose second is 0.
    fn copying(input: (&str, &[usize]), outputs: &[(&str, &[usize])]) -> Box<dyn Graph> {
        FakeGraph::boxed(&[input], outputs, |inputs, outputs| {
            outputs[0].copy_from_slice(inputs[0]);
        })
    }

    /// With a model that reconstructs whatever it is given.
    fn session(tiles: Option<Tiles>) -> InferenceSession {
        let (pixels, latent) = ([1, 3, SIDE, SIDE], [1, 3 * SIDE * SIDE]);
        let spec = VaeSpec {
            channels: 3,
            height: SIDE,
            width: SIDE,
            latent: Latent::Vector { length: latent[1] },
            likelihood: Likelihood::Gaussian { sigma: 1.0 },
        };
        let encoder = copying(
            ("input", &pixels),
            &[("mean", &latent), ("log_variance", &latent)],
        );
        let decoder = copying(("latent", &latent), &[("reconstruction", &pixels)]);
        let settings = PreprocessSettings {
            tiles,
            ..PreprocessSettings::new(SIDE, SIDE, Colour::Rgb)
        };
        InferenceSession::new(
            Preprocessor::new(settings).unwrap(),
            Model::new(
                spec.input_shape(),
                Some(Vae::new(spec, encoder, decoder).unwrap()),
                None,
            ),
            "copies".to_owned(),
        )
    }

    #[test]
    fn tiles_that_are_what_they_were_make_the_canvas() {
        let (width, height) = (11, 7);
        let samples = (0..width * height * 3).map(|i| (i * 37 % 251) as u8);
        let samples = samples.collect();
        let frame = Frame::from_u8(width, height, PixelFormat::Rgb8, samples, "coloured").unwrap();
        let tiles = Tiles {
            width: width as usize,
            height: height as usize,
            overlap: 0.5,
        };
        for (tiles, size) in [(None, 3 * SIDE * SIDE), (Some(tiles), 3 * 77)] {
            let mut session = session(tiles);
            // Of another frame and size.
            let mut found = vec![f32::NAN; 5];
            session.reconstruct_canvas(&frame, &mut found).unwrap();
            assert_eq!(found.len(), size);
            for (found, expected) in found.iter().zip(session.canvas()) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}
