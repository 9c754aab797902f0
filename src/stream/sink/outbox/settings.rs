//! How much waits in an outbox, and where.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    super::{SinkError, quantity},
    message::hex,
};
use crate::state_folder;

/// How much waits, and where.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OutboxSettings {
    /// The folder; every sink needs one of its own. By default one named after the sink, below the
    /// first of `$STATE_DIRECTORY` (set by systemd), `$XDG_STATE_HOME/edge-vae` and
    /// `~/.local/state/edge-vae`.
    pub folder: Option<PathBuf>,
    /// Most messages that wait; of more, the oldest are lost. 10000 by default.
    pub max_messages: usize,
    /// Most bytes that wait; of more, the oldest messages are lost. 64 MB by default.
    #[serde(deserialize_with = "quantity::bytes")]
    pub max_bytes: u64,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        Self {
            folder: None,
            max_messages: 10_000,
            max_bytes: 64_000_000,
        }
    }
}

impl OutboxSettings {
    /// The folder for the sink that is identified by `kind` and `address`.
    ///
    /// # Errors
    /// [`SinkError::Setting`] where none is set and none can be found.
    pub(in crate::stream::sink) fn folder(
        &self,
        kind: &str,
        address: &str,
    ) -> Result<PathBuf, SinkError> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let state = state_folder().ok_or_else(|| SinkError::Setting {
            sink: format!("{kind} {address}"),
            problem:
                "there is no folder for messages that wait ($HOME is not set); set outbox.folder"
                    .to_owned(),
        })?;
        let digest = Sha256::digest(address.as_bytes());
        Ok(state.join(format!("outbox/{kind}-{}", hex(&digest[..6]))))
    }
}
