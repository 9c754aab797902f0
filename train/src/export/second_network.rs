//! The network whose features are compared, as the fit and the bundle take it.

use std::time::Instant;

use anyhow::{Context, Result};
use edge_vae::{
    backend::Engine,
    model::{FeatureExtractor, FeatureExtractorSettings},
    preprocess::Normalise,
    vae::VaeSpec,
};

use crate::{backbone, options::BackboneOptions};

/// File of the bundle with it.
const FILE: &str = "backbone.onnx";

/// Runs that are timed, after one that is not.
const TIMED: u32 = 3;

/// The shipped network, or the user's own.
#[derive(Debug)]
pub struct SecondNetwork {
    /// As the bundle describes it.
    pub settings: FeatureExtractorSettings,
    /// The file.
    pub onnx: Vec<u8>,
    /// What the user calls it.
    name: String,
}

impl SecondNetwork {
    /// The one that `options` name, for tensors of `spec`.
    ///
    /// # Errors
    /// A file that can't be read or that `engine` refuses.
    pub fn read(options: &BackboneOptions, spec: &VaeSpec, engine: &Engine) -> Result<Self> {
        let settings = |normalise| FeatureExtractorSettings {
            file: FILE.to_owned(),
            normalise,
            maps: options.maps.clone(),
        };
        let Some(path) = &options.path else {
            return Ok(Self {
                settings: settings(backbone::normalise()),
                onnx: backbone::onnx(spec.height, spec.width)?,
                name: FILE.to_owned(),
            });
        };
        let name = path.display().to_string();
        let onnx = std::fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
        let graph = engine.load(&onnx, &name, 1)?;
        let channels = graph.inputs().first().and_then(|input| input.shape.get(1));
        let identity = || Normalise::identity(channels.copied().unwrap_or(1));
        Ok(Self {
            settings: settings(options.normalise.clone().unwrap_or_else(identity)),
            onnx,
            name,
        })
    }

    /// Loads it for tensors that were prepared with the normalisation `prepared`.
    ///
    /// # Errors
    /// Those of [`FeatureExtractor::load`].
    pub fn load(
        &self,
        engine: &Engine,
        spec: &VaeSpec,
        prepared: &Normalise,
    ) -> Result<FeatureExtractor> {
        Ok(FeatureExtractor::load(
            engine,
            &self.onnx,
            &self.name,
            &self.settings,
            (1, spec.input_shape(), prepared),
        )?)
    }

    /// Seconds that it takes for a tensor.
    ///
    /// # Errors
    /// Those of [`Self::load`] and [`FeatureExtractor::run`].
    pub fn seconds(&self, engine: &Engine, spec: &VaeSpec, prepared: &Normalise) -> Result<f64> {
        let mut network = self.load(engine, spec, prepared)?;
        let tensor = vec![0.0; spec.dimensions()];
        network.run(&tensor)?;
        let began = Instant::now();
        for _ in 0..TIMED {
            network.run(&tensor)?;
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(TIMED))
    }
}
