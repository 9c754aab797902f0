//! From frame to tensor, and from tensor geometry back to the frame's: the only implementation,
//! used by training, calibration and every back end.

mod settings;

pub use settings::{Colour, Crop, Denoise, Normalise, PreprocessSettings, ResizeFilter};

/// Why a frame could not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The settings can't be carried out.
    #[error("preprocessing settings: {0}")]
    Settings(String),
}
