//! Encoder, decoder and head as ONNX graphs, batch normalisation folded into the convolutions.
//! Their kernels are stored as `f16` and folded by the engines, when they load the file: values are
//! expected to be [`Snapshot::as_stored`].

use std::collections::BTreeMap;

use candle_core::{Result, bail};
use edge_vae::vae::{Latent, Likelihood, VaeSpec};

use super::{
    layers::{export_layer, slice, soft_clamp, walk},
    onnx::GraphBuilder,
};
use crate::{
    nn::{Layer, Snapshot},
    vae::{INPUT, Network, RECONSTRUCTION},
};

/// The graphs of a trained network.
#[derive(Clone, Debug)]
pub struct NetworkGraphs {
    /// `encoder.onnx`.
    pub encoder: Vec<u8>,
    /// `decoder.onnx`.
    pub decoder: Vec<u8>,
    /// `head.onnx`, where the network has a head.
    pub head: Option<Vec<u8>>,
}

impl NetworkGraphs {
    /// Of `network` with these `values`; `model` is the model's name, for the files' metadata.
    ///
    /// # Errors
    /// A value is missing in `values`.
    pub fn export(network: &Network, values: &Snapshot, model: &str) -> Result<Self> {
        Ok(Self {
            encoder: encoder(network, values, model)?,
            decoder: decoder(network, values, model)?,
            head: match network.head() {
                Some(_) => Some(head(network, values, model)?),
                None => None,
            },
        })
    }
}

/// `encoder.onnx`: `input` N×C×H×W → `mean`, `log_variance` N×L or N×L×h×w, and each feature map
/// N×C×h×w.
///
/// # Errors
/// A value is missing in `values`.
pub fn encoder(network: &Network, values: &Snapshot, model: &str) -> Result<Vec<u8>> {
    let spec = network.spec();
    let mut graph = GraphBuilder::new("encoder");
    let input = graph.input("input", &spec.input_shape());
    let mut taps = BTreeMap::new();
    let posterior = walk(&mut graph, network.encoder(), values, input, &mut taps)?;
    let shape = spec.latent.shape();
    let length = shape[0];
    let mean = slice(&mut graph, &posterior, "posterior_mean", 0, length);
    let raw = slice(&mut graph, &posterior, "posterior_raw", length, 2 * length);
    let log_variance = soft_clamp(&mut graph, &raw, "posterior_log_variance");
    graph.output(&mean, "mean", &shape);
    graph.output(&log_variance, "log_variance", &shape);
    for (name, shape) in feature_maps(network) {
        if let Some(value) = taps.get(name) {
            graph.output(value, name, &shape);
        }
    }
    Ok(graph.finish(&metadata(spec, model, "encoder")))
}

/// `decoder.onnx`: `latent` → `reconstruction`, and `logits` or `log_variance`.
///
/// # Errors
/// A value is missing in `values`.
pub fn decoder(network: &Network, values: &Snapshot, model: &str) -> Result<Vec<u8>> {
    let spec = network.spec();
    let mut graph = GraphBuilder::new("decoder");
    let latent = graph.input("latent", &spec.latent.shape());
    let planes = walk(
        &mut graph,
        network.decoder(),
        values,
        latent,
        &mut BTreeMap::new(),
    )?;
    let shape = spec.input_shape();
    let channels = spec.channels;
    match spec.likelihood {
        Likelihood::Gaussian { .. } => graph.output(&planes, "reconstruction", &shape),
        Likelihood::Bernoulli => {
            let probability = graph.node("Sigmoid", "probability", &[&planes], &[]);
            graph.output(&probability, "reconstruction", &shape);
            graph.output(&planes, "logits", &shape);
        }
        Likelihood::GaussianLearned => {
            let mean = slice(&mut graph, &planes, "observation_mean", 0, channels);
            let raw = slice(
                &mut graph,
                &planes,
                "observation_raw",
                channels,
                2 * channels,
            );
            let log_variance = soft_clamp(&mut graph, &raw, "observation_log_variance");
            graph.output(&mean, "reconstruction", &shape);
            graph.output(&log_variance, "log_variance", &shape);
        }
    }
    Ok(graph.finish(&metadata(spec, model, "decoder")))
}

/// `head.onnx`: `input`, `reconstruction` N×C×H×W and the encoder's feature maps →
/// `head_logits` N×1×H/2×W/2 and the maps it is made of.
///
/// # Errors
/// The network has no head; a value is missing in `values`.
pub fn head(network: &Network, values: &Snapshot, model: &str) -> Result<Vec<u8>> {
    let Some(head) = network.head() else {
        bail!("the network has no head to export");
    };
    let spec = network.spec();
    let mut graph = GraphBuilder::new("head");
    let mut tensors = BTreeMap::new();
    for name in [INPUT, RECONSTRUCTION] {
        tensors.insert(name, graph.input(name, &spec.input_shape()));
    }
    for (name, shape) in feature_maps(network) {
        tensors.insert(name, graph.input(name, &shape));
    }
    for step in head.steps() {
        let mut inputs = Vec::with_capacity(step.from.len());
        for name in &step.from {
            match tensors.get(name) {
                Some(value) => inputs.push(value),
                None => bail!("the head wants {name}, which was not made"),
            }
        }
        let made = export_layer(&mut graph, &step.layer, values, &inputs)?;
        tensors.insert(step.to, made);
    }
    for output in head.outputs() {
        if let Some(value) = tensors.get(output.name) {
            let side = |side: usize| side / output.reduction;
            let shape = [output.channels, side(spec.height), side(spec.width)];
            graph.output(value, output.name, &shape);
        }
    }
    Ok(graph.finish(&metadata(spec, model, "head")))
}

/// Names and shapes C×h×w of the encoder's feature maps.
fn feature_maps(network: &Network) -> Vec<(&'static str, [usize; 3])> {
    let spec = network.spec();
    let shape = |layer: &Layer| match *layer {
        Layer::Tap {
            name,
            channels,
            reduction,
        } => Some((
            name,
            [channels, spec.height / reduction, spec.width / reduction],
        )),
        _ => None,
    };
    network.encoder().iter().filter_map(shape).collect()
}

fn metadata(spec: &VaeSpec, model: &str, graph: &str) -> Vec<(&'static str, String)> {
    let latent = match spec.latent {
        Latent::Vector { length } => format!("vector {length}"),
        Latent::Map {
            channels,
            height,
            width,
        } => format!("map {channels}x{height}x{width}"),
    };
    let likelihood = match spec.likelihood {
        Likelihood::Bernoulli => "bernoulli".to_owned(),
        Likelihood::Gaussian { sigma } => format!("gaussian sigma {sigma}"),
        Likelihood::GaussianLearned => "gaussian-learned".to_owned(),
    };
    vec![
        ("edge_vae.graph", graph.to_owned()),
        ("edge_vae.model", model.to_owned()),
        ("edge_vae.latent", latent),
        ("edge_vae.likelihood", likelihood),
    ]
}
