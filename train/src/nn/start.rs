//! How the values of a network start, and under which names.

use super::ops::Activation;

/// A weight that a layer needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// How it starts.
    pub start: Start,
}

/// The running mean and variance that a batch normalisation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Prefix of their names.
    pub name: String,
    /// Channels.
    pub channels: usize,
}

/// How a weight starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Normal with the given standard deviation.
    Normal(f64),
    /// A matrix, normal with the given standard deviation times [`DenseStart::factor`].
    Dense(f64, DenseStart),
    /// A constant: biases (0) and normalisation scales (1).
    Constant(f64),
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

/// Standard deviation after He et al. 2015: the variance of activations is kept through a layer
/// followed by `activation`.
pub(super) fn deviation(fan_in: usize, activation: Activation) -> f64 {
    let gain: f64 = match activation {
        Activation::Identity => 1.0,
        Activation::Relu | Activation::LeakyRelu => 2.0,
        // E[silu(x)²] = 0.356 for x ~ N(0, 1).
        Activation::Silu => 2.8,
    };
    (gain / fan_in as f64).sqrt()
}
