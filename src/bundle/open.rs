//! Opening a bundle: every byte that will be used is read once, checked, and kept in memory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    BundleError, Manifest,
    digest::sha256,
    manifest::{DECODER, ENCODER, MANIFEST},
    synthetic_defects,
};
use crate::{
    calibration::{Calibration, SyntheticDefects},
    scoring::Scoring,
};

/// Largest manifest read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// A model: its manifest, and its files by name, checked against the manifest and held in memory,
/// so that what was checked is what runs.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(crate) path: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) calibration: Option<Calibration>,
    pub(super) synthetic_defects: Option<SyntheticDefects>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// Opens the folder of a bundle: parses and checks the manifest, then reads every file that it
    /// lists and checks size and SHA-256. Other files in the folder are not looked at.
    ///
    /// # Errors
    /// No bundle at `path`, another schema, an impossible manifest or calibration, and a file that
    /// is missing, not a plain file, a link that leads out, or not what the manifest says.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let manifest = read_manifest(path)?;
        let mut files = BTreeMap::new();
        for (name, entry) in &manifest.files {
            let file = path.join(name);
            let bytes = read_plain(path, name, entry.bytes)?;
            if bytes.len() as u64 != entry.bytes {
                // A longer file was read only up to one byte too many.
                let found = fs::metadata(&file).map_or(bytes.len() as u64, |found| found.len());
                return Err(BundleError::Size {
                    path: file,
                    found,
                    expected: entry.bytes,
                });
            }
            let found = sha256([bytes.as_slice()]);
            if found != entry.sha256 {
                return Err(BundleError::Digest {
                    path: file,
                    found,
                    expected: entry.sha256.clone(),
                });
            }
            files.insert(name.clone(), bytes);
        }
        let bytes = |name: &str| files.get(name).map_or(&[][..], Vec::as_slice);
        let failed = |name: &str, problem| BundleError::Array {
            path: path.join(name),
            problem,
        };
        let calibration = match &manifest.calibration {
            Some(entry) => {
                let read = entry.read(bytes(&entry.file));
                Some(read.map_err(|problem| failed(&entry.file, problem))?)
            }
            None => None,
        };
        let synthetic_defects = match &manifest.synthetic_defects {
            Some(name) => {
                let read = synthetic_defects::read(bytes(name));
                Some(read.map_err(|problem| failed(name, problem))?)
            }
            None => None,
        };
        let bundle = Self {
            path: path.to_owned(),
            manifest,
            calibration,
            synthetic_defects,
            files,
        };
        bundle.check_model_id()?;
        Ok(bundle)
    }

    /// Where the bundle lies; the model's id before it was saved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Threshold, and the scores that it comes from; `None` where nothing was calibrated.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Defects that were drawn on normal frames, and how this model scores them; `None` where the
    /// bundle has none.
    pub fn synthetic_defects(&self) -> Option<&SyntheticDefects> {
        self.synthetic_defects.as_ref()
    }

    /// The model's id.
    pub fn model_id(&self) -> &str {
        &self.manifest.model_id
    }

    /// Lower-case hexadecimal SHA-256 of the manifest, and with it of all files.
    pub fn digest(&self) -> String {
        let text = self.manifest.to_toml(&self.path.join(MANIFEST));
        sha256([text.unwrap_or_default().as_bytes()])
    }

    /// Name and bytes of each ONNX file, in the order in which they run.
    pub fn graphs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        [ENCODER, DECODER]
            .into_iter()
            .chain(self.manifest.graph_files())
            .map(|name| (name, self.listed(name)))
    }

    /// The bytes of a file that the manifest lists.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Bytes of a file that the manifest's check found listed; empty can't happen for an open
    /// bundle, and would only fail to decode.
    pub(crate) fn listed(&self, name: &str) -> &[u8] {
        self.file(name).unwrap_or_default()
    }

    pub(super) fn check_model_id(&self) -> Result<(), BundleError> {
        let digits = weight_digits(&self.manifest, &self.files);
        if self.manifest.model_id.ends_with(&format!("-{digits}")) {
            return Ok(());
        }
        Err(BundleError::Setting {
            path: self.path.join(MANIFEST),
            key: "model_id".into(),
            problem: format!(
                "is `{}`, but the SHA-256 of its weights begins with {digits}",
                self.manifest.model_id
            ),
        })
    }
}

/// Reads and checks the manifest of a bundle's folder, without its files.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, BundleError> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(BundleError::NotAFolder {
                path: folder.into(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BundleError::Missing {
                path: folder.into(),
            });
        }
        Err(source) => {
            return Err(BundleError::Read {
                path: folder.into(),
                source,
            });
        }
    }
    let path = folder.join(MANIFEST);
    let bytes = read_plain(folder, MANIFEST, MAX_MANIFEST_BYTES).map_err(|error| match error {
        BundleError::MissingFile { .. } => BundleError::NoManifest {
            path: folder.into(),
        },
        other => other,
    })?;
    let malformed = |message: String| BundleError::Manifest {
        path: path.clone(),
        line: 1,
        message,
    };
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(malformed(format!(
            "is longer than {MAX_MANIFEST_BYTES} bytes"
        )));
    }
    let text =
        String::from_utf8(bytes).map_err(|error| malformed(format!("is not text: {error}")))?;
    Manifest::parse(&text, &path)
}

/// Reads a plain file of a bundle up to one byte beyond `limit`, so that a longer one shows. A link
/// is followed inside the bundle's own tree.
fn read_plain(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, BundleError> {
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

/// The digits of the model's id: what decides scores, so neither golden frame nor calibration.
pub(super) fn weight_digits(manifest: &Manifest, files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut digits = sha256(
        [ENCODER, DECODER]
            .into_iter()
            .chain(manifest.graph_files())
            .chain(manifest.scoring.iter().flat_map(Scoring::files))
            .chain(manifest.preprocess.mask.as_deref())
            .filter_map(|name| files.get(name))
            .map(Vec::as_slice),
    );
    digits.truncate(8);
    digits
}
