//! What the trainer tells people while it works: the only place that writes to standard error.

use std::{
    fmt::Display,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where there is no terminal, a bar writes one line after this time, and after it again.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// Lines and progress bars on standard error: a bar on a terminal, plain lines elsewhere, nothing
/// but warnings when quiet.
#[derive(Clone, Debug)]
pub struct Reporter {
    quiet: bool,
    /// Keeps lines and bars apart; none where standard error is no terminal.
    bars: Option<MultiProgress>,
}

impl Reporter {
    /// For standard error as it is; `quiet` leaves only warnings.
    pub fn new(quiet: bool) -> Self {
        let shows_bars = !quiet && std::io::stderr().is_terminal();
        Self {
            quiet,
            bars: shows_bars.then(MultiProgress::new),
        }
    }

    /// Writes a line, or several.
    pub fn line(&self, text: impl Display) {
        if !self.quiet {
            self.write(&text.to_string());
        }
    }

    /// Writes a line that begins with `warning: `, also when quiet.
    pub fn warn(&self, text: impl Display) {
        self.write(&format!("warning: {text}"));
    }

    /// Progress of `total` steps of `what`, which follows the numbers: `12/40 frames scored`.
    pub fn bar(&self, total: usize, what: &'static str) -> Bar<'_> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let shown = self.bars.as_ref().map(|bars| {
            let bar = ProgressBar::new(total as u64).with_style(style);
            bars.add(bar.with_message(what))
        });
        Bar {
            reporter: self,
            shown,
            total,
            what,
            written: Instant::now(),
        }
    }

    fn write(&self, text: &str) {
        match &self.bars {
            // Standard error that is gone is no reason to stop.
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }
}

/// A progress bar, which goes away with this value.
#[derive(Debug)]
pub struct Bar<'a> {
    reporter: &'a Reporter,
    shown: Option<ProgressBar>,
    total: usize,
    what: &'static str,
    written: Instant,
}

impl Bar<'_> {
    /// `done` steps are done; without a terminal says so every [`LINE_EVERY`].
    pub fn set(&mut self, done: usize) {
        if let Some(bar) = &self.shown {
            bar.set_position(done as u64);
        } else if self.written.elapsed() >= LINE_EVERY {
            self.reporter
                .line(format_args!("{done}/{} {}", self.total, self.what));
            self.written = Instant::now();
        }
    }

    /// The bar on a terminal, to give it another length or message.
    pub fn on_terminal(&self) -> Option<&ProgressBar> {
        self.shown.as_ref()
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
