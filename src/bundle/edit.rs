//! Changing a bundle in memory; [`Bundle::save`] writes it.

use super::{
    Bundle, BundleError, CalibrationEntry, FileEntry, Manifest, digest::sha256, manifest::MANIFEST,
    open::weight_digits, synthetic_defects,
};
use crate::calibration::{Calibration, SyntheticDefects};

impl Bundle {
    /// Takes another calibration, in memory only; [`Bundle::save`] writes it.
    ///
    /// # Errors
    /// A calibration that [`Calibration::validate`] refuses, and a bundle without a scoring.
    pub fn set_calibration(&mut self, calibration: Calibration) -> Result<(), BundleError> {
        let mut changed = self.clone();
        changed.put_calibration(Some(calibration))?;
        changed.manifest.check(&self.path.join(MANIFEST))?;
        *self = changed;
        Ok(())
    }

    /// Puts a calibration and its file in the place of those that are there.
    pub(crate) fn put_calibration(
        &mut self,
        calibration: Option<Calibration>,
    ) -> Result<(), BundleError> {
        if let Some(old) = self.manifest.calibration.take() {
            self.manifest.files.remove(&old.file);
            self.files.remove(&old.file);
        }
        if let Some(calibration) = &calibration {
            calibration
                .validate()
                .map_err(|error| BundleError::Setting {
                    path: self.path.join(MANIFEST),
                    key: "calibration".into(),
                    problem: error.to_string(),
                })?;
            let (entry, bytes) = CalibrationEntry::of(calibration)?;
            self.put(&entry.file, bytes);
            self.manifest.calibration = Some(entry);
        }
        self.calibration = calibration;
        Ok(())
    }

    /// Puts synthetic defects and their file in the place of those that are there; `None` where
    /// scores have changed and nobody can draw them again.
    pub(crate) fn put_synthetic_defects(
        &mut self,
        defects: Option<SyntheticDefects>,
    ) -> Result<(), BundleError> {
        if let Some(old) = self.manifest.synthetic_defects.take() {
            self.manifest.files.remove(&old);
            self.files.remove(&old);
        }
        if let Some(defects) = &defects {
            defects.validate().map_err(|error| BundleError::Setting {
                path: self.path.join(MANIFEST),
                key: "synthetic-defects".into(),
                problem: error.to_string(),
            })?;
            self.put(synthetic_defects::FILE, synthetic_defects::to_npz(defects)?);
            self.manifest.synthetic_defects = Some(synthetic_defects::FILE.to_owned());
        }
        self.synthetic_defects = defects;
        Ok(())
    }

    /// The manifest, to be changed; [`Bundle::seal`] checks it.
    pub(crate) fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    /// Adds or replaces a file, and what the manifest lists of it.
    pub(crate) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let entry = FileEntry {
            sha256: sha256([bytes.as_slice()]),
            bytes: bytes.len() as u64,
        };
        self.manifest.files.insert(name.to_owned(), entry);
        self.files.insert(name.to_owned(), bytes);
    }

    /// Gives the model the id of its present files, and checks the manifest.
    ///
    /// # Errors
    /// A value that is impossible.
    pub(crate) fn seal(&mut self) -> Result<(), BundleError> {
        let digits = weight_digits(&self.manifest, &self.files);
        self.manifest.model_id = format!("{}-{digits}", self.manifest.model_name());
        self.manifest.check(&self.path.join(MANIFEST))
    }
}
