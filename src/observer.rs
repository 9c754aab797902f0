//! `Observer`: from a prepared frame to everything that a model's graphs make of it.

use std::time::{Duration, Instant};

use crate::{
    Error,
    anomaly::{Backbone, DISTANCE, GraphShapes, HEAD_LOGITS, Observed},
    backend::{Chain, Graph, TensorInfo},
    vae::{Decoded, Vae},
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

fn map_shape(shape: &[usize]) -> Option<[usize; 3]> {
    match *shape {
        [_, channels, height, width] => Some([channels, height, width]),
        _ => None,
    }
}

/// How long the stages of [`Observer::observe`] took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    pub(crate) encode: Duration,
    pub(crate) decode: Duration,
    pub(crate) detect: Duration,
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

    pub(crate) fn observe_timed(&mut self, input: &[f32]) -> Result<Stages, Error> {
        let began = Instant::now();
        self.vae
            .encode_into(input, &mut self.mean, &mut self.log_variance)?;
        let encoded = Instant::now();
        self.vae.decode_into(&self.mean, &mut self.decoded)?;
        let decoded = Instant::now();
        let mut given: Vec<&[f32]> = vec![
            input,
            &self.mean,
            &self.log_variance,
            &self.decoded.reconstruction,
        ];
        given.extend(self.vae.features().iter().map(|map| &map.values[..]));
        if let Some(backbone) = &mut self.backbone {
            backbone.run(input)?;
            given.extend((0..backbone.maps().len()).map(|map| backbone.values(map)));
        }
        self.chain.run(&given)?;
        Ok(Stages {
            encode: encoded - began,
            decode: decoded - encoded,
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
        }
    }

    /// The feature maps of the last frame, `1×C×h×w` each: those of the backbone where there is one;
    /// else what the encoder calls `features_…` and what the further graphs call `head_…`.
    pub fn feature_maps(&self) -> Vec<(&str, [usize; 3], &[f32])> {
        if let Some(backbone) = &self.backbone {
            let maps = backbone.maps().iter().zip(&self.backbone_names).enumerate();
            return maps
                .filter_map(|(place, (info, name))| {
                    Some((&name[..], map_shape(&info.shape)?, backbone.values(place)))
                })
                .collect();
        }
        let of_encoder = self
            .vae
            .features()
            .iter()
            .filter_map(|map| Some((&map.name[..], map_shape(&map.shape)?, &map.values[..])));
        let of_head = self.chain.all_made().filter_map(|(info, values)| {
            let shape = map_shape(&info.shape)?;
            info.name
                .starts_with("head_")
                .then_some((&info.name[..], shape, values))
        });
        of_encoder.chain(of_head).collect()
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
