//! From frames to features, and from features of normal frames to densities.
//!
//! The features are those of a pretrained backbone or of the trained network. Densities are fitted
//! to the training frames and to augmented samples of them.

mod augmentation;
pub mod backbone;
mod data;
pub mod density;
mod extraction;
mod extractor;
mod fit;
mod maps;
mod memory;
mod planes;
mod pool;
mod sampling;

pub use augmentation::{
    AugmentationParams, FULL_ROTATION, FrameAugmentation, SMALL_JITTER, preprocessors,
};
pub use data::FitData;
pub use extraction::FrameFeatures;
pub use extractor::PretrainedBackbone;
pub use fit::{FeatureDensity, fit};
pub use maps::{Features, Maps, borrowed};
pub use memory::FeatureMemory;
pub use planes::to_frame;
pub use pool::{ModelPool, Place};
pub use sampling::{AugmentedTile, SamplingParams};
