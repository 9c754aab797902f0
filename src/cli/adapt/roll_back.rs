//! The model that was there before an adaptation.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use edge_vae::bundle::Bundle;
use serde::Serialize;

use crate::cli::{
    Outcome,
    flags::ModelOptions,
    output::{SCHEMA_VERSION, StandardOutput},
    reporter::Reporter,
    trust::TrustChoice,
};

/// Where it is kept, beside the model.
pub(super) fn previous(model: &Path) -> anyhow::Result<PathBuf> {
    let name = model.file_name();
    let name = name.with_context(|| format!("{}: has no name of its own", model.display()))?;
    let mut kept = OsString::from(name);
    kept.push(".previous");
    Ok(model.with_file_name(kept))
}

#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    model_id: &'a str,
    bundle: String,
    rolled_back: &'a str,
}

/// Puts it back.
pub(super) fn run(
    options: &ModelOptions,
    json: bool,
    reporter: Reporter,
) -> anyhow::Result<Outcome> {
    let model = options.bundle.as_path();
    let target = Bundle::check_target(model)?;
    let kept = previous(&target)?;
    let current = options.trust.inspect(&target, reporter)?.bundle;
    ensure!(
        kept.exists(),
        "{}: no earlier model is kept in {}",
        model.display(),
        kept.display()
    );
    // To go back is what is asked for.
    let trust = TrustChoice {
        allow_rollback: true,
        ..options.trust.clone()
    };
    let mut earlier = trust.open(&kept, reporter)?;
    let from = current.manifest().adaptation.as_ref();
    ensure!(
        from.is_some_and(|adaptation| adaptation.from == earlier.model_id()),
        "{}: {} is not what this model was adapted from; it stays as it is",
        model.display(),
        kept.display()
    );
    // Nothing but a bundle's files may be removed.
    Bundle::check_target(&kept)?;
    earlier.save(&target)?;
    Bundle::remove(&kept)?;
    let mut out = StandardOutput::new();
    if json {
        out.json(&Record {
            schema_version: SCHEMA_VERSION,
            model_id: earlier.model_id(),
            bundle: model.display().to_string(),
            rolled_back: current.model_id(),
        })?;
    } else {
        out.line(format_args!(
            "{}: {} again, in place of {}",
            model.display(),
            earlier.model_id(),
            current.model_id()
        ))?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}
