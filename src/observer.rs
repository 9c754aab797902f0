//! `Observer`: from a prepared frame to everything that a model's graphs make of it.

use std::{
    ops::AddAssign,
    time::{Duration, Instant},
};

use crate::{
    Error,
    anomaly::{
        Backbone, DETAIL_DISTANCE, DISTANCE, GraphShapes, HEAD_LOGITS, Observed,
        RECONSTRUCTION_DISTANCE, Source,
    },
    backend::{Chain, Graph, TensorInfo},
    vae::{Decoded, Likelihood, Vae},
};

/// Encoder, decoder and the graphs after them, one frame at a time, with all buffers.
///
/// Training, calibration and runtime go through it, each with its own engine.
pub struct Observer {
    vae: Vae,
    backbone: Option<Backbone>,
    /// What the backbone's maps are called in the chain.
    backbone_names: Vec<String>,
    chain: Chain,
    mean: Vec<f32>,
    log_variance: Vec<f32>,
    decoded: Decoded,
}

/// Before the names of a backbone's maps in the chain, which could otherwise be those of others.
const BACKBONE: &str = "backbone_";

/// How a backbone names maps that are too fine to be compared with the others.
const DETAIL: &str = "detail";

fn map_shape(shape: &[usize]) -> Option<[usize; 3]> {
    match *shape {
        [_, channels, height, width] => Some([channels, height, width]),
        _ => None,
    }
}

/// How long the stages of [`Observer::observe`] took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stages {
    pub(crate) encode: Duration,
    pub(crate) decode: Duration,
    pub(crate) detect: Duration,
}

impl AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        self.encode += other.encode;
        self.decode += other.decode;
        self.detect += other.detect;
    }
}

/// Which of a model's graphs are run for a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Encoder and decoder.
    pub(crate) vae: bool,
    backbone: bool,
    /// By place in the chain.
    graphs: Vec<bool>,
}

impl Work {
    /// What it leaves out.
    pub(crate) fn rest(&self) -> Self {
        Self {
            vae: !self.vae,
            backbone: !self.backbone,
            graphs: self.graphs.iter().map(|graph| !graph).collect(),
        }
    }
}

impl Observer {
    /// A model of batch 1 without further graphs; the maps of a `backbone` take the place of the
    /// network's own features.
    pub fn new(vae: Vae, backbone: Option<Backbone>) -> Self {
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
        let maps = backbone.as_ref().map_or(&[][..], Backbone::maps);
        let backbone_names: Vec<String> = maps
            .iter()
            .map(|map| format!("{BACKBONE}{}", map.name))
            .collect();
        given.extend(
            maps.iter()
                .zip(&backbone_names)
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
            backbone,
            backbone_names,
            vae,
        }
    }

    /// Adds a graph after the others; `name` names it in errors.
    ///
    /// # Errors
    /// Those of [`Chain::push`].
    pub fn push(&mut self, name: &str, graph: Box<dyn Graph>) -> Result<(), Error> {
        Ok(self.chain.push(name, graph)?)
    }

    /// Encodes a prepared frame (`C×H×W`), decodes its posterior mean, and runs the further graphs.
    ///
    /// # Errors
    /// A frame of another length, values that are not finite, and failures of the engine.
    pub fn observe(&mut self, input: &[f32]) -> Result<(), Error> {
        self.observe_timed(input).map(|_| ())
    }

    /// As [`observe`](Self::observe), but runs only what [`feature_maps`](Self::feature_maps) come
    /// from: of a model with a backbone the backbone.
    ///
    /// # Errors
    /// Those of [`observe`](Self::observe).
    pub fn observe_features(&mut self, input: &[f32]) -> Result<(), Error> {
        let mut work = self.all_work();
        if self.backbone.is_some() {
            work.vae = false;
            work.graphs.fill(false);
        }
        self.observe_part(input, &work).map(|_| ())
    }

    /// As [`observe`](Self::observe), but runs only what [`residual_maps`](Self::residual_maps) come
    /// from.
    ///
    /// # Errors
    /// Those of [`observe`](Self::observe).
    pub fn observe_residual(&mut self, input: &[f32]) -> Result<(), Error> {
        let names: Vec<&str> = self
            .residual_maps()
            .into_iter()
            .map(|(name, ..)| name)
            .collect();
        let work = Work {
            vae: true,
            backbone: false,
            graphs: self.chain.needed(&names).0,
        };
        self.observe_part(input, &work).map(|_| ())
    }

    /// All graphs.
    pub(crate) fn all_work(&self) -> Work {
        Work {
            vae: true,
            backbone: true,
            graphs: vec![true; self.chain.len()],
        }
    }

    /// The graphs that the maps of `sources` come from.
    pub(crate) fn work_for(&self, sources: &[Source]) -> Work {
        let tensors: Vec<&str> = sources
            .iter()
            .filter_map(|source| match source {
                Source::Head => Some(HEAD_LOGITS),
                Source::Features => Some(DISTANCE),
                Source::Reconstruction => Some(RECONSTRUCTION_DISTANCE),
                Source::Details => Some(DETAIL_DISTANCE),
                Source::Residual | Source::Likelihood | Source::Latent => None,
            })
            .collect();
        let (graphs, given) = self.chain.needed(&tensors);
        // The backbone's maps are the last of what is given; of the others, only the input itself
        // is there without the encoder.
        let own = given.len() - self.backbone_names.len();
        Work {
            vae: tensors.len() < sources.len() || given[1..own].contains(&true),
            backbone: given[own..].contains(&true),
            graphs,
        }
    }

    pub(crate) fn observe_timed(&mut self, input: &[f32]) -> Result<Stages, Error> {
        let all = self.all_work();
        self.observe_part(input, &all)
    }

    /// Runs some of the graphs; the others keep what they made last.
    pub(crate) fn observe_part(&mut self, input: &[f32], work: &Work) -> Result<Stages, Error> {
        let began = Instant::now();
        if work.vae {
            self.vae
                .encode_into(input, &mut self.mean, &mut self.log_variance)?;
        }
        let encoded = Instant::now();
        if work.vae {
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
        if let Some(backbone) = &mut self.backbone {
            if work.backbone {
                backbone.run(input)?;
            }
            given.extend((0..backbone.maps().len()).map(|map| backbone.values(map)));
        }
        self.chain.run_those(&given, |graph| work.graphs[graph])?;
        let ran = |took: Duration| if work.vae { took } else { Duration::ZERO };
        Ok(Stages {
            encode: ran(encoded - began),
            decode: ran(decoded - encoded),
            detect: decoded.elapsed(),
        })
    }

    /// Everything that was computed for the last frame, which was `input`.
    pub fn observed<'a>(&'a self, input: &'a [f32]) -> Observed<'a> {
        let made = |name| self.chain.made(name).map_or(&[][..], |(_, values)| values);
        Observed {
            input,
            mean: &self.mean,
            log_variance: &self.log_variance,
            reconstruction: &self.decoded.reconstruction,
            logits: &self.decoded.logits,
            reconstruction_log_variance: &self.decoded.log_variance,
            head: made(HEAD_LOGITS),
            distance: made(DISTANCE),
            reconstruction_distance: made(RECONSTRUCTION_DISTANCE),
            detail_distance: made(DETAIL_DISTANCE),
        }
    }

    /// The feature maps of the last frame, `1×C×h×w` each: those of the backbone where there is one, but
    /// for [its finest](Self::detail_maps); else what the encoder calls `features_…` and what the further
    /// graphs call `head_…`.
    pub fn feature_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        if self.backbone.is_some() {
            return self.backbone_maps(false);
        }
        let of_encoder = self
            .vae
            .features()
            .iter()
            .filter_map(|map| Some((&map.name[..], map_shape(&map.shape)?, &map.values[..])));
        of_encoder.chain(self.made_maps("head_")).collect()
    }

    /// Whether a backbone makes its feature maps.
    pub fn has_backbone(&self) -> bool {
        self.backbone.is_some()
    }

    /// The maps of the last frame that a backbone calls `detail…`, `1×C×h×w` each.
    pub fn detail_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        self.backbone_maps(true)
    }

    fn backbone_maps(&self, details: bool) -> Vec<(&str, [usize; 3], &[f32])> {
        let Some(backbone) = &self.backbone else {
            return Vec::new();
        };
        let maps = backbone.maps().iter().zip(&self.backbone_names).enumerate();
        maps.filter(|(_, (info, _))| info.name.starts_with(DETAIL) == details)
            .filter_map(|(place, (info, name))| {
                Some((&name[..], map_shape(&info.shape)?, backbone.values(place)))
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
            head: shape(HEAD_LOGITS),
            distance: shape(DISTANCE),
            reconstruction_distance: shape(RECONSTRUCTION_DISTANCE),
            detail_distance: shape(DETAIL_DISTANCE),
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
