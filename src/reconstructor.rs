//! `Reconstructor`: from a frame to its posterior, its reconstruction, and what the bundle's
//! further graphs make of them.

use std::time::{Duration, Instant};

use crate::{
    Error,
    anomaly::{DISTANCE, GraphShapes, HEAD_LOGITS, Observed},
    backend::{Chain, Engine, TensorInfo},
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
    chain: Chain,
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
    pub(crate) detect: Duration,
}

impl Reconstructor {
    /// Loads the graphs of a bundle. The golden frame is not looked at: see [`Bundle::proved`].
    ///
    /// # Errors
    /// A graph that the engine can't load, or whose names or shapes are not those of the manifest.
    pub fn new(bundle: &Bundle, engine: &Engine) -> Result<Self, Error> {
        let spec = &bundle.manifest().vae;
        let preprocessor = Preprocessor::new(bundle.manifest().preprocess.clone())?;
        let vae = bundle.vae(engine, 1)?;
        let chain = bundle.chain(engine, 1, tensors(&vae))?;
        Ok(Self {
            preprocessor,
            description: engine.description(),
            input: vec![0.0; spec.dimensions()],
            mean: vec![0.0; spec.latent.dimensions()],
            log_variance: vec![0.0; spec.latent.dimensions()],
            decoded: Decoded::default(),
            chain,
            vae,
        })
    }

    /// Prepares a frame, encodes it, decodes its posterior mean, and runs the further graphs.
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
        let decoded = Instant::now();
        run_chain(
            &mut self.chain,
            &self.vae,
            [&self.input, &self.mean, &self.log_variance],
            &self.decoded,
        )?;
        let stages = Stages {
            prepare: prepared - begin,
            encode: encoded - prepared,
            decode: decoded - encoded,
            detect: decoded.elapsed(),
        };
        Ok((geometry, stages))
    }

    /// Everything that was computed for the last frame.
    pub fn observed(&self) -> Observed<'_> {
        let made = |name| self.chain.made(name).map_or(&[][..], |(_, values)| values);
        Observed {
            input: &self.input,
            mean: &self.mean,
            log_variance: &self.log_variance,
            reconstruction: &self.decoded.reconstruction,
            logits: &self.decoded.logits,
            reconstruction_log_variance: &self.decoded.log_variance,
            head: made(HEAD_LOGITS),
            distance: made(DISTANCE),
        }
    }

    /// Rows and columns of the maps that the further graphs make.
    pub fn graph_shapes(&self) -> GraphShapes {
        let shape = |name| {
            let (info, _) = self.chain.made(name)?;
            match info.shape[..] {
                [1, 1, height, width] => Some([height, width]),
                _ => None,
            }
        };
        GraphShapes {
            head: shape(HEAD_LOGITS),
            distance: shape(DISTANCE),
        }
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

/// The tensors that the further graphs may use, in the order of [`run_chain`].
fn tensors(vae: &Vae) -> Vec<TensorInfo> {
    let spec = vae.spec();
    let info = |name: &str, shape: &[usize]| TensorInfo {
        name: name.to_owned(),
        shape: [&[vae.batch()], shape].concat(),
    };
    let (pixels, latent) = (spec.input_shape(), spec.latent.shape());
    vec![
        info("input", &pixels),
        info("mean", &latent),
        info("log_variance", &latent),
        info("reconstruction", &pixels),
    ]
}

fn run_chain(
    chain: &mut Chain,
    vae: &Vae,
    [input, mean, log_variance]: [&[f32]; 3],
    decoded: &Decoded,
) -> Result<(), Error> {
    let _ = vae;
    chain.run(&[input, mean, log_variance, &decoded.reconstruction])?;
    Ok(())
}
