//! What people are told on standard error: lines under the program's name, and progress as a bar on
//! a terminal, as lines elsewhere.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between lines of progress where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Writes to standard error; where it is quiet, errors only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reporter {
    quiet: bool,
}

impl Reporter {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Whether there is a terminal to draw on.
    pub(crate) fn draws(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Says what failed.
    pub(crate) fn error(self, message: &dyn Display) {
        // Where standard error itself is closed, there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "edge-vae: {message}");
    }

    /// Says what is good to know.
    pub(crate) fn note(self, message: &dyn Display) {
        if !self.quiet {
            self.error(message);
        }
    }

    /// Progress over `total` things called `unit`: `frames`.
    pub(crate) fn progress(self, total: usize, unit: &'static str) -> Progress {
        let bar = self.draws().then(|| {
            let template =
                format!("{{bar:32}} {{pos}} of {{len}} {unit}, {{per_sec}}, {{eta}} left{{msg}}");
            let style = ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr())
                .with_style(style)
        });
        Progress {
            reporter: self,
            bar,
            unit,
            total,
            done: 0,
            detail: String::new(),
            began: Instant::now(),
            written: Instant::now(),
        }
    }
}

/// How far something is.
pub(crate) struct Progress {
    reporter: Reporter,
    bar: Option<ProgressBar>,
    unit: &'static str,
    total: usize,
    done: usize,
    detail: String,
    began: Instant,
    written: Instant,
}

impl Progress {
    /// Counts things that are done.
    pub(crate) fn advance(&mut self, steps: usize) {
        self.done += steps;
        if let Some(bar) = &self.bar {
            bar.inc(steps as u64);
        } else if self.written.elapsed() >= BETWEEN_LINES {
            self.written = Instant::now();
            self.reporter.note(&format_args!(
                "{} of {} {}{}",
                self.done, self.total, self.unit, self.detail
            ));
        }
    }

    /// Things that will not be done after all.
    pub(crate) fn skip(&mut self, steps: usize) {
        self.total = self.total.saturating_sub(steps);
        if let Some(bar) = &self.bar {
            bar.set_length(self.total as u64);
        }
    }

    /// What stands after the numbers from now on.
    pub(crate) fn detail(&mut self, detail: String) {
        self.detail = detail;
        if let Some(bar) = &self.bar {
            bar.set_message(self.detail.clone());
        }
    }

    /// Says what failed; the bar does not overwrite it.
    pub(crate) fn error(&self, message: &dyn Display) {
        self.beside(|| self.reporter.error(message));
    }

    /// Says what is good to know; the bar does not overwrite it.
    pub(crate) fn note(&self, message: &dyn Display) {
        self.beside(|| self.reporter.note(message));
    }

    fn beside(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Clears the bar and returns the seconds since the beginning.
    pub(crate) fn finish(&self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.began.elapsed().as_secs_f64()
    }
}

/// An error that was reported already.
#[derive(Debug, thiserror::Error)]
#[error("reported")]
pub(crate) struct Reported;

/// [`edge_vae::one_line`] of an error with context.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    edge_vae::one_line(error.as_ref())
}

/// `1 frame`, `7 frames`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
