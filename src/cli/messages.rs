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

/// An error with its causes on one line, `context: cause: cause`. Errors of the library name
/// their cause themselves, so a cause that its context already ends with is not repeated.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_one_line_and_names_each_cause_once() {
        let error = anyhow!("no space\n  left")
            .context("a.png: cannot write: no space left")
            .context("overlay");
        assert_eq!(
            one_line(&error),
            "overlay: a.png: cannot write: no space left"
        );
        let error = anyhow!("no space").context("a.png");
        assert_eq!(one_line(&error), "a.png: no space");
    }
}
