//! The networks that the trainer offers.

use edge_vae::vae::{Latent, Likelihood, VaeSpec};

use super::{
    detection::{self, Widths},
    layer::{DenseStart, Layer},
    small,
};
use crate::ops::Activation;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Preset {
    /// 28×28 grey with a vector of 512 latents: digits, small stamps.
    #[serde(rename = "28x28")]
    Small28,
    /// Finds defects on a small processor.
    #[serde(rename = "edge")]
    Edge,
    /// Half as wide again as `edge`: about twice its time.
    #[serde(rename = "balanced")]
    Balanced,
    /// Twice as wide as `edge`, and deeper: about four times its time.
    #[serde(rename = "best")]
    Best,
}

/// The latent that a user asks for in place of the preset's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LatentChoice {
    /// A vector of this length.
    Vector(usize),
    /// A map of this many channels at a sixteenth of the picture's side (a quarter for 28×28).
    Map(usize),
}

impl Preset {
    /// Name on the command line and in the model card.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small28 => "28x28",
            Self::Edge => "edge",
            Self::Balanced => "balanced",
            Self::Best => "best",
        }
    }

    /// Height and width of the tensor where the network allows only one.
    pub fn fixed_side(self) -> Option<usize> {
        match self {
            Self::Small28 => Some(28),
            Self::Edge | Self::Balanced | Self::Best => None,
        }
    }

    /// Side of the tensor, unless the user says otherwise or frames are small.
    pub fn usual_side(self) -> usize {
        match self {
            Self::Small28 => 28,
            Self::Edge | Self::Balanced => 256,
            Self::Best => 384,
        }
    }

    /// Whether the encoder hands out feature maps, which a head and its scores are made of.
    pub fn detects(self) -> bool {
        self.widths().is_some()
    }

    /// Frames in one step, unless the user says otherwise.
    pub fn batch(self) -> usize {
        match self {
            Self::Small28 => 64,
            Self::Edge | Self::Balanced | Self::Best => 16,
        }
    }

    /// Shapes of the model whose tensor is `side` high and wide: 28 for `28x28`, else a multiple
    /// of 16.
    pub fn spec(
        self,
        side: usize,
        channels: usize,
        likelihood: Likelihood,
        latent: Option<LatentChoice>,
    ) -> VaeSpec {
        let (default, reduction) = match self {
            Self::Small28 => (LatentChoice::Vector(512), 4),
            Self::Edge | Self::Balanced | Self::Best => (LatentChoice::Map(16), 16),
        };
        let latent = match latent.unwrap_or(default) {
            LatentChoice::Vector(length) => Latent::Vector { length },
            LatentChoice::Map(channels) => Latent::Map {
                channels,
                height: side / reduction,
                width: side / reduction,
            },
        };
        VaeSpec {
            channels,
            height: side,
            width: side,
            latent,
            likelihood,
        }
    }

    /// Channels of a detection network.
    pub(super) fn widths(self) -> Option<Widths> {
        match self {
            Self::Small28 => None,
            Self::Edge => Some(detection::EDGE),
            Self::Balanced => Some(detection::BALANCED),
            Self::Best => Some(detection::BEST),
        }
    }

    /// Layers of the encoder, whose output holds mean and log-variance one after the other in its
    /// last dimension, and of the decoder, whose output holds the planes of p(x|z) likewise.
    pub(super) fn layers(self, spec: &VaeSpec) -> (Vec<Layer>, Vec<Layer>) {
        let planes = match spec.likelihood {
            Likelihood::GaussianLearned => 2 * spec.channels,
            Likelihood::Bernoulli | Likelihood::Gaussian { .. } => spec.channels,
        };
        match self.widths() {
            None => small::layers(spec, planes),
            Some(widths) => detection::layers(&widths, spec, planes),
        }
    }
}

/// What the blocks of one network have in common.
pub(super) struct Blocks {
    pub(super) norm: bool,
    pub(super) activation: Activation,
}

impl Blocks {
    pub(super) fn conv(
        &self,
        name: &str,
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Layer {
        Layer::Conv {
            name: name.to_owned(),
            input,
            output,
            kernel,
            stride,
            padding,
            norm: self.norm,
            start: 0.0,
            activation: self.activation,
        }
    }

    pub(super) fn up(
        &self,
        name: &str,
        input: usize,
        output: usize,
        kernel: usize,
        padding: usize,
    ) -> Layer {
        Layer::ConvTranspose {
            name: name.to_owned(),
            input,
            output,
            kernel,
            stride: 2,
            padding,
            norm: self.norm,
            activation: self.activation,
        }
    }

    pub(super) fn residual(&self, name: &str, channels: usize) -> Layer {
        Layer::Residual {
            name: name.to_owned(),
            channels,
            norm: self.norm,
            activation: self.activation,
        }
    }

    /// From the deepest map to the posterior, and from z back to a map of the same height and
    /// width with `first` channels.
    pub(super) fn latent(
        &self,
        spec: &VaeSpec,
        deepest: [usize; 3],
        first: usize,
        encoder: &mut Vec<Layer>,
        decoder: &mut Vec<Layer>,
    ) {
        let [height, width, channels] = deepest;
        match spec.latent {
            Latent::Vector { length } => {
                encoder.push(Layer::Dense {
                    name: "encoder.posterior".to_owned(),
                    input: deepest,
                    output: 2 * length,
                    activation: Activation::Identity,
                    start: DenseStart::Even,
                });
                decoder.push(Layer::DenseToMap {
                    name: "decoder.a".to_owned(),
                    input: length,
                    output: [height, width, first],
                    activation: self.activation,
                });
            }
            Latent::Map {
                channels: latent, ..
            } => {
                encoder.push(plain_conv("encoder.posterior", channels, 2 * latent, 1, 0));
                decoder.push(self.conv("decoder.a", latent, first, 3, 1, 1));
            }
        }
    }
}

pub(super) fn plain_conv(
    name: &str,
    input: usize,
    output: usize,
    kernel: usize,
    padding: usize,
) -> Layer {
    Layer::Conv {
        name: name.to_owned(),
        input,
        output,
        kernel,
        stride: 1,
        padding,
        norm: false,
        start: 0.0,
        activation: Activation::Identity,
    }
}
