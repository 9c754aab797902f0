//! A model folder: manifest, graphs, golden frame. Documented for users in
//! `docs/reference/bundle.md`.

mod arrays;
mod error;
mod golden;
mod manifest;
mod mask;
mod open;
mod write;

pub use arrays::write_npy;
pub use error::BundleError;
pub(crate) use golden::Compared;
pub use golden::{Difference, GoldenValues, Proof};
pub use manifest::{
    DECODER, ENCODER, FileEntry, Golden, MANIFEST, Manifest, ModelCard, SCHEMA_VERSION,
};
pub use open::Bundle;
pub use write::BundleWriter;

#[cfg(test)]
mod tests;
