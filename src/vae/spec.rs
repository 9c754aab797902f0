//! What a bundle says about its VAE.

use serde::{Deserialize, Serialize};

/// Shapes and likelihood of a VAE.
///
/// `encoder.onnx`: `input` N×C×H×W → `mean`, `log_variance` N×L or N×L×h×w, and any number of
/// feature maps `features_…` N×C×h×w.
/// `decoder.onnx`: `latent` N×L or N×L×h×w → `reconstruction` N×C×H×W, and with a Bernoulli
/// likelihood `logits`, with a learned variance `log_variance`, both N×C×H×W.
/// The batch dimension N is symbolic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VaeSpec {
    /// Channels of the input, C.
    pub channels: usize,
    /// Height of the input, H, in pixels.
    pub height: usize,
    /// Width of the input, W, in pixels.
    pub width: usize,
    /// Shape of z.
    pub latent: Latent,
    /// p(x|z).
    pub likelihood: Likelihood,
}

impl VaeSpec {
    /// Shape of one input: `C×H×W`.
    pub fn input_shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Number of observed dimensions D = C·H·W.
    pub fn dimensions(&self) -> usize {
        self.channels * self.height * self.width
    }
}

/// Shape of the latent variable of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Latent {
    /// A vector: N×L.
    Vector {
        /// L.
        length: usize,
    },
    /// A map: N×L×h×w.
    Map {
        /// L.
        channels: usize,
        /// h.
        height: usize,
        /// w.
        width: usize,
    },
}

impl Latent {
    /// Shape without the batch dimension.
    pub fn shape(&self) -> Vec<usize> {
        match *self {
            Self::Vector { length } => vec![length],
            Self::Map {
                channels,
                height,
                width,
            } => vec![channels, height, width],
        }
    }

    /// Number of latent dimensions of one frame.
    pub fn dimensions(&self) -> usize {
        self.shape().iter().product()
    }
}

/// The observation model p(x|z).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Likelihood {
    /// Independent Bernoulli pixels; the decoder gives `logits`, `reconstruction` is their
    /// sigmoid. The input is in [0, 1].
    Bernoulli,
    /// Independent Gaussian pixels of one fixed standard deviation, in units of the tensor.
    Gaussian {
        /// Standard deviation.
        sigma: f32,
    },
    /// Independent Gaussian pixels, whose log-variance the decoder gives for each.
    GaussianLearned,
}
