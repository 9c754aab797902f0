//! What a run writes down at each validation.

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`. A network with a head learns from crops of large frames: nats are
/// then those of a crop.
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
    /// Their negative importance-weighted bound, nats a frame, where the run ends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_bound: Option<f64>,
    /// What is minimised, of the held-out frames, with all weights as at the end of the run: early
    /// stopping watches it.
    pub validation_objective: f64,
    /// The head, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadRecord>,
}

/// What the head made of synthetic defects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadRecord {
    /// Its weighted loss, mean over the training steps since the last record.
    pub train_loss: f64,
    /// That of the held-out frames, half of them with synthetic defects that are the same each
    /// time, with all weights as at the end of the run.
    pub validation_loss: f64,
    /// Area under the ROC curve of the mean of the largest logits: held-out frames with synthetic
    /// defects against clean ones.
    pub validation_auroc: f64,
}
