//! The training loop: from prepared frames to the best average of the weights.

use std::{sync::atomic::Ordering, time::Instant};

use anyhow::{Result, bail};
use edge_vae::metrics::auroc;

use super::{
    checkpoint::{Checkpoint, State},
    clock::Clock,
    curve,
    progress::Progress,
    ranks::{self, Team},
    record::{HeadRecord, Record},
    schedule,
    step::{Training, TrainingStep},
    validation::Validator,
};
use crate::{nn::Snapshot, options::Budget};

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
}

const PARAMS: RunParams = RunParams {
    validations: 40,
    least_interval: 10,
    checkpoint_seconds: 60.0,
    timed_steps: 4,
    affordable_steps: 20.0,
    slip: 0.05,
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
    let (state, kept) = match start {
        Start::New(state) => (*state, None),
        Start::Resumed(checkpoint) => {
            let Checkpoint {
                state,
                values,
                best,
                optimiser,
            } = *checkpoint;
            (state, Some((values, best, optimiser)))
        }
    };
    let mut replicas = ranks::replicas(training, &state.options)?;
    if let Some((values, _, optimiser)) = &kept {
        for replica in &mut replicas {
            replica.restore(values, optimiser)?;
        }
    }
    ranks::together(replicas, |team| {
        let mut run = match kept {
            None => Run::start(training, team, state)?,
            Some((_, best, _)) => Run::resume(training, team, state, &best)?,
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
    })
}

struct Run<'a> {
    training: &'a Training<'a>,
    clock: Clock,
    state: State,
    team: Team<'a>,
    best: Snapshot,
}

impl<'a> Run<'a> {
    fn start(training: &'a Training<'a>, team: Team<'a>, state: State) -> Result<Self> {
        let mut run = Self {
            training,
            clock: clock(training, &state),
            best: team.first().parameters().snapshot()?,
            state,
            team,
        };
        run.state.total = run.plan()?;
        Ok(run)
    }

    fn resume(
        training: &'a Training<'a>,
        team: Team<'a>,
        state: State,
        best: &Snapshot,
    ) -> Result<Self> {
        let mut run = Self {
            training,
            clock: clock(training, &state),
            // Through `with`, so that a value missing in the file is found out now.
            best: team.first().parameters().with(best)?.snapshot()?,
            state,
            team,
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
        self.try_step(0)?;
        let mut each = began.elapsed().as_secs_f64();
        if PARAMS.affordable_steps * each < self.clock.seconds_left() {
            began = Instant::now();
            for step in 0..PARAMS.timed_steps {
                self.try_step(step)?;
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
        let progress = Progress::new(
            self.training.reporter,
            &self.state,
            self.training.devices.len(),
        );
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
        let losses = self.team.step(TrainingStep {
            number: self.state.step,
            total: self.state.total,
        })?;
        let running = &mut self.state.running;
        running.steps += 1;
        running.nll += losses.nll;
        running.divergence += losses.divergence;
        running.head += losses.head;
        self.state.step += 1;
        Ok(())
    }

    fn try_step(&mut self, number: u64) -> Result<()> {
        let total = self.state.total.max(1);
        self.team.try_step(TrainingStep { number, total })
    }

    fn interval(&self) -> u64 {
        (self.state.total / PARAMS.validations).max(PARAMS.least_interval)
    }

    /// What the averaged weights make of the held-out frames.
    fn validate(&mut self) -> Result<Record> {
        let averaged = self.team.first().parameters().with(&self.averaged()?)?;
        let device = self.training.device();
        let sums = Validator {
            network: self.training.network,
            parameters: &averaged,
            frames: self.training.validation,
            batches: self.training.batches(&self.state.options),
            noise: self.training.noise(&self.state.options, device),
            options: &self.state.options,
            batch: self.training.batch(&self.state.options),
            device,
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
                schedule::warm_up_steps(total),
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
        let replica = self.team.first();
        let averages = replica.optimiser().averages()?;
        Ok(replica.parameters().averaged(averages))
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        Ok(Checkpoint {
            state: self.state.clone(),
            values: self.team.first().parameters().snapshot()?,
            best: self.best.clone(),
            optimiser: self.team.first().optimiser().state()?,
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
