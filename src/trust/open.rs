//! Opening a bundle only where it is believed: signatures come before anything is parsed, and what
//! was verified is what runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::SystemTime,
};

use super::{
    Identities, PublicKey, SignedContent, TrustError, TrustPolicy, envelope, memory, sealed,
    sign::identity_of, version::AcceptedVersions,
};
use crate::bundle::{
    Bundle, BundleError, BundleSource, CALIBRATION, MANIFEST, MAX_SIGNATURE_BYTES, MAX_TOTAL_BYTES,
    Manifest, SEALED, SIGNATURE, is_calibration_file, read_plain, sha256, signature_path,
};
use crate::replace::is_partial;

/// Room for what age adds: a header, and 16 bytes for each 64 KiB.
const MAX_SEALED_BYTES: u64 = MAX_TOTAL_BYTES + (MAX_TOTAL_BYTES >> 12) + (1 << 20);

/// Who signed what.
#[derive(Clone, Debug)]
pub struct VerifiedSignature {
    /// What was signed.
    pub content: SignedContent,
    /// The key, one of the policy's.
    pub key: PublicKey,
}

/// A bundle that satisfies the policy.
#[derive(Debug)]
pub struct TrustedBundle {
    /// The bundle.
    pub bundle: Bundle,
    /// The signature of the model, where one is required.
    pub model: Option<VerifiedSignature>,
    /// The signature of the calibration, where one is required and it is not signed with the model.
    pub calibration: Option<VerifiedSignature>,
    /// What a user should know, one line each.
    pub notices: Vec<String>,
}

/// Opens a bundle under a policy.
///
/// # Errors
/// Everything that [`Bundle::open`] refuses; a key of a sealed bundle that is missing or wrong;
/// where a signature is required, a bundle that is not signed, changed, extended or incomplete,
/// that has links, has expired, or is an older version than the last one accepted; a model that is
/// not meant for this box.
pub fn open(path: &Path, policy: &TrustPolicy) -> Result<TrustedBundle, TrustError> {
    let mut source = Source {
        folder: path,
        policy,
        model: None,
        calibration: None,
        sealed: false,
        notices: Vec::new(),
    };
    let bundle = Bundle::open_from(path, &mut source)?;
    let mut trusted = TrustedBundle {
        bundle,
        model: source.model,
        calibration: source.calibration,
        notices: source.notices,
    };
    trusted.check(policy)?;
    Ok(trusted)
}

impl TrustedBundle {
    fn check(&mut self, policy: &TrustPolicy) -> Result<(), TrustError> {
        let path = self.bundle.path().to_owned();
        let name = self.bundle.manifest().model_name().to_owned();
        policy.check_name(&name, &path)?;
        if let Some(signed) = &self.calibration {
            let identity = identity_of(&self.bundle)?;
            if signed.content.annotations.model.as_ref() != Some(&identity) {
                let found = signed.content.annotations.model.clone();
                let layer = self.bundle.calibration_layer()?;
                let toml = layer.map(|layer| layer.toml).unwrap_or_default();
                return Err(match found {
                    Some(found) => TrustError::OtherModel {
                        path: path.join(signature_path(&toml)),
                        found: found.id,
                        digest: found.manifest_sha256,
                    },
                    None => TrustError::Malformed {
                        path: path.join(signature_path(&toml)),
                        problem: "does not say which model the calibration is for; sign it with \
                                  `edge-vae model sign --calibration`"
                            .to_owned(),
                    },
                });
            }
        }
        let Some(state) = &policy.state else {
            return Ok(());
        };
        let versions = AcceptedVersions::read(state)?;
        for (name, signed) in self.versioned() {
            let version = signed.annotations.version.unwrap_or(0);
            match versions.check(&path, &name, version, &signed.root_digest()) {
                Err(error) if policy.allow_rollback => {
                    let notice = format!("--allow-rollback: taken all the same: {error}");
                    self.notices.push(notice);
                }
                checked => checked?,
            }
        }
        Ok(())
    }

    /// What has a version of its own, with the name that it is kept under: the model, and the
    /// calibration of just this model.
    fn versioned(&self) -> Vec<(String, SignedContent)> {
        let model = self.model.iter().map(|signed| {
            let name = self.bundle.manifest().model_name();
            (name.to_owned(), signed.content.clone())
        });
        let calibration = self.calibration.iter().map(|signed| {
            let name = format!("{} calibration", self.bundle.model_id());
            (name, signed.content.clone())
        });
        model.chain(calibration).collect()
    }

    /// Keeps the version as the last one accepted: called by what runs the model.
    ///
    /// # Errors
    /// A damaged file of accepted versions. That it can't be written is a notice.
    pub fn accept(&mut self, policy: &TrustPolicy) -> Result<(), TrustError> {
        let Some(folder) = &policy.state else {
            return Ok(());
        };
        let mut versions = AcceptedVersions::read(folder)?;
        for (name, signed) in self.versioned() {
            let Some(version) = signed.annotations.version else {
                continue;
            };
            if let Err(error) = versions.accept(&name, version, &signed.root_digest()) {
                self.notices.push(format!(
                    "warning: {}: cannot write ({error}): that version {version} of `{name}` was \
                     accepted is not kept, so an older one will be taken too; set $STATE_DIRECTORY",
                    folder.display()
                ));
            }
        }
        Ok(())
    }
}

/// The folder of a bundle, read under a policy.
struct Source<'a> {
    folder: &'a Path,
    policy: &'a TrustPolicy,
    model: Option<VerifiedSignature>,
    calibration: Option<VerifiedSignature>,
    sealed: bool,
    notices: Vec<String>,
}

impl BundleSource for Source<'_> {
    type Error = TrustError;

    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
        if !self.policy.requires_signature() {
            return Ok(optional(read_plain(self.folder, name, limit))?);
        }
        if name == MANIFEST {
            self.verify_model()?;
        }
        let Some(bytes) = self.read_strictly(name, limit)? else {
            return Ok(None);
        };
        let listed = self.model.as_ref().map(|model| &model.content.files);
        match listed.and_then(|files| files.get(name)) {
            Some(expected) => self.compare(name, &bytes, expected)?,
            None if name == MANIFEST => return Err(self.unsigned(name)),
            None if name == "calibration/calibration.toml" => self.verify_calibration(&bytes)?,
            None if name.ends_with(".npz") => {
                let files = self
                    .calibration
                    .as_ref()
                    .map(|signed| &signed.content.files);
                let inner = name.rsplit('/').next().unwrap_or_default();
                match files.and_then(|files| files.get(inner)) {
                    Some(expected) => self.compare(name, &bytes, expected)?,
                    None => return Err(self.unsigned(name)),
                }
            }
            // A signature, which is verified and not signed.
            None => {}
        }
        Ok(Some(bytes))
    }

    fn model_files(
        &mut self,
        manifest: &Manifest,
    ) -> Result<BTreeMap<String, Vec<u8>>, TrustError> {
        let sealed = optional(read_plain(self.folder, SEALED, MAX_SEALED_BYTES))?;
        let expected = self
            .model
            .as_ref()
            .map(|signed| signed.content.files.clone());
        if let Some(signed) = &expected {
            self.check_folder(manifest, signed, sealed.is_some())?;
        }
        if let Some(bytes) = sealed {
            let identities = Identities::find(self.policy.identity.as_deref(), self.folder)?;
            self.notices.extend(memory::protect());
            let path = self.folder.join(SEALED);
            self.sealed = true;
            return sealed::open(&bytes, manifest, &identities, &path);
        }
        let mut files = BTreeMap::new();
        for (name, entry) in &manifest.files {
            let bytes = match &expected {
                None => read_plain(self.folder, name, entry.bytes)?,
                Some(_) => {
                    self.read_strictly(name, entry.bytes)?
                        .ok_or_else(|| TrustError::Missing {
                            path: self.folder.join(name),
                        })?
                }
            };
            files.insert(name.clone(), bytes);
        }
        Ok(files)
    }

    fn is_sealed(&self) -> bool {
        self.sealed
    }
}

impl Source<'_> {
    fn verify_model(&mut self) -> Result<(), TrustError> {
        let path = self.folder.join(SIGNATURE);
        if !self.folder.join(MANIFEST).exists() {
            // No bundle at all is another mistake than a bundle without a signature.
            return Ok(());
        }
        let file = self.read_strictly(SIGNATURE, MAX_SIGNATURE_BYTES)?;
        let file = file.ok_or_else(|| TrustError::NotSigned { path: path.clone() })?;
        let keys = &self.policy.model_keys;
        let (payload, key) = envelope::verify(&file, keys, "models", &path)?;
        let content = SignedContent::from_json(&payload, &path)?;
        check_date(content.annotations.expires.as_deref(), &path)?;
        self.model = Some(VerifiedSignature {
            content,
            key: key.clone(),
        });
        Ok(())
    }

    fn verify_calibration(&mut self, toml: &[u8]) -> Result<(), TrustError> {
        let name = signature_path(toml);
        let path = self.folder.join(&name);
        let file = self.read_strictly(&name, MAX_SIGNATURE_BYTES)?;
        let file = file.ok_or_else(|| TrustError::CalibrationNotSigned { path: path.clone() })?;
        let policy = self.policy;
        let keys = [policy.model_keys.as_slice(), &policy.calibration_keys].concat();
        let (payload, key) = envelope::verify(&file, &keys, "calibrations", &path)?;
        let content = SignedContent::from_json(&payload, &path)?;
        check_date(content.annotations.expires.as_deref(), &path)?;
        let expected = content.files.get("calibration.toml");
        let expected = expected.ok_or_else(|| self.unsigned("calibration/calibration.toml"))?;
        self.compare("calibration/calibration.toml", toml, expected)?;
        self.calibration = Some(VerifiedSignature {
            content,
            key: key.clone(),
        });
        Ok(())
    }

    /// The files of the folder are those that were signed, no more and no fewer, with the digests
    /// that the manifest has.
    fn check_folder(
        &self,
        manifest: &Manifest,
        signed: &BTreeMap<String, String>,
        is_sealed: bool,
    ) -> Result<(), TrustError> {
        for (name, entry) in &manifest.files {
            match signed.get(name) {
                None => return Err(self.unsigned(name)),
                Some(expected) if *expected != entry.sha256 => {
                    return Err(TrustError::Changed {
                        path: self.folder.join(name),
                        found: entry.sha256.clone(),
                        expected: expected.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        let mut missing: BTreeSet<&str> = signed.keys().map(String::as_str).collect();
        for (name, is_link) in self.entries(Path::new(""))? {
            let path = self.folder.join(&name);
            let is_own = name == SIGNATURE || (is_sealed && name == SEALED);
            let is_signed = missing.remove(name.as_str());
            if is_link {
                return Err(TrustError::Link { path });
            }
            if is_signed && is_sealed && name != MANIFEST {
                return Err(TrustError::Sealed {
                    path,
                    problem: "lies in the clear beside sealed.age; remove one of them".to_owned(),
                });
            }
            if name == CALIBRATION && path.is_dir() {
                for (inner, is_link) in self.entries(Path::new(CALIBRATION))? {
                    let name = format!("{CALIBRATION}/{inner}");
                    let known = missing.remove(name.as_str()) || is_calibration_file(&inner);
                    match (known, is_link) {
                        (_, true) => {
                            return Err(TrustError::Link {
                                path: self.folder.join(name),
                            });
                        }
                        (false, _) => return Err(self.unsigned(&name)),
                        (true, false) => {}
                    }
                }
            } else if !is_own && !is_signed {
                return Err(self.unsigned(&name));
            }
        }
        let in_sealed = |name: &&&str| is_sealed && manifest.files.contains_key(**name);
        match missing.iter().find(|name| !in_sealed(name)) {
            Some(name) => Err(TrustError::Missing {
                path: self.folder.join(name),
            }),
            None => Ok(()),
        }
    }

    /// Names in a folder of the bundle, and whether each is a link.
    fn entries(&self, inner: &Path) -> Result<Vec<(String, bool)>, TrustError> {
        let folder = self.folder.join(inner);
        let read = || -> io::Result<Vec<(String, bool)>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let kind = entry.file_type()?;
                // Left by a power cut, and read by nobody.
                if !(kind.is_file() && is_partial(&name)) {
                    names.push((name, kind.is_symlink()));
                }
            }
            names.sort();
            Ok(names)
        };
        read().map_err(|source| TrustError::Read {
            path: folder.clone(),
            source,
        })
    }

    /// A file that is no link.
    fn read_strictly(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
        let path = self.folder.join(name);
        let inner = path.parent().filter(|parent| *parent != self.folder);
        if path.is_symlink() || inner.is_some_and(Path::is_symlink) {
            return Err(TrustError::Link { path });
        }
        Ok(optional(read_plain(self.folder, name, limit))?)
    }

    fn compare(&self, name: &str, bytes: &[u8], expected: &str) -> Result<(), TrustError> {
        let found = sha256([bytes]);
        if found == expected {
            return Ok(());
        }
        Err(TrustError::Changed {
            path: self.folder.join(name),
            found,
            expected: expected.to_owned(),
        })
    }

    fn unsigned(&self, name: &str) -> TrustError {
        TrustError::Unsigned {
            path: self.folder.join(name),
        }
    }
}

/// `None` for a file that is not there.
fn optional(read: Result<Vec<u8>, BundleError>) -> Result<Option<Vec<u8>>, BundleError> {
    match read {
        Err(BundleError::MissingFile { .. }) => Ok(None),
        read => read.map(Some),
    }
}

fn check_date(expires: Option<&str>, path: &Path) -> Result<(), TrustError> {
    let Some(expires) = expires else {
        return Ok(());
    };
    let date = humantime::parse_rfc3339(expires).map_err(|error| TrustError::Malformed {
        path: path.to_owned(),
        problem: format!("expires is {expires:?}: {error}"),
    })?;
    let now = SystemTime::now();
    if now < date {
        return Ok(());
    }
    Err(TrustError::Expired {
        path: path.to_owned(),
        expires: expires.to_owned(),
        now: humantime::format_rfc3339_seconds(now).to_string(),
    })
}
