//! The VAE over features as a part of its graph.

use std::collections::BTreeMap;

use anyhow::Result;

use super::feature_vae::FeatureVae;
use crate::export::{
    layers::{slice as channels_of, soft_clamp, walk},
    onnx::{Attribute, GraphBuilder, Value},
};

/// The negative evidence lower bound of each cell, N×1×rows×columns, by [`FeatureVae::energy`]'s
/// rule.
pub(super) fn energy(graph: &mut GraphBuilder, vectors: &Value, vae: &FeatureVae) -> Result<Value> {
    let network = &vae.network;
    let spec = network.spec();
    let (channels, latent) = (spec.channels, spec.latent.shape()[0]);
    let values = vae.parameters.snapshot()?;
    // The matrix has a column for each cell.
    let mean = vae.mean.transpose();
    let [rows, columns] = vae.grid;
    let shape = [channels, rows, columns];
    let mean = graph.floats("vae.mean", &shape, mean.as_slice());
    let scale = graph.floats("vae.scale", &[channels, 1, 1], &vae.scale);
    let centred = graph.node("Sub", "vae.centred", &[vectors, &mean], &[]);
    let mut x = graph.node("Mul", "vae.x", &[&centred, &scale], &[]);
    let is_padded = [spec.height, spec.width] != vae.grid;
    if is_padded {
        let (below, right) = (spec.height - rows, spec.width - columns);
        let pads = [0, 0, 0, 0, 0, 0, below as i64, right as i64];
        let pads = graph.integers("vae.beyond", &pads);
        let edge = [("mode", Attribute::Text("edge"))];
        x = graph.node("Pad", "vae.padded", &[&x, &pads], &edge);
    }

    let mut taps = BTreeMap::new();
    let posterior = walk(graph, network.encoder(), &values, x.clone(), &mut taps)?;
    let m = channels_of(graph, &posterior, "vae.posterior.mean", 0, latent);
    let l = channels_of(graph, &posterior, "vae.posterior.raw", latent, 2 * latent);
    let l = soft_clamp(graph, &l, "vae.posterior.log_variance");
    let planes = walk(graph, network.decoder(), &values, m.clone(), &mut taps)?;
    let r = channels_of(graph, &planes, "vae.mean_of_x", 0, channels);
    let v = channels_of(graph, &planes, "vae.raw", channels, 2 * channels);
    let v = soft_clamp(graph, &v, "vae.log_variance");

    // (x − r)² exp(−v) + v
    let error = graph.node("Sub", "vae.error", &[&x, &r], &[]);
    let squares = graph.node("Mul", "vae.squares", &[&error, &error], &[]);
    let negative = graph.node("Neg", "vae.negative", &[&v], &[]);
    let precision = graph.node("Exp", "vae.precision", &[&negative], &[]);
    let weighted = graph.node("Mul", "vae.weighted", &[&squares, &precision], &[]);
    let each = graph.node("Add", "vae.each", &[&weighted, &v], &[]);
    let nll = sum_of_channels(graph, "vae.nll", &each);
    // m² + exp(l) − 1 − l
    let squares = graph.node("Mul", "vae.mean_squares", &[&m, &m], &[]);
    let variance = graph.node("Exp", "vae.variance", &[&l], &[]);
    let both = graph.node("Add", "vae.second_moment", &[&squares, &variance], &[]);
    let one = graph.floats("vae.one", &[], &[1.0]);
    let level = graph.node("Add", "vae.level", &[&l, &one], &[]);
    let each = graph.node("Sub", "vae.divergence.each", &[&both, &level], &[]);
    let divergence = sum_of_channels(graph, "vae.divergence", &each);
    let scales = graph.floats("vae.spread.scales", &[4], &[1.0, 1.0, 4.0, 4.0]);
    let scale_correction = enlarged(graph, "vae.spread", &divergence, &scales);
    let share = graph.floats("vae.share", &[], &[1.0 / 16.0]);
    let scale_correction = graph.node("Mul", "vae.shared", &[&scale_correction, &share], &[]);
    let sum = graph.node("Add", "vae.sum", &[&nll, &scale_correction], &[]);
    let half = graph.floats("vae.half", &[], &[0.5]);
    let halved = graph.node("Mul", "vae.halved", &[&sum, &half], &[]);
    let constant = 0.5 * std::f32::consts::TAU.ln() * channels as f32;
    let constant = graph.floats("vae.constant", &[], &[constant]);
    let energy = graph.node("Add", "vae.energy", &[&halved, &constant], &[]);
    Ok(match is_padded {
        true => slice(graph, "vae.cells", &energy, (2, &[0, 0]), &[rows, columns]),
        false => energy,
    })
}

/// Σ over channels, of which one stays.
fn sum_of_channels(graph: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let axes = graph.integers(&format!("{name}.axis"), &[1]);
    graph.node("ReduceSum", name, &[x, &axes], &[])
}

/// Every value repeated down and across.
pub(super) fn enlarged(graph: &mut GraphBuilder, name: &str, x: &Value, scales: &Value) -> Value {
    graph.node(
        "Resize",
        name,
        &[x, &GraphBuilder::absent(), scales],
        &[
            ("mode", Attribute::Text("nearest")),
            (
                "coordinate_transformation_mode",
                Attribute::Text("asymmetric"),
            ),
            ("nearest_mode", Attribute::Text("floor")),
        ],
    )
}

/// From `starts` to `ends` along as many axes, of which `axis` is the first.
pub(super) fn slice(
    graph: &mut GraphBuilder,
    name: &str,
    x: &Value,
    (axis, starts): (usize, &[usize]),
    ends: &[usize],
) -> Value {
    let integers = |values: &[usize]| values.iter().map(|&v| v as i64).collect::<Vec<_>>();
    let axes: Vec<usize> = (axis..axis + starts.len()).collect();
    let starts = graph.integers(&format!("{name}.from"), &integers(starts));
    let ends = graph.integers(&format!("{name}.to"), &integers(ends));
    let axes = graph.integers(&format!("{name}.axes"), &integers(&axes));
    graph.node("Slice", name, &[x, &starts, &ends, &axes], &[])
}
