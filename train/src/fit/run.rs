//! The training loop: from prepared frames to the best average of the weights.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use edge_vae::{metrics::auroc, preprocess::Normalise, vae::Latent};
use rand::seq::SliceRandom;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::{
    augment::Batches,
    checkpoint::{Checkpoint, State},
    frames::Frames,
    objective::{self, Weights},
    options::{Budget, FitOptions},
    progress::Progress,
    record::{HeadRecord, Record},
    report, schedule,
};
use crate::{
    network::{Mode, Network, Parameters, Snapshot},
    optimiser::{AdamW, AdamWSettings},
    random::{Purpose, stream},
};

/// Validations in a run.
const VALIDATIONS: u64 = 40;
/// Fewest steps between two of them.
const LEAST_INTERVAL: u64 = 10;
/// Most frames of one validation.
const VALIDATION_FRAMES: usize = 1000;
/// Frames that go through the network at once in validation.
const VALIDATION_BATCH: usize = 50;
/// Pictures with a synthetic defect, and as many clean ones, in one validation of a head: few
/// frames are looked at several times, in other places and with other defects.
const VALIDATION_DEFECTS: usize = 96;
/// Counters of the streams of validation: each kind of use has its own range.
const NOISE_COUNTER: u64 = 1 << 40;
const DEFECT_COUNTER: u64 = 1 << 41;
/// Seconds between two checkpoints.
const CHECKPOINT_SECONDS: f64 = 60.0;
/// Share of the time that is kept for what follows training, at least: export, features, the choice of a
/// score, calibration.
const RESERVE: f64 = 0.25;
/// Share of the time that training has in any case.
const LEAST_SHARE: f64 = 0.2;
/// Share of the training's time that a VAE over features takes after it.
const VAE_SHARE: f64 = 0.3;

/// What training works on.
#[derive(Debug)]
pub(super) struct Material<'a> {
    /// All prepared frames.
    pub frames: &'a Frames,
    /// Their normalisation.
    pub normalise: &'a Normalise,
    /// Frames trained on.
    pub train: &'a [usize],
    /// Frames watched for early stopping.
    pub validation: &'a [usize],
    /// Side of the crops to train on; without it whole frames.
    pub crop: Option<usize>,
    /// When the command began.
    pub began: Instant,
    /// Seconds that what follows training takes, roughly; 0 where that is not known.
    pub afterwards: f64,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// A trained network.
#[derive(Debug)]
pub(super) struct Trained {
    /// Weights and running statistics of the best validation, as graphs store them.
    pub best: Snapshot,
    /// Where the run ended.
    pub state: State,
}

/// Trains until the budget is spent or validation no longer improves, from `checkpoint` on where
/// there is one; writes checkpoints, metrics and the loss curve into `folder`.
///
/// # Errors
/// Ctrl-C (the checkpoint is then written), a loss that is not finite, a full disk.
pub(super) fn train(
    network: &Network,
    material: &Material,
    state: State,
    checkpoint: Option<Checkpoint>,
    folder: &Path,
    device: &Device,
) -> Result<Trained> {
    let options = state.options.clone();
    let fresh = network.parameters(options.seed, device)?;
    let mut run = match checkpoint {
        Some(checkpoint) => Run::resume(network, material, checkpoint, &fresh, device)?,
        None => Run::start(network, material, state, fresh, device)?,
    };
    if run.state.finished {
        // Another score may have been asked for, and what follows may be interrupted.
        run.save(folder)?;
    } else {
        run.go(folder)?;
    }
    Ok(Trained {
        best: run.best.as_stored()?,
        state: run.state,
    })
}

struct Run<'a> {
    network: &'a Network,
    material: &'a Material<'a>,
    device: &'a Device,
    state: State,
    /// Seconds trained before this call.
    earlier: f64,
    parameters: Parameters,
    optimiser: AdamW,
    best: Snapshot,
}

impl<'a> Run<'a> {
    fn start(
        network: &'a Network,
        material: &'a Material<'a>,
        state: State,
        parameters: Parameters,
        device: &'a Device,
    ) -> Result<Self> {
        let optimiser = optimiser(&parameters, &state.options)?;
        let mut run = Self {
            network,
            material,
            device,
            best: parameters.snapshot()?,
            earlier: state.seconds,
            state,
            parameters,
            optimiser,
        };
        run.state.total = run.plan()?;
        Ok(run)
    }

    fn resume(
        network: &'a Network,
        material: &'a Material<'a>,
        checkpoint: Checkpoint,
        fresh: &Parameters,
        device: &'a Device,
    ) -> Result<Self> {
        let parameters = fresh.with(&checkpoint.values)?;
        // Through `with`, so that a value missing in the file is found out now.
        let best = fresh.with(&checkpoint.best)?.snapshot()?;
        let mut optimiser = optimiser(&parameters, &checkpoint.state.options)?;
        optimiser.restore(&checkpoint.optimiser)?;
        let mut run = Self {
            network,
            material,
            device,
            earlier: checkpoint.state.seconds,
            state: checkpoint.state,
            parameters,
            optimiser,
            best,
        };
        let (beta, dimensions) = (run.state.options.beta, network.spec().dimensions());
        for record in &mut run.state.records {
            record.complete(beta, dimensions);
        }
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
        let per_epoch = self.steps_per_epoch() as f64;
        match self.state.options.budget {
            Budget::Steps(steps) => Ok(steps.max(1)),
            Budget::Epochs(epochs) => Ok((epochs * per_epoch).ceil().max(1.0) as u64),
            Budget::Minutes(minutes) => {
                let mut began = Instant::now();
                self.gradients(0)?;
                let mut each = began.elapsed().as_secs_f64();
                // The first step is slower than the rest: four more tell better, if there is time.
                let trials = 4;
                if 20.0 * each < self.seconds_left() {
                    began = Instant::now();
                    for step in 0..trials {
                        self.gradients(step)?;
                    }
                    each = began.elapsed().as_secs_f64() / trials as f64;
                }
                let afterwards = self.material.afterwards;
                if afterwards > 60.0 * minutes * (1.0 - LEAST_SHARE) {
                    eprintln!(
                        "warning: what follows training takes about {:.1} minutes more: the \
                         command will end later than --minutes {minutes}",
                        afterwards / 60.0
                    );
                }
                // The optimiser adds a little to each step.
                let steps = (self.seconds_left() / (1.1 * each)).max(0.0) as u64;
                if steps < LEAST_INTERVAL {
                    bail!(
                        "--minutes {minutes} leaves time for {steps} steps after reading the \
                         frames: give more minutes or a smaller --preset"
                    );
                }
                Ok(steps)
            }
        }
    }

    fn seconds_left(&self) -> f64 {
        match self.state.options.budget {
            Budget::Minutes(minutes) => {
                let whole = 60.0 * minutes;
                let left = (whole - self.material.afterwards) / (1.0 + VAE_SHARE);
                let training = left.min(whole * (1.0 - RESERVE)).max(whole * LEAST_SHARE);
                training - self.earlier - self.material.began.elapsed().as_secs_f64()
            }
            Budget::Epochs(_) | Budget::Steps(_) => f64::INFINITY,
        }
    }

    fn go(&mut self, folder: &Path) -> Result<()> {
        let began = Instant::now();
        let mut saved = Instant::now();
        let progress = Progress::new(self.state.total, self.state.step);
        if self.state.step == 0 {
            // From now on a checkpoint in the folder is this run's, and the folder can be written.
            self.save(folder)?;
        }
        while self.state.step < self.state.total {
            self.step()?;
            self.state.seconds = self.earlier + began.elapsed().as_secs_f64();
            if self.seconds_left() <= 0.0 {
                self.state.total = self.state.step;
            }
            progress.step(&self.state);
            let validate = self.state.step.is_multiple_of(self.interval())
                || self.state.step == self.state.total;
            if validate {
                let record = self.validate()?;
                let stop = self.judge(record)?;
                self.replan();
                progress.validated(&self.state);
                if stop {
                    progress.note(&format!(
                        "no improvement in {} validations: stopping early",
                        self.state.options.patience
                    ));
                    break;
                }
            }
            let interrupted = self.material.interrupted.load(Ordering::Relaxed);
            if interrupted || validate || saved.elapsed().as_secs_f64() > CHECKPOINT_SECONDS {
                self.save(folder)?;
                saved = Instant::now();
            }
            if interrupted {
                progress.finish();
                bail!(
                    "interrupted at step {} of {}: the checkpoint is in {}; --resume continues",
                    self.state.step,
                    self.state.total,
                    folder.display()
                );
            }
        }
        progress.finish();
        self.state.finished = true;
        self.save(folder)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.checkpoint()?.save(folder)?;
        report::write(folder, &self.state)
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

    /// What step `step` finds. Changes nothing.
    fn gradients(&self, step: u64) -> Result<Gradients> {
        let options = &self.state.options;
        let indices = self.batch_indices(step);
        let counter = step * indices.len() as u64;
        let batches = self.batches();
        let batch = batches.train(&indices, &options.augmentation, counter, self.device)?;
        let total = self.state.total.max(1);
        let samples = schedule::importance_samples(
            step,
            total,
            options.importance_share,
            options.importance_samples,
        );
        let noise = self.noise(Purpose::Noise, counter, indices.len(), samples)?;
        let weigh = |full| schedule::kl_weight(step, total, options.kl_warm_up, full);
        let weights = Weights {
            kl: weigh(options.beta),
            free_bits: options.free_bits,
            importance_samples: samples,
            head: options.head.unwrap_or_default(),
            warm_up: weigh(1.0),
        };
        let mut mode = Mode::Train(Vec::new());
        let loss = objective::loss(
            self.network,
            &self.parameters,
            &mut mode,
            &batch,
            &noise,
            weights,
        )?;
        let gradients = loss.objective.backward()?;
        let statistics = match mode {
            Mode::Train(statistics) => statistics,
            Mode::Evaluate => Vec::new(),
        };
        Ok(Gradients {
            gradients,
            statistics,
            nll: scalar(&loss.negative_log_likelihood)?,
            divergence: scalar(&loss.divergence)?,
            head: match &loss.head {
                Some(head) => scalar(&head.loss)?,
                None => 0.0,
            },
        })
    }

    /// The frames of a step: each epoch is a permutation of its own, a rest shorter than a batch
    /// is left out. Fewer frames than a batch come as often as they are needed.
    fn batch_indices(&self, step: u64) -> Vec<usize> {
        let per_epoch = self.steps_per_epoch();
        let (epoch, place) = (step / per_epoch, (step % per_epoch) as usize);
        let repeats = self.batch().div_ceil(self.material.train.len());
        let mut order = self.material.train.repeat(repeats);
        order.shuffle(&mut stream(self.state.options.seed, Purpose::Order, epoch));
        let batch = self.batch();
        order[place * batch..(place + 1) * batch].to_vec()
    }

    fn batch(&self) -> usize {
        let wanted = self.state.options.batch;
        match self.state.options.head {
            // No two pictures of a batch are alike.
            Some(_) => wanted,
            None => wanted.min(self.material.train.len()),
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        (self.material.train.len() / self.batch()).max(1) as u64
    }

    fn interval(&self) -> u64 {
        (self.state.total / VALIDATIONS).max(LEAST_INTERVAL)
    }

    fn batches(&self) -> Batches<'_> {
        Batches {
            frames: self.material.frames,
            normalise: self.material.normalise,
            donors: self.material.train,
            crop: self.material.crop,
            tensor: [self.network.spec().height, self.network.spec().width],
            head: self.state.options.head,
            seed: self.state.options.seed,
        }
    }

    /// Standard normal noise for `samples` of each of `count` frames, N×L or N×h×w×L with
    /// N = samples·count: the first of each frame, then the second of each, and so on.
    fn noise(
        &self,
        purpose: Purpose,
        counter: u64,
        count: usize,
        samples: usize,
    ) -> Result<Tensor> {
        let spec = self.network.spec();
        let most = self.material.crop.unwrap_or(usize::MAX);
        let latent = match spec.latent {
            // A crop has a map of its own size.
            Latent::Map {
                channels,
                height,
                width,
            } => Latent::Map {
                channels,
                height: spec.height.min(most) * height / spec.height,
                width: spec.width.min(most) * width / spec.width,
            },
            vector => vector,
        };
        let mut shape = latent.shape();
        let length: usize = shape.iter().product();
        // Channels come last in training.
        shape.rotate_left(1);
        shape.insert(0, samples * count);
        let seed = self.state.options.seed;
        let mut values = vec![0.0_f32; samples * count * length];
        values
            .par_chunks_mut(length)
            .enumerate()
            .for_each(|(index, out)| {
                let (sample, place) = ((index / count) as u64, (index % count) as u64);
                // Far beyond the counters of frames.
                let mut random = stream(seed, purpose, (sample << 48) + counter + place);
                out.fill_with(|| StandardNormal.sample(&mut random));
            });
        Ok(Tensor::from_vec(values, shape, self.device)?)
    }

    /// What the averaged weights make of the held-out frames, with the same draws each time.
    fn validate(&mut self) -> Result<Record> {
        let averaged = self.parameters.with(&self.averaged()?)?;
        let frames = self.material.validation;
        let (pictures, with_defects) = match self.state.options.head {
            None => (
                frames[..frames.len().min(VALIDATION_FRAMES)].to_vec(),
                false,
            ),
            Some(_) => {
                let all = frames.iter().copied().cycle();
                (all.take(VALIDATION_DEFECTS).collect(), true)
            }
        };
        let mut sums = Validation::default();
        let size = VALIDATION_BATCH.min(2 * self.batch());
        for (batch, indices) in pictures.chunks(size).enumerate() {
            let counter = (batch * size) as u64;
            self.validate_batch(&averaged, indices, counter, false, &mut sums)?;
            if with_defects {
                self.validate_batch(&averaged, indices, counter, true, &mut sums)?;
            }
        }
        let running = std::mem::take(&mut self.state.running);
        let steps = running.steps as f64;
        let count = sums.count;
        let options = &self.state.options;
        let last = self.state.step - 1;
        let total = self.state.total;
        Ok(Record {
            step: self.state.step,
            epoch: self.state.step as f64 / self.steps_per_epoch() as f64,
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

    /// Adds what the network makes of the frames `indices`, with or without defects, to `sums`.
    fn validate_batch(
        &self,
        parameters: &Parameters,
        indices: &[usize],
        counter: u64,
        defects: bool,
        sums: &mut Validation,
    ) -> Result<()> {
        let options = &self.state.options;
        let (batches, binarise) = (self.batches(), options.augmentation.binarise);
        let batch = if defects {
            let counter = DEFECT_COUNTER + counter;
            batches.validate_defects(indices, counter, binarise, self.device)?
        } else {
            batches.validate(indices, counter, binarise, self.device)?
        };
        let samples = options.importance_samples;
        let noise_counter = NOISE_COUNTER + counter;
        let noise = self.noise(Purpose::Validate, noise_counter, indices.len(), samples)?;
        let weights = Weights {
            kl: options.beta,
            free_bits: 0.0,
            importance_samples: samples,
            head: options.head.unwrap_or_default(),
            warm_up: 1.0,
        };
        let mode = &mut Mode::Evaluate;
        let loss = objective::loss(self.network, parameters, mode, &batch, &noise, weights)?;
        let count = indices.len() as f64;
        sums.count += count;
        sums.objective += scalar(&loss.objective)? * count;
        sums.nll += scalar(&loss.negative_log_likelihood)? * count;
        sums.divergence += scalar(&loss.divergence)? * count;
        if let Some(bound) = &loss.negative_bound {
            sums.bound += scalar(bound)? * count;
        }
        if let Some(head) = &loss.head {
            sums.head += scalar(&head.loss)? * count;
            let scores = head.scores.to_vec1::<f32>()?.into_iter().map(f64::from);
            if defects {
                sums.defective.extend(scores);
            } else {
                sums.normal.extend(scores);
            }
        }
        Ok(())
    }

    /// Keeps the average when `record` is the best so far; whether it is time to stop.
    fn judge(&mut self, record: Record) -> Result<bool> {
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
        let left = (self.seconds_left().max(0.0) * rate) as u64;
        let planned = self.state.total - self.state.step;
        let slip = left.abs_diff(planned) as f64;
        if slip > 0.05 * planned as f64 && planned > self.interval() {
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

/// What one step finds.
struct Gradients {
    gradients: candle_core::backprop::GradStore,
    /// Of each batch normalisation: name, mean, variance.
    statistics: Vec<(String, Tensor, Tensor)>,
    nll: f64,
    divergence: f64,
    /// The head's weighted loss, 0 without a head.
    head: f64,
}

/// Sums over the pictures of a validation.
#[derive(Default)]
struct Validation {
    count: f64,
    objective: f64,
    nll: f64,
    divergence: f64,
    /// The negative importance-weighted bound.
    bound: f64,
    head: f64,
    /// Scores of the clean pictures.
    normal: Vec<f64>,
    /// Scores of those with a defect.
    defective: Vec<f64>,
}

fn warm_up_steps(total: u64) -> u64 {
    (total / 20).clamp(1, 100)
}

fn scalar(t: &Tensor) -> Result<f64> {
    let value = t
        .to_dtype(candle_core::DType::F32)?
        .to_scalar::<f32>()
        .context("cannot read the loss")?;
    Ok(f64::from(value))
}

fn optimiser(parameters: &Parameters, options: &FitOptions) -> Result<AdamW> {
    let settings = AdamWSettings {
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: options.weight_decay,
        max_gradient_norm: Some(options.clip),
        average_decay: Some(options.average),
    };
    let decays = |name: &str| name.ends_with(".weight");
    Ok(AdamW::new(parameters.weights(), decays, settings)?)
}
