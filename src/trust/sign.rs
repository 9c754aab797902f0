//! Signing a bundle: the model by whoever trained it, the calibration by whoever calibrated it.

use std::{collections::BTreeMap, path::Path};

use super::{Annotations, ModelIdentity, SignedContent, SigningKey, TrustError, envelope};
use crate::{
    bundle::{
        Bundle, BundleError, CALIBRATION, CalibrationLayer, MANIFEST, MAX_MANIFEST_BYTES,
        SIGNATURE, sha256, signature_path,
    },
    read_bounded,
};

/// What is not signed with a model, as the reference implementation lists it: what version control
/// adds, the calibration, and the signature itself.
const IGNORED: [&str; 6] = [
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    CALIBRATION,
    SIGNATURE,
];

/// Manifest and files of a bundle, as a signature lists them.
fn content_of(bundle: &Bundle) -> Result<BTreeMap<String, String>, BundleError> {
    let listed = &bundle.manifest().files;
    let files = listed
        .iter()
        .map(|(name, file)| (name.clone(), file.sha256.clone()));
    let manifest = sha256([bundle.manifest_bytes()?.as_slice()]);
    Ok(files.chain([(MANIFEST.to_owned(), manifest)]).collect())
}

/// Signs the model of a bundle, in memory: manifest and files, without the calibration.
/// [`write_signatures`] or [`Bundle::save`] writes the signature.
///
/// # Errors
/// A bundle that can't be written.
pub fn sign_model(
    bundle: &mut Bundle,
    key: &SigningKey,
    annotations: Annotations,
) -> Result<SignedContent, TrustError> {
    let content = SignedContent {
        name: bundle.manifest().model_name().to_owned(),
        files: content_of(bundle)?,
        annotations,
    };
    bundle.set_signature(envelope::sign(&content.to_json(&IGNORED), key))?;
    Ok(content)
}

/// Signs the calibration of a bundle for the model that it has, in memory; [`write_signatures`],
/// [`Bundle::write_calibration`] or [`Bundle::save`] writes the signature.
///
/// # Errors
/// A bundle without a calibration.
pub fn sign_calibration(
    bundle: &mut Bundle,
    key: &SigningKey,
    annotations: Annotations,
) -> Result<SignedContent, TrustError> {
    let layer = bundle.calibration_layer()?;
    let layer = layer.ok_or_else(|| BundleError::Lacks {
        path: bundle.path().to_owned(),
        problem: "has no calibration that could be signed".to_owned(),
    })?;
    let content = SignedContent {
        name: CALIBRATION.to_owned(),
        files: calibration_files(&layer),
        annotations: Annotations {
            model: Some(identity_of(bundle)?),
            ..annotations
        },
    };
    let own = signature_path(&layer.toml);
    let own = own.rsplit('/').next().unwrap_or_default();
    let ignored: Vec<&str> = IGNORED[..4].iter().copied().chain([own]).collect();
    bundle.set_calibration_signature(envelope::sign(&content.to_json(&ignored), key))?;
    Ok(content)
}

/// The files of a calibration as its signature lists them, by their names in `calibration/`.
fn calibration_files(layer: &CalibrationLayer) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            "calibration.toml".to_owned(),
            sha256([layer.toml.as_slice()]),
        ),
        (layer.entry.file.clone(), layer.entry.sha256.clone()),
    ])
}

/// The model of a bundle, as a calibration's signature names it.
pub(super) fn identity_of(bundle: &Bundle) -> Result<ModelIdentity, BundleError> {
    Ok(ModelIdentity {
        id: bundle.model_id().to_owned(),
        manifest_sha256: sha256([bundle.manifest_bytes()?.as_slice()]),
    })
}

/// Writes the signatures that a bundle has into its folder; everything else stays.
///
/// # Errors
/// A manifest on disk that is not the one that was signed, and failures of the file system.
pub fn write_signatures(bundle: &Bundle) -> Result<(), TrustError> {
    let folder = bundle.path();
    let manifest = folder.join(MANIFEST);
    let found = read_bounded(&manifest, MAX_MANIFEST_BYTES).map_err(|source| TrustError::Read {
        path: manifest.clone(),
        source,
    })?;
    let signed = bundle.manifest_bytes()?;
    if found != signed {
        return Err(TrustError::Changed {
            path: manifest,
            found: sha256([found.as_slice()]),
            expected: sha256([signed.as_slice()]),
        });
    }
    let write = |path: &Path, bytes: &[u8]| {
        crate::replace_file(path, bytes).map_err(|source| TrustError::Write {
            path: path.to_owned(),
            source,
        })
    };
    if let Some(signature) = bundle.signature() {
        write(&folder.join(SIGNATURE), signature)?;
    }
    if let Some(layer) = bundle.calibration_layer()?
        && let Some(signature) = &layer.signature
    {
        write(&folder.join(signature_path(&layer.toml)), signature)?;
    }
    Ok(())
}
