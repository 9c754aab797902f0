//! Why a model could not be put together, or did not run.

use crate::{backend::BackendError, vae::VaeError};

use super::FeatureExtractorError;

/// Why a model could not be put together, or did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A graph that could not be used, or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Encoder or decoder could not be used, or gave values that are not finite.
    #[error(transparent)]
    Vae(#[from] VaeError),
    /// The feature extractor could not be used, or did not run.
    #[error(transparent)]
    FeatureExtractor(#[from] FeatureExtractorError),
    /// It is asked for what only a VAE does.
    #[error("the model has no VAE, which alone encodes, decodes and samples")]
    NoVae,
}
