//! Flags that say which models are believed, and how every verb opens its model.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use edge_vae::{
    bundle::Bundle,
    trust::{
        self, Annotations, SigningKey, TrustPolicy, TrustSettings, TrustedBundle, sign_calibration,
        sign_model,
    },
};

use super::reporter::Reporter;

/// Flags of every verb that opens a model.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustFlags {
    /// Refuse a model that is not signed by this public key (PEM); given several times, by one of
    /// them. Keys in /etc/edge-vae/trust.d hold for every run.
    #[arg(long, value_name = "KEY")]
    require_signature: Vec<PathBuf>,

    /// A further public key that may sign the calibration, and no model.
    #[arg(long, value_name = "KEY")]
    calibration_key: Vec<PathBuf>,

    /// Refuse models that are not called so; may be given several times.
    #[arg(long, value_name = "NAME")]
    allow_model: Vec<String>,

    /// Take an older version of a signed model than was accepted here before.
    #[arg(long)]
    allow_rollback: bool,

    /// The key of a sealed model: a file of age identities or with a passphrase, `-` for standard
    /// input [default: $EDGE_VAE_IDENTITY, $EDGE_VAE_PASSPHRASE, systemd's credentials].
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl TrustFlags {
    pub(crate) fn resolve(self) -> TrustChoice {
        TrustChoice {
            settings: TrustSettings {
                require_signature: self.require_signature,
                calibration_keys: self.calibration_key,
                models: self.allow_model,
                identity: self.identity,
            },
            allow_rollback: self.allow_rollback,
        }
    }
}

/// What was asked of models.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustChoice {
    pub(crate) settings: TrustSettings,
    pub(crate) allow_rollback: bool,
}

impl TrustChoice {
    pub(crate) fn policy(&self) -> anyhow::Result<TrustPolicy> {
        Ok(TrustPolicy::load(&self.settings, self.allow_rollback)?)
    }

    /// Opens a model to run it: its version is the last one accepted from here on.
    pub(crate) fn open(&self, path: &Path, reporter: Reporter) -> anyhow::Result<Bundle> {
        let policy = self.policy()?;
        let mut trusted = trust::open(path, &policy)?;
        trusted.accept(&policy)?;
        note(&trusted, reporter);
        Ok(trusted.bundle)
    }

    /// Opens a model to look at it.
    pub(crate) fn inspect(&self, path: &Path, reporter: Reporter) -> anyhow::Result<TrustedBundle> {
        let trusted = trust::open(path, &self.policy()?)?;
        note(&trusted, reporter);
        Ok(trusted)
    }
}

/// Opens a model that the machine believes, to look at it.
pub(crate) fn inspected(path: &Path) -> anyhow::Result<Bundle> {
    let policy = TrustChoice::default().policy()?;
    Ok(trust::open(path, &policy)?.bundle)
}

fn note(trusted: &TrustedBundle, reporter: Reporter) {
    for notice in &trusted.notices {
        reporter.note(notice);
    }
}

/// Flag of the verbs that change a model where it runs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Trust")]
pub(crate) struct SignFlags {
    /// Sign what is written with this private key (PEM).
    #[arg(long, value_name = "KEY")]
    sign_key: Option<PathBuf>,
}

/// What is written by a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// The calibration alone.
    Calibration,
    /// Model and calibration.
    Model,
}

impl SignFlags {
    /// The key, checked before any work is done: what is written must be believed where it is.
    pub(crate) fn key(
        &self,
        trust: &TrustChoice,
        changed: Changed,
    ) -> anyhow::Result<Option<SigningKey>> {
        let key = self.sign_key.as_deref().map(SigningKey::read).transpose()?;
        let policy = trust.policy()?;
        if policy.requires_signature() {
            let public = key.as_ref().map(SigningKey::public);
            let what = match changed {
                Changed::Calibration => "calibrations",
                Changed::Model => "models",
            };
            let believed = |key| match changed {
                Changed::Calibration => policy.believes_calibrations_of(key),
                Changed::Model => policy.believes_models_of(key),
            };
            ensure!(
                public.as_ref().is_some_and(believed),
                "a signature is required here, and what is written would be refused: give \
                 --sign-key a private key that is trusted for {what}"
            );
        }
        Ok(key)
    }
}

/// Signs what was changed, in memory.
pub(crate) fn sign(
    bundle: &mut Bundle,
    key: Option<&SigningKey>,
    changed: Changed,
) -> anyhow::Result<()> {
    let Some(key) = key else {
        return Ok(());
    };
    let annotations = Annotations {
        version: Some(version_now()),
        ..Annotations::default()
    };
    if changed == Changed::Model {
        sign_model(bundle, key, annotations.clone())?;
    }
    sign_calibration(bundle, key, annotations)?;
    Ok(())
}

/// A version that is higher than any before: milliseconds since 1970.
pub(crate) fn version_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
