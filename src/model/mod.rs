//! The graphs of a bundle as one model: VAE, feature extractor, and graphs that find their inputs by
//! tensor name.

mod error;
mod feature_extractor;
mod outputs;

use std::{
    ops::AddAssign,
    time::{Duration, Instant},
};

pub use error::ModelError;
pub use feature_extractor::{FeatureExtractor, FeatureExtractorError, FeatureExtractorSettings};
pub use outputs::{GraphShapes, ModelOutputs};

use crate::{
    backend::{Chain, Graph, TensorInfo},
    vae::{Decoded, Likelihood, Vae},
};

/// Encoder, decoder and the graphs after them, one frame at a time, with all buffers.
///
/// Training, calibration and runtime go through it, each with its own engine.
pub struct Model {
    vae: Vae,
    extractor: Option<FeatureExtractor>,
    /// What the extractor's maps are called in the chain.
    extractor_names: Vec<String>,
    chain: Chain,
    mean: Vec<f32>,
    log_variance: Vec<f32>,
    decoded: Decoded,
}

/// Before the names of an extractor's maps in the chain, which could otherwise be those of others.
const BACKBONE: &str = "backbone_";

/// How an extractor names maps that are too fine to be compared with the others.
const DETAIL: &str = "detail";

fn map_shape(shape: &[usize]) -> Option<[usize; 3]> {
    match *shape {
        [_, channels, height, width] => Some([channels, height, width]),
        _ => None,
    }
}

/// How long the stages of [`Model::run`] took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StageTimes {
    pub(crate) encode: Duration,
    pub(crate) decode: Duration,
    pub(crate) detect: Duration,
}

impl AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.encode += other.encode;
        self.decode += other.decode;
        self.detect += other.detect;
    }
}

/// Which of a model's graphs are run for a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecutionPlan {
    /// Encoder and decoder.
    pub(crate) vae: bool,
    extractor: bool,
    /// By place in the chain.
    graphs: Vec<bool>,
}

impl ExecutionPlan {
    /// What it leaves out.
    pub(crate) fn rest(&self) -> Self {
        Self {
            vae: !self.vae,
            extractor: !self.extractor,
            graphs: self.graphs.iter().map(|graph| !graph).collect(),
        }
    }
}

impl Model {
    /// A model of batch 1 without further graphs; the maps of an `extractor` take the place of the
    /// network's own features.
    pub fn new(vae: Vae, extractor: Option<FeatureExtractor>) -> Self {
        let spec = vae.spec();
        let info = |name: &str, shape: &[usize]| TensorInfo {
            name: name.to_owned(),
            shape: [&[vae.batch()], shape].concat(),
        };
        let (pixels, latent) = (spec.input_shape(), spec.latent.shape());
        let mut given = vec![
            info("input", &pixels),
            info("mean", &latent),
            info("log_variance", &latent),
            info("reconstruction", &pixels),
        ];
        if matches!(spec.likelihood, Likelihood::GaussianLearned) {
            given.push(info("reconstruction_log_variance", &pixels));
        }
        given.extend(vae.features().iter().map(|map| TensorInfo {
            name: map.name.clone(),
            shape: map.shape.to_vec(),
        }));
        let maps = extractor.as_ref().map_or(&[][..], FeatureExtractor::maps);
        let extractor_names: Vec<String> = maps
            .iter()
            .map(|map| format!("{BACKBONE}{}", map.name))
            .collect();
        given.extend(
            maps.iter()
                .zip(&extractor_names)
                .map(|(map, name)| TensorInfo {
                    name: name.clone(),
                    shape: map.shape.clone(),
                }),
        );
        Self {
            mean: vec![0.0; spec.latent.dimensions()],
            log_variance: vec![0.0; spec.latent.dimensions()],
            decoded: Decoded::default(),
            chain: Chain::new(given),
            extractor,
            extractor_names,
            vae,
        }
    }

    /// Adds a graph after the others; `name` names it in errors.
    ///
    /// # Errors
    /// Those of [`Chain::push`].
    pub fn push(&mut self, name: &str, graph: Box<dyn Graph>) -> Result<(), ModelError> {
        Ok(self.chain.push(name, graph)?)
    }

    /// Encodes a prepared frame (`C×H×W`), decodes its posterior mean, and runs the further graphs.
    ///
    /// # Errors
    /// A frame of another length, values that are not finite, and failures of the engine.
    pub fn run(&mut self, input: &[f32]) -> Result<(), ModelError> {
        self.run_timed(input).map(|_| ())
    }

    /// As [`run`](Self::run), but runs only what [`feature_maps`](Self::feature_maps) come
    /// from: of a model with an extractor the extractor.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_features(&mut self, input: &[f32]) -> Result<(), ModelError> {
        let mut plan = self.full_plan();
        if self.extractor.is_some() {
            plan.vae = false;
            plan.graphs.fill(false);
        }
        self.run_plan(input, &plan).map(|_| ())
    }

    /// As [`run`](Self::run), but runs only what [`residual_maps`](Self::residual_maps) come
    /// from.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_residual(&mut self, input: &[f32]) -> Result<(), ModelError> {
        let names: Vec<&str> = self
            .residual_maps()
            .into_iter()
            .map(|(name, ..)| name)
            .collect();
        let plan = ExecutionPlan {
            vae: true,
            extractor: false,
            graphs: self.chain.needed(&names).0,
        };
        self.run_plan(input, &plan).map(|_| ())
    }

    /// All graphs.
    pub(crate) fn full_plan(&self) -> ExecutionPlan {
        ExecutionPlan {
            vae: true,
            extractor: true,
            graphs: vec![true; self.chain.len()],
        }
    }

    /// The graphs that `tensors` come from, with encoder and decoder where `vae` says so.
    pub(crate) fn plan_for(&self, tensors: &[&str], vae: bool) -> ExecutionPlan {
        let (graphs, given) = self.chain.needed(tensors);
        // The extractor's maps are the last of what is given; of the others, only the input itself
        // is there without the encoder.
        let own = given.len() - self.extractor_names.len();
        ExecutionPlan {
            vae: vae || given[1..own].contains(&true),
            extractor: given[own..].contains(&true),
            graphs,
        }
    }

    pub(crate) fn run_timed(&mut self, input: &[f32]) -> Result<StageTimes, ModelError> {
        let all = self.full_plan();
        self.run_plan(input, &all)
    }

    /// Runs some of the graphs; the others keep what they made last.
    pub(crate) fn run_plan(
        &mut self,
        input: &[f32],
        plan: &ExecutionPlan,
    ) -> Result<StageTimes, ModelError> {
        let began = Instant::now();
        if plan.vae {
            self.vae
                .encode_into(input, &mut self.mean, &mut self.log_variance)?;
        }
        let encoded = Instant::now();
        if plan.vae {
            self.vae.decode_into(&self.mean, &mut self.decoded)?;
        }
        let decoded = Instant::now();
        let mut given: Vec<&[f32]> = vec![
            input,
            &self.mean,
            &self.log_variance,
            &self.decoded.reconstruction,
        ];
        if matches!(self.vae.spec().likelihood, Likelihood::GaussianLearned) {
            given.push(&self.decoded.log_variance);
        }
        given.extend(self.vae.features().iter().map(|map| &map.values[..]));
        if let Some(extractor) = &mut self.extractor {
            if plan.extractor {
                extractor.run(input)?;
            }
            given.extend((0..extractor.maps().len()).map(|map| extractor.values(map)));
        }
        self.chain.run_those(&given, |graph| plan.graphs[graph])?;
        let ran = |took: Duration| if plan.vae { took } else { Duration::ZERO };
        Ok(StageTimes {
            encode: ran(encoded - began),
            decode: ran(decoded - encoded),
            detect: decoded.elapsed(),
        })
    }

    /// Everything that was computed for the last frame, which was `input`.
    pub fn outputs<'a>(&'a self, input: &'a [f32]) -> ModelOutputs<'a> {
        let made = |name| self.chain.made(name).map_or(&[][..], |(_, values)| values);
        ModelOutputs {
            input,
            mean: &self.mean,
            log_variance: &self.log_variance,
            reconstruction: &self.decoded.reconstruction,
            logits: &self.decoded.logits,
            reconstruction_log_variance: &self.decoded.log_variance,
            head: made("head_logits"),
            distance: made("distance"),
            reconstruction_distance: made("reconstruction_distance"),
            detail_distance: made("detail_distance"),
        }
    }

    /// The feature maps of the last frame, `1×C×h×w` each: those of the extractor where there is one, but
    /// for [its finest](Self::detail_maps); else what the encoder calls `features_…` and what the further
    /// graphs call `head_…`.
    pub fn feature_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        if self.extractor.is_some() {
            return self.extractor_maps(false);
        }
        let of_encoder = self
            .vae
            .features()
            .iter()
            .filter_map(|map| Some((&map.name[..], map_shape(&map.shape)?, &map.values[..])));
        of_encoder.chain(self.made_maps("head_")).collect()
    }

    /// Whether an extractor makes its feature maps.
    pub fn has_feature_extractor(&self) -> bool {
        self.extractor.is_some()
    }

    /// The maps of the last frame that an extractor calls `detail…`, `1×C×h×w` each.
    pub fn detail_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        self.extractor_maps(true)
    }

    fn extractor_maps(&self, details: bool) -> Vec<(&str, [usize; 3], &[f32])> {
        let Some(extractor) = &self.extractor else {
            return Vec::new();
        };
        let maps = extractor
            .maps()
            .iter()
            .zip(&self.extractor_names)
            .enumerate();
        maps.filter(|(_, (info, _))| info.name.starts_with(DETAIL) == details)
            .filter_map(|(place, (info, name))| {
                Some((&name[..], map_shape(&info.shape)?, extractor.values(place)))
            })
            .collect()
    }

    /// The maps `residual_…` of the last frame that a further graph made, `1×C×h×w` each.
    pub fn residual_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        self.made_maps("residual_").collect()
    }

    /// The maps of the further graphs whose names begin so.
    fn made_maps(&self, prefix: &str) -> impl Iterator<Item = (&str, [usize; 3], &[f32])> {
        self.chain.all_made().filter_map(move |(info, values)| {
            let shape = map_shape(&info.shape)?;
            let is_wanted = info.name.starts_with(prefix);
            is_wanted.then_some((&info.name[..], shape, values))
        })
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
            head: shape("head_logits"),
            distance: shape("distance"),
            reconstruction_distance: shape("reconstruction_distance"),
            detail_distance: shape("detail_distance"),
        }
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

    /// The model, to encode and decode by hand.
    pub fn vae(&mut self) -> &mut Vae {
        &mut self.vae
    }

    /// The model alone.
    pub fn into_vae(self) -> Vae {
        self.vae
    }
}
