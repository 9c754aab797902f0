//! `edge-vae log verify` and `edge-vae log replay`: logs of evidence.

mod replay;
mod verify;

use clap::{Args, Subcommand};

use super::{Outcome, reporter::Reporter};

/// Verify a log of verdicts, or compute its scores again.
#[derive(Args, Debug)]
pub(crate) struct LogVerbs {
    #[command(subcommand)]
    verb: LogVerb,
}

#[derive(Debug, Subcommand)]
enum LogVerb {
    Verify(verify::VerifyFlags),
    Replay(Box<replay::ReplayFlags>),
}

pub(crate) fn run(verbs: LogVerbs, reporter: Reporter) -> anyhow::Result<Outcome> {
    match verbs.verb {
        LogVerb::Verify(flags) => verify::run(&flags, reporter),
        LogVerb::Replay(flags) => replay::run(*flags, reporter),
    }
}
