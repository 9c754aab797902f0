//! Why a bundle is not believed, or can't be signed, sealed or opened.

use std::{io, path::PathBuf};

use crate::bundle::BundleError;

/// Why a bundle is not believed, or can't be signed, sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The bundle itself.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A key can't be read or used.
    #[error("{path}: {problem}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// Nothing is signed.
    #[error(
        "{path}: is not signed, and a signature is required; sign the bundle where it was trained: \
         `edge-vae model sign`",
        path = path.display()
    )]
    NotSigned {
        /// The signature that is missing.
        path: PathBuf,
    },
    /// The calibration is not signed.
    #[error(
        "{path}: the calibration is not signed, and a signature is required; sign it: `edge-vae \
         model sign --calibration --key KEY`, or calibrate with --sign-key KEY",
        path = path.display()
    )]
    CalibrationNotSigned {
        /// The signature that is missing.
        path: PathBuf,
    },
    /// A file that is no signature of this kind, or says something impossible.
    #[error("{path}: {problem}", path = path.display())]
    Malformed {
        /// The signature.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// The signature is by a key that is not trusted here.
    #[error(
        "{path}: is signed by the key {found}, and trusted here for {what} {allowed}",
        path = path.display()
    )]
    OtherKey {
        /// The signature.
        path: PathBuf,
        /// Fingerprint of its key.
        found: String,
        /// Models or calibrations.
        what: &'static str,
        /// `is …` or `are …, …`: the trusted fingerprints.
        allowed: String,
    },
    /// The signature is not of these bytes by any trusted key.
    #[error(
        "{path}: the signature is wrong: it was changed, or is not by a trusted key; copy the \
         bundle again from where it was signed",
        path = path.display()
    )]
    Forged {
        /// The signature.
        path: PathBuf,
    },
    /// A file is not the one that was signed.
    #[error(
        "{path}: SHA-256 is {found}, signed was {expected}; the file was changed after signing: \
         copy the bundle again",
        path = path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The signed digest.
        expected: String,
    },
    /// A file that was not signed.
    #[error(
        "{path}: is not among the files that were signed; remove it, or sign the bundle with it",
        path = path.display()
    )]
    Unsigned {
        /// The file, folder or device.
        path: PathBuf,
    },
    /// A signed file is not there.
    #[error(
        "{path}: is missing, and was signed; copy the whole bundle again",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A link in a signed bundle.
    #[error(
        "{path}: is a symbolic link, which a signed bundle can't have; copy the file (cp -L)",
        path = path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A calibration that was signed for another model.
    #[error(
        "{path}: was signed for the model `{found}` (manifest {digest:.16}…), which this is not; \
         calibrate this model, or remove the folder `calibration`",
        path = path.display()
    )]
    OtherModel {
        /// The signature.
        path: PathBuf,
        /// Id of the model that it is for.
        found: String,
        /// SHA-256 of that model's manifest.
        digest: String,
    },
    /// A model that is not meant for this box.
    #[error(
        "{path}: the model is called `{found}`, allowed here: {allowed}",
        path = path.display()
    )]
    Foreign {
        /// The bundle.
        path: PathBuf,
        /// Its name.
        found: String,
        /// The allowed names.
        allowed: String,
    },
    /// An older version than was accepted before.
    #[error(
        "{path}: is version {found} of `{name}`, and version {accepted} was accepted here before; \
         --allow-rollback goes back on purpose",
        path = path.display()
    )]
    RollBack {
        /// The bundle.
        path: PathBuf,
        /// Name of the model.
        name: String,
        /// Its version.
        found: u64,
        /// The last version that was accepted.
        accepted: u64,
    },
    /// The same version with other content.
    #[error(
        "{path}: is version {version} of `{name}`, and another model of that version was accepted \
         here before; sign it with a higher --version, or use --allow-rollback",
        path = path.display()
    )]
    SameVersion {
        /// The bundle.
        path: PathBuf,
        /// Name of the model.
        name: String,
        /// The version of both.
        version: u64,
    },
    /// The signature has run out.
    #[error(
        "{path}: the signature expired on {expires}, and it is {now}; sign the bundle anew, or set \
         the clock",
        path = path.display()
    )]
    Expired {
        /// The signature.
        path: PathBuf,
        /// When it did, RFC 3339.
        expires: String,
        /// The clock, RFC 3339.
        now: String,
    },
    /// What was accepted before can't be read or kept.
    #[error(
        "{path}: {problem}; it keeps which versions were accepted: mend it, or remove it to accept \
         any version once",
        path = path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key of a sealed bundle is missing or another one.
    #[error("{path}: {problem}", path = path.display())]
    Sealed {
        /// The bundle or its sealed file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file can't be read.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file can't be written.
    #[error("{path}: cannot write: {source}", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
