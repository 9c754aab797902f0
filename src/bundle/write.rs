//! Writing a bundle: made whole in memory, written beside, flushed, renamed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    Bundle, BundleError, FileEntry, Golden, Manifest, ModelCard, SCHEMA_VERSION,
    calibration::is_calibration_file, check::is_model_name, digest::sha256, manifest::MANIFEST,
    open::read_manifest,
};
use crate::{
    calibration::{Calibration, SyntheticDefects},
    model::{FeatureExtractorSettings, GraphSettings},
    preprocess::PreprocessSettings,
    scoring::Scoring,
    vae::VaeSpec,
};

/// What a bundle is made of; [`BundleWriter::finish`] adds sizes, digests and the model's id.
#[derive(Clone, Debug)]
pub struct BundleWriter {
    /// Name of the model: letters, digits, `.`, `_`, `-`; at most 64, no leading dot.
    pub name: String,
    /// From frame to tensor.
    pub preprocess: PreprocessSettings,
    /// Shapes and likelihood.
    pub vae: VaeSpec,
    /// A frozen network whose feature maps the graphs have.
    pub feature_extractor: Option<FeatureExtractorSettings>,
    /// The graphs that run after it.
    pub graphs: Vec<GraphSettings>,
    /// How map and score are computed.
    pub scoring: Option<Scoring>,
    /// Threshold and target false-alarm rate.
    pub calibration: Option<Calibration>,
    /// Drawn defects and how they score.
    pub synthetic_defects: Option<SyntheticDefects>,
    /// The golden frame's files, score and tolerances.
    pub golden: Golden,
    /// What the model was made of.
    pub card: ModelCard,
    /// Every file but the manifest, by name: [`ENCODER`](super::ENCODER),
    /// [`DECODER`](super::DECODER), and those that the settings name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl BundleWriter {
    /// Makes the bundle in memory, ready to be proved and saved.
    ///
    /// # Errors
    /// Any value that [`Bundle::open`] would refuse.
    pub fn finish(self) -> Result<Bundle, BundleError> {
        if !is_model_name(&self.name) {
            return Err(BundleError::Setting {
                path: MANIFEST.into(),
                key: "model_id".into(),
                problem: format!(
                    "a model can't be named {:?}: letters, digits, `.`, `_`, `-`; at most 64, no \
                     leading dot",
                    self.name
                ),
            });
        }
        let entries = self
            .files
            .iter()
            .map(|(name, bytes)| {
                let entry = FileEntry {
                    sha256: sha256([bytes.as_slice()]),
                    bytes: bytes.len() as u64,
                };
                (name.clone(), entry)
            })
            .collect();
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            model_id: format!("{}-", self.name),
            preprocess: self.preprocess,
            vae: self.vae,
            feature_extractor: self.feature_extractor,
            graphs: self.graphs,
            scoring: self.scoring,
            calibration: None,
            synthetic_defects: None,
            golden: self.golden,
            card: self.card,
            adaptation: None,
            files: entries,
        };
        let mut bundle = Bundle {
            path: PathBuf::from(MANIFEST),
            manifest,
            calibration: None,
            synthetic_defects: None,
            files: self.files,
        };
        bundle.put_calibration(self.calibration)?;
        bundle.put_synthetic_defects(self.synthetic_defects)?;
        bundle.seal()?;
        // Also proves that the manifest can be written.
        bundle.manifest.to_toml(Path::new(MANIFEST))?;
        bundle.path = PathBuf::from(&bundle.manifest.model_id);
        Ok(bundle)
    }
}

impl Bundle {
    /// Whether a bundle could be written to `folder`, to be asked before hours of training; gives
    /// the folder itself where it is a link.
    ///
    /// # Errors
    /// A folder that holds anything but a bundle's files, a file, a link to nowhere.
    pub fn check_target(folder: &Path) -> Result<PathBuf, BundleError> {
        // A link to a bundle is followed: the bundle is replaced, not the link.
        let target = match fs::canonicalize(folder) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => {
                folder.to_owned()
            }
            Err(source) => return Err(failed(folder, source)),
        };
        replaceable(&target)?;
        parent_and_name(&target)?;
        Ok(target)
    }

    /// Writes the bundle to a folder, which appears whole or not at all; folders above it are
    /// made. A bundle that is there already is replaced, an empty folder too, anything else not.
    ///
    /// Between moving the old bundle aside and the new one in, a power cut leaves the old one
    /// beside, as `.NAME.….replaced`.
    ///
    /// # Errors
    /// A folder that holds anything but a bundle's files, and failures of the file system.
    pub fn save(&mut self, folder: &Path) -> Result<(), BundleError> {
        let text = self.manifest.to_toml(&folder.join(MANIFEST))?;
        let target = Self::check_target(folder)?;
        let old = replaceable(&target)?;
        let (parent, name) = parent_and_name(&target)?;
        fs::create_dir_all(&parent).map_err(|source| failed(&parent, source))?;

        let fresh = sibling(&parent, &name, ".partial")?;
        for (file, bytes) in &self.files {
            write_flushed(&fresh.path().join(file), bytes)?;
        }
        write_flushed(&fresh.path().join(MANIFEST), text.as_bytes())?;
        flush_folder(fresh.path())?;

        let aside = match &old {
            Some(_) => {
                let aside = sibling(&parent, &name, ".replaced")?;
                let place = aside.path().join(&name);
                fs::rename(&target, &place).map_err(|source| failed(&target, source))?;
                Some((aside, place))
            }
            None => None,
        };
        // The fresh folder is now what `target` was: from here on it must not be cleaned away.
        let fresh = fresh.keep();
        if let Err(source) = fs::rename(&fresh, &target) {
            let restored = aside.is_none_or(|(aside, place)| {
                let back = fs::rename(&place, &target).is_ok();
                if !back {
                    // Better litter than a lost model.
                    let _ = aside.keep();
                }
                back
            });
            if restored {
                // What failed to move in is of no more use; a failure to remove it hides nothing.
                let _ = fs::remove_dir_all(&fresh);
            }
            return Err(failed(&target, source));
        }
        folder.clone_into(&mut self.path);
        let flushed = flush_folder(&parent);
        if let (Some((aside, place)), Some(entries)) = (aside, old) {
            // The old bundle goes only when the new one is durable, and only what was looked at
            // is removed; what came since stays beside.
            let aside = aside.keep();
            flushed?;
            entries
                .iter()
                .try_for_each(|entry| fs::remove_file(place.join(entry)))
                .and_then(|()| fs::remove_dir(&place))
                .and_then(|()| fs::remove_dir(&aside))
                .map_err(|source| failed(&aside, source))
        } else {
            flushed
        }
    }

    /// Gives a saved bundle another calibration; its other files stay.
    ///
    /// The new file is written beside the old one before the manifest is replaced.
    ///
    /// # Errors
    /// A calibration that [`Calibration::validate`] refuses, a bundle that was changed in memory or
    /// was replaced by another model since it was opened, and failures of the file system.
    pub fn save_calibration(&mut self, calibration: Calibration) -> Result<(), BundleError> {
        let path = self.path.join(MANIFEST);
        let mut changed = self.clone();
        changed.set_calibration(calibration)?;
        let text = changed.manifest.to_toml(&path)?;
        // This manifest over the files of another model would make a bundle that does not open.
        let on_disk = read_manifest(&self.path)?;
        if !on_disk.has_weights_of(&changed.manifest) {
            return Err(BundleError::Setting {
                path,
                key: "files".into(),
                problem: "are not those on disk: they were replaced by another program since the \
                          bundle was opened; try again"
                    .into(),
            });
        }
        let replace = |file: &Path, bytes: &[u8]| {
            crate::replace_file(file, bytes).map_err(|source| failed(file, source))
        };
        let file_of = |manifest: &Manifest| Some(manifest.calibration.as_ref()?.file.clone());
        let (old, new) = (file_of(&on_disk), file_of(&changed.manifest));
        if let Some(new) = &new {
            replace(&self.path.join(new), changed.listed(new))?;
        }
        replace(&path, text.as_bytes())?;
        if let Some(old) = old.filter(|old| Some(old) != new.as_ref()) {
            // One that stays is not read, and goes with the next bundle that is written here.
            let _ = fs::remove_file(self.path.join(old));
        }
        *self = changed;
        Ok(())
    }
}

fn failed(path: &Path, source: io::Error) -> BundleError {
    BundleError::Write {
        path: path.to_owned(),
        source,
    }
}

/// The entries of a folder that may be replaced; `None` where nothing is there.
fn replaceable(folder: &Path) -> Result<Option<Vec<OsString>>, BundleError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(BundleError::NotAFolder {
                path: folder.to_owned(),
            });
        }
        Err(source) => return Err(failed(folder, source)),
    };
    let known = names_of(folder);
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| failed(folder, source))?;
        let name = entry.file_name();
        let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        let is_ours = |name: &str| known.contains(name) || is_calibration_file(name);
        if !plain || known.is_empty() || !name.to_str().is_some_and(is_ours) {
            return Err(BundleError::Foreign {
                path: folder.to_owned(),
                entry: name.to_string_lossy().into_owned(),
            });
        }
        found.push(name);
    }
    Ok(Some(found))
}

/// The names that belong to the bundle in a folder, as far as its manifest can still be read:
/// another schema, or a value that is impossible today, is no reason to call its files foreign.
fn names_of(folder: &Path) -> BTreeSet<String> {
    let Ok(text) = fs::read_to_string(folder.join(MANIFEST)) else {
        return BTreeSet::new();
    };
    let files = toml::from_str::<toml::Table>(&text)
        .ok()
        .and_then(|mut table| table.remove("files"));
    let mut names = BTreeSet::from([MANIFEST.to_owned()]);
    if let Some(toml::Value::Table(files)) = files {
        names.extend(files.into_iter().map(|(name, _)| name));
    }
    names
}

fn parent_and_name(target: &Path) -> Result<(PathBuf, OsString), BundleError> {
    let name = target.file_name().ok_or_else(|| {
        failed(
            target,
            io::Error::new(io::ErrorKind::InvalidInput, "has no name of its own"),
        )
    })?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok((parent, name.to_owned()))
}

/// An empty folder beside, on the same file system, with the permissions of any new folder.
fn sibling(parent: &Path, name: &OsString, suffix: &str) -> Result<tempfile::TempDir, BundleError> {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(suffix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder
        .tempdir_in(parent)
        .map_err(|source| failed(parent, source))
}

fn write_flushed(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    File::create_new(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|source| failed(path, source))
}

/// Makes names in a folder durable; only Unix can.
fn flush_folder(folder: &Path) -> Result<(), BundleError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| failed(folder, source))?;
    }
    Ok(())
}
