//! What a run shows while it goes: a bar on a terminal, plain lines elsewhere.

use std::{io::IsTerminal, time::Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::checkpoint::State;

/// Progress on the standard error.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    first: u64,
}

impl Progress {
    /// A run of `total` steps of which `done` are done.
    pub(super) fn new(total: u64, done: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(done);
            let style = "{bar:30} {pos}/{len} steps, {msg}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        let progress = Self {
            bar,
            began: Instant::now(),
            first: done,
        };
        if done == 0 {
            progress.note(&format!("training for {total} steps"));
        } else {
            progress.note(&format!("continuing at step {done} of {total}"));
        }
        progress
    }

    /// After each step.
    pub(super) fn step(&self, state: &State) {
        if let Some(bar) = &self.bar {
            bar.set_length(state.total);
            bar.set_position(state.step);
            let running = state.running;
            if running.steps > 0 {
                let count = running.steps as f64;
                let mut message = format!(
                    "-log p(x|z) {:.1}, KL {:.1}",
                    running.nll / count,
                    running.divergence / count
                );
                if state.options.head.is_some() {
                    message.push_str(&format!(", head {:.3}", running.head / count));
                }
                bar.set_message(message);
            }
        }
    }

    /// After each validation.
    pub(super) fn validated(&self, state: &State) {
        let Some(record) = state.records.last() else {
            return;
        };
        let done = (state.step - self.first).max(1) as f64;
        let each = self.began.elapsed().as_secs_f64() / done;
        let left = each * state.total.saturating_sub(state.step) as f64;
        let best = if state.best_step == state.step {
            ", best"
        } else {
            ""
        };
        let head = record.head.map_or_else(String::new, |head| {
            format!(
                "; head {:.3}, validation {:.3}, AUROC {:.1} %",
                head.train_loss,
                head.validation_loss,
                100.0 * head.validation_auroc
            )
        });
        let bound = match record.validation_bound {
            Some(bound) => format!(", bound {bound:.2}"),
            None => String::new(),
        };
        self.note(&format!(
            "step {}/{}, epoch {:.1}: training -log p(x|z) {:.2} KL {:.2}, validation {:.2} + {:.2} nats{bound}{head}{best}, {} left",
            state.step,
            state.total,
            record.epoch,
            record.train_nll,
            record.train_kl,
            record.validation_nll,
            record.validation_kl,
            duration(left),
        ));
    }

    /// A line of its own.
    pub(super) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if whole >= 3600 {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    } else if whole >= 60 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{whole} s")
    }
}
