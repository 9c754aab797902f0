//! What of a bundle is written as it was read, so that signatures stay valid.

use super::{Bundle, BundleError, layer::CalibrationLayer, manifest::MANIFEST};

impl Bundle {
    /// The text of `manifest.toml`: as it was read, where nothing of it has changed.
    pub(crate) fn manifest_bytes(&self) -> Result<Vec<u8>, BundleError> {
        match &self.stored.manifest {
            Some(read) => Ok(read.clone()),
            None => Ok(self
                .manifest
                .to_toml(&self.path.join(MANIFEST))?
                .into_bytes()),
        }
    }

    /// The calibration's files: as they were read, where nothing of them has changed.
    pub(crate) fn calibration_layer(&self) -> Result<Option<CalibrationLayer>, BundleError> {
        match (&self.stored.calibration, &self.calibration) {
            (Some(read), _) => Ok(Some(read.clone())),
            (None, Some(calibration)) => {
                CalibrationLayer::of(calibration, &self.manifest.model_id).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// The signature of manifest and files, where there is one; it may be of other ones.
    #[cfg(feature = "trust")]
    pub(crate) fn signature(&self) -> Option<&[u8]> {
        self.stored.signature.as_deref()
    }

    /// Takes a signature of manifest and files as they are.
    #[cfg(feature = "trust")]
    pub(crate) fn set_signature(&mut self, signature: Vec<u8>) -> Result<(), BundleError> {
        self.stored.manifest = Some(self.manifest_bytes()?);
        self.stored.signature = Some(signature);
        Ok(())
    }

    /// Takes a signature of the calibration as it is.
    #[cfg(feature = "trust")]
    pub(crate) fn set_calibration_signature(
        &mut self,
        signature: Vec<u8>,
    ) -> Result<(), BundleError> {
        self.stored.calibration = self.calibration_layer()?.map(|layer| CalibrationLayer {
            signature: Some(signature),
            ..layer
        });
        Ok(())
    }
}
