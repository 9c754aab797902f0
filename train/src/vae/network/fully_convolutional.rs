//! The networks that find defects. They go down to a quarter of the side at once and are wide
//! there, since that is the shape which both engines run fast, and they are fully convolutional:
//! what was trained on crops runs on whole tensors.

use edge_vae::vae::VaeSpec;

use crate::nn::{
    Layer,
    blocks::{Blocks, plain_conv},
    ops::Activation,
};

/// Channels and depths of a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    /// Channels at a half, a quarter, an eighth and a sixteenth of the side.
    pub encoder: [usize; 4],
    /// Residual blocks at a quarter, an eighth and a sixteenth.
    pub blocks: [usize; 3],
    /// Channels of the decoder at a sixteenth, an eighth and a quarter.
    pub decoder: [usize; 3],
    /// Channels of the head at an eighth, of its sum at a quarter, and of its result there.
    pub head: [usize; 3],
}

pub(super) const EDGE: Widths = Widths {
    encoder: [32, 64, 96, 128],
    blocks: [1, 2, 1],
    decoder: [96, 48, 32],
    head: [64, 48, 32],
};

pub(super) const BALANCED: Widths = Widths {
    encoder: [48, 96, 144, 192],
    blocks: [1, 2, 1],
    decoder: [128, 64, 48],
    head: [80, 64, 48],
};

pub(super) const BEST: Widths = Widths {
    // No wider at an eighth and a sixteenth: 192 and 256 channels there would take 1.7 MB more of
    // the bundle's 10.
    encoder: [64, 128, 176, 176],
    blocks: [1, 3, 2],
    decoder: [160, 80, 64],
    head: [96, 80, 64],
};

/// Names of the encoder's feature maps, each at one over its number of the picture's side.
pub(super) const FEATURES: [&str; 3] = ["features_4", "features_8", "features_16"];

/// Encoder and decoder, as [`super::preset::layers`] gives them.
pub(super) fn layers(widths: &Widths, spec: &VaeSpec, planes: usize) -> (Vec<Layer>, Vec<Layer>) {
    let build = Blocks {
        norm: true,
        activation: Activation::Relu,
    };
    let [half, ..] = widths.encoder;
    let mut encoder = vec![build.conv("encoder.stem", spec.channels, half, 3, 2, 1)];
    for (stage, name) in FEATURES.into_iter().enumerate() {
        let (input, output) = (widths.encoder[stage], widths.encoder[stage + 1]);
        let reduction = 4 << stage;
        let down = format!("encoder.down_{reduction}");
        encoder.push(build.conv(&down, input, output, 2, 2, 0));
        for block in 0..widths.blocks[stage] {
            let block = format!("encoder.block_{reduction}.{block}");
            encoder.push(build.residual(&block, output));
        }
        encoder.push(Layer::Tap {
            name,
            channels: output,
            reduction,
        });
    }
    let mut decoder = Vec::new();
    let deepest = [spec.height / 16, spec.width / 16, widths.encoder[3]];
    let [first, eighth, quarter] = widths.decoder;
    build.latent(spec, deepest, first, &mut encoder, &mut decoder);
    decoder.extend([
        build.up("decoder.up_8", first, eighth, 2, 0),
        build.conv("decoder.mix_8", eighth, eighth, 3, 1, 1),
        build.up("decoder.up_4", eighth, quarter, 2, 0),
        plain_conv("decoder.planes", quarter, 16 * planes, 3, 1),
        Layer::PixelShuffle { factor: 4 },
    ]);
    (encoder, decoder)
}
