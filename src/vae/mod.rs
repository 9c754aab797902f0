//! The variational autoencoder: encode, decode, likelihoods and bounds, named as the field names
//! them (Kingma & Welling 2014; Burda et al. 2016).
//!
//! The mathematics are functions over the `f32` slices that graphs give, one frame at a time,
//! accumulated in `f64`, in nats.

mod bernoulli;
mod bound;
mod divergence;
mod interpolation;
mod likelihood;
mod marginal;
mod model;
mod network;
mod posterior;
mod spec;

use crate::backend::BackendError;

pub use bound::{
    ImportanceBound, beta_vae_loss, bits_per_dimension, bits_per_dimension_bernoulli, elbo,
    importance_log_weight, importance_weighted_bound,
};
pub use divergence::{
    ACTIVE_UNIT_VARIANCE, active_units, free_bits, kl_standard_normal,
    kl_standard_normal_per_dimension,
};
pub use interpolation::{Interpolation, interpolate};
pub use likelihood::{
    bernoulli_log_likelihood, bernoulli_log_likelihood_map, gaussian_log_likelihood,
    gaussian_log_likelihood_fixed, gaussian_log_likelihood_fixed_map, gaussian_log_likelihood_map,
    standard_normal_log_density,
};
pub use marginal::{MarginalEstimate, MarginalEstimator};
pub use model::{Decoded, Vae};
pub use network::FeatureMap;
pub use posterior::{Posterior, sample_prior};
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
    /// Slices that belong together differ in length.
    #[error("{what}: found {found} values, expected {expected}")]
    Length {
        /// The slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// A value that no probability can be computed from.
    #[error(
        "{what} is {found}, not a finite number: look for such values in the model's weights or \
         the input"
    )]
    NotFinite {
        /// The quantity.
        what: &'static str,
        /// NaN or an infinity.
        found: f64,
    },
    /// A value outside of its domain.
    #[error("{what}: found {found}, expected {expected}")]
    OutOfRange {
        /// The quantity.
        what: &'static str,
        /// Its value.
        found: f64,
        /// Its domain.
        expected: &'static str,
    },
    /// A graph whose inputs or outputs are not those of a VAE's encoder or decoder.
    #[error("the {graph} has the {direction}s {found:?}, expected {expected:?}")]
    Names {
        /// `encoder` or `decoder`.
        graph: &'static str,
        /// `input` or `output`.
        direction: &'static str,
        /// Names in the file.
        found: Vec<String>,
        /// Names that the specification asks for.
        expected: Vec<&'static str>,
    },
    /// An additional output of the encoder that is no map.
    #[error("the encoder's output `{output}`: found shape {found:?}, expected {batch}×C×h×w")]
    Features {
        /// Name of the output.
        output: String,
        /// Its shape.
        found: Vec<usize>,
        /// Frames in a run.
        batch: usize,
    },

    /// NaN or an infinite value out of a graph whose input was finite.
    #[error("the {graph}'s output `{output}` holds {value}: the weights are damaged")]
    OutputNotFinite {
        /// `encoder` or `decoder`.
        graph: &'static str,
        /// Name of the output.
        output: String,
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

/// Refuses slices of different lengths.
fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), VaeError> {
    if found == expected {
        Ok(())
    } else {
        Err(VaeError::Length {
            what,
            found,
            expected,
        })
    }
}

/// Refuses NaN, and lets infinities pass: a log-likelihood of −∞ is a valid answer.
fn not_nan(what: &'static str, value: f64) -> Result<f64, VaeError> {
    if value.is_nan() {
        Err(VaeError::NotFinite { what, found: value })
    } else {
        Ok(value)
    }
}
