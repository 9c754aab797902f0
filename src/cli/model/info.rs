//! `edge-vae model info`.

use clap::Args;
use edge_vae::{
    bundle::{CalibrationEntry, Manifest},
    calibration::{Calibration, OperatingTable},
};
use serde::Serialize;

use super::FolderFlags;
use crate::cli::{
    Outcome, model_card, output::StandardOutput, reporter::Reporter, trust::TrustFlags,
};

/// Show what a model is: shapes, training, calibration, files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae model info models/surface
  edge-vae model info --json | jq .card

The schema_version in the JSON is that of the manifest. Sizes and digests of all files are checked;
the networks are not run (see `model verify`).")]
pub(super) struct InfoFlags {
    #[command(flatten)]
    folder: FolderFlags,

    #[command(flatten)]
    trust: TrustFlags,

    /// Print the manifest and what follows from it as JSON.
    #[arg(long)]
    json: bool,
}

/// The JSON of `model info`: the manifest, and what follows from it.
#[derive(Serialize)]
struct InfoRecord<'a> {
    path: String,
    bytes: u64,
    input_shape: [usize; 3],
    latent_shape: Option<Vec<usize>>,
    calibration: Option<CalibrationEntry>,
    calibration_statement: Option<String>,
    operating_table: Option<&'a OperatingTable>,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

pub(super) fn run(flags: InfoFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let trusted = flags
        .trust
        .resolve()
        .inspect(&flags.folder.find()?, reporter)?;
    let bundle = trusted.bundle;
    let manifest = bundle.manifest();
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    let defects = bundle.synthetic_defects();
    let table = bundle.calibration();
    let table = table.map(|calibration| OperatingTable::of(calibration, defects));
    let mut out = StandardOutput::new();
    if flags.json {
        out.json(&InfoRecord {
            path: bundle.path().display().to_string(),
            bytes,
            input_shape: manifest.preprocess.shape(),
            latent_shape: manifest.vae.as_ref().map(|vae| vae.latent.shape()),
            calibration: bundle.calibration_entry(),
            calibration_statement: bundle.calibration().map(Calibration::statement),
            operating_table: table.as_ref(),
            manifest,
        })?;
        out.finish()?;
        return Ok(Outcome::Done);
    }
    let mut row = |name: &str, value: &str| out.line(format_args!("{name:<12} {value}"));
    row("model", &manifest.model_id)?;
    row("folder", &bundle.path().display().to_string())?;
    for (name, value) in model_card::rows(manifest, bundle.calibration()) {
        row(name, &value)?;
    }
    row("size", &format!("{bytes} bytes"))?;
    if bundle.is_sealed() {
        row("sealed", "yes: its files are encrypted")?;
    }
    for (name, file) in &manifest.files {
        row(
            "file",
            &format!("{name}: {} bytes, SHA-256 {}", file.bytes, file.sha256),
        )?;
    }
    if let Some(table) = &table {
        out.line(format_args!("\n{table}"))?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}
