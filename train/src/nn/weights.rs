//! The weights that layers need.

use super::{
    layer::Layer,
    ops::Activation,
    start::{DenseStart, Norm, Start, Weight, deviation},
};

/// Where the branch of a residual block starts (Goyal et al. 2017; Zhang et al. 2019): small, so
/// that the block is near identity, whatever the depth.
const RESIDUAL_SCALE: f64 = 0.2;

impl Layer {
    /// The weights in an order that never changes, which the random numbers of each go by.
    pub fn weights(&self) -> Vec<Weight> {
        match self {
            Self::Conv {
                name,
                input,
                output,
                kernel,
                norm,
                start,
                activation,
                ..
            } => {
                let std = deviation(input * kernel * kernel, *activation);
                let shape = [*output, *kernel, *kernel, *input];
                let mut weights = affine(name, *output, norm.then_some(1.0), *start);
                weights.push(matrix(name, &shape, Start::Normal(std)));
                weights
            }
            Self::ConvTranspose {
                name,
                input,
                output,
                kernel,
                stride,
                norm,
                activation,
                ..
            } => {
                // Each output pixel sees (kernel / stride)² taps.
                let fan_in = input * (kernel * kernel).div_ceil(stride * stride);
                let start = Start::Normal(deviation(fan_in, *activation));
                let mut weights = affine(name, *output, norm.then_some(1.0), 0.0);
                weights.push(matrix(name, &[*input, *kernel, *kernel, *output], start));
                weights
            }
            Self::Residual {
                name,
                channels,
                norm,
                ..
            } => {
                let scale = if *norm { 1.0 } else { RESIDUAL_SCALE };
                let start = Start::Normal(deviation(channels * 9, Activation::Relu) * scale);
                let mut weights = affine(name, *channels, norm.then_some(RESIDUAL_SCALE), 0.0);
                weights.push(matrix(name, &[*channels, 3, 3, *channels], start));
                weights
            }
            Self::Dense {
                name,
                input,
                output,
                activation,
                start,
            } => {
                let fan_in: usize = input.iter().product();
                let active = match start {
                    DenseStart::FewInputs(few) => fan_in.min(*few),
                    DenseStart::Even | DenseStart::FewMeans(_) => fan_in,
                };
                let start = Start::Dense(deviation(active, *activation), *start);
                let mut weights = affine(name, *output, None, 0.0);
                weights.push(matrix(name, &[*output, fan_in], start));
                weights
            }
            Self::DenseToMap {
                name,
                input,
                output,
                activation,
            } => {
                let length: usize = output.iter().product();
                let start = Start::Normal(deviation(*input, *activation));
                let mut weights = affine(name, length, None, 0.0);
                weights.push(matrix(name, &[length, *input], start));
                weights
            }
            Self::Join {
                name,
                branches,
                output,
                activation,
            } => {
                let mut weights = affine(name, *output, Some(1.0), 0.0);
                weights.extend(branches.iter().map(|branch| {
                    let kernel = branch.kernel();
                    // A transposed convolution's weights lie with the channels in first.
                    let (first, last) = if branch.up {
                        (branch.input, *output)
                    } else {
                        (*output, branch.input)
                    };
                    // The terms share the variance of the sum.
                    let fan_in = branch.input * branches.len();
                    let start = Start::Normal(deviation(fan_in, *activation));
                    matrix(&branch.name, &[first, kernel, kernel, last], start)
                }));
                weights
            }
            Self::PixelShuffle { .. } | Self::Tap { .. } | Self::Residue { .. } => Vec::new(),
        }
    }

    /// Its batch normalisation, where it has one.
    pub fn norm(&self) -> Option<Norm> {
        match self {
            Self::Conv {
                name,
                output: channels,
                norm: true,
                ..
            }
            | Self::ConvTranspose {
                name,
                output: channels,
                norm: true,
                ..
            }
            | Self::Residual {
                name,
                channels,
                norm: true,
                ..
            }
            | Self::Join {
                name,
                output: channels,
                ..
            } => Some(Norm {
                name: name.clone(),
                channels: *channels,
            }),
            _ => None,
        }
    }
}

/// Scale, where a batch normalisation has one, and bias.
fn affine(name: &str, channels: usize, scale: Option<f64>, bias: f64) -> Vec<Weight> {
    let scale = scale.map(|scale| (format!("{name}.scale"), scale));
    let both = scale.into_iter().chain([(format!("{name}.bias"), bias)]);
    both.map(|(name, value)| Weight {
        name,
        shape: vec![channels],
        start: Start::Constant(value),
    })
    .collect()
}

fn matrix(name: &str, shape: &[usize], start: Start) -> Weight {
    Weight {
        name: format!("{name}.weight"),
        shape: shape.to_vec(),
        start,
    }
}
