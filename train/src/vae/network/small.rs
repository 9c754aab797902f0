//! The network for 28×28 pictures.
//!
//! Without normalisation, since the noise of batch statistics costs nats; few channels where the
//! map is large, and a squeeze before the dense layers, so that most multiplications lie in 3×3
//! convolutions of 64 channels. The decoder takes 3 million of them, since an importance-weighted
//! estimate runs it thousands of times.

use edge_vae::vae::{Latent, VaeSpec};

use crate::nn::{
    DenseStart, Layer,
    blocks::{Blocks, PLAIN, plain_conv},
    ops::Activation,
};

const ACTIVATION: Activation = Activation::Silu;
const BUILD: Blocks = Blocks {
    norm: false,
    activation: ACTIVATION,
};
/// Channels at 14×14 and at 7×7.
const FINE: usize = 16;
const COARSE: usize = 64;
/// Channels at 7×7 on the dense layers' side.
const SQUEEZED: usize = 16;
/// Length of the dense layers between the squeezed map and the latent vector.
const HIDDEN: usize = 256;
/// Numbers of the latent vector that are at work from the start. Digits take some thirty; were all
/// alike at first, what is known of a digit would be spread thinly over all of them, which costs
/// KL divergence and takes long to be undone.
const ACTIVE: usize = 64;

/// Encoder and decoder, as `Preset::layers` gives them; `planes` are the decoder's.
pub(super) fn layers(spec: &VaeSpec, planes: usize) -> (Vec<Layer>, Vec<Layer>) {
    let squeezed = [7, 7, SQUEEZED];
    let mut encoder = vec![
        BUILD.conv("encoder.a", spec.channels, FINE, 4, 2, 1),
        BUILD.conv("encoder.b", FINE, COARSE, 4, 2, 1),
        BUILD.residual("encoder.c", COARSE),
        BUILD.conv("encoder.d", COARSE, SQUEEZED, 1, 1, 0),
    ];
    let mut decoder = Vec::new();
    match spec.latent {
        Latent::Vector { length } => {
            encoder.extend([
                dense("encoder.e", squeezed, HIDDEN, ACTIVATION, DenseStart::Even),
                dense(
                    "encoder.posterior",
                    [1, 1, HIDDEN],
                    2 * length,
                    Activation::Identity,
                    DenseStart::FewMeans(ACTIVE),
                ),
            ]);
            decoder.extend([
                dense(
                    "decoder.z",
                    [1, 1, length],
                    HIDDEN,
                    ACTIVATION,
                    DenseStart::FewInputs(ACTIVE),
                ),
                Layer::DenseToMap {
                    name: "decoder.a".to_owned(),
                    input: HIDDEN,
                    output: squeezed,
                    activation: ACTIVATION,
                },
            ]);
        }
        Latent::Map { channels, .. } => {
            encoder.push(plain_conv(
                "encoder.posterior",
                SQUEEZED,
                2 * channels,
                1,
                0,
            ));
            decoder.push(BUILD.conv("decoder.a", channels, SQUEEZED, 3, 1, 1));
        }
    }
    decoder.extend([
        BUILD.conv("decoder.b", SQUEEZED, COARSE, 1, 1, 0),
        BUILD.residual("decoder.c", COARSE),
        BUILD.up("decoder.d", COARSE, FINE, 4, 1),
        PLAIN.up("decoder.f", FINE, planes, 4, 1),
    ]);
    (encoder, decoder)
}

fn dense(
    name: &str,
    input: [usize; 3],
    output: usize,
    activation: Activation,
    start: DenseStart,
) -> Layer {
    Layer::Dense {
        name: name.to_owned(),
        input,
        output,
        activation,
        start,
    }
}
