//! A density as a graph.

use anyhow::{Context as _, Result};

use super::{
    FittedDensity, MapShape,
    covariate::{self, Covariate},
    grid::Step,
    mixture::Mixture,
    model::Density,
    per_location::{CellGaussians, Rows},
    triangle,
    vae_graph::{energy, enlarged, slice},
};
use crate::export::onnx::{Attribute, GraphBuilder, Value};

/// Most elements of a constant that tract still widens when it loads the file: 4 MiB of f32.
const FOLDED_ELEMENTS: usize = 1 << 20;

/// Stands for the squared distance from a cell outside of the grid; no distance reaches it.
const OUTSIDE: f32 = 1e30;

impl FittedDensity {
    /// The bytes of a graph: the feature maps N×C×h×w by their names → the tensor `output`
    /// N×1×rows×columns of the grid. `model` is the model's name, for the file's metadata.
    ///
    /// # Errors
    /// Feature maps that do not fit the grid, which [`super::fit`] does not give.
    pub fn to_onnx(&self, model: &str, output: &str) -> Result<Vec<u8>> {
        let mut graph = GraphBuilder::new("features");
        let joined = self.joined(&mut graph)?;
        let vectors = self.vectors(&mut graph, &joined);
        let distance = match &self.density {
            Density::Prototypes { prototypes, .. } => {
                return Ok(prototypes.to_onnx(model, output));
            }
            Density::Cells { stored, reach, .. } => {
                let covariate = covariate(&mut graph, &joined, &stored.covariate);
                let covariate = covariate.as_ref();
                let squared = self.cells(&mut graph, (&vectors, covariate), stored, *reach);
                let distance = graph.node("Sqrt", "root", &[&squared], &[]);
                match covariate {
                    Some(covariate) => {
                        scale_correction(&mut graph, &distance, covariate, &stored.scale_correction)
                    }
                    None => distance,
                }
            }
            Density::Mixture(mixture) => {
                let squared = self.mixture(&mut graph, &vectors, mixture);
                graph.node("Sqrt", "root", &[&squared], &[])
            }
            Density::Vae(vae) => energy(&mut graph, &vectors, vae)?,
        };
        let [rows, columns] = self.grid.size;
        let shape = [1, rows, columns];
        let distance = reshape(&mut graph, "map", &distance, &shape);
        graph.output(&distance, output, &shape);
        let summary = self.summary();
        let mut metadata = vec![
            ("edge_vae.graph", "features".to_owned()),
            ("edge_vae.model", model.to_owned()),
            ("edge_vae.features", summary.kind.to_owned()),
            ("edge_vae.components", summary.components.to_string()),
            ("edge_vae.covariate", summary.covariate.to_string()),
        ];
        if let Density::Cells { stored, .. } = &self.density {
            // What it takes to add frames later.
            let floors: Vec<String> = stored.floors.iter().map(f64::to_string).collect();
            metadata.extend([
                ("edge_vae.weight", stored.weight.to_string()),
                ("edge_vae.floors", floors.join(" ")),
            ]);
        }
        Ok(graph.finish(&metadata))
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

    /// The pooled inputs, projected: N×components×rows×columns.
    fn vectors(&self, graph: &mut GraphBuilder, joined: &Value) -> Value {
        let channels = self.grid.channels();
        let projection = &self.projection;
        let mean = graph.floats("mean", &[channels, 1, 1], projection.mean.as_slice());
        let centred = graph.node("Sub", "centred", &[joined, &mean], &[]);
        let components = projection.components();
        // Row after row; the matrix is stored column after column.
        let weights = projection.weights.transpose();
        let weights = graph.floats(
            "directions",
            &[components, channels, 1, 1],
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
        (vectors, covariate): (&Value, Option<&Value>),
        gaussians: &CellGaussians,
        reach: usize,
    ) -> Value {
        let [rows, columns] = self.grid.size;
        let cells = rows * columns;
        let components = self.projection.components();
        let side = 2 * reach + 1;
        let shifts: Vec<[usize; 2]> = (0..side * side).map(|i| [i / side, i % side]).collect();

        // Column s of a cell's matrix is the vector that lies shift s away: N×components×cells×s.
        let columns_of_cells = if reach == 0 {
            reshape(graph, "columns", vectors, &[components, cells, 1])
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
                        &[components, cells, 1],
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
        let mean = graph.floats("cell_mean", &[cells, components, 1], &gaussians.mean);
        let difference = graph.node("Sub", "difference", &[&by_cell, &mean], &[]);

        let squared = whitened(
            graph,
            (&difference, covariate),
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

    /// Squared distances from the nearest Gaussian, N×1×1×cells.
    fn mixture(&self, graph: &mut GraphBuilder, vectors: &Value, mixture: &Mixture) -> Value {
        let cells = self.grid.cells();
        let components = self.projection.components();
        let length = triangle::length(components);
        let count = mixture.gaussians();
        let each = in_parts(count, components * components);
        let mut squared = Vec::new();
        for (part, triangles) in mixture.whitening.chunks(each * length).enumerate() {
            let (first, count) = (part * each, triangles.len() / length);
            let name = format!("whitening{part}");
            let matrices = graph.triangles(&name, (count, components), triangles);
            let shape = [count * components, components, 1, 1].map(|d| d as i64);
            let shape = graph.integers(&format!("{name}.shape"), &shape);
            let weights = format!("{name}.rows");
            let weights = graph.node("Reshape", &weights, &[&matrices, &shape], &[]);
            let offset = &mixture.offset[first * components..(first + count) * components];
            let offset = graph.floats(&format!("{name}.offset"), &[offset.len()], offset);
            let white = graph.node(
                "Conv",
                &format!("{name}.white"),
                &[vectors, &weights, &offset],
                &[("kernel_shape", Attribute::Ints(&[1, 1]))],
            );
            let gaussians = format!("{name}.components");
            let white = reshape(graph, &gaussians, &white, &[count, components, cells]);
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

/// The frame's covariate N×1×c×1, if there is one.
fn covariate(graph: &mut GraphBuilder, joined: &Value, covariate: &Covariate) -> Option<Value> {
    let (count, channels) = covariate.weights.shape();
    if count == 0 {
        return None;
    }
    let level = graph.node("GlobalAveragePool", "frame", &[joined], &[]);
    let mean = graph.floats("frame.mean", &[channels, 1, 1], covariate.mean.as_slice());
    let centred = graph.node("Sub", "frame.centred", &[&level, &mean], &[]);
    let weights = covariate.weights.transpose();
    let shape = [count, channels, 1, 1];
    let weights = graph.floats("frame.directions", &shape, weights.as_slice());
    let projected = graph.node(
        "Conv",
        "frame.projected",
        &[&centred, &weights],
        &[("kernel_shape", Attribute::Ints(&[1, 1]))],
    );
    let [least, most] = [
        ("least", -covariate::PARAMS.limit),
        ("most", covariate::PARAMS.limit),
    ]
    .map(|(name, limit)| graph.floats(&format!("frame.{name}"), &[], &[limit]));
    let clipped = graph.node("Clip", "frame.clipped", &[&projected, &least, &most], &[]);
    Some(reshape(graph, "context", &clipped, &[1, count, 1]))
}

/// d·exp(−β·a) for the distances d of a frame and its covariate a.
fn scale_correction(
    graph: &mut GraphBuilder,
    distance: &Value,
    covariate: &Value,
    beta: &[f32],
) -> Value {
    let beta = graph.floats("spread.weights", &[1, beta.len()], beta);
    let level = graph.node("MatMul", "spread.level", &[&beta, covariate], &[]);
    let less = graph.node("Neg", "spread.less", &[&level], &[]);
    let factor = graph.node("Exp", "spread.factor", &[&less], &[]);
    graph.node("Mul", "spread", &[distance, &factor], &[])
}

/// How many of `count` matrices of so many `elements` make a part of them that tract puts together
/// when it loads the file ([`FOLDED_ELEMENTS`]); parts are about equal.
fn in_parts(count: usize, elements: usize) -> usize {
    let most = (FOLDED_ELEMENTS / elements).clamp(1, count);
    count.div_ceil(count.div_ceil(most))
}

/// |W·d − B·a|² for the matrices d of N×cells×r×s, of `one_column` or several, and the covariate a:
/// N×cells×1×s.
fn whitened(
    graph: &mut GraphBuilder,
    (difference, covariate): (&Value, Option<&Value>),
    gaussians: &CellGaussians,
    (cells, one_column): (usize, bool),
) -> Value {
    let components = gaussians.components;
    let length = triangle::length(components);
    let given = gaussians.covariate.components();
    let each = in_parts(cells, components * components.max(given));
    let mut squared = Vec::new();
    let Rows { scale, values } = &gaussians.whitening;
    for (part, values) in values.chunks(each * length).enumerate() {
        let name = format!("whitening{part}");
        let (first, count) = (part * each, values.len() / length);
        let rows = first * components..(first + count) * components;
        let scale = &scale[rows.clone()];
        let matrices = graph.scaled_triangles(&name, (count, components), values, scale);
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
        if let Some(covariate) = covariate {
            let name = format!("expected{part}");
            let Rows { scale, values } = &gaussians.expected;
            let weights = graph.scaled_bytes(
                &name,
                &[count, components, given],
                &values[rows.start * given..rows.end * given],
                &scale[rows],
            );
            let values = format!("{name}.values");
            let expected = graph.node("MatMul", &values, &[&weights, covariate], &[]);
            white = graph.node("Sub", &format!("{name}.less"), &[&white, &expected], &[]);
        }
        squared.push(if one_column {
            // Sums over the last axis are those that tract is fast at.
            let vectors = format!("{name}.vectors");
            let vectors = reshape(graph, &vectors, &white, &[count, components]);
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
