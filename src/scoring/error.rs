//! Why a score could not be computed.

use crate::{image::ImageError, vae::VaeError, value::ValueError};

/// Why a score could not be computed, or a scoring is impossible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoringError {
    /// A value outside of its domain, of another number, or not finite.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A map that could not be smoothed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A tensor that a score source reads, and no graph makes.
    #[error(
        "a score reads the tensor `{tensor}`, which no graph of the bundle makes: choose another \
         score, or train with it"
    )]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor that a score source reads, and is no score map.
    #[error(
        "a score reads the tensor `{tensor}` of {sides}, a score map is 1×h×w",
        sides = shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
    )]
    NoMap {
        /// Its name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A scoring that contradicts itself.
    #[error("{0}")]
    Contradiction(String),
    /// A likelihood or a divergence that could not be computed.
    #[error(transparent)]
    Likelihood(#[from] VaeError),
    /// Statistics that cannot standardise a map.
    #[error("statistics of the score maps: {reason}")]
    Statistics {
        /// What is wrong, and what to do.
        reason: String,
    },
}
