//! The networks that the trainer offers. All but the digits' go down to a sixteenth of the side
//! at once and are wide there, since that is the shape which both engines run fast.

use edge_vae::vae::{Latent, Likelihood, VaeSpec};

use super::{
    layer::{DenseStart, Layer},
    small,
};
use crate::ops::Activation;

/// A network for a size of picture.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
pub enum Preset {
    /// 28×28 grey with a vector of 512 latents: digits, small stamps.
    #[value(name = "28x28")]
    #[serde(rename = "28x28")]
    Small28,
    /// 128×128, grey or colour, with a map of 16×8×8 latents.
    #[value(name = "128x128", alias = "128")]
    #[serde(rename = "128x128")]
    Medium128,
    /// 256×256, grey or colour, with a map of 16×16×16 latents.
    #[value(name = "256x256", alias = "256")]
    #[serde(rename = "256x256")]
    Large256,
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
            Self::Medium128 => "128x128",
            Self::Large256 => "256x256",
        }
    }

    /// Height and width of the tensor.
    pub fn side(self) -> usize {
        match self {
            Self::Small28 => 28,
            Self::Medium128 => 128,
            Self::Large256 => 256,
        }
    }

    /// Frames in one step, unless the user says otherwise.
    pub fn batch(self) -> usize {
        match self {
            Self::Small28 => 64,
            Self::Medium128 => 16,
            Self::Large256 => 8,
        }
    }

    /// Shapes of the model.
    pub fn spec(
        self,
        channels: usize,
        likelihood: Likelihood,
        latent: Option<LatentChoice>,
    ) -> VaeSpec {
        let (default, side) = match self {
            Self::Small28 => (LatentChoice::Vector(512), 7),
            Self::Medium128 => (LatentChoice::Map(16), 8),
            Self::Large256 => (LatentChoice::Map(16), 16),
        };
        let latent = match latent.unwrap_or(default) {
            LatentChoice::Vector(length) => Latent::Vector { length },
            LatentChoice::Map(channels) => Latent::Map {
                channels,
                height: side,
                width: side,
            },
        };
        VaeSpec {
            channels,
            height: self.side(),
            width: self.side(),
            latent,
            likelihood,
        }
    }

    /// Layers of the encoder, whose output holds mean and log-variance one after the other in its
    /// last dimension, and of the decoder, whose output holds the planes of p(x|z) likewise.
    pub(super) fn layers(self, spec: &VaeSpec) -> (Vec<Layer>, Vec<Layer>) {
        let planes = match spec.likelihood {
            Likelihood::GaussianLearned => 2 * spec.channels,
            Likelihood::Bernoulli | Likelihood::Gaussian { .. } => spec.channels,
        };
        match self {
            Self::Small28 => small::layers(spec, planes),
            Self::Medium128 | Self::Large256 => large(spec, planes),
        }
    }
}

fn large(spec: &VaeSpec, planes: usize) -> (Vec<Layer>, Vec<Layer>) {
    let build = Blocks {
        norm: true,
        activation: Activation::Relu,
    };
    let side = spec.height / 16;
    let mut encoder = vec![
        build.conv("encoder.a", spec.channels, 32, 3, 2, 1),
        build.conv("encoder.b", 32, 64, 2, 2, 0),
        build.residual("encoder.c", 64),
        build.conv("encoder.d", 64, 96, 2, 2, 0),
        build.residual("encoder.e", 96),
        build.residual("encoder.f", 96),
        build.conv("encoder.g", 96, 128, 2, 2, 0),
        build.residual("encoder.h", 128),
    ];
    let mut decoder = Vec::new();
    build.latent(spec, [side, side, 128], &mut encoder, &mut decoder);
    decoder.extend([
        build.up("decoder.b", 128, 96, 2, 0),
        build.residual("decoder.c", 96),
        build.up("decoder.d", 96, 64, 2, 0),
        build.residual("decoder.e", 64),
        plain_conv("decoder.f", 64, 16 * planes, 3, 1),
        Layer::PixelShuffle { factor: 4 },
    ]);
    (encoder, decoder)
}

/// What the blocks of one network have in common.
struct Blocks {
    norm: bool,
    activation: Activation,
}

impl Blocks {
    fn conv(
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
            activation: self.activation,
        }
    }

    fn up(&self, name: &str, input: usize, output: usize, kernel: usize, padding: usize) -> Layer {
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

    fn residual(&self, name: &str, channels: usize) -> Layer {
        Layer::Residual {
            name: name.to_owned(),
            channels,
            norm: self.norm,
            activation: self.activation,
        }
    }

    /// From the deepest map to the posterior, and from z back to a map of the same shape.
    fn latent(
        &self,
        spec: &VaeSpec,
        deepest: [usize; 3],
        encoder: &mut Vec<Layer>,
        decoder: &mut Vec<Layer>,
    ) {
        let channels = deepest[2];
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
                    output: deepest,
                    activation: self.activation,
                });
            }
            Latent::Map {
                channels: latent, ..
            } => {
                encoder.push(plain_conv("encoder.posterior", channels, 2 * latent, 1, 0));
                decoder.push(self.conv("decoder.a", latent, channels, 3, 1, 1));
            }
        }
    }
}

fn plain_conv(name: &str, input: usize, output: usize, kernel: usize, padding: usize) -> Layer {
    Layer::Conv {
        name: name.to_owned(),
        input,
        output,
        kernel,
        stride: 1,
        padding,
        norm: false,
        activation: Activation::Identity,
    }
}
