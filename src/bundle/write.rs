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
    check::is_model_name,
    digest::sha256,
    layer::{CalibrationLayer, Stored, is_calibration_file},
    manifest::{CALIBRATION, MANIFEST, SEALED, SIGNATURE},
    open::{MAX_MANIFEST_BYTES, read_manifest},
};
use crate::{
    calibration::{Calibration, SyntheticDefects},
    model::{FeatureExtractorSettings, GraphSettings},
    preprocess::PreprocessSettings,
    read_text_bounded,
    replace::{FreshFolder, create_folder, flush_folder, is_partial, replace_file},
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
    /// Shapes and likelihood of the VAE, where there is one.
    pub vae: Option<VaeSpec>,
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
    /// Every file but the manifest, by name: with a VAE [`ENCODER`](super::ENCODER) and
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
            stored: Stored::default(),
            sealed: false,
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
    /// Signatures stay where what they are of has not changed.
    ///
    /// The two change their places in one step. Where the system can't do that, a power cut between
    /// two steps leaves the old bundle beside, as `.NAME.….replaced`; the next save moves it back.
    ///
    /// # Errors
    /// A bundle that is sealed, whose weights would lie in the clear; a folder that holds anything
    /// but a bundle's files, and failures of the file system.
    pub fn save(&mut self, folder: &Path) -> Result<(), BundleError> {
        self.check_unsealed(folder)?;
        let files = self.files.iter();
        let files = files.map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        self.write(folder, &files.collect::<Vec<_>>())?;
        folder.clone_into(&mut self.path);
        Ok(())
    }

    /// Refuses a sealed bundle, before any work is done for it to be written to `folder`.
    ///
    /// # Errors
    /// [`BundleError::WouldUnseal`].
    pub fn check_unsealed(&self, folder: &Path) -> Result<(), BundleError> {
        match self.sealed {
            true => Err(BundleError::WouldUnseal {
                path: folder.to_owned(),
            }),
            false => Ok(()),
        }
    }

    /// [`Bundle::save`] of a sealed bundle with its weights in the clear.
    #[cfg(feature = "trust")]
    pub(crate) fn save_unsealed(&self, folder: &Path) -> Result<(), BundleError> {
        let mut plain = self.clone();
        plain.sealed = false;
        let saved = plain.save(folder);
        plain.sealed = true;
        saved
    }

    /// [`Bundle::save`] with these bytes in the place of the model's files.
    #[cfg(feature = "trust")]
    pub(crate) fn save_sealed(&self, folder: &Path, sealed: &[u8]) -> Result<(), BundleError> {
        self.write(folder, &[(SEALED, sealed)])
    }

    /// Writes model files, manifest, calibration and signatures.
    fn write(&self, folder: &Path, files: &[(&str, &[u8])]) -> Result<(), BundleError> {
        let text = self.manifest_bytes()?;
        let layer = self.calibration_layer()?;
        let target = Self::check_target(folder)?;
        let (parent, name) = parent_and_name(&target)?;
        create_folder(&parent).map_err(|source| failed(&parent, source))?;
        let fresh =
            FreshFolder::beside(&parent, &name).map_err(|source| failed(&parent, source))?;
        let old = replaceable(&target)?;

        for (file, bytes) in files {
            write_flushed(&fresh.path().join(file), bytes)?;
        }
        write_flushed(&fresh.path().join(MANIFEST), &text)?;
        if let Some(signature) = &self.stored.signature {
            write_flushed(&fresh.path().join(SIGNATURE), signature)?;
        }
        let flushed = |folder: &Path| flush_folder(folder).map_err(|error| failed(folder, error));
        if let Some(layer) = &layer {
            let inner = fresh.path().join(CALIBRATION);
            fs::create_dir(&inner).map_err(|source| failed(&inner, source))?;
            for (file, bytes) in layer.files() {
                write_flushed(&fresh.path().join(file), bytes)?;
            }
            flushed(&inner)?;
        }
        flushed(fresh.path())?;
        let place = fresh.take_place(&target);
        match (place.map_err(|source| failed(&target, source))?, old) {
            // The new one is durable, so the old one goes: only what was looked at is removed; what
            // came since stays beside.
            (Some(place), Some(files)) => {
                remove_files(&place, &files).map_err(|source| failed(&place, source))
            }
            _ => Ok(()),
        }
    }

    /// Removes the bundle in a folder, and nothing else.
    ///
    /// # Errors
    /// A folder that holds anything but a bundle's files, and failures of the file system.
    pub fn remove(folder: &Path) -> Result<(), BundleError> {
        match replaceable(folder)? {
            Some(files) => remove_files(folder, &files).map_err(|source| failed(folder, source)),
            None => Ok(()),
        }
    }

    /// Gives a saved bundle another calibration; the model's files and their signature stay.
    ///
    /// # Errors
    /// A calibration that [`Calibration::validate`] refuses, and those of
    /// [`Bundle::write_calibration`].
    pub fn save_calibration(&mut self, calibration: Calibration) -> Result<(), BundleError> {
        let mut changed = self.clone();
        changed.set_calibration(calibration)?;
        changed.write_calibration()?;
        *self = changed;
        Ok(())
    }

    /// Writes the calibration into the folder of a saved bundle; the model's files stay.
    ///
    /// The new files are written beside the old ones before `calibration.toml` is replaced.
    ///
    /// # Errors
    /// A bundle that was changed in memory or was replaced by another model since it was opened,
    /// and failures of the file system.
    pub fn write_calibration(&self) -> Result<(), BundleError> {
        // A calibration beside the files of another model would make a bundle that does not open.
        let on_disk = read_manifest(&self.path)?;
        if on_disk.files != self.manifest.files {
            return Err(BundleError::Setting {
                path: self.path.join(MANIFEST),
                key: "files".into(),
                problem: "are not those on disk: they were replaced by another program since the \
                          bundle was opened; try again"
                    .into(),
            });
        }
        let layer = self.calibration_layer()?;
        let files = layer.as_ref().map(CalibrationLayer::files);
        let files = files.unwrap_or_default();
        for (name, bytes) in &files {
            let path = self.path.join(name);
            replace_file(&path, bytes).map_err(|source| failed(&path, source))?;
        }
        // One that stays is not read, and goes with the next bundle that is written here.
        let folder = self.path.join(CALIBRATION);
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_new = |(path, _): &(String, &[u8])| path.ends_with(&format!("/{name}"));
            if is_calibration_file(&name) && !files.iter().any(is_new) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

fn failed(path: &Path, source: io::Error) -> BundleError {
    BundleError::Write {
        path: path.to_owned(),
        source,
    }
}

/// The files of a folder that may be replaced, by their paths in it; `None` where nothing is there.
fn replaceable(folder: &Path) -> Result<Option<Vec<PathBuf>>, BundleError> {
    let known = names_of(folder);
    let is_of_model = |name: &str| known.contains(name) || is_partial(name);
    let Some(entries) = entries(folder)? else {
        return Ok(None);
    };
    let mut files = Vec::new();
    for (name, is_file) in entries {
        let inner = folder.join(CALIBRATION);
        let foreign = |entry: &Path| BundleError::Foreign {
            path: folder.to_owned(),
            entry: entry.to_string_lossy().into_owned(),
        };
        if !known.is_empty() && !is_file && name == CALIBRATION && !inner.is_symlink() {
            for (inner, is_file) in entries_of(&inner)? {
                let path = Path::new(CALIBRATION).join(&inner);
                let is_own = |name: &str| is_calibration_file(name) || is_partial(name);
                if !is_file || !inner.to_str().is_some_and(is_own) {
                    return Err(foreign(&path));
                }
                files.push(path);
            }
        } else if !is_file || !name.to_str().is_some_and(is_of_model) {
            return Err(foreign(Path::new(&name)));
        } else {
            files.push(name.into());
        }
    }
    Ok(Some(files))
}

/// Names in a folder, and whether each is a plain file; `None` where there is no folder.
fn entries(folder: &Path) -> Result<Option<Vec<(OsString, bool)>>, BundleError> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => entries_of(folder).map(Some),
    }
}

fn entries_of(folder: &Path) -> Result<Vec<(OsString, bool)>, BundleError> {
    let entries = fs::read_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => BundleError::NotAFolder {
            path: folder.to_owned(),
        },
        _ => failed(folder, error),
    })?;
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        Ok((entry.file_name(), is_file))
    };
    let read: io::Result<_> = entries.map(read).collect();
    read.map_err(|source| failed(folder, source))
}

/// The names that belong to the bundle in a folder, as far as its manifest can still be read:
/// another schema, or a value that is impossible today, is no reason to call its files foreign.
fn names_of(folder: &Path) -> BTreeSet<String> {
    let Ok(text) = read_text_bounded(&folder.join(MANIFEST), MAX_MANIFEST_BYTES) else {
        return BTreeSet::new();
    };
    let files = toml::from_str::<toml::Table>(&text)
        .ok()
        .and_then(|mut table| table.remove("files"));
    let mut names = BTreeSet::from([MANIFEST, SIGNATURE, SEALED].map(str::to_owned));
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

fn write_flushed(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    File::create_new(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|source| failed(path, source))
}

/// Removes these files of a bundle, and its folder: the manifest last, without which nobody could
/// tell any more what the others belong to.
fn remove_files(folder: &Path, files: &[PathBuf]) -> io::Result<()> {
    let (last, others): (Vec<_>, Vec<_>) =
        files.iter().partition(|path| path.as_path() == MANIFEST);
    others
        .iter()
        .try_for_each(|file| fs::remove_file(folder.join(file)))?;
    let inner = folder.join(CALIBRATION);
    if inner.is_dir() {
        fs::remove_dir(inner)?;
    }
    last.iter()
        .try_for_each(|file| fs::remove_file(folder.join(file)))?;
    fs::remove_dir(folder)
}
