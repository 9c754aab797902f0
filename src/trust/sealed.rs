//! Sealed bundles: the model's files in one file encrypted with age, opened in memory only.
//!
//! The plain text of `sealed.age` is all files that the manifest lists, one after the other in the
//! order of their names; the manifest has their sizes and digests. Signatures are of the plain
//! files, so that a bundle that was signed once can be sealed for each device.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use age::{
    DecryptError, Decryptor, Encryptor, Identity, Recipient, scrypt,
    secrecy::{ExposeSecret, SecretString},
    x25519,
};
use zeroize::{Zeroize, Zeroizing};

use super::{TrustError, key::write_new};
use crate::bundle::{Bundle, Manifest, SEALED};

/// Largest file of identities or recipients that is read, in bytes.
const MAX_IDENTITY_BYTES: u64 = 1 << 20;

/// For whom a bundle is sealed.
#[derive(Debug)]
pub enum SealFor {
    /// Devices, each with a key of its own.
    Recipients(Vec<x25519::Recipient>),
    /// Whoever knows the passphrase.
    Passphrase(SecretString),
}

impl SealFor {
    /// Recipients: each `age1…`, or a file of such lines.
    ///
    /// # Errors
    /// Files that can't be read, and lines that are no recipients.
    pub fn recipients(named: &[String]) -> Result<Self, TrustError> {
        let mut recipients = Vec::new();
        for name in named {
            if let Ok(recipient) = name.parse() {
                recipients.push(recipient);
                continue;
            }
            let path = Path::new(name);
            let problem = |problem: &str| TrustError::Key {
                path: path.to_owned(),
                problem: problem.to_owned(),
            };
            let text = read_secret(path)?;
            if text.contains("AGE-SECRET-KEY-") {
                return Err(problem(
                    "is a secret key, which stays on its device; give its public half, age1…",
                ));
            }
            let lines = text.lines().map(str::trim);
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let recipient = line.parse().map_err(|_| {
                    problem("has a line that is no recipient; expected lines of age1…")
                })?;
                recipients.push(recipient);
            }
        }
        Ok(Self::Recipients(recipients))
    }
}

/// What opens a sealed bundle.
pub struct Identities(Vec<Box<dyn Identity>>);

impl Identities {
    /// From a file (`-`: standard input), else from the environment (`EDGE_VAE_IDENTITY`,
    /// `EDGE_VAE_PASSPHRASE`), else from systemd's credentials (`edge-vae.identity`,
    /// `edge-vae.passphrase`); `bundle` names the bundle in errors.
    ///
    /// # Errors
    /// Nothing there, and what can't be read.
    pub fn find(named: Option<&Path>, bundle: &Path) -> Result<Self, TrustError> {
        if let Some(path) = named {
            return Self::parse(&read_secret(path)?, path);
        }
        for variable in ["EDGE_VAE_IDENTITY", "EDGE_VAE_PASSPHRASE"] {
            if let Ok(text) = std::env::var(variable)
                && !text.is_empty()
            {
                let path = PathBuf::from(format!("${variable}"));
                return Self::parse(&Zeroizing::new(text), &path);
            }
        }
        if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            for name in ["edge-vae.identity", "edge-vae.passphrase"] {
                let path = Path::new(&folder).join(name);
                if path.exists() {
                    return Self::parse(&read_secret(&path)?, &path);
                }
            }
        }
        Err(TrustError::Sealed {
            path: bundle.to_owned(),
            problem: "is sealed, and there is no key: name one with --identity FILE, \
                      $EDGE_VAE_IDENTITY, $EDGE_VAE_PASSPHRASE, or the systemd credential \
                      edge-vae.identity"
                .to_owned(),
        })
    }

    /// Secret keys of age, a line each; any other text is a passphrase.
    fn parse(text: &str, path: &Path) -> Result<Self, TrustError> {
        let problem = |problem: String| TrustError::Key {
            path: path.to_owned(),
            problem,
        };
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        if !text.contains("AGE-SECRET-KEY-") {
            let passphrase = lines.next();
            let passphrase = passphrase.ok_or_else(|| problem("is empty".to_owned()))?;
            if passphrase.starts_with("age1") || lines.next().is_some() {
                return Err(problem(
                    "is neither a secret key of age nor a passphrase on one line".to_owned(),
                ));
            }
            let secret = SecretString::from(passphrase.to_owned());
            return Ok(Self(vec![Box::new(scrypt::Identity::new(secret))]));
        }
        let identity = |line: &str| -> Result<Box<dyn Identity>, TrustError> {
            let identity = line.parse::<x25519::Identity>();
            let wrong = |_| problem("has a line that is no secret key of age".to_owned());
            Ok(Box::new(identity.map_err(wrong)?))
        };
        lines.map(identity).collect::<Result<_, _>>().map(Self)
    }
}

/// The files of a new key of a device.
#[derive(Debug)]
pub struct DeviceKey {
    /// NAME.identity, which only the owner may read.
    pub secret_file: PathBuf,
    /// NAME.recipient.
    pub public_file: PathBuf,
    /// The public half, age1….
    pub public: String,
}

/// Makes a new key of a device: NAME.identity and NAME.recipient.
///
/// # Errors
/// Files that are there already, and failures of the file system.
pub fn generate_identity(name: &Path) -> Result<DeviceKey, TrustError> {
    let identity = x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = format!("# public key: {public}\n{}\n", secret.expose_secret());
    let text = Zeroizing::new(text);
    let with_end = |end: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(end);
        PathBuf::from(path)
    };
    let key = DeviceKey {
        secret_file: with_end(".identity"),
        public_file: with_end(".recipient"),
        public,
    };
    write_new(&key.secret_file, text.as_bytes(), 0o600)?;
    write_new(
        &key.public_file,
        format!("{}\n", key.public).as_bytes(),
        0o644,
    )?;
    Ok(key)
}

/// Reads a passphrase from a file, `-` for standard input: its first line.
///
/// # Errors
/// A file that can't be read, and an empty one.
pub fn read_passphrase(path: &Path) -> Result<SecretString, TrustError> {
    let text = read_secret(path)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line.to_owned())),
        _ => Err(TrustError::Key {
            path: path.to_owned(),
            problem: "is empty; expected a passphrase".to_owned(),
        }),
    }
}

/// Writes a bundle to a folder with its files encrypted, in place of what is there.
///
/// # Errors
/// No recipients, and those of [`Bundle::save`].
pub fn seal(bundle: &Bundle, seal_for: &SealFor, folder: &Path) -> Result<(), TrustError> {
    let failed = |problem: String| TrustError::Sealed {
        path: folder.join(SEALED),
        problem,
    };
    let encryptor = match seal_for {
        SealFor::Passphrase(passphrase) => Encryptor::with_user_passphrase(passphrase.clone()),
        SealFor::Recipients(recipients) => {
            let recipients = recipients
                .iter()
                .map(|recipient| recipient as &dyn Recipient);
            Encryptor::with_recipients(recipients)
                .map_err(|_| failed("can't be sealed: there are no recipients".to_owned()))?
        }
    };
    let mut sealed = Vec::new();
    let written = encryptor.wrap_output(&mut sealed).and_then(|mut writer| {
        for name in bundle.manifest().files.keys() {
            writer.write_all(bundle.listed(name))?;
        }
        writer.finish().map(|_| ())
    });
    written.map_err(|error| failed(format!("can't be sealed: {error}")))?;
    bundle.save_sealed(folder, &sealed)?;
    Ok(())
}

/// Writes a bundle to a folder in the clear, in place of what is there.
///
/// # Errors
/// Those of [`Bundle::save`].
pub fn unseal(bundle: &Bundle, folder: &Path) -> Result<(), TrustError> {
    Ok(bundle.save_unsealed(folder)?)
}

/// The files in the bytes of `sealed.age`; `path` is where these are.
pub(super) fn open(
    sealed: &[u8],
    manifest: &Manifest,
    identities: &Identities,
    path: &Path,
) -> Result<BTreeMap<String, Vec<u8>>, TrustError> {
    let failed = |problem: &str| TrustError::Sealed {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let damaged = "is damaged; copy the bundle again";
    let refused = |error: DecryptError| match error {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed => failed(
            "is not sealed for this key; `edge-vae model rekey` adds one where it can be opened",
        ),
        DecryptError::ExcessiveWork { .. } => {
            failed("its passphrase takes too much work to try; seal it anew on a slower machine")
        }
        DecryptError::UnknownFormat => failed("is in a format of age that is not known"),
        _ => failed(damaged),
    };
    let decryptor = Decryptor::new_buffered(sealed).map_err(refused)?;
    let identities = identities.0.iter().map(|identity| &**identity);
    let mut reader = decryptor.decrypt(identities).map_err(refused)?;
    let mut files = BTreeMap::new();
    for (name, entry) in &manifest.files {
        // Of the whole size at once: one that grew would leave copies behind.
        let mut bytes = vec![0; usize::try_from(entry.bytes).unwrap_or(0)];
        let read = reader.read_exact(&mut bytes);
        files.insert(name.clone(), bytes);
        if read.is_err() {
            files.values_mut().for_each(Zeroize::zeroize);
            return Err(failed(damaged));
        }
    }
    if !matches!(reader.read(&mut [0]), Ok(0)) {
        files.values_mut().for_each(Zeroize::zeroize);
        return Err(failed("holds more than the manifest lists"));
    }
    Ok(files)
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, TrustError> {
    let mut text = Zeroizing::new(String::new());
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin()
            .lock()
            .take(MAX_IDENTITY_BYTES)
            .read_to_string(&mut text),
        false => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_IDENTITY_BYTES).read_to_string(&mut text)),
    };
    match read {
        Ok(_) => Ok(text),
        Err(source) => Err(TrustError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
