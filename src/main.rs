//! `edge-vae`: judges frames, and shows what a model makes of them.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
