//! Digests of files.

use std::{fs, path::Path};

use sha2::{Digest, Sha256};

use super::{BundleError, FileEntry};

/// Lower-case hexadecimal SHA-256 of the parts, one after the other.
pub(crate) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether bytes are those of `entry`; `path` is where they were read.
pub(super) fn check_file(path: &Path, bytes: &[u8], entry: &FileEntry) -> Result<(), BundleError> {
    if bytes.len() as u64 != entry.bytes {
        // A longer file was read only up to one byte too many.
        let found = fs::metadata(path).map_or(bytes.len() as u64, |found| found.len());
        return Err(BundleError::Size {
            path: path.to_owned(),
            found,
            expected: entry.bytes,
        });
    }
    let found = sha256([bytes]);
    if found != entry.sha256 {
        return Err(BundleError::Digest {
            path: path.to_owned(),
            found,
            expected: entry.sha256.clone(),
        });
    }
    Ok(())
}
