//! How far a verb is with its frames: a bar on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::messages::Voice;

/// Time between plain lines.
const PLAIN: Duration = Duration::from_secs(30);

/// Counts frames.
pub(crate) struct Progress {
    voice: Voice,
    bar: Option<ProgressBar>,
    begin: Instant,
    said: Instant,
    frames: usize,
    done: usize,
}

impl Progress {
    /// For this many frames.
    pub(crate) fn new(voice: Voice, frames: usize) -> Self {
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

    /// Counts a frame.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        } else if self.said.elapsed() >= PLAIN {
            self.said = Instant::now();
            self.voice
                .note(&format_args!("{} of {} frames", self.done, self.frames));
        }
    }

    /// Says something that the bar does not overwrite.
    pub(crate) fn beside(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Clears the bar and returns the seconds since the beginning.
    pub(crate) fn finish(&self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.begin.elapsed().as_secs_f64()
    }
}
