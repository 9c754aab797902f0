//! `edge-vae engine clear`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use edge_vae::{
    backend::EngineOptions,
    bundle::Bundle,
    runtime::{MeasuredEngines, tensor_rt::EngineStore},
};

use crate::cli::{
    Outcome,
    reporter::{Reporter, count},
    trust::inspected,
};

/// Remove what is kept of engines: they are measured and built anew.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae engine clear
  edge-vae engine clear --model models/part")]
pub(super) struct ClearFlags {
    /// Only of this model; what TensorRT learned of this GPU stays then.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

pub(super) fn run(flags: ClearFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let folder = EngineOptions::default().cache_folder()?;
    let bundle = flags.model.as_deref().map(inspected).transpose()?;
    let id = bundle.as_ref().map(Bundle::model_id);
    let measured =
        MeasuredEngines::clear(&folder, id).with_context(|| folder.display().to_string())?;
    let built = EngineStore::in_folder(&folder).clear(bundle.as_ref())?;
    reporter.note(&format_args!(
        "removed {} and {} from {}",
        count(measured, "measurement"),
        count(built, "built engine"),
        folder.display()
    ));
    Ok(Outcome::Done)
}
