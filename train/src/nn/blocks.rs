//! Layers as the presets are made of them.

use edge_vae::vae::{Latent, VaeSpec};

use super::{layer::Layer, ops::Activation, start::DenseStart};

/// What the blocks of one network have in common.
pub(crate) struct Blocks {
    pub(crate) norm: bool,
    pub(crate) activation: Activation,
}

/// Layers that are linear.
pub(crate) const PLAIN: Blocks = Blocks {
    norm: false,
    activation: Activation::Identity,
};

impl Blocks {
    /// A convolution.
    pub(crate) fn conv(
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

    /// A transposed convolution to twice the side.
    pub(crate) fn up(
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

    /// A residual block.
    pub(crate) fn residual(&self, name: &str, channels: usize) -> Layer {
        Layer::Residual {
            name: name.to_owned(),
            channels,
            norm: self.norm,
            activation: self.activation,
        }
    }

    /// From the deepest map to the posterior, and from z back to a map of the same height and
    /// width with `first` channels.
    pub(crate) fn latent(
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

/// A convolution and nothing behind it, as the last one of a network is.
pub(crate) fn plain_conv(
    name: &str,
    input: usize,
    output: usize,
    kernel: usize,
    padding: usize,
) -> Layer {
    PLAIN.conv(name, input, output, kernel, 1, padding)
}
