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
    /// Their negative importance-weighted bound, nats a frame, where it is trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_bound: Option<f64>,
}

impl Record {
    /// What early stopping watches, nats a frame: the negative importance-weighted bound where it
    /// is trained on, else −log p(x|z) + β·KL, with β = 1 the negative ELBO.
    pub fn validation_loss(&self, beta: f64) -> f64 {
        match self.validation_bound {
            Some(bound) => bound,
            None => self.validation_nll + beta * self.validation_kl,
        }
    }
}
