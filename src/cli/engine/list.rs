//! `edge-vae engine list`.

use std::path::PathBuf;

use clap::Args;
use edge_vae::{
    backend::EngineOptions,
    bundle::Bundle,
    runtime::{
        MeasuredEngines,
        tensor_rt::{BuiltEngine, EngineStore},
    },
};
use serde::Serialize;

use crate::cli::{
    Outcome,
    output::{SCHEMA_VERSION, StandardOutput},
    trust::inspected,
};

/// List the engines that were measured and those that TensorRT built.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae engine list
  edge-vae engine list --model models/part --json

Times are those that `--device auto` chose by. An engine of TensorRT runs where its machine is the
same.")]
pub(super) struct ListFlags {
    /// Only of this model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    schema_version: u32,
    folder: PathBuf,
    measured: Vec<MeasuredEngines>,
    built: Vec<BuiltEngine>,
}

pub(super) fn run(flags: &ListFlags) -> anyhow::Result<Outcome> {
    let folder = EngineOptions::default().cache_folder()?;
    let model = flags.model.as_deref().map(inspected).transpose()?;
    let is_meant = |id: Option<&str>| {
        let wanted = model.as_ref().map(Bundle::model_id);
        wanted.is_none() || id == wanted
    };
    let mut listed = Listed {
        schema_version: SCHEMA_VERSION,
        measured: MeasuredEngines::list(&folder),
        built: EngineStore::in_folder(&folder).list(),
        folder,
    };
    listed
        .measured
        .retain(|kept| is_meant(kept.key.get("model").map(String::as_str)));
    listed
        .built
        .retain(|built| is_meant(Some(built.model_id.as_str())));
    let mut out = StandardOutput::new();
    if flags.json {
        out.json(&listed)?;
    } else {
        print(&mut out, &listed)?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}

fn print(out: &mut StandardOutput, listed: &Listed) -> anyhow::Result<()> {
    for MeasuredEngines { key, trial } in &listed.measured {
        let value = |name| key.get(name).map_or("", String::as_str);
        let threads = value("threads");
        out.line(format_args!(
            "{}  measured on {} ({threads} threads)",
            value("model"),
            value("cpu")
        ))?;
        for trial in trial {
            out.line(format_args!("  {trial}"))?;
        }
    }
    for built in &listed.built {
        out.line(format_args!(
            "{}  TensorRT {}, built {} in {:.0} s, {:.2} ms a frame",
            built.model_id,
            built.settings(),
            built.date,
            built.seconds,
            built.milliseconds
        ))?;
        let machine = built.machine.iter().filter(|(_, value)| !value.is_empty());
        for (name, value) in machine {
            out.line(format_args!("  {name} {value}"))?;
        }
        let agreement = &built.agreement;
        out.line(format_args!(
            "  scores of {} frames ({}) differ by at most {:.2e} of {:.2e} allowed",
            agreement.frames, agreement.source, agreement.largest_difference, agreement.tolerance
        ))?;
        if let Some(why) = &agreement.refused {
            out.line(format_args!("  not accepted: {why}"))?;
        }
    }
    if listed.measured.is_empty() && listed.built.is_empty() {
        let folder = listed.folder.display();
        out.line(format_args!("nothing is kept in {folder}"))?;
    }
    Ok(())
}
