//! The networks that the trainer offers, by name.

use edge_vae::vae::{Latent, Likelihood, VaeSpec};
use serde::{Deserialize, Serialize};

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// 28×28 pixels: digits, small stamps
    #[serde(rename = "28x28")]
    #[value(name = "28x28")]
    Small28,
    /// A quarter of the pixels of edge, never tiles: the fastest, for what is large in the picture
    Tiny,
    /// For small processors
    Edge,
    /// About twice the time of edge: half as wide again
    Balanced,
    /// About four times the time of edge: twice as wide, and deeper
    Best,
}

/// The latent that a user asks for in place of the preset's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
            Self::Tiny => "tiny",
            Self::Edge => "edge",
            Self::Balanced => "balanced",
            Self::Best => "best",
        }
    }

    /// Height and width of the tensor where the network allows only one.
    pub fn fixed_side(self) -> Option<usize> {
        match self {
            Self::Small28 => Some(28),
            Self::Tiny | Self::Edge | Self::Balanced | Self::Best => None,
        }
    }

    /// Side of the square that has as many pixels as the tensor at most, unless the user says
    /// otherwise or frames are small.
    pub fn usual_side(self) -> usize {
        match self {
            Self::Small28 => 28,
            Self::Tiny => 128,
            Self::Edge | Self::Balanced => 256,
            // Detects as well as 256, and localises better.
            Self::Best => 384,
        }
    }

    /// Whether the encoder hands out feature maps, which a head and its scores are made of.
    pub fn detects(self) -> bool {
        self != Self::Small28
    }

    /// Frames in one step, unless the user says otherwise.
    pub fn batch(self) -> usize {
        match self {
            Self::Small28 => 64,
            Self::Tiny | Self::Edge | Self::Balanced | Self::Best => 16,
        }
    }

    /// Shapes of the model whose tensor has this height and width: 28 for `28x28`, else multiples
    /// of 16.
    pub fn spec(
        self,
        [height, width]: [usize; 2],
        channels: usize,
        likelihood: Likelihood,
        latent: Option<LatentChoice>,
    ) -> VaeSpec {
        let (default, reduction) = match self {
            Self::Small28 => (LatentChoice::Vector(512), 4),
            Self::Tiny | Self::Edge | Self::Balanced | Self::Best => (LatentChoice::Map(16), 16),
        };
        let latent = match latent.unwrap_or(default) {
            LatentChoice::Vector(length) => Latent::Vector { length },
            LatentChoice::Map(channels) => Latent::Map {
                channels,
                height: height / reduction,
                width: width / reduction,
            },
        };
        VaeSpec {
            channels,
            height,
            width,
            latent,
            likelihood,
        }
    }
}
