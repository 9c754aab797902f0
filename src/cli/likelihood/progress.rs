//! How far an estimate is: a bar on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use edge_vae::vae::MarginalEstimate;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::messages::Voice;

/// Time between plain lines.
const PLAIN: Duration = Duration::from_secs(30);

/// Says how far it is, with the mean so far and the time left.
pub(super) struct Progress {
    voice: Voice,
    bar: Option<ProgressBar>,
    begin: Instant,
    said: Instant,
    frames: usize,
    samples: u64,
    done: u64,
    estimated: usize,
    sum: f64,
}

impl Progress {
    pub(super) fn new(voice: Voice, frames: usize, samples: usize) -> Self {
        let samples = frames as u64 * samples as u64;
        let bar = (!voice.is_quiet() && io::stderr().is_terminal()).then(|| {
            // The template is constant and was tried.
            let style = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(samples), ProgressDrawTarget::stderr())
                .with_style(style)
        });
        Self {
            voice,
            bar,
            begin: Instant::now(),
            said: Instant::now(),
            frames,
            samples,
            done: 0,
            estimated: 0,
            sum: 0.0,
        }
    }

    /// Counts samples that were decoded.
    pub(super) fn samples(&mut self, samples: usize) {
        self.done += samples as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(self.text());
        } else if self.said.elapsed() >= PLAIN {
            self.said = Instant::now();
            let percent = 100.0 * self.done as f64 / self.samples as f64;
            self.voice
                .note(&format_args!("{percent:.1} %  {}", self.text()));
        }
    }

    /// Counts a frame whose estimate is there.
    pub(super) fn frame(&mut self, estimate: &MarginalEstimate) {
        self.estimated += 1;
        self.sum += estimate.log_likelihood;
    }

    /// Samples of a frame that failed, which will not be decoded.
    pub(super) fn skip(&mut self, samples: usize) {
        self.samples = self.samples.saturating_sub(samples as u64);
        if let Some(bar) = &self.bar {
            bar.set_length(self.samples);
        }
    }

    fn text(&self) -> String {
        let elapsed = self.begin.elapsed();
        let left = elapsed.mul_f64((self.samples as f64 / self.done.max(1) as f64 - 1.0).max(0.0));
        let mean = if self.estimated == 0 {
            String::new()
        } else {
            format!(
                "-log p {:.3} on {} of {} frames, ",
                -self.sum / self.estimated as f64,
                self.estimated,
                self.frames
            )
        };
        format!(
            "{mean}{:.0} samples/s, {} left",
            self.done as f64 / elapsed.as_secs_f64().max(1e-9),
            HumanDuration(left)
        )
    }

    /// Clears the bar and returns the seconds since the beginning.
    pub(super) fn finish(&self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.begin.elapsed().as_secs_f64()
    }
}
