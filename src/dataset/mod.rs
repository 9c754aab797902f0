//! Data sets: folder layouts (MVTec AD, plain folders, IDX files) and splits.

use std::path::PathBuf;

/// Why a data set could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Nothing to train on.
    #[error("{path}: no pictures found", path = path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}
