//! The variational autoencoder: encode, decode, likelihoods and bounds, named as the field names
//! them (Kingma & Welling 2014; Burda et al. 2016).

mod spec;

pub use spec::{Latent, Likelihood, VaeSpec};

/// Why the model or its values were unusable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaeError {
    /// Shapes that do not fit.
    #[error("{what}: found shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: Vec<usize>,
    },
}
