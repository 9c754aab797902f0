//! The network on one device: its part of each step.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};

use super::{
    super::{
        gradients::{Gradients, Losses},
        schedule,
        step::{Shard, Training, TrainingStep},
    },
    collective::Collective,
};
use crate::{
    nn::{
        Parameters, Snapshot,
        optimiser::{AdamW, AdamWSettings},
    },
    options::FitOptions,
};

/// How Adam averages.
struct AdamParams {
    /// Decays of its averages; the second is shorter than usual (0.999), since runs are short.
    beta1: f64,
    beta2: f64,
    /// Keeps its division finite.
    eps: f64,
}

const PARAMS: AdamParams = AdamParams {
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
};

/// Weights and optimiser on one device. All replicas take the same steps, so all hold the same
/// bits.
pub(in crate::vae) struct Replica<'a> {
    training: &'a Training<'a>,
    options: FitOptions,
    device: Device,
    shards: Range<usize>,
    collective: Box<dyn Collective>,
    parameters: Parameters,
    optimiser: AdamW,
}

impl<'a> Replica<'a> {
    /// Before the first step; `shards` are those of each batch that are this one's.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn new(
        training: &'a Training<'a>,
        options: &FitOptions,
        device: &Device,
        shards: Range<usize>,
        collective: Box<dyn Collective>,
    ) -> Result<Self> {
        let parameters = training.network.parameters(options.seed, device)?;
        Ok(Self {
            optimiser: optimiser(&parameters, options)?,
            training,
            options: options.clone(),
            device: device.clone(),
            shards,
            collective,
            parameters,
        })
    }

    /// Takes over where an earlier run stopped.
    ///
    /// # Errors
    /// A value is missing or has another shape.
    pub(in crate::vae) fn restore(
        &mut self,
        values: &Snapshot,
        optimiser_state: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        self.parameters = self.parameters.with(values)?;
        self.optimiser = optimiser(&self.parameters, &self.options)?;
        Ok(self.optimiser.restore(optimiser_state)?)
    }

    /// What the whole batch of a step finds. Changes nothing.
    ///
    /// # Errors
    /// The device has no memory left, another rank left.
    pub(super) fn gradients(&mut self, step: TrainingStep) -> Result<Gradients> {
        let (training, options) = (self.training, &self.options);
        let mut rows = Vec::with_capacity(self.shards.len());
        let mut last = None;
        for number in self.shards.clone() {
            let shard = Shard {
                number,
                count: options.shards,
                device: &self.device,
            };
            let found = training.gradients(options, step, shard, &self.parameters)?;
            if shard.count == 1 {
                return Ok(found);
            }
            rows.push(found.flatten(&self.parameters, training.share(options, shard))?);
            last = Some(found);
        }
        let sum = self.collective.sum(rows)?;
        let like = last.context("a device without a shard")?;
        like.with_sum(&self.parameters, &sum)
    }

    /// Takes a step by the gradients of the whole batch.
    ///
    /// # Errors
    /// A loss or a gradient that is not finite, and those of [`Replica::gradients`].
    pub(super) fn step(&mut self, step: TrainingStep) -> Result<Losses> {
        let TrainingStep { number, total } = step;
        let made = self.gradients(step)?;
        let Losses {
            nll,
            divergence,
            head,
        } = made.losses;
        if !(nll.is_finite() && divergence.is_finite() && head.is_finite()) {
            bail!(
                "step {number}: the loss is not finite (log-likelihood {nll}, KL {divergence}, \
                 head {head}): try a lower --learning-rate"
            );
        }
        let warm_up = schedule::warm_up_steps(total);
        let rate = schedule::learning_rate(number, total, warm_up, self.options.learning_rate);
        let norm = self.optimiser.step(&made.gradients, rate)?;
        if !norm.is_finite() {
            bail!("step {number}: the gradient is not finite: try a lower --learning-rate");
        }
        let decay = schedule::average_decay(number, self.options.average);
        self.parameters.absorb(made.statistics, decay)?;
        Ok(made.losses)
    }

    /// Weights and running statistics.
    pub(in crate::vae) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What takes the steps.
    pub(in crate::vae) fn optimiser(&self) -> &AdamW {
        &self.optimiser
    }
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
