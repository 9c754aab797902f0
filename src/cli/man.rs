//! `edge-vae man`.

use std::path::PathBuf;

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

fn write_pages(command: &Command, folder: &std::path::Path) -> anyhow::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.clone()))
        .render(&mut page)
        .with_context(|| format!("manual page of {name}"))?;
    write_whole(&folder.join(format!("{name}.1")), &page)?;
    command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .try_for_each(|verb| write_pages(verb, folder))
}
