//! Planes of `f32`: resampling, smoothing, upsampling; one implementation each.

mod error;
mod resample;
mod smoothing;
mod upsample;

pub use error::ImageError;
pub use resample::{Filter, PlaneSize, Resampler};
pub use smoothing::GaussianSmoothing;
pub(crate) use upsample::Upsample;
