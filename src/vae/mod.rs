//! The variational autoencoder: encode, decode, likelihoods and bounds, named as the field names
//! them (Kingma & Welling 2014; Burda et al. 2016).

mod model;
mod spec;

use crate::backend::BackendError;

pub use model::{Decoded, Vae};
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

    /// A graph whose inputs or outputs are not those of a VAE's encoder or decoder.
    #[error("the {graph} has the {direction} {found:?}, expected {expected:?}")]
    Names {
        /// `encoder` or `decoder`.
        graph: &'static str,
        /// `inputs` or `outputs`.
        direction: &'static str,
        /// Names in the file.
        found: Vec<String>,
        /// Names that the specification asks for.
        expected: Vec<&'static str>,
    },

    /// A buffer of the wrong length.
    #[error("the buffer for `{name}` holds {found} values, {expected} are needed")]
    Buffer {
        /// The tensor.
        name: &'static str,
        /// Length of the buffer.
        found: usize,
        /// Length of the tensor.
        expected: usize,
    },

    /// NaN or an infinite value out of a graph whose input was finite.
    #[error("the {graph}'s output `{output}` holds {value}: the weights are damaged")]
    NotFinite {
        /// `encoder` or `decoder`.
        graph: &'static str,
        /// Name of the output.
        output: &'static str,
        /// `NaN` or `an infinite value`.
        value: &'static str,
    },

    /// NaN or an infinite value given to a graph.
    #[error("the values for the {graph}'s input `{input}` hold {value}")]
    InputNotFinite {
        /// `encoder` or `decoder`.
        graph: &'static str,
        /// Name of the input.
        input: &'static str,
        /// `NaN` or `an infinite value`.
        value: &'static str,
    },

    /// The engine failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
