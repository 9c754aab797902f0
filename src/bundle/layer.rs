//! What a bundle has beside the model: the calibration, a layer of its own in `calibration/`, which
//! is renewed where the model runs, and the signatures of both.

use std::path::Path;

use super::{
    BundleError, CalibrationEntry, FileEntry,
    digest::{check_file, sha256},
    manifest::CALIBRATION,
    source::BundleSource,
};
use crate::calibration::{Calibration, MAX_CALIBRATION_FRAMES};

/// Largest `calibration.toml` read, in bytes.
const MAX_TOML_BYTES: u64 = 1 << 16;

/// Largest signature read, in bytes: a line for each of 256 files, in base64.
pub(crate) const MAX_SIGNATURE_BYTES: u64 = 1 << 20;

/// Largest file of arrays read: six lists of f64, and what NPZ adds.
const MAX_ARRAY_BYTES: u64 = 6 * 8 * MAX_CALIBRATION_FRAMES as u64 + (1 << 16);

/// What signatures are of, byte by byte as it was read; whatever is changed in memory is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) manifest: Option<Vec<u8>>,
    /// Of manifest and files.
    pub(super) signature: Option<Vec<u8>>,
    pub(super) calibration: Option<CalibrationLayer>,
}

impl Stored {
    /// Manifest or files are changed.
    pub(super) fn change_model(&mut self) {
        self.manifest = None;
        self.signature = None;
    }
}

/// The files of `calibration/`. Their names have digits of their digests: while a calibration is
/// replaced, the old files stay beside the new ones until `calibration.toml` is replaced.
#[derive(Clone, Debug)]
pub(crate) struct CalibrationLayer {
    pub(crate) toml: Vec<u8>,
    pub(crate) entry: CalibrationEntry,
    pub(crate) arrays: Vec<u8>,
    pub(crate) signature: Option<Vec<u8>>,
}

impl CalibrationLayer {
    /// The path of the text below the bundle's folder.
    pub(crate) const TOML: &'static str = "calibration/calibration.toml";

    /// Of a calibration for a model.
    pub(super) fn of(calibration: &Calibration, model_id: &str) -> Result<Self, BundleError> {
        let (entry, arrays) = CalibrationEntry::of(calibration, model_id)?;
        let toml = toml::to_string(&entry).map_err(|error| BundleError::Setting {
            path: Self::TOML.into(),
            key: "calibration".into(),
            problem: error.to_string(),
        })?;
        Ok(Self {
            toml: toml.into_bytes(),
            entry,
            arrays,
            signature: None,
        })
    }

    /// Reads the layer, where there is one, and checks its file's size and digest.
    pub(super) fn read<S: BundleSource>(
        folder: &Path,
        source: &mut S,
    ) -> Result<Option<Self>, S::Error> {
        let Some(toml) = source.read(Self::TOML, MAX_TOML_BYTES)? else {
            return Ok(None);
        };
        let entry = parse(folder, &toml)?;
        let path = folder.join(CALIBRATION).join(&entry.file);
        let arrays = source.read(&format!("{CALIBRATION}/{}", entry.file), MAX_ARRAY_BYTES)?;
        let arrays = arrays.ok_or_else(|| BundleError::MissingFile { path: path.clone() })?;
        let listed = FileEntry {
            sha256: entry.sha256.clone(),
            bytes: entry.bytes,
        };
        check_file(&path, &arrays, &listed)?;
        let signature = source.read(&signature_path(&toml), MAX_SIGNATURE_BYTES)?;
        Ok(Some(Self {
            toml,
            entry,
            arrays,
            signature,
        }))
    }

    /// What it says.
    pub(super) fn calibration(&self, folder: &Path) -> Result<Calibration, BundleError> {
        let read = self.entry.read(&self.arrays);
        read.map_err(|problem| BundleError::Array {
            path: folder.join(CALIBRATION).join(&self.entry.file),
            problem,
        })
    }

    /// Its files by their paths below the bundle's folder, `calibration.toml` last.
    pub(super) fn files(&self) -> Vec<(String, &[u8])> {
        let mut files = vec![(
            format!("{CALIBRATION}/{}", self.entry.file),
            self.arrays.as_slice(),
        )];
        if let Some(signature) = &self.signature {
            files.push((signature_path(&self.toml), signature));
        }
        files.push((Self::TOML.to_owned(), &self.toml));
        files
    }
}

/// The path of the signature of this `calibration.toml`, below the bundle's folder.
pub(crate) fn signature_path(toml: &[u8]) -> String {
    format!("{CALIBRATION}/calibration-{}.sig", &sha256([toml])[..8])
}

/// Whether a file of this name belongs into `calibration/`.
pub(crate) fn is_calibration_file(name: &str) -> bool {
    let is_numbered = |rest: &str| {
        let digits = rest.strip_suffix(".npz").or(rest.strip_suffix(".sig"));
        digits.is_some_and(|digits| {
            digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    name == "calibration.toml" || name.strip_prefix("calibration-").is_some_and(is_numbered)
}

fn parse(folder: &Path, bytes: &[u8]) -> Result<CalibrationEntry, BundleError> {
    let path = folder.join(CalibrationLayer::TOML);
    let malformed = |line: usize, message: String| BundleError::Manifest {
        path: path.clone(),
        line,
        message,
    };
    if bytes.len() as u64 > MAX_TOML_BYTES {
        let message = format!("is longer than {MAX_TOML_BYTES} bytes");
        return Err(malformed(1, message));
    }
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|error| malformed(1, format!("is not text: {error}")))?;
    let entry: CalibrationEntry = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text
            .bytes()
            .take(start)
            .filter(|&byte| byte == b'\n')
            .count();
        malformed(line, error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    // A path would lead elsewhere.
    if !is_calibration_file(&entry.file) || !entry.file.ends_with(".npz") {
        return Err(BundleError::Setting {
            path,
            key: "file".into(),
            problem: format!(
                "is {:?}, expected `calibration-`, 8 digits, `.npz`",
                entry.file
            ),
        });
    }
    Ok(entry)
}
