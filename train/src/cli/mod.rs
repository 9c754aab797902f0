//! The command line: flags are resolved into plain options here, once.

mod devices;
mod fit;
mod interrupt;
mod man;
mod preview;
mod review;
mod synth;
mod trust;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::reporter::Reporter;

/// Trains a detector on frames of good parts and writes the bundle that edge-vae runs
#[derive(Debug, Parser)]
#[command(name = "edge-vae-train", version, arg_required_else_help = true)]
struct Cli {
    /// Write only warnings and errors
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Train on normal frames and write a bundle
    Fit(Box<fit::FitArgs>),
    /// Draw contact sheets of what training sees: frames, augmentation, synthetic defects
    Preview(Box<preview::PreviewArgs>),
    /// Write a page on which people keep or exclude odd training frames
    Review(review::ReviewArgs),
    /// Draw a data set of machined surfaces with defects and exact masks
    Synth(synth::SynthArgs),
    /// Print shell completions
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man(man::ManArgs),
}

/// Reads the command line and does what it says.
///
/// # Errors
/// Whatever went wrong, in one line.
pub fn run() -> Result<()> {
    let cli = Cli::parse();
    let reporter = Reporter::new(cli.quiet);
    match cli.verb {
        Verb::Fit(args) => fit::run(&args, &reporter),
        Verb::Preview(args) => preview::run(&args, &reporter),
        Verb::Review(args) => review::run(&args, &reporter),
        Verb::Synth(args) => synth::run(&args, &reporter),
        Verb::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(
                shell,
                &mut command,
                "edge-vae-train",
                &mut std::io::stdout(),
            );
            Ok(())
        }
        Verb::Man(args) => man::run(&args, Cli::command()),
    }
}
