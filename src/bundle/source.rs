//! Where the bytes of a bundle come from.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{BundleError, Manifest, SEALED};

/// Where the bytes of a bundle come from. What it hands out is checked against the manifest by
/// whoever opens the bundle.
pub(crate) trait BundleSource {
    /// Why bytes are not handed out.
    type Error: From<BundleError>;

    /// A file by its path below the bundle's folder, up to one byte beyond `limit`, so that a
    /// longer one shows; `None` where nothing is there. Asked for the manifest first.
    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Every file that the manifest lists.
    fn model_files(
        &mut self,
        manifest: &Manifest,
    ) -> Result<BTreeMap<String, Vec<u8>>, Self::Error>;

    /// Whether the model's files are encrypted where they come from.
    fn is_sealed(&self) -> bool {
        false
    }
}

/// The folder of a bundle, as it is.
pub(crate) struct Folder<'a>(pub(crate) &'a Path);

impl BundleSource for Folder<'_> {
    type Error = BundleError;

    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, BundleError> {
        match read_plain(self.0, name, limit) {
            Err(BundleError::MissingFile { .. }) => Ok(None),
            read => read.map(Some),
        }
    }

    fn model_files(
        &mut self,
        manifest: &Manifest,
    ) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
        let read = |(name, entry): (&String, &super::FileEntry)| {
            let bytes = read_plain(self.0, name, entry.bytes).map_err(|error| match error {
                BundleError::MissingFile { .. } if self.0.join(SEALED).exists() => {
                    BundleError::Sealed {
                        path: self.0.to_owned(),
                    }
                }
                error => error,
            })?;
            Ok((name.clone(), bytes))
        };
        manifest.files.iter().map(read).collect()
    }
}

/// Reads a plain file of a bundle up to one byte beyond `limit`. A link is followed inside the
/// bundle's own tree.
pub(crate) fn read_plain(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, BundleError> {
    let path = folder.join(name);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => BundleError::MissingFile { path: path.clone() },
        _ => BundleError::Read {
            path: path.clone(),
            source,
        },
    };
    let mut kind = fs::symlink_metadata(&path).map_err(failed)?.file_type();
    let mut place = path.clone();
    if kind.is_symlink() {
        place = target_of(folder, &path)?;
        kind = fs::symlink_metadata(&place).map_err(failed)?.file_type();
    }
    if !kind.is_file() {
        return Err(BundleError::NotPlain {
            path,
            found: if kind.is_dir() {
                "a folder"
            } else {
                "a device or pipe"
            },
        });
    }
    let file = File::open(&place).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// Where a link of a bundle ends: inside the bundle's folder, or where that is `snapshots/NAME` of
/// an artefact store, in the `blobs/` of this store.
fn target_of(folder: &Path, link: &Path) -> Result<PathBuf, BundleError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => BundleError::BrokenLink { path: link.into() },
        _ => BundleError::Read {
            path: link.into(),
            source,
        },
    };
    let target = fs::canonicalize(link).map_err(failed)?;
    let root = fs::canonicalize(folder).map_err(failed)?;
    let snapshots = root.parent().filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots
        .and_then(Path::parent)
        .map(|store| store.join("blobs"));
    if target.starts_with(&root) || blobs.is_some_and(|blobs| target.starts_with(blobs)) {
        return Ok(target);
    }
    Err(BundleError::LinkOut {
        path: link.into(),
        target,
    })
}
