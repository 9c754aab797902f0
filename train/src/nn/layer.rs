//! The layers of which the networks are made. Training and export walk the same description, so
//! an exported graph can't have another structure than the trained one.

use super::{ops::Activation, start::DenseStart};

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

impl Layer {
    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Join { branches, .. } => branches.len(),
            Self::Residue { .. } => 2,
            _ => 1,
        }
    }
}
