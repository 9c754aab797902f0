//! `edge-vae model info` and `edge-vae model verify`.

mod info;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Outcome, flags::find_bundle, reporter::Reporter};

/// Show or verify a model.
#[derive(Args, Debug)]
pub(crate) struct ModelVerbs {
    #[command(subcommand)]
    verb: ModelVerb,
}

#[derive(Debug, Subcommand)]
enum ModelVerb {
    Info(info::InfoFlags),
    Verify(verify::VerifyFlags),
}

/// The model: by itself, or after `--model` as with the other verbs.
#[derive(Args, Debug)]
struct FolderFlags {
    /// Folder of the model [default: $EDGE_VAE_MODEL, else models/surface].
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// The same, as with the other verbs.
    #[arg(long, value_name = "DIR", conflicts_with = "folder")]
    model: Option<PathBuf>,
}

impl FolderFlags {
    fn find(self) -> anyhow::Result<PathBuf> {
        find_bundle(self.folder.or(self.model))
    }
}

pub(crate) fn run(verbs: ModelVerbs, reporter: Reporter) -> anyhow::Result<Outcome> {
    match verbs.verb {
        ModelVerb::Info(flags) => info::run(flags),
        ModelVerb::Verify(flags) => verify::run(flags, reporter),
    }
}
