//! A model folder: manifest, graphs, golden frame. Documented for users in `docs/bundle.md`.

mod manifest;

pub use manifest::{FileEntry, Golden, Manifest, ModelCard, SCHEMA_VERSION};

use std::path::PathBuf;

/// Why a bundle could not be opened, verified or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file could not be read.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
