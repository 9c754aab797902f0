//! How far the longer parts of a detector's fit are, for people.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Where there is no terminal, one line after this time, and after it again.
const A_LINE_EACH: Duration = Duration::from_secs(20);

/// A bar on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    total: usize,
    what: &'static str,
    bar: Option<ProgressBar>,
    last: Instant,
}

impl Progress {
    /// For `total` steps of `what`.
    pub(super) fn new(total: usize, what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}, {eta} left");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64)
                .with_style(style)
                .with_message(what)
        });
        let last = Instant::now();
        Self {
            total,
            what,
            bar,
            last,
        }
    }

    /// Before step `done`, counted from 0.
    pub(super) fn step(&mut self, done: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done as u64 + 1);
                if done + 1 == self.total {
                    bar.finish_and_clear();
                }
            }
            None if self.last.elapsed() >= A_LINE_EACH => {
                eprintln!("{done}/{} {}", self.total, self.what);
                self.last = Instant::now();
            }
            None => {}
        }
    }
}
