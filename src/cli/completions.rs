//! `edge-vae completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{Outcome, output::StandardOutput};

/// Print a shell's completion script.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae completions bash > /etc/bash_completion.d/edge-vae
  edge-vae completions zsh > ~/.zfunc/_edge-vae
  edge-vae completions fish > ~/.config/fish/completions/edge-vae.fish")]
pub(crate) struct CompletionsFlags {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(flags: CompletionsFlags, mut command: Command) -> anyhow::Result<Outcome> {
    // Into memory first: the generator panics where its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut command, "edge-vae", &mut script);
    let mut out = StandardOutput::new();
    out.bytes(&script)?;
    out.finish()?;
    Ok(Outcome::Done)
}
