//! `edge-vae-train`: trains variational autoencoders on normal frames and exports them as
//! bundles.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_vae_train::memory::keep_freed_memory();
    match edge_vae_train::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-vae-train: {error:#}");
            ExitCode::from(2)
        }
    }
}
