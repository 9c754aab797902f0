//! The layers of each preset.

use edge_vae::vae::{Likelihood, VaeSpec};

use super::{
    fully_convolutional::{self, Widths},
    small,
};
use crate::{nn::Layer, options::Preset};

/// Channels of a detection network.
pub(super) fn widths(preset: Preset) -> Option<Widths> {
    match preset {
        Preset::Small28 => None,
        Preset::Tiny | Preset::Edge => Some(fully_convolutional::EDGE),
        Preset::Balanced => Some(fully_convolutional::BALANCED),
        Preset::Best => Some(fully_convolutional::BEST),
    }
}

/// Layers of the encoder, whose output holds mean and log-variance one after the other in its
/// last dimension, and of the decoder, whose output holds the planes of p(x|z) likewise.
pub(super) fn layers(preset: Preset, spec: &VaeSpec) -> (Vec<Layer>, Vec<Layer>) {
    let planes = match spec.likelihood {
        Likelihood::GaussianLearned => 2 * spec.channels,
        Likelihood::Bernoulli | Likelihood::Gaussian { .. } => spec.channels,
    };
    match widths(preset) {
        None => small::layers(spec, planes),
        Some(widths) => fully_convolutional::layers(&widths, spec, planes),
    }
}
