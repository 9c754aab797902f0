//! What a box believes: the keys that are pinned on it, and the models that it is for.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{PublicKey, TrustError};
use crate::{read_text_bounded, state_folder};

/// The folder whose keys hold for every run on this machine.
pub const SYSTEM_FOLDER: &str = "/etc/edge-vae/trust.d";

/// A variable that names one more such folder. It can only add demands.
pub const FOLDER_VARIABLE: &str = "EDGE_VAE_TRUST_D";

/// Longest `policy.toml` that is read, in bytes: thousands of names.
const MAX_POLICY_BYTES: u64 = 1 << 20;

/// End of the names of keys that may sign calibrations only.
const CALIBRATION_SUFFIX: &str = ".calibration.pub";

/// What is asked of a bundle: by flags, the table `[trust]` of a configuration, or `policy.toml` of
/// a folder of keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrustSettings {
    /// Public keys, PEM: the bundle must be signed by one of them.
    pub require_signature: Vec<PathBuf>,
    /// Further public keys that may sign a calibration, and no model.
    pub calibration_keys: Vec<PathBuf>,
    /// Names of the models that are allowed; none: any.
    pub models: Vec<String>,
    /// The key of a sealed bundle: a file of age identities or with a passphrase, `-` for standard
    /// input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
}

impl TrustSettings {
    /// Adds what others ask too.
    pub fn extend(&mut self, other: Self) {
        self.require_signature.extend(other.require_signature);
        self.calibration_keys.extend(other.calibration_keys);
        self.models.extend(other.models);
        self.identity = other.identity.or(self.identity.take());
    }

    /// Its paths, for a configuration to make absolute.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let keys = self.require_signature.iter_mut();
        keys.chain(&mut self.calibration_keys).chain(
            self.identity
                .as_mut()
                .filter(|path| path.as_os_str() != "-"),
        )
    }
}

/// The keys and names that a bundle is measured by.
#[derive(Clone, Debug, Default)]
pub struct TrustPolicy {
    /// May sign models and calibrations. Empty: no signature is required.
    pub(super) model_keys: Vec<PublicKey>,
    /// May sign calibrations.
    pub(super) calibration_keys: Vec<PublicKey>,
    /// Each list must have the model's name.
    pub(super) models: Vec<Vec<String>>,
    /// The key of a sealed bundle.
    pub(super) identity: Option<PathBuf>,
    /// Older versions than accepted before are taken.
    pub(super) allow_rollback: bool,
    /// Where accepted versions are kept; absent: nowhere, and any version is taken.
    pub(super) state: Option<PathBuf>,
}

impl TrustPolicy {
    /// What the machine asks and what `settings` ask on top: a model must satisfy both.
    ///
    /// # Errors
    /// Keys and folders that can't be read, and a key that the machine does not know.
    pub fn load(settings: &TrustSettings, allow_rollback: bool) -> Result<Self, TrustError> {
        let mut policy = Self {
            allow_rollback,
            identity: settings.identity.clone(),
            ..Self::default()
        };
        let named = std::env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty());
        let system = PathBuf::from(SYSTEM_FOLDER);
        for folder in [Some(system), named.map(PathBuf::from)]
            .into_iter()
            .flatten()
        {
            policy.add_folder(&folder)?;
        }
        policy.narrow(settings)?;
        if policy.requires_signature() {
            let state = state_folder().ok_or_else(|| TrustError::State {
                path: "accepted-models.json".into(),
                problem: "has no folder ($HOME is not set); set $STATE_DIRECTORY".to_owned(),
            })?;
            policy.state = Some(state);
        }
        Ok(policy)
    }

    /// A policy of these keys and nothing of the machine, without versions: to check what was just
    /// signed, and to open what is not signed yet.
    pub fn of_keys(
        model_keys: &[PublicKey],
        calibration_keys: &[PublicKey],
        settings: &TrustSettings,
    ) -> Self {
        Self {
            model_keys: model_keys.to_vec(),
            calibration_keys: calibration_keys.to_vec(),
            identity: settings.identity.clone(),
            ..Self::default()
        }
    }

    /// Whether models signed by a key are believed.
    pub fn believes_models_of(&self, key: &PublicKey) -> bool {
        self.model_keys.contains(key)
    }

    /// Whether calibrations signed by a key are believed.
    pub fn believes_calibrations_of(&self, key: &PublicKey) -> bool {
        self.model_keys.contains(key) || self.calibration_keys.contains(key)
    }

    /// Whether a bundle must be signed.
    pub fn requires_signature(&self) -> bool {
        !self.model_keys.is_empty()
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), TrustError> {
        let failed = |source: io::Error| TrustError::Read {
            path: folder.to_owned(),
            source,
        };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut paths = paths.map_err(failed)?;
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(CALIBRATION_SUFFIX) {
                self.calibration_keys.push(PublicKey::read(&path)?);
            } else if name.ends_with(".pub") {
                self.model_keys.push(PublicKey::read(&path)?);
            } else if name == "policy.toml" {
                self.models.extend(read_models(&path)?);
            }
        }
        Ok(())
    }

    /// Keys that were named take the place of the machine's, of which each must be one.
    fn narrow(&mut self, settings: &TrustSettings) -> Result<(), TrustError> {
        let read = |paths: &[PathBuf], known: &[PublicKey]| {
            let key = |path: &PathBuf| {
                let key = PublicKey::read(path)?;
                if known.is_empty() || known.contains(&key) {
                    return Ok(key);
                }
                Err(TrustError::Key {
                    path: path.clone(),
                    problem: format!(
                        "is none of the keys that this machine trusts, which are in \
                        {SYSTEM_FOLDER}"
                    ),
                })
            };
            paths.iter().map(key).collect::<Result<Vec<_>, _>>()
        };
        let keys = read(&settings.require_signature, &self.model_keys)?;
        let all = [self.model_keys.as_slice(), &self.calibration_keys].concat();
        // Without a machine's key there is nothing that a calibration's could be measured by.
        let known = if self.model_keys.is_empty() {
            &[][..]
        } else {
            &all
        };
        let calibration = read(&settings.calibration_keys, known)?;
        if !keys.is_empty() {
            self.model_keys = keys;
        }
        if !calibration.is_empty() {
            self.calibration_keys = calibration;
        }
        if self.model_keys.is_empty() && !self.calibration_keys.is_empty() {
            return Err(TrustError::Key {
                path: settings
                    .calibration_keys
                    .first()
                    .cloned()
                    .unwrap_or_default(),
                problem: "is a key for calibrations, and none for models is given; add \
                          --require-signature KEY"
                    .to_owned(),
            });
        }
        if !settings.models.is_empty() {
            self.models.push(settings.models.clone());
        }
        Ok(())
    }

    /// Whether a model of this name is meant for this box.
    pub(super) fn check_name(&self, name: &str, bundle: &Path) -> Result<(), TrustError> {
        let refuses = |allowed: &&Vec<String>| !allowed.iter().any(|known| known == name);
        match self.models.iter().find(refuses) {
            None => Ok(()),
            Some(allowed) => Err(TrustError::Foreign {
                path: bundle.to_owned(),
                found: name.to_owned(),
                allowed: allowed.join(", "),
            }),
        }
    }
}

/// The list of models of a folder's `policy.toml`.
fn read_models(path: &Path) -> Result<Option<Vec<String>>, TrustError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Policy {
        models: Vec<String>,
    }
    let text = read_text_bounded(path, MAX_POLICY_BYTES).map_err(|source| TrustError::Read {
        path: path.to_owned(),
        source,
    })?;
    let policy: Policy = toml::from_str(&text).map_err(|error| TrustError::Key {
        path: path.to_owned(),
        problem: error.message().lines().collect::<Vec<_>>().join(", "),
    })?;
    Ok(Some(policy.models))
}
