//! Flags that say which models are believed, as those of `edge-vae`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use edge_vae::{
    bundle::Bundle,
    trust::{self, TrustPolicy, TrustSettings},
};

use crate::reporter::Reporter;

/// Flags of the verbs that open a model.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Trust")]
pub(super) struct TrustFlags {
    /// Refuse a model that is not signed by this public key (PEM); given several times, by one of
    /// them. Keys in /etc/edge-vae/trust.d hold for every run
    #[arg(long, value_name = "KEY")]
    require_signature: Vec<PathBuf>,
    /// A further public key that may sign the calibration, and no model
    #[arg(long, value_name = "KEY")]
    calibration_key: Vec<PathBuf>,
    /// Refuse models that are not called so; may be given several times
    #[arg(long, value_name = "NAME")]
    allow_model: Vec<String>,
    /// Take an older version of a signed model than was accepted here before
    #[arg(long)]
    allow_rollback: bool,
    /// The key of a sealed model: a file of age identities or with a passphrase, `-` for standard
    /// input [default: $EDGE_VAE_IDENTITY, $EDGE_VAE_PASSPHRASE, systemd's credentials]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl TrustFlags {
    /// Opens a model to look at it: its version is not kept as accepted.
    pub(super) fn open(&self, model: &Path, reporter: &Reporter) -> Result<Bundle> {
        let settings = TrustSettings {
            require_signature: self.require_signature.clone(),
            calibration_keys: self.calibration_key.clone(),
            models: self.allow_model.clone(),
            identity: self.identity.clone(),
        };
        let policy = TrustPolicy::load(&settings, self.allow_rollback)?;
        let trusted = trust::open(model, &policy)?;
        for notice in &trusted.notices {
            reporter.line(notice);
        }
        Ok(trusted.bundle)
    }
}
