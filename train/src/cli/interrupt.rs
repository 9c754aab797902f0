//! Ctrl-C and SIGTERM.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on set by Ctrl-C and SIGTERM; a second one ends the process at once.
///
/// # Errors
/// The system refuses a handler.
pub(super) fn watch() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        // The first waits for the end of a step.
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(2);
        }
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(&INTERRUPTED)
}
