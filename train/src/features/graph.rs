//! A model as the graph `features.onnx`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{
    MapShape, Model,
    autoencoder::Autoencoder,
    context::{self, Context},
    grid::Step,
    mixture::Mixture,
    model::Density,
    position::CellGaussians,
    triangle,
};
use crate::export::{
    graphs::{slice as channels_of, soft_clamp, walk},
    onnx::{Attribute, GraphBuilder, Value},
};

/// Most elements of a constant that tract still widens when it loads the file: 4 MiB of f32.
const FOLDED_ELEMENTS: usize = 1 << 20;

/// Stands for the distance from a cell outside of the grid, squared; no distance reaches it.
const OUTSIDE: f32 = 1e30;

impl Model {
    /// The bytes of `features.onnx`: the feature maps N×C×h×w by their names → the tensor `output`
    /// N×1×rows×columns of the grid. `model` is the model's name, for the file's metadata.
    ///
    /// # Errors
    /// Feature maps that do not fit the grid, which [`super::fit`] does not give.
    pub fn to_onnx(&self, model: &str, output: &str) -> Result<Vec<u8>> {
        let mut graph = GraphBuilder::new("features");
        let joined = self.joined(&mut graph)?;
        let vectors = self.vectors(&mut graph, &joined);
        let distance = match &self.density {
            Density::Cells { stored, reach, .. } => {
                let context = context(&mut graph, &joined, &stored.context);
                let context = context.as_ref();
                let squared = self.cells(&mut graph, (&vectors, context), stored, *reach);
                let distance = graph.node("Sqrt", "root", &[&squared], &[]);
                match context {
                    Some(context) => spread(&mut graph, &distance, context, &stored.spread),
                    None => distance,
                }
            }
            Density::Mixture(mixture) => {
                let squared = self.mixture(&mut graph, &vectors, mixture);
                graph.node("Sqrt", "root", &[&squared], &[])
            }
            Density::Vae(autoencoder) => energy(&mut graph, &vectors, autoencoder)?,
        };
        let [rows, columns] = self.grid.size;
        let shape = [1, rows, columns];
        let distance = reshape(&mut graph, "map", &distance, &shape);
        graph.output(&distance, output, &shape);
        let summary = self.summary();
        Ok(graph.finish(&[
            ("edge_vae.graph", "features".to_owned()),
            ("edge_vae.model", model.to_owned()),
            ("edge_vae.features", summary.kind.to_owned()),
            ("edge_vae.directions", summary.directions.to_string()),
            ("edge_vae.context", summary.context.to_string()),
        ]))
    }

    /// The inputs, pooled: N×channels×rows×columns.
    fn joined(&self, graph: &mut GraphBuilder) -> Result<Value> {
        let maps = self.grid.maps.iter().map(|map| {
            let input = graph.input(&map.name, &map.shape);
            let steps = self.grid.steps(map.shape);
            let steps =
                steps.with_context(|| format!("feature map `{}` does not fit", map.name))?;
            Ok(pool(graph, map, &input, steps))
        });
        let maps = maps.collect::<Result<Vec<Value>>>()?;
        Ok(match &maps[..] {
            [map] => map.clone(),
            _ => {
                let maps: Vec<&Value> = maps.iter().collect();
                graph.node("Concat", "joined", &maps, &[("axis", Attribute::Int(1))])
            }
        })
    }

    /// The pooled inputs, projected: N×directions×rows×columns.
    fn vectors(&self, graph: &mut GraphBuilder, joined: &Value) -> Value {
        let channels = self.grid.channels();
        let projection = &self.projection;
        let mean = graph.floats("mean", &[channels, 1, 1], projection.mean.as_slice());
        let centred = graph.node("Sub", "centred", &[joined, &mean], &[]);
        let directions = projection.directions();
        // Row after row; the matrix is stored column after column.
        let weights = projection.weights.transpose();
        let weights = graph.floats(
            "directions",
            &[directions, channels, 1, 1],
            weights.as_slice(),
        );
        graph.node(
            "Conv",
            "projected",
            &[&centred, &weights],
            &[("kernel_shape", Attribute::Ints(&[1, 1]))],
        )
    }

    /// Squared distances from the cells' Gaussians, cells in the last axes.
    fn cells(
        &self,
        graph: &mut GraphBuilder,
        (vectors, context): (&Value, Option<&Value>),
        gaussians: &CellGaussians,
        reach: usize,
    ) -> Value {
        let [rows, columns] = self.grid.size;
        let cells = rows * columns;
        let directions = self.projection.directions();
        let side = 2 * reach + 1;
        let shifts: Vec<[usize; 2]> = (0..side * side).map(|i| [i / side, i % side]).collect();

        // Column s of a cell's matrix is the vector that lies shift s away: N×directions×cells×s.
        let columns_of_cells = if reach == 0 {
            reshape(graph, "columns", vectors, &[directions, cells, 1])
        } else {
            let border = reach as i64;
            let pads = [0, 0, border, border, 0, 0, border, border];
            let pads = graph.integers("border", &pads);
            let padded = graph.node("Pad", "padded", &[vectors, &pads], &[]);
            let shifted: Vec<Value> = shifts
                .iter()
                .enumerate()
                .map(|(i, &[y, x])| {
                    let name = format!("shift{i}");
                    let window = slice(
                        graph,
                        &name,
                        &padded,
                        (2, &[y, x]),
                        &[y + rows, x + columns],
                    );
                    reshape(
                        graph,
                        &format!("{name}.column"),
                        &window,
                        &[directions, cells, 1],
                    )
                })
                .collect();
            let shifted: Vec<&Value> = shifted.iter().collect();
            graph.node(
                "Concat",
                "columns",
                &shifted,
                &[("axis", Attribute::Int(3))],
            )
        };
        let by_cell = transpose(graph, "by_cell", &columns_of_cells, &[0, 2, 1, 3]);
        let mean = graph.floats("cell_mean", &[cells, directions, 1], &gaussians.mean);
        let difference = graph.node("Sub", "difference", &[&by_cell, &mean], &[]);

        let squared = whitened(
            graph,
            (&difference, context),
            gaussians,
            (cells, reach == 0),
        );
        if reach == 0 {
            return squared;
        }

        // Shift s of cell q is the vector of cell q + s: each plane is moved back, and the least
        // of a vector's distances remains.
        let by_shift = reshape(graph, "cells", &squared, &[cells, shifts.len()]);
        let by_shift = transpose(graph, "by_shift", &by_shift, &[0, 2, 1]);
        let planes = reshape(graph, "planes", &by_shift, &[shifts.len(), rows, columns]);
        let pads = [
            0,
            0,
            reach as i64,
            reach as i64,
            0,
            0,
            reach as i64,
            reach as i64,
        ];
        let pads = graph.integers("outside.border", &pads);
        let outside = graph.floats("outside", &[], &[OUTSIDE]);
        let planes = graph.node("Pad", "planes.padded", &[&planes, &pads, &outside], &[]);
        let back: Vec<Value> = shifts
            .iter()
            .enumerate()
            .map(|(i, &[y, x])| {
                let (y, x) = (2 * reach - y, 2 * reach - x);
                let ends = [i + 1, y + rows, x + columns];
                slice(graph, &format!("back{i}"), &planes, (1, &[i, y, x]), &ends)
            })
            .collect();
        let back: Vec<&Value> = back.iter().collect();
        let back = graph.node("Concat", "back", &back, &[("axis", Attribute::Int(1))]);
        graph.node(
            "ReduceMin",
            "nearest",
            &[&back],
            &[("axes", Attribute::Ints(&[1]))],
        )
    }

    /// Squared distances from the nearest component, N×1×1×cells.
    fn mixture(&self, graph: &mut GraphBuilder, vectors: &Value, mixture: &Mixture) -> Value {
        let cells = self.grid.cells();
        let directions = self.projection.directions();
        let length = triangle::length(directions);
        let count = mixture.components();
        let each = in_parts(count, directions * directions);
        let mut squared = Vec::new();
        for (part, triangles) in mixture.whitening.chunks(each * length).enumerate() {
            let (first, count) = (part * each, triangles.len() / length);
            let name = format!("whitening{part}");
            let matrices = graph.triangles(&name, (count, directions), triangles);
            let shape = [count * directions, directions, 1, 1].map(|d| d as i64);
            let shape = graph.integers(&format!("{name}.shape"), &shape);
            let weights = format!("{name}.rows");
            let weights = graph.node("Reshape", &weights, &[&matrices, &shape], &[]);
            let offset = &mixture.offset[first * directions..(first + count) * directions];
            let offset = graph.floats(&format!("{name}.offset"), &[offset.len()], offset);
            let white = graph.node(
                "Conv",
                &format!("{name}.white"),
                &[vectors, &weights, &offset],
                &[("kernel_shape", Attribute::Ints(&[1, 1]))],
            );
            let components = format!("{name}.components");
            let white = reshape(graph, &components, &white, &[count, directions, cells]);
            squared.push(sum_of_squares(graph, &name, &white, 2));
        }
        let squared = match &squared[..] {
            [squared] => squared.clone(),
            _ => {
                let parts: Vec<&Value> = squared.iter().collect();
                let axis = ("axis", Attribute::Int(1));
                graph.node("Concat", "squared", &parts, &[axis])
            }
        };
        let penalty = graph.floats("penalty", &[count, 1, 1], &mixture.penalty);
        let squared = graph.node("Add", "penalised", &[&squared, &penalty], &[]);
        let nearest = [("axes", Attribute::Ints(&[1]))];
        graph.node("ReduceMin", "nearest", &[&squared], &nearest)
    }
}

/// The negative evidence lower bound of each cell, N×1×rows×columns, by [`Autoencoder::energy`]'s rule.
fn energy(graph: &mut GraphBuilder, vectors: &Value, autoencoder: &Autoencoder) -> Result<Value> {
    let network = &autoencoder.network;
    let spec = network.spec();
    let (channels, latent) = (spec.channels, spec.latent.shape()[0]);
    let values = autoencoder.parameters.snapshot()?;
    // The matrix has a column for each cell.
    let mean = autoencoder.mean.transpose();
    let shape = [channels, spec.height, spec.width];
    let mean = graph.floats("vae.mean", &shape, mean.as_slice());
    let scale = graph.floats("vae.scale", &[channels, 1, 1], &autoencoder.scale);
    let centred = graph.node("Sub", "vae.centred", &[vectors, &mean], &[]);
    let x = graph.node("Mul", "vae.x", &[&centred, &scale], &[]);

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
    let spread = enlarged(graph, "vae.spread", &divergence, &scales);
    let share = graph.floats("vae.share", &[], &[1.0 / 16.0]);
    let spread = graph.node("Mul", "vae.shared", &[&spread, &share], &[]);
    let sum = graph.node("Add", "vae.sum", &[&nll, &spread], &[]);
    let half = graph.floats("vae.half", &[], &[0.5]);
    let halved = graph.node("Mul", "vae.halved", &[&sum, &half], &[]);
    let constant = 0.5 * std::f32::consts::TAU.ln() * channels as f32;
    let constant = graph.floats("vae.constant", &[], &[constant]);
    Ok(graph.node("Add", "vae.energy", &[&halved, &constant], &[]))
}

/// Σ over channels, of which one stays.
fn sum_of_channels(graph: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let axes = graph.integers(&format!("{name}.axis"), &[1]);
    graph.node("ReduceSum", name, &[x, &axes], &[])
}

/// Every value repeated down and across.
fn enlarged(graph: &mut GraphBuilder, name: &str, x: &Value, scales: &Value) -> Value {
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

/// A map brought to the grid.
fn pool(graph: &mut GraphBuilder, map: &MapShape, input: &Value, steps: [Step; 2]) -> Value {
    let mut value = input.clone();
    let window = steps.map(|step| step.pool as i64);
    if window != [1, 1] {
        let window = [("kernel_shape", &window), ("strides", &window)]
            .map(|(name, sizes)| (name, Attribute::Ints(&sizes[..])));
        value = graph.node(
            "MaxPool",
            &format!("{}.pooled", map.name),
            &[&value],
            &window,
        );
    }
    let [down, across] = steps.map(|step| step.repeat as f32);
    if [down, across] != [1.0, 1.0] {
        let name = format!("{}.repeated", map.name);
        let scales = graph.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, down, across]);
        value = enlarged(graph, &name, &value, &scales);
    }
    value
}

/// The frame's context N×1×c×1, if there is one.
fn context(graph: &mut GraphBuilder, joined: &Value, context: &Context) -> Option<Value> {
    let (count, channels) = context.weights.shape();
    if count == 0 {
        return None;
    }
    let level = graph.node("GlobalAveragePool", "frame", &[joined], &[]);
    let mean = graph.floats("frame.mean", &[channels, 1, 1], context.mean.as_slice());
    let centred = graph.node("Sub", "frame.centred", &[&level, &mean], &[]);
    let weights = context.weights.transpose();
    let shape = [count, channels, 1, 1];
    let weights = graph.floats("frame.directions", &shape, weights.as_slice());
    let projected = graph.node(
        "Conv",
        "frame.projected",
        &[&centred, &weights],
        &[("kernel_shape", Attribute::Ints(&[1, 1]))],
    );
    let [least, most] = [("least", -context::LIMIT), ("most", context::LIMIT)]
        .map(|(name, limit)| graph.floats(&format!("frame.{name}"), &[], &[limit]));
    let clipped = graph.node("Clip", "frame.clipped", &[&projected, &least, &most], &[]);
    Some(reshape(graph, "context", &clipped, &[1, count, 1]))
}

/// d·exp(−β·a) for the distances d of a frame and its context a.
fn spread(graph: &mut GraphBuilder, distance: &Value, context: &Value, beta: &[f32]) -> Value {
    let beta = graph.floats("spread.weights", &[1, beta.len()], beta);
    let level = graph.node("MatMul", "spread.level", &[&beta, context], &[]);
    let less = graph.node("Neg", "spread.less", &[&level], &[]);
    let factor = graph.node("Exp", "spread.factor", &[&less], &[]);
    graph.node("Mul", "spread", &[distance, &factor], &[])
}

/// How many of `count` matrices of so many `elements` make a part of them that tract puts together when it
/// loads the file ([`FOLDED_ELEMENTS`]); parts are about equal.
fn in_parts(count: usize, elements: usize) -> usize {
    let most = (FOLDED_ELEMENTS / elements).clamp(1, count);
    count.div_ceil(count.div_ceil(most))
}

/// |W·d − B·a|² for the matrices d of N×cells×r×s, of `one_column` or several, and the context a:
/// N×cells×1×s.
fn whitened(
    graph: &mut GraphBuilder,
    (difference, context): (&Value, Option<&Value>),
    gaussians: &CellGaussians,
    (cells, one_column): (usize, bool),
) -> Value {
    let directions = gaussians.directions;
    let length = triangle::length(directions);
    let given = gaussians.context.directions();
    let each = in_parts(cells, directions * directions.max(given));
    let mut squared = Vec::new();
    for (part, values) in gaussians.whitening.chunks(each * length).enumerate() {
        let name = format!("whitening{part}");
        let (first, count) = (part * each, values.len() / length);
        let matrices = graph.triangles(&name, (count, directions), values);
        let columns = if count == cells {
            difference.clone()
        } else {
            let name = format!("{name}.cells");
            slice(graph, &name, difference, (1, &[first]), &[first + count])
        };
        let mut white = graph.node(
            "MatMul",
            &format!("{name}.white"),
            &[&matrices, &columns],
            &[],
        );
        if let Some(context) = context {
            let rows = first * directions..(first + count) * directions;
            let name = format!("expected{part}");
            let weights = graph.scaled_bytes(
                &name,
                &[count, directions, given],
                &gaussians.expected[rows.start * given..rows.end * given],
                &gaussians.expected_scale[rows],
            );
            let values = format!("{name}.values");
            let expected = graph.node("MatMul", &values, &[&weights, context], &[]);
            white = graph.node("Sub", &format!("{name}.less"), &[&white, &expected], &[]);
        }
        squared.push(if one_column {
            // Sums over the last axis are those that tract is fast at.
            let vectors = format!("{name}.vectors");
            let vectors = reshape(graph, &vectors, &white, &[count, directions]);
            let sums = sum_of_squares(graph, &name, &vectors, 2);
            reshape(graph, &format!("{name}.squared"), &sums, &[count, 1, 1])
        } else {
            sum_of_squares(graph, &name, &white, 2)
        });
    }
    match &squared[..] {
        [squared] => squared.clone(),
        _ => {
            let parts: Vec<&Value> = squared.iter().collect();
            graph.node("Concat", "white", &parts, &[("axis", Attribute::Int(1))])
        }
    }
}

/// Σ x² over `axis`, which stays with one element.
fn sum_of_squares(graph: &mut GraphBuilder, name: &str, x: &Value, axis: i64) -> Value {
    let squares = graph.node("Mul", &format!("{name}.squares"), &[x, x], &[]);
    let axes = graph.integers(&format!("{name}.axis"), &[axis]);
    graph.node("ReduceSum", &format!("{name}.sum"), &[&squares, &axes], &[])
}

/// N×`shape`.
fn reshape(graph: &mut GraphBuilder, name: &str, x: &Value, shape: &[usize]) -> Value {
    // 0 keeps the batch.
    let shape: Vec<i64> = [0]
        .into_iter()
        .chain(shape.iter().map(|&d| d as i64))
        .collect();
    let shape = graph.integers(&format!("{name}.shape"), &shape);
    graph.node("Reshape", name, &[x, &shape], &[])
}

fn transpose(graph: &mut GraphBuilder, name: &str, x: &Value, order: &[i64]) -> Value {
    graph.node("Transpose", name, &[x], &[("perm", Attribute::Ints(order))])
}

/// From `starts` to `ends` along as many axes, of which `axis` is the first.
fn slice(
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
