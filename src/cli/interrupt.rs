//! Ctrl-C and `kill`: the first asks for an end after the current frame, the second ends at once.

use std::sync::{
    Once,
    atomic::{AtomicBool, Ordering},
};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WATCH: Once = Once::new();

/// Catches Ctrl-C and termination from now on: to be called when the work begins that is worth
/// ending well. Before, a list may be awaited on standard input, and the signal ends the program.
pub(crate) fn watch() {
    WATCH.call_once(|| {
        // Without a handler the signal ends the program, which loses the summary and nothing
        // else: files are written beside and renamed.
        let _ = ctrlc::set_handler(|| {
            if REQUESTED.swap(true, Ordering::Relaxed) {
                std::process::exit(2);
            }
        });
    });
}

/// Whether an end was requested.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error where an end was requested.
pub(crate) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!requested(), "interrupted");
    Ok(())
}

/// An error where an end was requested, and `done` of `all` frames were reached before.
pub(crate) fn check_after(done: usize, all: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        done == all || !requested(),
        "interrupted after {done} of {all} frames"
    );
    Ok(())
}
