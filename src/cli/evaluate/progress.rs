//! How far an evaluation is: a bar on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::messages::Voice;

/// Time between plain lines.
const PLAIN: Duration = Duration::from_secs(30);

/// Counts frames.
pub(super) struct Progress {
    voice: Voice,
    bar: Option<ProgressBar>,
    begin: Instant,
    said: Instant,
    frames: usize,
    done: usize,
}

impl Progress {
    pub(super) fn new(voice: Voice, frames: usize) -> Self {
        let bar = (!voice.is_quiet() && io::stderr().is_terminal()).then(|| {
            // The template is constant and was tried.
            let style = ProgressStyle::with_template(
                "{bar:32} {pos} of {len} frames, {per_sec}, {eta} left",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(frames as u64), ProgressDrawTarget::stderr())
                .with_style(style)
        });
        Self {
            voice,
            bar,
            begin: Instant::now(),
            said: Instant::now(),
            frames,
            done: 0,
        }
    }

    pub(super) fn step(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        } else if self.said.elapsed() >= PLAIN {
            self.said = Instant::now();
            self.voice
                .note(&format_args!("{} of {} frames", self.done, self.frames));
        }
    }

    /// Says something in between, without a bar in it.
    pub(super) fn aside(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Clears the bar and returns the seconds since the beginning.
    pub(super) fn finish(&self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.begin.elapsed().as_secs_f64()
    }
}
