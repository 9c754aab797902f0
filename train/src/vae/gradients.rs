//! What one shard of a batch, or the whole of it, finds; in one row of numbers, to be summed.

use anyhow::{Result, ensure};
use candle_core::{Tensor, backprop::GradStore};

use crate::nn::{NormStatistics, Parameters};

/// What one step finds.
#[derive(Debug)]
pub(super) struct Gradients {
    /// Of the objective.
    pub gradients: GradStore,
    /// Of each batch normalisation.
    pub statistics: Vec<NormStatistics>,
    /// Means over the frames.
    pub losses: Losses,
}

/// Parts of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Losses {
    /// −log p(x|z) in nats a frame.
    pub nll: f64,
    /// KL divergence in nats a frame.
    pub divergence: f64,
    /// The head's weighted loss, 0 without a head.
    pub head: f64,
}

impl Gradients {
    /// All numbers in one row, in an order that `parameters` fix, times `share`.
    ///
    /// # Errors
    /// The device has no memory left.
    pub(super) fn flatten(&self, parameters: &Parameters, share: f64) -> Result<Tensor> {
        let Losses {
            nll,
            divergence,
            head,
        } = self.losses;
        let weights = parameters.weights().values();
        let mut parts = weights
            .filter_map(|weight| self.gradients.get(weight))
            .map(Tensor::flatten_all)
            .collect::<Result<Vec<_>, _>>()?;
        for norm in &self.statistics {
            parts.extend([norm.mean.detach(), norm.variance.detach()]);
        }
        if let Some(device) = parts.first().map(|part| part.device().clone()) {
            let losses = [nll as f32, divergence as f32, head as f32];
            parts.push(Tensor::new(&losses, &device)?);
        }
        Ok((Tensor::cat(&parts, 0)? * share)?)
    }

    /// What `sum` holds in the order of [`Gradients::flatten`], with the shapes of these.
    ///
    /// # Errors
    /// It has another number of values.
    pub(super) fn with_sum(self, parameters: &Parameters, sum: &Tensor) -> Result<Self> {
        let mut place = 0;
        let mut next = |like: &Tensor| {
            let length = like.elem_count();
            place += length;
            sum.narrow(0, place - length, length)?.reshape(like.shape())
        };
        let mut gradients = GradStore::default();
        for weight in parameters.weights().values() {
            if let Some(own) = self.gradients.get(weight) {
                gradients.insert(weight, next(own)?);
            }
        }
        let mut statistics = Vec::with_capacity(self.statistics.len());
        for norm in self.statistics {
            statistics.push(NormStatistics {
                mean: next(&norm.mean)?,
                variance: next(&norm.variance)?,
                layer: norm.layer,
            });
        }
        let losses = sum.narrow(0, place, sum.elem_count() - place)?;
        let losses = losses.to_vec1::<f32>()?;
        ensure!(
            losses.len() == 3,
            "the devices differ in what they sum: {} values are left, wanted 3",
            losses.len()
        );
        let [nll, divergence, head] = [0, 1, 2].map(|index| f64::from(losses[index]));
        Ok(Self {
            gradients,
            statistics,
            losses: Losses {
                nll,
                divergence,
                head,
            },
        })
    }
}
