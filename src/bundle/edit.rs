//! Changing a bundle in memory; [`Bundle::save`] writes it.

use super::{
    Bundle, BundleError, FileEntry, Manifest,
    digest::sha256,
    layer::{CalibrationLayer, Stored},
    manifest::MANIFEST,
    open::weight_digits,
    synthetic_defects,
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
        changed.check_calibration()?;
        *self = changed;
        Ok(())
    }

    /// Puts a calibration in the place of the one that is there.
    pub(crate) fn put_calibration(
        &mut self,
        calibration: Option<Calibration>,
    ) -> Result<(), BundleError> {
        if let Some(calibration) = &calibration {
            calibration
                .validate()
                .map_err(|error| BundleError::Setting {
                    path: self.path.join(CalibrationLayer::TOML),
                    key: "calibration".into(),
                    problem: error.to_string(),
                })?;
        }
        self.stored.calibration = None;
        self.calibration = calibration;
        Ok(())
    }

    /// Puts synthetic defects and their file in the place of those that are there; `None` where
    /// scores have changed and nobody can draw them again.
    pub(crate) fn put_synthetic_defects(
        &mut self,
        defects: Option<SyntheticDefects>,
    ) -> Result<(), BundleError> {
        self.stored.change_model();
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
        self.stored.change_model();
        &mut self.manifest
    }

    /// Adds or replaces a file, and what the manifest lists of it.
    pub(crate) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.stored.change_model();
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
        let id = format!("{}-{digits}", self.manifest.model_name());
        if id != self.manifest.model_id {
            self.stored = Stored::default();
            self.manifest.model_id = id;
        }
        self.manifest.check(&self.path.join(MANIFEST))?;
        self.check_calibration()
    }
}
