//! How far the longer parts of a detector's fit are, for people.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Lines in all where there is no terminal.
const LINES: usize = 5;

/// A bar on a terminal, some lines elsewhere.
pub(super) struct Progress {
    total: usize,
    what: &'static str,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For `total` steps of `what`.
    pub(super) fn new(total: usize, what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64)
                .with_style(style)
                .with_message(what)
        });
        Self { total, what, bar }
    }

    /// Before step `done`, counted from 0.
    pub(super) fn step(&self, done: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done as u64 + 1);
                if done + 1 == self.total {
                    bar.finish_and_clear();
                }
            }
            None if done.is_multiple_of(self.total.div_ceil(LINES).max(1)) => {
                eprintln!("{done}/{} {}", self.total, self.what);
            }
            None => {}
        }
    }
}
