//! Keys that sign: ECDSA over P-256, and P-384 to verify what others signed; PEM.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use p256::{
    ecdsa::signature::{Signer, Verifier},
    elliptic_curve::rand_core::OsRng,
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding},
};
use zeroize::Zeroizing;

use super::TrustError;
use crate::{bundle::sha256, replace};

/// Largest file of a key that is read, in bytes.
const MAX_KEY_BYTES: u64 = 1 << 16;

/// A private key.
pub struct SigningKey(p256::ecdsa::SigningKey);

/// A public key, pinned by whoever verifies.
#[derive(Clone, PartialEq)]
pub struct PublicKey {
    curve: Curve,
    fingerprint: String,
}

#[derive(Clone, PartialEq)]
enum Curve {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The fingerprint.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint)
    }
}

impl SigningKey {
    /// A new key, from the system's random numbers.
    pub fn generate() -> Self {
        Self(p256::ecdsa::SigningKey::random(&mut OsRng))
    }

    /// Reads a private key: PEM, PKCS #8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), in the clear.
    ///
    /// # Errors
    /// A file that can't be read, or is not such a key of the curve P-256.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let text = Zeroizing::new(read_text(path)?);
        let text = text.trim();
        let key = match text.starts_with("-----BEGIN EC PRIVATE KEY-----") {
            true => p256::SecretKey::from_sec1_pem(text).ok().map(Into::into),
            false => p256::ecdsa::SigningKey::from_pkcs8_pem(text).ok(),
        };
        let expected = match text {
            text if text.contains("ENCRYPTED") => {
                "is encrypted; decrypt it first: `openssl pkey -in KEY -out PLAIN`"
            }
            text if text.contains("BEGIN PUBLIC KEY") => "is a public key; signing takes its .key",
            _ => {
                "is no private key of the curve P-256 in PEM; `edge-vae model keygen` makes one, \
                 and `openssl ecparam -name prime256v1 -genkey`"
            }
        };
        key.map(Self).ok_or_else(|| TrustError::Key {
            path: path.to_owned(),
            problem: expected.to_owned(),
        })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::of(Curve::P256(*self.0.verifying_key()))
    }

    /// Writes the pair: NAME.key, which only the owner may read, and NAME.pub.
    ///
    /// # Errors
    /// Files that are there already, and failures of the file system.
    pub fn write(&self, name: &Path) -> Result<[PathBuf; 2], TrustError> {
        let paths = ["key", "pub"].map(|extension| {
            let mut path = name.as_os_str().to_owned();
            path.push(".");
            path.push(extension);
            PathBuf::from(path)
        });
        let [private, public] = &paths;
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|error| TrustError::Key {
            path: private.clone(),
            problem: error.to_string(),
        })?;
        write_new(private, pem.as_bytes(), 0o600)?;
        write_new(public, self.public().pem().as_bytes(), 0o644)?;
        Ok(paths)
    }

    /// The signature of a message, DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

impl PublicKey {
    fn of(curve: Curve) -> Self {
        let mut key = Self {
            curve,
            fingerprint: String::new(),
        };
        key.fingerprint = sha256([key.pem().as_bytes()]);
        key
    }

    /// Reads a public key: PEM, `PUBLIC KEY`.
    ///
    /// # Errors
    /// A file that can't be read, or is no public key of the curves P-256 and P-384.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let text = read_text(path)?;
        let p256 = p256::ecdsa::VerifyingKey::from_public_key_pem(&text).map(Curve::P256);
        let p384 = || p384::ecdsa::VerifyingKey::from_public_key_pem(&text).map(Curve::P384);
        match p256.or_else(|_| p384()) {
            Ok(curve) => Ok(Self::of(curve)),
            Err(_) => Err(TrustError::Key {
                path: path.to_owned(),
                problem: match text.contains("PRIVATE KEY") {
                    true => "is a private key, which belongs to whoever signs; give the public \
                             one, .pub"
                        .to_owned(),
                    false => {
                        "is no public key of the curve P-256 or P-384 in PEM; `edge-vae model \
                              keygen` makes one"
                            .to_owned()
                    }
                },
            }),
        }
    }

    /// The key as PEM, as OpenSSL writes it.
    pub fn pem(&self) -> String {
        let pem = match &self.curve {
            Curve::P256(key) => key.to_public_key_pem(LineEnding::LF),
            Curve::P384(key) => key.to_public_key_pem(LineEnding::LF),
        };
        pem.unwrap_or_default()
    }

    /// SHA-256 of the PEM, in lower-case hexadecimal: what a signature says of its key.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether a signature in DER is this key's, of the message.
    pub(crate) fn verifies(&self, message: &[u8], der: &[u8]) -> bool {
        match &self.curve {
            Curve::P256(key) => p256::ecdsa::Signature::from_der(der)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Curve::P384(key) => p384::ecdsa::Signature::from_der(der)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

fn read_text(path: &Path) -> Result<String, TrustError> {
    use std::io::Read;
    let mut text = String::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_KEY_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(TrustError::Key {
            path: path.to_owned(),
            problem: "is not text, so it is no key in PEM".to_owned(),
        }),
        Err(source) => Err(TrustError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a file that must not be there yet, with these rights from the first moment, whole or not
/// at all.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
    replace::write_new(path, bytes, mode).map_err(|source| TrustError::Write {
        path: path.to_owned(),
        source,
    })
}
