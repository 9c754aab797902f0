//! `edge-vae doctor`.

use std::path::{Path, PathBuf};

use clap::Args;
use edge_vae::{
    backend::{Device, EngineOptions},
    doctor::{self, Finding, Severity, ThisMachine},
    stream::Configuration,
};
use serde::Serialize;

use super::{Outcome, flags, output::StandardOutput, watch::DEFAULT_FILE};

/// Examine this machine: what judges, what sees, what limits, and what to do.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae doctor
  edge-vae doctor --config /etc/edge-vae/line1.toml
  edge-vae doctor --model models/part --json | jq '.findings[] | select(.remedy)'

Each line is a finding: how much it matters, what it is of, what was found, and after → what to do.
Nothing is changed. A disk is measured by files that are removed at once; peers of the
configuration are connected to and left. No camera is started, no file of a sink is opened.

Exit codes: 0 it can run here; 1 it can't, and the lines that begin with `error` say why;
2 a wrong call, or a configuration that can't be read.")]
pub(crate) struct DoctorFlags {
    /// A configuration of `watch` to examine too [default: edge-vae.toml, where it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Folder of the model [default: that of the configuration, else $EDGE_VAE_MODEL, else
    /// models/surface].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DoctorRecord<'a> {
    schema_version: u32,
    version: &'static str,
    can_run: bool,
    findings: &'a [Finding],
}

pub(crate) fn run(flags: &DoctorFlags) -> anyhow::Result<Outcome> {
    let default = Path::new(DEFAULT_FILE);
    let configuration = match &flags.config {
        Some(path) => Some(Configuration::read(path)?),
        None if default.is_file() => Some(Configuration::read(default)?),
        None => None,
    };
    let chosen = configuration.clone().unwrap_or_default();
    let options = EngineOptions {
        backend: chosen.backend,
        device: chosen.device.unwrap_or(Device::Auto),
        ort_library: chosen.ort_library,
        threads: chosen.threads.map_or(1, usize::from),
        ..EngineOptions::default()
    };
    let named = flags.model.clone().or(chosen.model);
    let model = flags::find_bundle(named).map_err(|error| error.to_string());
    let findings = doctor::examine(&ThisMachine, configuration.as_ref(), || {
        let model = model.as_deref().map_err(String::as_str);
        doctor::engine(&options, model)
    });
    print(&findings, flags.json)?;
    Ok(if doctor::has_errors(&findings) {
        Outcome::CannotRun
    } else {
        Outcome::Done
    })
}

fn print(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    let mut out = StandardOutput::new();
    if json {
        out.json(&DoctorRecord {
            schema_version: 1,
            version: env!("CARGO_PKG_VERSION"),
            can_run: !doctor::has_errors(findings),
            findings,
        })?;
        return out.finish();
    }
    for finding in findings {
        out.line(format_args!("{finding}"))?;
    }
    let count = |severity| {
        let found = findings.iter().filter(|found| found.severity == severity);
        edge_vae::counted(found.count(), &severity.to_string())
    };
    out.line(format_args!(
        "{}, {}",
        count(Severity::Error),
        count(Severity::Warning)
    ))?;
    out.finish()
}
