//! `edge-vae model`: look at a model, verify, sign and seal it.

mod info;
mod keygen;
mod seal;
mod sign;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Outcome, flags::find_bundle, reporter::Reporter};

/// Show, verify, sign or seal a model.
#[derive(Args, Debug)]
pub(crate) struct ModelVerbs {
    #[command(subcommand)]
    verb: ModelVerb,
}

#[derive(Debug, Subcommand)]
enum ModelVerb {
    Info(info::InfoFlags),
    Verify(verify::VerifyFlags),
    Keygen(keygen::KeygenFlags),
    Sign(sign::SignFlags),
    Seal(seal::SealFlags),
    Unseal(seal::UnsealFlags),
    Rekey(seal::RekeyFlags),
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
        ModelVerb::Info(flags) => info::run(flags, reporter),
        ModelVerb::Verify(flags) => verify::run(flags, reporter),
        ModelVerb::Keygen(flags) => keygen::run(&flags),
        ModelVerb::Sign(flags) => sign::run(flags),
        ModelVerb::Seal(flags) => seal::seal(flags),
        ModelVerb::Unseal(flags) => seal::unseal(flags, reporter),
        ModelVerb::Rekey(flags) => seal::rekey(flags, reporter),
    }
}
