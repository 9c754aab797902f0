//! Planes of `f32`: resampling, smoothing, dilation, upsampling; one implementation each.

mod dilation;
mod error;
mod resample;
mod smoothing;
mod upsample;

pub(crate) use dilation::dilated;
pub use error::ImageError;
pub use resample::{Filter, PlaneSize, Resampler};
pub use smoothing::GaussianSmoothing;
pub(crate) use upsample::Upsample;
