//! Manual pages.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Flags of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Folder for the pages; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &ManArgs, command: clap::Command) -> Result<()> {
    let out = &args.out;
    std::fs::create_dir_all(out)
        .and_then(|()| clap_mangen::generate_to(command, out))
        .with_context(|| format!("{}: cannot write the manual pages", out.display()))
}
