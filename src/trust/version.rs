//! No way back: the version of each model that was accepted last, kept on the device.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::TrustError;
use crate::read_bounded;

/// Longest list of accepted versions that is read, in bytes: a hundred thousand models.
const MAX_STATE_BYTES: u64 = 16 << 20;

/// A version that was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    version: u64,
    /// Root digest of the signed content.
    digest: String,
}

/// The versions that were accepted, by the name of the model.
#[derive(Debug)]
pub(super) struct AcceptedVersions {
    path: PathBuf,
    by_name: BTreeMap<String, Accepted>,
}

impl AcceptedVersions {
    /// Reads them; none where nothing was accepted before.
    pub(super) fn read(folder: &Path) -> Result<Self, TrustError> {
        let path = folder.join("accepted-models.json");
        let by_name = match read_bounded(&path, MAX_STATE_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| TrustError::State {
                path: path.clone(),
                problem: format!("is damaged: {error}"),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(TrustError::State {
                    path,
                    problem: format!("cannot read: {error}"),
                });
            }
        };
        Ok(Self { path, by_name })
    }

    /// Refuses an older version than the last one, and another model of the same version.
    pub(super) fn check(
        &self,
        bundle: &Path,
        name: &str,
        version: u64,
        digest: &str,
    ) -> Result<(), TrustError> {
        match self.by_name.get(name) {
            Some(last) if version < last.version => Err(TrustError::RollBack {
                path: bundle.to_owned(),
                name: name.to_owned(),
                found: version,
                accepted: last.version,
            }),
            Some(last) if version == last.version && digest != last.digest => {
                Err(TrustError::SameVersion {
                    path: bundle.to_owned(),
                    name: name.to_owned(),
                    version,
                })
            }
            _ => Ok(()),
        }
    }

    /// Keeps a version as the last one.
    pub(super) fn accept(&mut self, name: &str, version: u64, digest: &str) -> io::Result<()> {
        let accepted = Accepted {
            version,
            digest: digest.to_owned(),
        };
        if self.by_name.get(name) == Some(&accepted) {
            return Ok(());
        }
        self.by_name.insert(name.to_owned(), accepted);
        let json = serde_json::to_vec_pretty(&self.by_name).unwrap_or_default();
        crate::replace_file(&self.path, &json)
    }
}
