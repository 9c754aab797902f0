//! `edge-vae model sign`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use edge_vae::trust::{
    self, Annotations, SigningKey, TrustPolicy, sign_calibration, sign_model, write_signatures,
};

use super::FolderFlags;
use crate::cli::{
    Outcome,
    output::StandardOutput,
    trust::{TrustChoice, version_now},
};

/// Sign a model and its calibration, so that boxes can refuse any other.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model sign models/part --key trainer.key
  edge-vae model sign models/part --key trainer.key --version 12 --expires 2027-12-31T00:00:00Z
  edge-vae model sign models/part --key line-3.key --calibration

The signature of the model is model.sig, in the format of OpenSSF Model Signing 1.0: `model_signing
verify key` of PyPI's model-signing takes it too. It lists the manifest and all files of the model.
The calibration, in the folder `calibration`, has a signature of its own that names the model: a box
can calibrate, and sign that, without the trainer's key.")]
pub(super) struct SignFlags {
    #[command(flatten)]
    folder: FolderFlags,

    /// The private key: PEM, ECDSA over P-256; `edge-vae model keygen` makes one.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,

    /// Sign the calibration alone.
    #[arg(long)]
    calibration: bool,

    /// Version of what is signed; boxes take no lower one afterwards [default: milliseconds
    /// since 1970].
    #[arg(long, value_name = "N")]
    version: Option<u64>,

    /// Date from which the signature is no longer valid, in UTC: 2027-12-31T00:00:00Z.
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,

    /// The key of a sealed model, as with other verbs.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

pub(super) fn run(flags: SignFlags) -> anyhow::Result<Outcome> {
    let key = SigningKey::read(&flags.key)?;
    if let Some(expires) = &flags.expires {
        humantime::parse_rfc3339(expires).with_context(|| {
            format!("--expires: found {expires:?}, expected 2027-12-31T00:00:00Z")
        })?;
    }
    let path = flags.folder.find()?;
    // What is signed need not be trusted yet.
    let mut unsigned = TrustChoice::default();
    unsigned.settings.identity = flags.identity;
    let mut bundle =
        trust::open(&path, &TrustPolicy::of_keys(&[], &[], &unsigned.settings))?.bundle;
    let annotations = Annotations {
        version: Some(flags.version.unwrap_or_else(version_now)),
        expires: flags.expires,
        model: None,
    };
    let mut signed = Vec::new();
    if !flags.calibration {
        signed.push(("model", sign_model(&mut bundle, &key, annotations.clone())?));
    }
    if flags.calibration || bundle.calibration().is_some() {
        signed.push((
            "calibration",
            sign_calibration(&mut bundle, &key, annotations)?,
        ));
    }
    write_signatures(&bundle)?;
    if !flags.calibration {
        // Files that were not signed, links: better now than on the box.
        let own = [key.public()];
        trust::open(&path, &TrustPolicy::of_keys(&own, &[], &unsigned.settings))
            .context("it is signed, but would be refused")?;
    }
    let mut out = StandardOutput::new();
    for (what, content) in &signed {
        out.line(format_args!(
            "{what:<12} {} version {}, {} files, root {}",
            bundle.model_id(),
            content.annotations.version.unwrap_or_default(),
            content.files.len(),
            content.root_digest()
        ))?;
    }
    out.line(format_args!("{:<12} {}", "key", key.public()))?;
    out.finish()?;
    Ok(Outcome::Done)
}
