//! What a box believes: signed bundles, no way back to older ones, and sealed weights.
//!
//! [`open`] takes the place of [`Bundle::open`](crate::bundle::Bundle::open) where a
//! [`TrustPolicy`] holds; the program opens every bundle through it. The format of signatures is
//! OpenSSF Model Signing 1.0 with plain keys, that of sealed files is age.
//! `docs/reference/trust.md` has both for users, `docs/design/security.md` what is defended and
//! what is not.

mod envelope;
mod error;
mod key;
mod memory;
mod open;
mod policy;
mod sealed;
mod sign;
mod statement;
mod version;

pub use error::TrustError;
pub use key::{PublicKey, SigningKey};
pub use open::{TrustedBundle, VerifiedSignature, open};
pub use policy::{FOLDER_VARIABLE, SYSTEM_FOLDER, TrustPolicy, TrustSettings};
pub use sealed::{
    DeviceKey, Identities, SealFor, generate_identity, read_passphrase, seal, unseal,
};
pub use sign::{sign_calibration, sign_model, write_signatures};
pub use statement::{Annotations, ModelIdentity, SignedContent};

/// What a fuzz target does with bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_unsigned(bytes: &[u8]) {
    let path = std::path::Path::new("model.sig");
    assert!(envelope::verify(bytes, &[], "models", path).is_err());
    if let Ok(content) = SignedContent::from_json(bytes, path) {
        let again = SignedContent::from_json(&content.to_json(&[]), path);
        assert_eq!(again.expect("it was written here"), content);
    }
}

#[cfg(test)]
mod tests;
