//! `edge-vae-train`: trains variational autoencoders on normal frames and exports them as
//! bundles.

use std::process::ExitCode;

fn main() -> ExitCode {
    share_processors();
    edge_vae_train::nn::memory::keep_freed_memory();
    match edge_vae_train::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-vae-train: {}", edge_vae::one_line(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// Gives the processors to the training operations, which share them by rayon. candle has a pool
/// of its own, whose main thread spins while it waits and so takes a processor from them; what is
/// left to candle are small element-wise operations, for which one thread will do.
fn share_processors() {
    let wanted = std::env::var("RAYON_NUM_THREADS").ok();
    let threads = wanted.and_then(|text| text.parse().ok()).unwrap_or(0);
    // 0 means one thread for each processor. The only error is a pool that exists already.
    if rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .is_ok()
    {
        // SAFETY: no other thread reads or writes the environment: rayon's workers were given
        // their number, and none other exists yet.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    }
}
