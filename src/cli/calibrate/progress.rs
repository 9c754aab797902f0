//! How far the scoring is: a bar on a terminal, plain lines elsewhere.

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
    said: Instant,
    frames: usize,
    done: usize,
}

impl Progress {
    pub(super) fn new(voice: Voice, frames: usize) -> Self {
        let bar = (!voice.is_quiet() && io::stderr().is_terminal()).then(|| {
            // The template is constant and was tried.
            let style = ProgressStyle::with_template("{bar:32} {pos} of {len} frames, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(frames as u64), ProgressDrawTarget::stderr())
                .with_style(style)
        });
        Self {
            voice,
            bar,
            said: Instant::now(),
            frames,
            done: 0,
        }
    }

    /// Counts a frame.
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

    /// Says something that the bar does not overwrite.
    pub(super) fn beside(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
