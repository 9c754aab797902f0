//! The training loop: from prepared frames to the best average of the weights.

use std::{sync::atomic::Ordering, time::Instant};

use anyhow::{Result, bail};
use edge_vae::metrics::auroc;

use super::{
    checkpoint::{Checkpoint, State},
    clock::Clock,
    curve,
    progress::Progress,
    record::{HeadRecord, Record},
    schedule,
    step::{Gradients, Training, TrainingStep},
    validation::Validator,
};
use crate::{
    nn::{
        Parameters, Snapshot,
        optimiser::{AdamW, AdamWSettings},
    },
    options::{Budget, FitOptions},
};

/// How a run is paced.
struct RunParams {
    /// Validations in a run: enough to stop early in time, few enough to cost little.
    validations: u64,
    /// Fewest steps between two of them, so that a short run does not validate after each.
    least_interval: u64,
    /// Seconds between two checkpoints: what a power cut may cost.
    checkpoint_seconds: f64,
    /// Steps that are timed to plan a budget of minutes, after a first one, which is slower.
    timed_steps: u64,
    /// Trial steps that must fit into the time left for more than one of them to be timed.
    affordable_steps: f64,
    /// Relative difference of measured and planned speed above which the run is planned anew.
    slip: f64,
    /// Steps over which the learning rate rises: a twentieth of the run, at most a hundred.
    warm_up_share: u64,
    warm_up_steps: u64,
    /// Decays of Adam's averages; the second is shorter than usual (0.999), since runs are short.
    beta1: f64,
    beta2: f64,
    /// Keeps Adam's division finite.
    eps: f64,
}

const PARAMS: RunParams = RunParams {
    validations: 40,
    least_interval: 10,
    checkpoint_seconds: 60.0,
    timed_steps: 4,
    affordable_steps: 20.0,
    slip: 0.05,
    warm_up_share: 20,
    warm_up_steps: 100,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
};

/// Where a run begins.
#[derive(Debug)]
pub enum Start {
    /// Before its first step.
    New(Box<State>),
    /// Where an earlier one stopped.
    Resumed(Box<Checkpoint>),
}

/// A trained network.
#[derive(Debug)]
pub struct Trained {
    /// Weights and running statistics of the best validation, as graphs store them.
    pub best: Snapshot,
    /// Where the run ended.
    pub state: State,
}

/// Trains from `start` on until the budget is spent or validation no longer improves.
///
/// # Errors
/// Ctrl-C (the checkpoint is then written), a loss that is not finite, a full disk.
pub fn train(training: &Training, start: Start) -> Result<Trained> {
    let mut run = match start {
        Start::New(state) => Run::start(training, *state)?,
        Start::Resumed(checkpoint) => Run::resume(training, *checkpoint)?,
    };
    if run.state.finished {
        // Another score may have been asked for, and what follows may be interrupted.
        run.save()?;
    } else {
        run.go()?;
    }
    Ok(Trained {
        best: run.best.as_stored()?,
        state: run.state,
    })
}

struct Run<'a> {
    training: &'a Training<'a>,
    clock: Clock,
    state: State,
    parameters: Parameters,
    optimiser: AdamW,
    best: Snapshot,
}

impl<'a> Run<'a> {
    fn start(training: &'a Training<'a>, state: State) -> Result<Self> {
        let parameters = training
            .network
            .parameters(state.options.seed, training.device)?;
        let mut run = Self {
            training,
            clock: clock(training, &state),
            optimiser: optimiser(&parameters, &state.options)?,
            best: parameters.snapshot()?,
            state,
            parameters,
        };
        run.state.total = run.plan()?;
        Ok(run)
    }

    fn resume(training: &'a Training<'a>, checkpoint: Checkpoint) -> Result<Self> {
        let state = checkpoint.state;
        let fresh = training
            .network
            .parameters(state.options.seed, training.device)?;
        let parameters = fresh.with(&checkpoint.values)?;
        let mut optimiser = optimiser(&parameters, &state.options)?;
        optimiser.restore(&checkpoint.optimiser)?;
        let mut run = Self {
            training,
            clock: clock(training, &state),
            // Through `with`, so that a value missing in the file is found out now.
            best: fresh.with(&checkpoint.best)?.snapshot()?,
            state,
            parameters,
            optimiser,
        };
        // A new budget is planned anew; the old one gives the old plan.
        if !run.state.finished {
            match run.state.options.budget {
                Budget::Minutes(_) => run.replan(),
                Budget::Epochs(_) | Budget::Steps(_) => {
                    run.state.total = run.plan()?.max(run.state.step);
                }
            }
        }
        Ok(run)
    }

    /// Steps that the budget allows. For a budget of minutes a few steps are timed, whose results
    /// are thrown away.
    fn plan(&mut self) -> Result<u64> {
        let per_epoch = self.training.steps_per_epoch(&self.state.options) as f64;
        match self.state.options.budget {
            Budget::Steps(steps) => Ok(steps.max(1)),
            Budget::Epochs(epochs) => Ok((epochs * per_epoch).ceil().max(1.0) as u64),
            Budget::Minutes(minutes) => self.plan_minutes(minutes),
        }
    }

    fn plan_minutes(&mut self, minutes: f64) -> Result<u64> {
        let mut began = Instant::now();
        self.gradients(0)?;
        let mut each = began.elapsed().as_secs_f64();
        if PARAMS.affordable_steps * each < self.clock.seconds_left() {
            began = Instant::now();
            for step in 0..PARAMS.timed_steps {
                self.gradients(step)?;
            }
            each = began.elapsed().as_secs_f64() / PARAMS.timed_steps as f64;
        }
        if let Some(afterwards) = self.clock.overrun(minutes) {
            self.training.reporter.warn(format_args!(
                "what follows training takes about {afterwards:.1} minutes more: the command \
                 will end later than --minutes {minutes}"
            ));
        }
        let steps = self.clock.steps_left(each);
        if steps < PARAMS.least_interval {
            bail!(
                "--minutes {minutes} leaves time for {steps} steps after reading the frames: give \
                 more minutes or a smaller --preset"
            );
        }
        Ok(steps)
    }

    fn go(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut saved = Instant::now();
        let progress = Progress::new(self.training.reporter, &self.state);
        if self.state.step == 0 {
            // From now on a checkpoint in the folder is this run's, and the folder can be written.
            self.save()?;
        }
        while self.state.step < self.state.total {
            self.step()?;
            self.state.seconds = self.clock.earlier + began.elapsed().as_secs_f64();
            if self.clock.seconds_left() <= 0.0 {
                self.state.total = self.state.step;
            }
            progress.step(&self.state);
            let validate = self.state.step.is_multiple_of(self.interval())
                || self.state.step == self.state.total;
            if validate {
                let record = self.validate()?;
                let stop = self.record(record)?;
                self.replan();
                progress.validated(&self.state);
                if stop {
                    self.training.reporter.line(format_args!(
                        "no improvement in {} validations: stopping early",
                        self.state.options.patience
                    ));
                    break;
                }
            }
            let interrupted = self.training.interrupted.load(Ordering::Relaxed);
            if interrupted || validate || saved.elapsed().as_secs_f64() > PARAMS.checkpoint_seconds
            {
                self.save()?;
                saved = Instant::now();
            }
            if interrupted {
                bail!(
                    "interrupted at step {} of {}: the checkpoint is in {}; --resume continues",
                    self.state.step,
                    self.state.total,
                    self.training.folder.display()
                );
            }
        }
        drop(progress);
        self.state.finished = true;
        self.save()
    }

    fn save(&self) -> Result<()> {
        self.checkpoint()?.save(self.training.folder)?;
        curve::write(self.training.folder, &self.state)
    }

    fn step(&mut self) -> Result<()> {
        let step = self.state.step;
        let made = self.gradients(step)?;
        let (nll, divergence, head) = (made.nll, made.divergence, made.head);
        if !(nll.is_finite() && divergence.is_finite() && head.is_finite()) {
            bail!(
                "step {step}: the loss is not finite (log-likelihood {nll}, KL {divergence}, head \
                 {head}): try a lower --learning-rate"
            );
        }
        let options = &self.state.options;
        let warm_up = warm_up_steps(self.state.total);
        let rate = schedule::learning_rate(step, self.state.total, warm_up, options.learning_rate);
        let decay = schedule::average_decay(step, options.average);
        let norm = self.optimiser.step(&made.gradients, rate)?;
        if !norm.is_finite() {
            bail!("step {step}: the gradient is not finite: try a lower --learning-rate");
        }
        self.parameters.absorb(made.statistics, decay)?;
        let running = &mut self.state.running;
        running.steps += 1;
        running.nll += nll;
        running.divergence += divergence;
        running.head += head;
        self.state.step += 1;
        Ok(())
    }

    fn gradients(&self, number: u64) -> Result<Gradients> {
        let step = TrainingStep {
            number,
            total: self.state.total.max(1),
            options: &self.state.options,
        };
        self.training.gradients(step, &self.parameters)
    }

    fn interval(&self) -> u64 {
        (self.state.total / PARAMS.validations).max(PARAMS.least_interval)
    }

    /// What the averaged weights make of the held-out frames.
    fn validate(&mut self) -> Result<Record> {
        let averaged = self.parameters.with(&self.averaged()?)?;
        let sums = Validator {
            network: self.training.network,
            parameters: &averaged,
            frames: self.training.validation,
            batches: self.training.batches(&self.state.options),
            noise: self.training.noise(&self.state.options),
            options: &self.state.options,
            batch: self.training.batch(&self.state.options),
            device: self.training.device,
        }
        .run()?;
        let running = std::mem::take(&mut self.state.running);
        let steps = running.steps as f64;
        let count = sums.count;
        let options = &self.state.options;
        let last = self.state.step - 1;
        let total = self.state.total;
        Ok(Record {
            step: self.state.step,
            epoch: self.state.step as f64
                / self.training.steps_per_epoch(&self.state.options) as f64,
            seconds: self.state.seconds,
            learning_rate: schedule::learning_rate(
                last,
                total,
                warm_up_steps(total),
                options.learning_rate,
            ),
            kl_weight: schedule::kl_weight(last, total, options.kl_warm_up, options.beta),
            train_nll: running.nll / steps,
            train_kl: running.divergence / steps,
            validation_nll: sums.nll / count,
            validation_kl: sums.divergence / count,
            validation_bound: (options.importance_samples > 1).then(|| sums.bound / count),
            validation_objective: sums.objective / count,
            head: auroc(&sums.normal, &sums.defective).map(|validation_auroc| HeadRecord {
                train_loss: running.head / steps,
                validation_loss: sums.head / count,
                validation_auroc,
            }),
        })
    }

    /// Keeps the average when `record` is the best so far; whether it is time to stop.
    fn record(&mut self, record: Record) -> Result<bool> {
        let loss = record.validation_objective;
        if !loss.is_finite() {
            bail!(
                "step {}: the validation loss is not finite: try a lower --learning-rate",
                record.step
            );
        }
        let best = self
            .state
            .records
            .iter()
            .map(|r| r.validation_objective)
            .fold(f64::INFINITY, f64::min);
        self.state.records.push(record);
        if loss < best {
            self.best = self.averaged()?;
            self.state.best_step = self.state.step;
        }
        let since = self
            .state
            .records
            .iter()
            .filter(|r| r.step > self.state.best_step)
            .count();
        // While the KL weight rises the loss may grow for a good reason.
        let warm = self.state.options.kl_warm_up * self.state.total as f64;
        Ok(since >= self.state.options.patience && self.state.step as f64 >= warm)
    }

    /// Under a budget of minutes: plans anew when the measured speed differs from the planned one
    /// by more than a twentieth.
    fn replan(&mut self) {
        if !matches!(self.state.options.budget, Budget::Minutes(_)) || self.state.seconds <= 0.0 {
            return;
        }
        let rate = self.state.step as f64 / self.state.seconds;
        let left = (self.clock.seconds_left().max(0.0) * rate) as u64;
        let planned = self.state.total - self.state.step;
        let slip = left.abs_diff(planned) as f64;
        if slip > PARAMS.slip * planned as f64 && planned > self.interval() {
            self.state.total = self.state.step + left.max(1);
        }
    }

    fn averaged(&self) -> Result<Snapshot> {
        Ok(self.parameters.averaged(self.optimiser.averages()?))
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        Ok(Checkpoint {
            state: self.state.clone(),
            values: self.parameters.snapshot()?,
            best: self.best.clone(),
            optimiser: self.optimiser.state()?,
        })
    }
}

fn clock(training: &Training, state: &State) -> Clock {
    Clock {
        budget: state.options.budget,
        began: training.began,
        earlier: state.seconds,
        afterwards: training.afterwards,
    }
}

fn warm_up_steps(total: u64) -> u64 {
    (total / PARAMS.warm_up_share).clamp(1, PARAMS.warm_up_steps)
}

fn optimiser(parameters: &Parameters, options: &FitOptions) -> Result<AdamW> {
    let settings = AdamWSettings {
        beta1: PARAMS.beta1,
        beta2: PARAMS.beta2,
        eps: PARAMS.eps,
        weight_decay: options.weight_decay,
        max_gradient_norm: Some(options.clip),
        average_decay: Some(options.average),
    };
    let decays = |name: &str| name.ends_with(".weight");
    Ok(AdamW::new(parameters.weights(), decays, settings)?)
}
