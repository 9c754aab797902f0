//! `edge-vae engine`: what is kept of engines between runs.

mod build;
mod clear;
mod list;

use clap::{Args, Subcommand};

use super::{Outcome, reporter::Reporter};

/// Build TensorRT engines ahead of time; list and clear what is kept of engines.
#[derive(Args, Debug)]
pub(crate) struct EngineVerbs {
    #[command(subcommand)]
    verb: EngineVerb,
}

#[derive(Debug, Subcommand)]
enum EngineVerb {
    Build(build::BuildFlags),
    List(list::ListFlags),
    Clear(clear::ClearFlags),
}

pub(crate) fn run(verbs: EngineVerbs, reporter: Reporter) -> anyhow::Result<Outcome> {
    match verbs.verb {
        EngineVerb::Build(flags) => build::run(flags, reporter),
        EngineVerb::List(flags) => list::run(&flags),
        EngineVerb::Clear(flags) => clear::run(flags, reporter),
    }
}
