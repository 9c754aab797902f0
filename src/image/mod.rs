//! Planes of `f32`: smoothing, upsampling.

mod error;
mod smoothing;
mod upsample;

pub use error::ImageError;
pub use smoothing::GaussianSmoothing;
pub(crate) use upsample::Upsample;
