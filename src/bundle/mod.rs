//! A model folder: manifest, graphs, golden frame. Documented for users in
//! `docs/reference/bundle.md`.

mod arrays;
mod calibration;
mod check;
mod digest;
mod edit;
mod error;
mod layer;
mod layout;
mod manifest;
mod open;
mod source;
mod stored;
mod synthetic_defects;
mod training_frames;
mod write;

pub use arrays::write_npy;
pub(crate) use arrays::{read_npy, read_npz, write_npz};
pub use calibration::CalibrationEntry;
pub(crate) use digest::sha256;
pub use error::BundleError;
pub(crate) use manifest::SEALED;
pub use manifest::{
    Adaptation, DECODER, ENCODER, FileEntry, Golden, MANIFEST, Manifest, ModelCard, SCHEMA_VERSION,
};
pub use open::{Bundle, MAX_MANIFEST_BYTES};
pub use training_frames::{TRAINING_FRAMES, TrainingFrames};
pub use write::BundleWriter;
#[cfg(feature = "trust")]
pub(crate) use {
    layer::{CalibrationLayer, MAX_SIGNATURE_BYTES, is_calibration_file, signature_path},
    manifest::{CALIBRATION, MAX_TOTAL_BYTES, SIGNATURE},
    source::{BundleSource, read_plain},
};

#[cfg(test)]
mod tests;
