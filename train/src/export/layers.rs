//! Layers of a network as nodes of an ONNX graph, batch normalisation folded into the convolutions.

use std::collections::BTreeMap;

use candle_core::{Result, bail};
use half::f16;

use super::onnx::{Attribute, GraphBuilder, Value};
use crate::{
    nn::{
        Layer, NORM_EPSILON, Snapshot,
        ops::{Activation, LEAKY_SLOPE},
    },
    vae::LOG_VARIANCE_BOUNDS,
};

/// What `layers` make of `input`; what they tap is added to `taps` by its name.
pub(crate) fn walk(
    graph: &mut GraphBuilder,
    layers: &[Layer],
    values: &Snapshot,
    input: Value,
    taps: &mut BTreeMap<&'static str, Value>,
) -> Result<Value> {
    let mut x = input;
    for layer in layers {
        x = export_layer(graph, layer, values, &[&x])?;
        if let Layer::Tap { name, .. } = layer {
            taps.insert(name, x.clone());
        }
    }
    Ok(x)
}

pub(super) fn export_layer(
    graph: &mut GraphBuilder,
    layer: &Layer,
    values: &Snapshot,
    inputs: &[&Value],
) -> Result<Value> {
    let Some(&x) = inputs.first() else {
        bail!("a layer without inputs");
    };
    if inputs.len() != layer.inputs() {
        bail!("{} inputs for a layer of {}", inputs.len(), layer.inputs());
    }
    match layer {
        Layer::Conv {
            name,
            input,
            output,
            kernel,
            stride,
            padding,
            norm,
            activation,
            ..
        } => {
            let fold = Fold::of(values, name, *output, *norm)?;
            let stored = values.values(&format!("{name}.weight"))?;
            let weight = permute_ohwi_to_oihw(&stored, *output, *kernel, *input);
            let window = Window::new(*kernel, *stride, *padding);
            let y = convolve(
                graph,
                "Conv",
                name,
                x,
                (&[*output, *input, *kernel, *kernel], &weight),
                (&fold.factor, &fold.offset),
                &window,
            );
            Ok(activate(graph, name, y, *activation))
        }
        Layer::ConvTranspose {
            name,
            input,
            output,
            kernel,
            stride,
            padding,
            norm,
            activation,
        } => {
            let fold = Fold::of(values, name, *output, *norm)?;
            let stored = values.values(&format!("{name}.weight"))?;
            let weight = permute_ihwo_to_iohw(&stored, *input, *kernel, *output);
            let window = Window::new(*kernel, *stride, *padding);
            let y = convolve(
                graph,
                "ConvTranspose",
                name,
                x,
                (&[*input, *output, *kernel, *kernel], &weight),
                (&fold.factor, &fold.offset),
                &window,
            );
            Ok(activate(graph, name, y, *activation))
        }
        Layer::Residual {
            name,
            channels,
            norm,
            activation,
        } => {
            let fold = Fold::of(values, name, *channels, *norm)?;
            let stored = values.values(&format!("{name}.weight"))?;
            let weight = permute_ohwi_to_oihw(&stored, *channels, 3, *channels);
            let window = Window::new(3, 1, 1);
            let y = convolve(
                graph,
                "Conv",
                name,
                x,
                (&[*channels, *channels, 3, 3], &weight),
                (&fold.factor, &fold.offset),
                &window,
            );
            let sum = graph.node("Add", &format!("{name}.sum"), &[x, &y], &[]);
            Ok(activate(graph, name, sum, *activation))
        }
        Layer::Dense {
            name,
            input: [height, width, channels],
            output,
            activation,
            ..
        } => {
            let flat = graph.node("Flatten", &format!("{name}.flat"), &[x], &[]);
            // Training flattens height, width, channels; the graph channels, height, width.
            let stored = values.values(&format!("{name}.weight"))?;
            let length = height * width * channels;
            let mut weight = vec![0.0; stored.len()];
            for o in 0..*output {
                for place in 0..height * width {
                    for c in 0..*channels {
                        weight[o * length + c * height * width + place] =
                            stored[o * length + place * channels + c];
                    }
                }
            }
            let bias = values.values(&format!("{name}.bias"))?;
            let y = dense(graph, name, &flat, [*output, length], &weight, &bias);
            Ok(activate(graph, name, y, *activation))
        }
        Layer::DenseToMap {
            name,
            input,
            output: [height, width, channels],
            activation,
        } => {
            let stored = values.values(&format!("{name}.weight"))?;
            let stored_bias = values.values(&format!("{name}.bias"))?;
            let places = height * width;
            let mut weight = vec![0.0; stored.len()];
            let mut bias = vec![0.0; stored_bias.len()];
            for c in 0..*channels {
                for place in 0..places {
                    let (to, from) = (c * places + place, place * channels + c);
                    bias[to] = stored_bias[from];
                    weight[to * input..(to + 1) * input]
                        .copy_from_slice(&stored[from * input..(from + 1) * input]);
                }
            }
            let y = dense(graph, name, x, [channels * places, *input], &weight, &bias);
            let shape = [0, *channels as i64, *height as i64, *width as i64];
            let shape = graph.integers(&format!("{name}.shape"), &shape);
            let map = graph.node("Reshape", &format!("{name}.map"), &[&y, &shape], &[]);
            Ok(activate(graph, name, map, *activation))
        }
        Layer::PixelShuffle { factor } => Ok(graph.node(
            "DepthToSpace",
            "pixel_shuffle",
            &[x],
            &[
                ("blocksize", Attribute::Int(*factor as i64)),
                ("mode", Attribute::Text("CRD")),
            ],
        )),
        Layer::Tap { .. } => Ok(x.clone()),
        Layer::Join {
            name,
            branches,
            output,
            activation,
        } => {
            let fold = Fold::of(values, name, *output, true)?;
            let mut sum: Option<Value> = None;
            for (branch, x) in branches.iter().zip(inputs) {
                let stored = values.values(&format!("{}.weight", branch.name))?;
                let kernel = branch.kernel();
                let (input, output) = (branch.input, *output);
                let window = Window::new(kernel, kernel, 0);
                let (operator, shape, weight) = if branch.up {
                    let weight = permute_ihwo_to_iohw(&stored, input, kernel, output);
                    ("ConvTranspose", [input, output, kernel, kernel], weight)
                } else {
                    let weight = permute_ohwi_to_oihw(&stored, output, kernel, input);
                    ("Conv", [output, input, kernel, kernel], weight)
                };
                // The first term carries the offset of them all.
                let none = vec![0.0; output];
                let offset = if sum.is_none() { &fold.offset } else { &none };
                let weight = (&shape[..], &weight[..]);
                let y = convolve(
                    graph,
                    operator,
                    &branch.name,
                    x,
                    weight,
                    (&fold.factor, offset),
                    &window,
                );
                sum = Some(match sum {
                    Some(sum) => {
                        let name = format!("{}.sum", branch.name);
                        graph.node("Add", &name, &[&sum, &y], &[])
                    }
                    None => y,
                });
            }
            let sum = sum.unwrap_or_else(|| x.clone());
            Ok(activate(graph, name, sum, *activation))
        }
        Layer::Residue { factor, gain } => {
            let difference = graph.node("Sub", "residue.difference", inputs, &[]);
            let gain = graph.floats("residue.gain", &[1], &[*gain as f32]);
            let scaled = graph.node("Mul", "residue.scaled", &[&difference, &gain], &[]);
            Ok(graph.node(
                "SpaceToDepth",
                "residue.coarse",
                &[&scaled],
                &[("blocksize", Attribute::Int(*factor as i64))],
            ))
        }
    }
}

/// Batch normalisation as a factor and an offset for each output channel of the convolution
/// before it; without one there is no factor.
struct Fold {
    factor: Vec<f32>,
    offset: Vec<f32>,
}

impl Fold {
    fn of(values: &Snapshot, name: &str, channels: usize, norm: bool) -> Result<Self> {
        let bias = values.values(&format!("{name}.bias"))?;
        if bias.len() != channels {
            bail!("{name}.bias has {} values, not {channels}", bias.len());
        }
        if !norm {
            return Ok(Self {
                factor: Vec::new(),
                offset: bias,
            });
        }
        let scale = values.values(&format!("{name}.scale"))?;
        let mean = values.values(&format!("{name}.running_mean"))?;
        let variance = values.values(&format!("{name}.running_variance"))?;
        let factor: Vec<f64> = scale
            .iter()
            .zip(&variance)
            .map(|(&s, &v)| f64::from(s) / (f64::from(v) + NORM_EPSILON).sqrt())
            .collect();
        let offset = (0..channels)
            .map(|c| (f64::from(bias[c]) - f64::from(mean[c]) * factor[c]) as f32)
            .collect();
        Ok(Self {
            factor: factor.iter().map(|&f| f as f32).collect(),
            offset,
        })
    }
}

/// Geometry of a convolution, as ONNX attributes.
struct Window {
    kernel: [i64; 2],
    strides: [i64; 2],
    pads: [i64; 4],
}

impl Window {
    fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [kernel as i64; 2],
            strides: [stride as i64; 2],
            pads: [padding as i64; 4],
        }
    }
}

fn convolve(
    graph: &mut GraphBuilder,
    operator: &str,
    name: &str,
    x: &Value,
    (shape, weight): (&[usize], &[f16]),
    (factor, offset): (&[f32], &[f32]),
    window: &Window,
) -> Value {
    let mut weight = graph.halves(&format!("{name}.weight"), shape, weight);
    if !factor.is_empty() {
        // A kernel's output channels are its first axis, that of a transposed convolution its
        // second.
        let axis = usize::from(operator == "ConvTranspose");
        let mut along = [1; 4];
        along[axis] = factor.len();
        let factor = graph.floats(&format!("{name}.factor"), &along, factor);
        weight = graph.node("Mul", &format!("{name}.folded"), &[&weight, &factor], &[]);
    }
    let bias = graph.floats(&format!("{name}.bias"), &[offset.len()], offset);
    graph.node(
        operator,
        &format!("{name}.conv"),
        &[x, &weight, &bias],
        &[
            ("kernel_shape", Attribute::Ints(&window.kernel)),
            ("strides", Attribute::Ints(&window.strides)),
            ("pads", Attribute::Ints(&window.pads)),
        ],
    )
}

fn dense(
    graph: &mut GraphBuilder,
    name: &str,
    x: &Value,
    shape: [usize; 2],
    weight: &[f32],
    bias: &[f32],
) -> Value {
    let weight = graph.floats(&format!("{name}.weight"), &shape, weight);
    let bias = graph.floats(&format!("{name}.bias"), &[bias.len()], bias);
    graph.node(
        "Gemm",
        &format!("{name}.dense"),
        &[x, &weight, &bias],
        &[("transB", Attribute::Int(1))],
    )
}

fn activate(graph: &mut GraphBuilder, name: &str, x: Value, activation: Activation) -> Value {
    let out = format!("{name}.out");
    match activation {
        Activation::Identity => x,
        Activation::Relu => graph.node("Relu", &out, &[&x], &[]),
        Activation::LeakyRelu => graph.node(
            "LeakyRelu",
            &out,
            &[&x],
            &[("alpha", Attribute::Float(LEAKY_SLOPE as f32))],
        ),
        Activation::Silu => {
            let gate = graph.node("Sigmoid", &format!("{name}.gate"), &[&x], &[]);
            graph.node("Mul", &out, &[&x, &gate], &[])
        }
    }
}

/// Channels `from..to` of `x`.
pub(crate) fn slice(
    graph: &mut GraphBuilder,
    x: &Value,
    name: &str,
    from: usize,
    to: usize,
) -> Value {
    let starts = graph.integers(&format!("{name}.from"), &[from as i64]);
    let ends = graph.integers(&format!("{name}.to"), &[to as i64]);
    let axes = graph.integers(&format!("{name}.axis"), &[1]);
    graph.node("Slice", name, &[x, &starts, &ends, &axes], &[])
}

/// The smooth bounds of [`crate::nn::ops::soft_clamp`]: `m + s·tanh((x − m)/s)`.
pub(crate) fn soft_clamp(graph: &mut GraphBuilder, x: &Value, name: &str) -> Value {
    let (low, high) = LOG_VARIANCE_BOUNDS;
    let middle = ((low + high) / 2.0) as f32;
    let half = ((high - low) / 2.0) as f32;
    let middle = graph.floats(&format!("{name}.middle"), &[1], &[middle]);
    let half = graph.floats(&format!("{name}.half"), &[1], &[half]);
    let centred = graph.node("Sub", &format!("{name}.centred"), &[x, &middle], &[]);
    let scaled = graph.node("Div", &format!("{name}.scaled"), &[&centred, &half], &[]);
    let bounded = graph.node("Tanh", &format!("{name}.bounded"), &[&scaled], &[]);
    let wide = graph.node("Mul", &format!("{name}.wide"), &[&bounded, &half], &[]);
    graph.node("Add", name, &[&wide, &middle], &[])
}

fn permute_ohwi_to_oihw(stored: &[f32], output: usize, kernel: usize, input: usize) -> Vec<f16> {
    let area = kernel * kernel;
    let mut weight = vec![f16::ZERO; stored.len()];
    for o in 0..output {
        for place in 0..area {
            for i in 0..input {
                weight[(o * input + i) * area + place] =
                    f16::from_f32(stored[(o * area + place) * input + i]);
            }
        }
    }
    weight
}

fn permute_ihwo_to_iohw(stored: &[f32], input: usize, kernel: usize, output: usize) -> Vec<f16> {
    let area = kernel * kernel;
    let mut weight = vec![f16::ZERO; stored.len()];
    for i in 0..input {
        for place in 0..area {
            for o in 0..output {
                weight[(i * output + o) * area + place] =
                    f16::from_f32(stored[(i * area + place) * output + o]);
            }
        }
    }
    weight
}
