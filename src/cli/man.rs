//! `edge-vae man`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};

use super::{
    Outcome,
    output::{self, write_whole},
};

/// Write the manual pages, one for each verb.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  edge-vae man --out /usr/local/share/man/man1")]
pub(crate) struct ManFlags {
    /// Folder for the pages; it is made where it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(flags: &ManFlags, command: Command) -> anyhow::Result<Outcome> {
    output::prepare_folder(&flags.out)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_pages(&command, &flags.out)?;
    Ok(Outcome::Done)
}

fn write_pages(command: &Command, folder: &Path) -> anyhow::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    let name = page.get_filename();
    let mut text = Vec::new();
    page.render(&mut text)
        .with_context(|| format!("manual page {name}"))?;
    write_whole(&folder.join(name), &text)?;
    command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .try_for_each(|verb| write_pages(verb, folder))
}
