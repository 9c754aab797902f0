//! The network of a VAE over feature vectors: a few convolutions at a sixteenth of the side.

use edge_vae::vae::{Latent, VaeSpec};

use crate::nn::{
    Layer,
    blocks::{Blocks, plain_conv},
    ops::Activation,
};

/// Channels throughout.
const WIDTH: usize = 96;

/// Layers of encoder and decoder, between a map of `spec` and a latent map of a quarter of its
/// sides.
pub(super) fn layers(spec: &VaeSpec) -> (Vec<Layer>, Vec<Layer>) {
    let blocks = Blocks {
        norm: false,
        activation: Activation::Silu,
    };
    let latent = match spec.latent {
        Latent::Map { channels, .. } => channels,
        Latent::Vector { length } => length,
    };
    let encoder = vec![
        blocks.conv("features.encoder.a", spec.channels, WIDTH, 1, 1, 0),
        blocks.conv("features.encoder.b", WIDTH, WIDTH, 3, 2, 1),
        blocks.conv("features.encoder.c", WIDTH, WIDTH, 3, 2, 1),
        plain_conv("features.encoder.posterior", WIDTH, 2 * latent, 1, 0),
    ];
    let decoder = vec![
        blocks.conv("features.decoder.a", latent, WIDTH, 3, 1, 1),
        blocks.up("features.decoder.b", WIDTH, WIDTH, 4, 1),
        blocks.up("features.decoder.c", WIDTH, WIDTH, 4, 1),
        plain_conv("features.decoder.planes", WIDTH, 2 * spec.channels, 1, 0),
    ];
    (encoder, decoder)
}
