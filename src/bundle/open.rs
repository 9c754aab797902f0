//! Opening a bundle: every byte that will be used is read once, checked, and kept in memory.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    BundleError, CalibrationEntry, Manifest,
    digest::{check_file, sha256},
    layer::{CalibrationLayer, MAX_SIGNATURE_BYTES, Stored},
    manifest::{MANIFEST, SIGNATURE},
    source::{BundleSource, Folder},
    synthetic_defects,
};
use crate::{
    calibration::{Calibration, SyntheticDefects},
    scoring::Scoring,
    vae::VaeSpec,
};

/// Largest manifest read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// A model: its manifest, and its files by name, checked against the manifest and held in memory,
/// so that what was checked is what runs.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(crate) path: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) calibration: Option<Calibration>,
    pub(super) synthetic_defects: Option<SyntheticDefects>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// What signatures are of, as it was read.
    pub(super) stored: Stored,
    pub(super) sealed: bool,
}

/// The weights of a sealed bundle do not stay in memory that others are given.
#[cfg(feature = "trust")]
impl Drop for Bundle {
    fn drop(&mut self) {
        if self.sealed {
            self.files.values_mut().for_each(zeroize::Zeroize::zeroize);
        }
    }
}

impl Bundle {
    /// Opens the folder of a bundle: parses and checks the manifest, then reads every file that it
    /// lists and checks size and SHA-256. Other files in the folder are not looked at, and
    /// signatures are not verified.
    ///
    /// # Errors
    /// No bundle at `path`, another schema, an impossible manifest or calibration, a file that
    /// is missing, not a plain file, a link that leads out, or not what the manifest says, and a
    /// bundle that is sealed.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        Self::open_from(path, &mut Folder(path))
    }

    /// [`Bundle::open`] with bytes of another source; `path` names it in errors.
    pub(crate) fn open_from<S: BundleSource>(
        path: &Path,
        source: &mut S,
    ) -> Result<Self, S::Error> {
        check_folder(path)?;
        let text = source.read(MANIFEST, MAX_MANIFEST_BYTES)?;
        let text = text.ok_or_else(|| BundleError::NoManifest { path: path.into() })?;
        let manifest = parse_manifest(path, &text)?;
        let files = source.model_files(&manifest)?;
        check_files(path, &manifest, &files)?;
        let synthetic_defects = match &manifest.synthetic_defects {
            Some(name) => {
                let bytes = files.get(name).map_or(&[][..], Vec::as_slice);
                let read = synthetic_defects::read(bytes);
                Some(read.map_err(|problem| BundleError::Array {
                    path: path.join(name),
                    problem,
                })?)
            }
            None => None,
        };
        let layer = CalibrationLayer::read(path, source)?;
        let calibration = match &layer {
            Some(layer) => Some(layer.calibration(path)?),
            None => None,
        };
        let bundle = Self {
            path: path.to_owned(),
            manifest,
            calibration,
            synthetic_defects,
            files,
            sealed: source.is_sealed(),
            stored: Stored {
                manifest: Some(text),
                signature: source.read(SIGNATURE, MAX_SIGNATURE_BYTES)?,
                calibration: layer,
            },
        };
        bundle.check_model_id()?;
        bundle.check_calibration()?;
        Ok(bundle)
    }

    /// Whether the model's files are encrypted where they lie. What holds them in the clear, such
    /// as an engine's cache, must not be written then.
    pub fn is_sealed(&self) -> bool {
        self.sealed
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

    /// What `calibration/calibration.toml` says; `None` where nothing was calibrated.
    pub fn calibration_entry(&self) -> Option<CalibrationEntry> {
        let layer = self.calibration_layer().ok().flatten();
        layer.map(|layer| layer.entry.clone())
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

    /// Shapes and likelihood of the VAE.
    ///
    /// # Errors
    /// A bundle without one.
    pub fn vae(&self) -> Result<&VaeSpec, BundleError> {
        self.manifest
            .vae
            .as_ref()
            .ok_or_else(|| BundleError::Lacks {
                path: self.path.clone(),
                problem: "has no VAE: it judges frames, but can't encode, reconstruct or sample; \
                      train it without `--vae off`"
                    .into(),
            })
    }

    /// Name and bytes of each ONNX file, in the order in which they run.
    pub fn graphs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.manifest.graph_files();
        files.map(|name| (name, self.listed(name)))
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

    /// A calibration is of this model, and there is something to calibrate.
    pub(super) fn check_calibration(&self) -> Result<(), BundleError> {
        if self.calibration.is_some() && self.manifest.scoring.is_none() {
            return Err(BundleError::Setting {
                path: self.path.join(MANIFEST),
                key: "calibration".into(),
                problem: "needs a [scoring] to calibrate".into(),
            });
        }
        match &self.stored.calibration {
            Some(layer) if layer.entry.model_id != self.manifest.model_id => {
                Err(BundleError::OtherModel {
                    path: self.path.join(CalibrationLayer::TOML),
                    found: layer.entry.model_id.clone(),
                    expected: self.manifest.model_id.clone(),
                })
            }
            _ => Ok(()),
        }
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

fn check_folder(folder: &Path) -> Result<(), BundleError> {
    let path = || folder.to_owned();
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(BundleError::NotAFolder { path: path() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BundleError::Missing { path: path() })
        }
        Err(source) => Err(BundleError::Read {
            path: path(),
            source,
        }),
    }
}

/// Reads and checks the manifest of a bundle's folder, without its files.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, BundleError> {
    check_folder(folder)?;
    let text = Folder(folder).read(MANIFEST, MAX_MANIFEST_BYTES)?;
    let text = text.ok_or_else(|| BundleError::NoManifest {
        path: folder.into(),
    })?;
    parse_manifest(folder, &text)
}

fn parse_manifest(folder: &Path, bytes: &[u8]) -> Result<Manifest, BundleError> {
    let path = folder.join(MANIFEST);
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
        std::str::from_utf8(bytes).map_err(|error| malformed(format!("is not text: {error}")))?;
    Manifest::parse(text, &path)
}

/// Each file has the size and the digest that the manifest says.
fn check_files(
    folder: &Path,
    manifest: &Manifest,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<(), BundleError> {
    for (name, entry) in &manifest.files {
        let bytes = files.get(name).map_or(&[][..], Vec::as_slice);
        check_file(&folder.join(name), bytes, entry)?;
    }
    Ok(())
}

/// The digits of the model's id: what decides scores, so neither golden frame nor calibration.
pub(super) fn weight_digits(manifest: &Manifest, files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut digits = sha256(
        manifest
            .graph_files()
            .chain(manifest.scoring.iter().flat_map(Scoring::files))
            .chain(manifest.preprocess.mask.as_deref())
            .filter_map(|name| files.get(name))
            .map(Vec::as_slice),
    );
    digits.truncate(8);
    digits
}
