//! What is said on standard error: one line each, under the program's name.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Speaks on standard error; quiet, of errors only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    quiet: bool,
}

impl Voice {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Says what failed.
    pub(crate) fn error(self, message: &dyn Display) {
        // Where standard error itself is closed, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "edge-vae: {message}");
    }

    /// Says what is good to know.
    pub(crate) fn note(self, message: &dyn Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "edge-vae: {message}");
        }
    }
}

/// [`edge_vae::one_line`] of an error with context.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    edge_vae::one_line(error.as_ref())
}
