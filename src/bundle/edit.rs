//! Changing a bundle in memory; [`Bundle::save`] writes it.

use super::{
    Bundle, BundleError, FileEntry, Manifest,
    manifest::MANIFEST,
    open::{sha256, weight_digits},
};
use crate::calibration::Calibration;

impl Bundle {
    /// Takes another calibration, in memory only; [`Bundle::save`] writes it.
    ///
    /// # Errors
    /// A calibration that [`Calibration::validate`] refuses, and a bundle without a scoring.
    pub fn set_calibration(&mut self, calibration: Calibration) -> Result<(), BundleError> {
        let mut manifest = self.manifest.clone();
        manifest.calibration = Some(calibration);
        manifest.check(&self.path.join(MANIFEST))?;
        self.manifest = manifest;
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
