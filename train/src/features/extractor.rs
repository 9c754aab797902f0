//! The pretrained backbone, as the fit and the bundle take it.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use edge_vae::{
    backend::{Engine, MAX_MODEL_BYTES},
    model::{FeatureExtractor, FeatureExtractorSettings, PreparedTensor},
    preprocess::Normalise,
    read_bounded,
};

use super::backbone;
use crate::options::{BackboneOptions, Size};

/// File of the bundle with it.
const FILE: &str = "backbone.onnx";

/// Runs that are timed, after one that is not.
const TIMED: u32 = 3;

/// The shipped backbone, or the user's own.
#[derive(Debug)]
pub struct PretrainedBackbone {
    /// As the bundle describes it.
    pub settings: FeatureExtractorSettings,
    /// The file.
    pub onnx: Vec<u8>,
    /// What the user calls it.
    name: String,
}

impl PretrainedBackbone {
    /// The one that `options` name, for tensors of `shape` C×H×W.
    ///
    /// # Errors
    /// A file that can't be read or that `engine` refuses.
    pub fn read(options: &BackboneOptions, shape: [usize; 3], engine: &Engine) -> Result<Self> {
        let settings = |normalise| FeatureExtractorSettings {
            file: FILE.to_owned(),
            normalise,
            maps: options.maps.clone(),
        };
        let [_, height, width] = shape;
        let Some(path) = &options.path else {
            return Ok(Self {
                settings: settings(backbone::normalise()),
                onnx: backbone::onnx(height, width)?,
                name: FILE.to_owned(),
            });
        };
        let name = path.display().to_string();
        let onnx = read_bounded(path, MAX_MODEL_BYTES)
            .with_context(|| format!("{name}: cannot be read"))?;
        let graph = engine.load(&onnx, &name, 1)?;
        let channels = graph.inputs().first().and_then(|input| input.shape.get(1));
        let identity = || Normalise::identity(channels.copied().unwrap_or(1));
        Ok(Self {
            settings: settings(options.normalise.clone().unwrap_or_else(identity)),
            onnx,
            name,
        })
    }

    /// The size of the pictures that the user's own takes, of which there is one.
    ///
    /// # Errors
    /// A file that can't be read or that `engine` refuses; an input that is no picture, or one
    /// whose sides the network that is trained beside it can't have.
    pub fn size_of(path: &Path, engine: &Engine) -> Result<Size> {
        let name = path.display().to_string();
        let onnx = read_bounded(path, MAX_MODEL_BYTES)
            .with_context(|| format!("{name}: cannot be read"))?;
        let graph = engine.load(&onnx, &name, 1)?;
        let shapes: Vec<&[usize]> = graph.inputs().iter().map(|i| &i.shape[..]).collect();
        let [&[_, _, height, width]] = shapes[..] else {
            bail!("{name}: its inputs are {shapes:?}, a backbone has one: the picture N×C×H×W");
        };
        ensure!(
            [height, width].iter().all(|side| side.is_multiple_of(16)),
            "{name}: takes pictures of {width}×{height} pixels, the network beside it such whose \
             sides are multiples of 16: export it for those"
        );
        Ok(Size::Exact { width, height })
    }

    /// Loads it for tensors of `shape` that were prepared with the normalisation `prepared`.
    ///
    /// # Errors
    /// Those of [`FeatureExtractor::load`].
    pub fn load(
        &self,
        engine: &Engine,
        shape: [usize; 3],
        prepared: &Normalise,
    ) -> Result<FeatureExtractor> {
        Ok(FeatureExtractor::load(
            engine,
            &self.onnx,
            &self.name,
            &self.settings,
            PreparedTensor {
                batch: 1,
                shape,
                normalise: prepared,
            },
        )?)
    }

    /// Seconds that it takes for a tensor.
    ///
    /// # Errors
    /// Those of [`Self::load`] and [`FeatureExtractor::run`].
    pub fn seconds(&self, engine: &Engine, shape: [usize; 3], prepared: &Normalise) -> Result<f64> {
        let mut backbone = self.load(engine, shape, prepared)?;
        let tensor = vec![0.0; shape.iter().product()];
        backbone.run(&tensor)?;
        let began = Instant::now();
        for _ in 0..TIMED {
            backbone.run(&tensor)?;
        }
        Ok(began.elapsed().as_secs_f64() / f64::from(TIMED))
    }
}
