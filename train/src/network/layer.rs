//! The layers of which the networks are made. Training and export walk the same description, so
//! an exported graph can't have another structure than the trained one.

use candle_core::{Result, Tensor};

use super::parameters::{Mode, Parameters};
use crate::ops::{self, Activation};

/// One layer; activations are `N×H×W×C` in training and `N×C×H×W` in the exported graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// Convolution, then batch normalisation where `norm`, then the activation.
    Conv {
        /// Prefix of the parameters' names.
        name: String,
        /// Channels in.
        input: usize,
        /// Channels out.
        output: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Zero padding on each side.
        padding: usize,
        /// Batch normalisation instead of a bias.
        norm: bool,
        /// Where the biases start.
        start: f64,
        /// Activation.
        activation: Activation,
    },
    /// Transposed convolution, then batch normalisation where `norm`, then the activation.
    ConvTranspose {
        /// Prefix of the parameters' names.
        name: String,
        /// Channels in.
        input: usize,
        /// Channels out.
        output: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding taken off each side.
        padding: usize,
        /// Batch normalisation instead of a bias.
        norm: bool,
        /// Activation.
        activation: Activation,
    },
    /// `act(x + f(x))` with f a 3×3 convolution, batch-normalised where `norm`.
    Residual {
        /// Prefix of the parameters' names.
        name: String,
        /// Channels in and out.
        channels: usize,
        /// Batch normalisation instead of a bias.
        norm: bool,
        /// Activation.
        activation: Activation,
    },
    /// From a map to a vector: a dense layer over all its values.
    Dense {
        /// Prefix of the parameters' names.
        name: String,
        /// Shape of the map in: height, width, channels.
        input: [usize; 3],
        /// Length of the vector out.
        output: usize,
        /// Activation.
        activation: Activation,
        /// How the weights start.
        start: DenseStart,
    },
    /// From a vector to a map by a dense layer.
    DenseToMap {
        /// Prefix of the parameters' names.
        name: String,
        /// Length of the vector in.
        input: usize,
        /// Shape of the map out: height, width, channels.
        output: [usize; 3],
        /// Activation.
        activation: Activation,
    },
    /// `C·r²` channels become `r` times the height and width (ONNX `DepthToSpace`, mode CRD).
    PixelShuffle {
        /// r.
        factor: usize,
    },
    /// Passes its input on, and hands it out by its name.
    Tap {
        /// Name among the outputs of the graph.
        name: &'static str,
        /// Channels.
        channels: usize,
        /// The picture's side over that of the map.
        reduction: usize,
    },
    /// Of several inputs: `act(norm(Σ f_i(x_i)))`, each f_i linear.
    Join {
        /// Prefix of the names of the normalisation's parameters.
        name: String,
        /// One for each input.
        branches: Vec<Branch>,
        /// Channels out.
        output: usize,
        /// Activation.
        activation: Activation,
    },
    /// Of two inputs, picture and reconstruction: `gain·(picture − reconstruction)`, each square
    /// of `factor²` pixels moved into channels (ONNX `SpaceToDepth`).
    Residue {
        /// Side of the squares.
        factor: usize,
        /// What the difference is multiplied by.
        gain: f64,
    },
}

/// A linear map without bias, one term of a [`Layer::Join`].
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Prefix of the weight's name.
    pub name: String,
    /// Channels in.
    pub input: usize,
    /// Whether it doubles height and width by a transposed convolution 2×2 of stride 2; else it
    /// is a convolution 1×1.
    pub up: bool,
}

impl Branch {
    /// Side of the kernel, and its stride.
    pub fn kernel(&self) -> usize {
        if self.up { 2 } else { 1 }
    }
}

/// How the weights of a dense layer start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseStart {
    /// All alike.
    Even,
    /// As the posterior of a latent vector of which only this many numbers are at work: of the
    /// means (the first half of the outputs) the others start at a tenth.
    FewMeans(usize),
    /// As a layer of which only this many numbers of the input are at work: the weights of the
    /// others start at a tenth.
    FewInputs(usize),
}

impl DenseStart {
    /// Factor on the deviation of one weight of a matrix with `rows` rows (outputs).
    pub fn factor(self, row: usize, column: usize, rows: usize) -> f64 {
        let small = match self {
            Self::Even => false,
            Self::FewMeans(few) => (few..rows / 2).contains(&row),
            Self::FewInputs(few) => column >= few,
        };
        if small { 0.1 } else { 1.0 }
    }
}

/// What a parameter is, which decides how it starts and whether weight decay applies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Normal with the given standard deviation.
    Normal(f64),
    /// A matrix of these rows and columns, normal with the given standard deviation times
    /// [`DenseStart::factor`].
    Dense(f64, [usize; 2], DenseStart),
    /// A constant: biases (0) and normalisation scales (1).
    Constant(f64),
}

impl Layer {
    /// Calls `declare` for each parameter in a fixed order: name, shape, start.
    pub fn declare(&self, declare: &mut impl FnMut(String, Vec<usize>, Start)) {
        let mut affine = |name: &str, channels: usize, norm: bool, scale: f64, bias: f64| {
            if norm {
                declare(
                    format!("{name}.scale"),
                    vec![channels],
                    Start::Constant(scale),
                );
            }
            declare(
                format!("{name}.bias"),
                vec![channels],
                Start::Constant(bias),
            );
        };
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
                affine(name, *output, *norm, 1.0, *start);
                let fan_in = input * kernel * kernel;
                declare(
                    format!("{name}.weight"),
                    vec![*output, *kernel, *kernel, *input],
                    Start::Normal(deviation(fan_in, *activation)),
                );
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
                affine(name, *output, *norm, 1.0, 0.0);
                // Each output pixel sees (kernel / stride)² taps.
                let fan_in = input * (kernel * kernel).div_ceil(stride * stride);
                declare(
                    format!("{name}.weight"),
                    vec![*input, *kernel, *kernel, *output],
                    Start::Normal(deviation(fan_in, *activation)),
                );
            }
            Self::Residual {
                name,
                channels,
                norm,
                ..
            } => {
                // The branch starts small (Goyal et al. 2017; Zhang et al. 2019): the block is
                // near identity, whatever the depth.
                affine(name, *channels, *norm, 0.2, 0.0);
                let std = deviation(channels * 9, Activation::Relu) * if *norm { 1.0 } else { 0.2 };
                declare(
                    format!("{name}.weight"),
                    vec![*channels, 3, 3, *channels],
                    Start::Normal(std),
                );
            }
            Self::Dense {
                name,
                input,
                output,
                activation,
                start,
            } => {
                affine(name, *output, false, 1.0, 0.0);
                let fan_in: usize = input.iter().product();
                let active = match start {
                    DenseStart::FewInputs(few) => fan_in.min(*few),
                    DenseStart::Even | DenseStart::FewMeans(_) => fan_in,
                };
                let std = deviation(active, *activation);
                declare(
                    format!("{name}.weight"),
                    vec![*output, fan_in],
                    Start::Dense(std, [*output, fan_in], *start),
                );
            }
            Self::DenseToMap {
                name,
                input,
                output,
                activation,
            } => {
                let length: usize = output.iter().product();
                affine(name, length, false, 1.0, 0.0);
                declare(
                    format!("{name}.weight"),
                    vec![length, *input],
                    Start::Normal(deviation(*input, *activation)),
                );
            }
            Self::Join {
                name,
                branches,
                output,
                activation,
            } => {
                affine(name, *output, true, 1.0, 0.0);
                for branch in branches {
                    let kernel = branch.kernel();
                    // A transposed convolution's weights lie with the channels in first.
                    let (first, last) = if branch.up {
                        (branch.input, *output)
                    } else {
                        (*output, branch.input)
                    };
                    // The terms share the variance of the sum.
                    let fan_in = branch.input * branches.len();
                    declare(
                        format!("{}.weight", branch.name),
                        vec![first, kernel, kernel, last],
                        Start::Normal(deviation(fan_in, *activation)),
                    );
                }
            }
            Self::PixelShuffle { .. } | Self::Tap { .. } | Self::Residue { .. } => {}
        }
    }

    /// Calls `declare` for the running mean and variance of each batch normalisation: prefix and
    /// channels.
    pub fn declare_norms(&self, declare: &mut impl FnMut(&str, usize)) {
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
            } => declare(name, *channels),
            _ => {}
        }
    }

    /// Runs the layer on its inputs: one for all but [`Layer::Join`] and [`Layer::Residue`].
    ///
    /// # Errors
    /// Shapes that do not fit, another number of inputs.
    pub fn forward(
        &self,
        inputs: &[&Tensor],
        parameters: &Parameters,
        mode: &mut Mode,
    ) -> Result<Tensor> {
        let Some(&x) = inputs.first() else {
            candle_core::bail!("a layer without inputs");
        };
        if inputs.len() != self.inputs() {
            candle_core::bail!("{} inputs for a layer of {}", inputs.len(), self.inputs());
        }
        match self {
            Self::Conv {
                name,
                stride,
                padding,
                norm,
                activation,
                ..
            } => {
                let weight = parameters.get(name, "weight")?;
                if *norm {
                    let y = ops::conv2d(x, weight, None, *stride, *padding, Activation::Identity)?;
                    normalise(&y, name, parameters, mode, None, *activation)
                } else {
                    let bias = parameters.get(name, "bias")?;
                    ops::conv2d(x, weight, Some(bias), *stride, *padding, *activation)
                }
            }
            Self::ConvTranspose {
                name,
                stride,
                padding,
                norm,
                activation,
                ..
            } => {
                let weight = parameters.get(name, "weight")?;
                if *norm {
                    let y = ops::conv_transpose2d(
                        x,
                        weight,
                        None,
                        *stride,
                        *padding,
                        Activation::Identity,
                    )?;
                    normalise(&y, name, parameters, mode, None, *activation)
                } else {
                    let bias = parameters.get(name, "bias")?;
                    ops::conv_transpose2d(x, weight, Some(bias), *stride, *padding, *activation)
                }
            }
            Self::Residual {
                name,
                norm,
                activation,
                ..
            } => {
                let weight = parameters.get(name, "weight")?;
                if *norm {
                    let y = ops::conv2d(x, weight, None, 1, 1, Activation::Identity)?;
                    normalise(&y, name, parameters, mode, Some(x), *activation)
                } else {
                    let bias = parameters.get(name, "bias")?;
                    let y = ops::conv2d(x, weight, Some(bias), 1, 1, Activation::Identity)?;
                    ops::activate(&(x + y)?, *activation)
                }
            }
            Self::Dense {
                name, activation, ..
            } => ops::linear(
                &x.flatten_from(1)?,
                parameters.get(name, "weight")?,
                Some(parameters.get(name, "bias")?),
                *activation,
            ),
            Self::DenseToMap {
                name,
                output: [height, width, channels],
                activation,
                ..
            } => ops::linear(
                x,
                parameters.get(name, "weight")?,
                Some(parameters.get(name, "bias")?),
                *activation,
            )?
            .reshape(((), *height, *width, *channels)),
            Self::PixelShuffle { factor } => ops::pixel_shuffle(x, *factor),
            Self::Tap { .. } => Ok(x.clone()),
            Self::Join {
                name,
                branches,
                activation,
                ..
            } => {
                let mut sum: Option<Tensor> = None;
                for (branch, &x) in branches.iter().zip(inputs) {
                    let weight = parameters.get(&branch.name, "weight")?;
                    let none = Activation::Identity;
                    let y = if branch.up {
                        ops::conv_transpose2d(x, weight, None, branch.kernel(), 0, none)?
                    } else {
                        ops::conv2d(x, weight, None, branch.kernel(), 0, none)?
                    };
                    sum = Some(match sum {
                        Some(sum) => (sum + y)?,
                        None => y,
                    });
                }
                let sum = sum.unwrap_or_else(|| x.clone());
                normalise(&sum, name, parameters, mode, None, *activation)
            }
            Self::Residue { factor, gain } => {
                ops::space_to_depth(&((x - inputs[1])? * *gain)?, *factor)
            }
        }
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Join { branches, .. } => branches.len(),
            Self::Residue { .. } => 2,
            _ => 1,
        }
    }
}

/// Standard deviation after He et al. 2015: the variance of activations is kept through a layer
/// followed by `activation`.
fn deviation(fan_in: usize, activation: Activation) -> f64 {
    let gain: f64 = match activation {
        Activation::Identity => 1.0,
        Activation::Relu | Activation::LeakyRelu => 2.0,
        // E[silu(x)²] = 0.356 for x ~ N(0, 1).
        Activation::Silu => 2.8,
    };
    (gain / fan_in as f64).sqrt()
}

/// Stabilises the variance in batch normalisation, in training and in the folded export.
pub const NORM_EPSILON: f64 = 1e-5;

/// Batch normalisation by the batch's statistics in training (which are handed to `mode`), by the
/// running ones in evaluation.
fn normalise(
    y: &Tensor,
    name: &str,
    parameters: &Parameters,
    mode: &mut Mode,
    shortcut: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let scale = parameters.get(name, "scale")?;
    let bias = parameters.get(name, "bias")?;
    match mode {
        Mode::Train(statistics) => {
            let (out, mean, variance) = match shortcut {
                None => ops::batch_norm(y, scale, bias, NORM_EPSILON, activation)?,
                Some(x) => ops::batch_norm_residual(y, scale, bias, NORM_EPSILON, x, activation)?,
            };
            statistics.push((name.to_owned(), mean, variance));
            Ok(out)
        }
        Mode::Evaluate => {
            let (mean, variance) = parameters.running(name)?;
            let factor = (scale / (variance + NORM_EPSILON)?.sqrt()?)?;
            let offset = (bias - (mean * &factor)?)?;
            let mut out = y.broadcast_mul(&factor)?.broadcast_add(&offset)?;
            if let Some(x) = shortcut {
                out = (out + x)?;
            }
            ops::activate(&out, activation)
        }
    }
}
