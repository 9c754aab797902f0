//! `edge-vae model seal`, `unseal` and `rekey`.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use edge_vae::{
    bundle::Bundle,
    trust::{self, SealFor, TrustPolicy, TrustSettings, read_passphrase},
};

use super::FolderFlags;
use crate::cli::{
    Outcome,
    output::StandardOutput,
    reporter::{Reporter, count},
};

/// For whom a model is sealed.
#[derive(Args, Debug)]
struct KeyFlags {
    /// Seal for this device: its public key, age1…, or a file of such lines; may be given several
    /// times.
    #[arg(long, value_name = "KEY", required_unless_present = "passphrase_file")]
    recipient: Vec<String>,

    /// Seal with the passphrase in this file; `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
    passphrase_file: Option<PathBuf>,
}

impl KeyFlags {
    fn resolve(&self) -> anyhow::Result<SealFor> {
        Ok(match &self.passphrase_file {
            Some(file) => SealFor::Passphrase(read_passphrase(file)?),
            None => SealFor::recipients(&self.recipient)?,
        })
    }
}

/// Encrypt a model's weights, for devices or with a passphrase.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model seal models/part --recipient box-7.recipient --out sealed/part
  edge-vae model seal models/part --recipient age1… --recipient age1…
  edge-vae model seal models/part --passphrase-file secret.txt

All files of the model go into sealed.age, encrypted with age; manifest, calibration and signatures
stay as they are. Every verb takes a sealed model, with --identity. Without --out the model is
sealed in place: its plain files are removed, but what a disk once held may be recovered from it.")]
pub(super) struct SealFlags {
    #[command(flatten)]
    folder: FolderFlags,

    #[command(flatten)]
    keys: KeyFlags,

    /// Write the sealed model into this folder, and leave the given one alone.
    #[arg(long, value_name = "BUNDLE")]
    out: Option<PathBuf>,
}

/// Write a sealed model in the clear.
#[derive(Args, Debug)]
pub(super) struct UnsealFlags {
    #[command(flatten)]
    folder: FolderFlags,

    /// The key of the model: a file of age identities or with a passphrase, `-` for standard input
    /// [default: $EDGE_VAE_IDENTITY, $EDGE_VAE_PASSPHRASE, systemd's credentials].
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// Write the plain model into this folder.
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
}

/// Seal a sealed model for other devices, or with another passphrase.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model rekey sealed/part --identity master.identity --recipient box-7.recipient

The new keys take the place of all old ones. Copies that were made before still open with the old
keys.")]
pub(super) struct RekeyFlags {
    #[command(flatten)]
    folder: FolderFlags,

    #[command(flatten)]
    keys: KeyFlags,

    /// The key that opens the model now, as with `unseal`.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// Write the model into this folder, and leave the given one alone.
    #[arg(long, value_name = "BUNDLE")]
    out: Option<PathBuf>,
}

pub(super) fn seal(flags: SealFlags) -> anyhow::Result<Outcome> {
    let path = flags.folder.find()?;
    let keys = flags.keys.resolve()?;
    let bundle = Bundle::open(&path)?;
    write_sealed(&bundle, &keys, flags.out.as_deref().unwrap_or(&path))
}

pub(super) fn unseal(flags: UnsealFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let bundle = open(&flags.folder.find()?, flags.identity, reporter)?;
    trust::unseal(&bundle, &flags.out)?;
    let mut out = StandardOutput::new();
    out.line(format_args!(
        "{}: {} in the clear",
        flags.out.display(),
        bundle.model_id()
    ))?;
    out.finish()?;
    Ok(Outcome::Done)
}

pub(super) fn rekey(flags: RekeyFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let path = flags.folder.find()?;
    let keys = flags.keys.resolve()?;
    let bundle = open(&path, flags.identity, reporter)?;
    write_sealed(&bundle, &keys, flags.out.as_deref().unwrap_or(&path))
}

/// Opens a sealed model, whose signature is for those to verify who run it.
fn open(path: &Path, identity: Option<PathBuf>, reporter: Reporter) -> anyhow::Result<Bundle> {
    let settings = TrustSettings {
        identity,
        ..TrustSettings::default()
    };
    let opened = trust::open(path, &TrustPolicy::of_keys(&[], &[], &settings))?;
    for notice in &opened.notices {
        reporter.note(notice);
    }
    ensure!(
        opened.bundle.is_sealed(),
        "{}: is not sealed",
        path.display()
    );
    Ok(opened.bundle)
}

fn write_sealed(bundle: &Bundle, keys: &SealFor, target: &Path) -> anyhow::Result<Outcome> {
    trust::seal(bundle, keys, target)?;
    let whom = match keys {
        SealFor::Passphrase(_) => "with a passphrase".to_owned(),
        SealFor::Recipients(keys) => format!("for {}", count(keys.len(), "key")),
    };
    let mut out = StandardOutput::new();
    out.line(format_args!(
        "{}: {} sealed {whom}",
        target.display(),
        bundle.model_id()
    ))?;
    out.finish()?;
    Ok(Outcome::Done)
}
