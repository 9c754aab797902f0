//! What a run writes down at each validation.

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done.
    pub step: u64,
    /// Passes over the training frames.
    pub epoch: f64,
    /// Seconds trained.
    pub seconds: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Weight of the KL divergence in the last step.
    pub kl_weight: f64,
    /// −log p(x|z) in nats a frame, mean over the training steps since the last record.
    pub train_nll: f64,
    /// KL divergence in nats a frame, likewise.
    pub train_kl: f64,
    /// −log p(x|z) of the held-out frames under the averaged weights, nats a frame.
    pub validation_nll: f64,
    /// Their KL divergence, nats a frame.
    pub validation_kl: f64,
}

impl Record {
    /// −log p(x|z) + β·KL of the held-out frames, nats a frame: what early stopping watches. With
    /// β = 1 it is the negative ELBO.
    pub fn validation_loss(&self, beta: f64) -> f64 {
        self.validation_nll + beta * self.validation_kl
    }
}
