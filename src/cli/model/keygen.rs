//! `edge-vae model keygen`.

use std::path::{Path, PathBuf};

use clap::Args;
use edge_vae::trust::{self, SigningKey};

use crate::cli::{Outcome, output::StandardOutput};

/// Make a pair of keys: to sign models, or to seal them for a device.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model keygen trainer             trainer.key signs, trainer.pub goes to the boxes
  edge-vae model keygen --sealing box-7     box-7.identity stays on box 7, box-7.recipient seals

Signing keys are ECDSA over P-256 in PEM, as OpenSSL writes them. Sealing keys are X25519 keys of
age. Private keys are not encrypted: only their owner may read them.")]
pub(super) struct KeygenFlags {
    /// Name of the files, without their ends.
    #[arg(value_name = "NAME")]
    name: PathBuf,

    /// Make the key of a device, for which models are sealed.
    #[arg(long)]
    sealing: bool,
}

pub(super) fn run(flags: &KeygenFlags) -> anyhow::Result<Outcome> {
    let mut out = StandardOutput::new();
    let mut row =
        |what: &str, value: &dyn std::fmt::Display| out.line(format_args!("{what:<12} {value}"));
    let shown = |path: &Path| path.display().to_string();
    if flags.sealing {
        let identity = trust::generate_identity(&flags.name)?;
        row("identity", &shown(&identity.secret_file))?;
        row("recipient", &shown(&identity.public_file))?;
        row("public key", &identity.public)?;
    } else {
        let key = SigningKey::generate();
        let [private, public] = key.write(&flags.name)?;
        row("private key", &shown(&private))?;
        row("public key", &shown(&public))?;
        row("fingerprint", &key.public())?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}
