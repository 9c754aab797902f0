//! What a training run shows while it goes.

use std::time::Instant;

use super::checkpoint::State;
use crate::reporter::{Bar, Reporter};

/// Progress of a training run.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    reporter: &'a Reporter,
    bar: Bar<'a>,
    began: Instant,
    first: u64,
}

impl<'a> Progress<'a> {
    /// Of a run on `devices` that stands at `state`.
    pub(super) fn new(reporter: &'a Reporter, state: &State, devices: usize) -> Self {
        let (step, total) = (state.step, state.total);
        let devices = match devices {
            1 => String::new(),
            _ => format!(" on {devices} devices"),
        };
        match step {
            0 => reporter.line(format_args!("training for {total} steps{devices}")),
            _ => reporter.line(format_args!(
                "continuing at step {step} of {total}{devices}"
            )),
        }
        Self {
            reporter,
            bar: reporter.bar(total as usize, "steps"),
            began: Instant::now(),
            first: step,
        }
    }

    /// After each step.
    pub(super) fn step(&self, state: &State) {
        // Elsewhere each validation writes a line.
        let Some(bar) = self.bar.on_terminal() else {
            return;
        };
        bar.set_length(state.total);
        bar.set_position(state.step);
        let running = state.running;
        if running.steps > 0 {
            let count = running.steps as f64;
            let mut message = format!(
                "steps, -log p(x|z) {:.1}, KL {:.1}",
                running.nll / count,
                running.divergence / count
            );
            if state.options.head.is_some() {
                message.push_str(&format!(", head {:.3}", running.head / count));
            }
            bar.set_message(message);
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
        self.reporter.line(format_args!(
            "step {}/{}, epoch {:.1}: training -log p(x|z) {:.2} KL {:.2}, \
             validation {:.2} + {:.2} nats{bound}{head}{best}, {} left",
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
