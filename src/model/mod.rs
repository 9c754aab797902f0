//! The graphs of a bundle as one model: VAE and feature extractor, where it has them, and graphs
//! that find their inputs by tensor name.

mod chain;
mod error;
mod feature_extractor;
mod outputs;
mod plan;
mod reuse;
mod settings;

use std::time::Instant;

pub use error::ModelError;
pub use feature_extractor::{
    FeatureExtractor, FeatureExtractorError, FeatureExtractorSettings, PreparedTensor,
};
pub use outputs::{
    INPUT, LOG_VARIANCE, LOGITS, MEAN, ModelOutputs, RECONSTRUCTION, RECONSTRUCTION_LOG_VARIANCE,
    Tensor, TensorShapes,
};
pub(crate) use plan::{ExecutionPlan, StageTimes};
pub use settings::{GraphSettings, ToleranceClass};

use chain::Chain;

use crate::{
    backend::{Graph, TensorInfo},
    vae::{Decoded, Likelihood, Vae},
};

/// VAE, feature extractor and the graphs after them, one frame at a time, with all buffers.
///
/// Training, calibration and runtime go through it, each with its own engine.
pub struct Model {
    stem: Stem,
    /// What the extractor's maps are called in the chain.
    extractor_names: Vec<String>,
    chain: Chain,
}

/// What makes the tensors that the chain is given.
struct Stem {
    vae: Option<Vae>,
    extractor: Option<FeatureExtractor>,
    mean: Vec<f32>,
    log_variance: Vec<f32>,
    decoded: Decoded,
}

impl Stem {
    /// The tensors that the chain is given for `input`, in its order.
    fn given<'a>(&'a self, input: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let of_vae = self.vae.iter().flat_map(|vae| {
            let decoded = &self.decoded;
            let of_likelihood = match vae.spec().likelihood {
                Likelihood::Bernoulli => Some(&decoded.logits),
                Likelihood::Gaussian { .. } => None,
                Likelihood::GaussianLearned => Some(&decoded.log_variance),
            };
            [&self.mean, &self.log_variance, &decoded.reconstruction]
                .into_iter()
                .chain(of_likelihood)
                .map(Vec::as_slice)
                .chain(vae.features().iter().map(|map| &map.values[..]))
        });
        let extracted = self
            .extractor
            .iter()
            .flat_map(|extractor| (0..extractor.maps().len()).map(|map| extractor.values(map)));
        std::iter::once(input).chain(of_vae).chain(extracted)
    }
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

impl Model {
    /// A model of batch 1 for tensors `C×H×W`, without further graphs; the maps of an `extractor`
    /// take the place of the VAE's own features.
    pub fn new(pixels: [usize; 3], vae: Option<Vae>, extractor: Option<FeatureExtractor>) -> Self {
        let info = |name: &str, shape: &[usize]| TensorInfo {
            name: name.to_owned(),
            shape: [&[1], shape].concat(),
        };
        let mut given = vec![info(INPUT, &pixels)];
        if let Some(vae) = &vae {
            let latent = vae.spec().latent.shape();
            given.extend([
                info(MEAN, &latent),
                info(LOG_VARIANCE, &latent),
                info(RECONSTRUCTION, &pixels),
            ]);
            given.extend(match vae.spec().likelihood {
                Likelihood::Bernoulli => Some(info(LOGITS, &pixels)),
                Likelihood::Gaussian { .. } => None,
                Likelihood::GaussianLearned => Some(info(RECONSTRUCTION_LOG_VARIANCE, &pixels)),
            });
            given.extend(vae.features().iter().map(|map| TensorInfo {
                name: map.name.clone(),
                shape: map.shape.to_vec(),
            }));
        }
        let latents = vae.as_ref().map_or(0, |vae| vae.spec().latent.dimensions());
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
            chain: Chain::new(given),
            extractor_names,
            stem: Stem {
                mean: vec![0.0; latents],
                log_variance: vec![0.0; latents],
                decoded: Decoded::default(),
                extractor,
                vae,
            },
        }
    }

    /// Adds a graph after the others; `name` names it in errors.
    ///
    /// # Errors
    /// Those of [`Chain::push`].
    pub fn push(&mut self, name: &str, graph: Box<dyn Graph>) -> Result<(), ModelError> {
        Ok(self.chain.push(name, graph)?)
    }

    /// Runs all graphs on a prepared frame (`C×H×W`): encodes it, decodes its posterior mean,
    /// extracts features, and runs the further graphs.
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
        if self.stem.extractor.is_some() {
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
            vae: self.stem.vae.is_some(),
            extractor: true,
            graphs: vec![true; self.chain.len()],
        }
    }

    /// The graphs that `tensors` come from.
    pub(crate) fn plan_for(&self, tensors: &[&str]) -> ExecutionPlan {
        let (graphs, given) = self.chain.needed(tensors);
        // The extractor's maps are the last of what is given; of the others, only the input itself
        // is there without the encoder.
        let own = given.len() - self.extractor_names.len();
        ExecutionPlan {
            vae: given[1..own].contains(&true),
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
        let stem = &mut self.stem;
        let mut times = StageTimes::default();
        if let (true, Some(vae)) = (plan.vae, &mut stem.vae) {
            let began = Instant::now();
            vae.encode_into(input, &mut stem.mean, &mut stem.log_variance)?;
            let encoded = Instant::now();
            vae.decode_into(&stem.mean, &mut stem.decoded)?;
            times.encode = encoded - began;
            times.decode = encoded.elapsed();
        }
        let began = Instant::now();
        if let (true, Some(extractor)) = (plan.extractor, &mut stem.extractor) {
            extractor.run(input)?;
        }
        let given = |place| self.stem.given(input).nth(place);
        self.chain.run_those(given, |graph| plan.graphs[graph])?;
        times.detect = began.elapsed();
        Ok(times)
    }

    /// Everything that was computed for the last frame, which was `input`.
    pub fn outputs<'a>(&'a self, input: &'a [f32]) -> ModelOutputs<'a> {
        ModelOutputs::of_model(self, input)
    }

    fn tensor<'a>(&'a self, name: &str, input: &'a [f32]) -> Option<Tensor<'a>> {
        let (info, values) = match self.chain.made(name) {
            Some(made) => made,
            None => {
                let (place, info) = self.chain.given(name)?;
                (info, self.stem.given(input).nth(place)?)
            }
        };
        Some(Tensor {
            shape: info.shape.get(1..)?,
            values,
        })
    }

    /// Names and shapes of all tensors.
    pub fn tensor_shapes(&self) -> TensorShapes {
        let mut shapes = TensorShapes::default();
        for info in self.chain.tensors() {
            shapes.insert(&info.name, info.shape.get(1..).unwrap_or_default());
        }
        shapes
    }

    /// Which of the further graphs makes a tensor, counted from 0.
    pub(crate) fn graph_of(&self, tensor: &str) -> Option<usize> {
        self.chain.graph_of(tensor)
    }

    /// The feature maps of the last frame, `1×C×h×w` each: those of the extractor where there is
    /// one, but for [its finest](Self::detail_maps); else what the encoder calls `features_…` and
    /// what the further graphs call `head_…`.
    pub fn feature_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        if self.stem.extractor.is_some() {
            return self.extractor_maps(false);
        }
        let of_encoder = self.stem.vae.iter().flat_map(Vae::features);
        let of_encoder = of_encoder
            .filter_map(|map| Some((&map.name[..], map_shape(&map.shape)?, &map.values[..])));
        of_encoder.chain(self.made_maps("head_")).collect()
    }

    /// Whether an extractor makes its feature maps.
    pub fn has_feature_extractor(&self) -> bool {
        self.stem.extractor.is_some()
    }

    /// The maps of the last frame that an extractor calls `detail…`, `1×C×h×w` each.
    pub fn detail_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        self.extractor_maps(true)
    }

    fn extractor_maps(&self, details: bool) -> Vec<(&str, [usize; 3], &[f32])> {
        let Some(extractor) = &self.stem.extractor else {
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

    /// Posterior mean of the last frame, `L` or `L×h×w`; empty without a VAE.
    pub fn posterior_mean(&self) -> &[f32] {
        &self.stem.mean
    }

    /// Posterior log-variance of the last frame, `L` or `L×h×w`; empty without a VAE.
    pub fn posterior_log_variance(&self) -> &[f32] {
        &self.stem.log_variance
    }

    /// What the decoder made of the last frame's posterior mean; `None` without a VAE.
    pub fn decoded(&self) -> Option<&Decoded> {
        self.stem.vae.as_ref().map(|_| &self.stem.decoded)
    }

    /// The VAE alone, to encode and decode by hand, where there is one.
    pub fn into_vae(self) -> Option<Vae> {
        self.stem.vae
    }
}
