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
    /// stopping watches it. NaN where the record comes from a trainer that did not write it, until
    /// [`Record::complete`].
    #[serde(default = "unknown")]
    pub validation_objective: f64,
    /// The head, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadRecord>,
}

fn unknown() -> f64 {
    f64::NAN
}

impl Record {
    /// Works out what an older trainer did not write, of a network without a head for frames of
    /// `dimensions` numbers that was trained under `beta`.
    pub(super) fn complete(&mut self, beta: f64, dimensions: usize) {
        if self.validation_objective.is_nan() {
            let negative_elbo = self.validation_nll + beta * self.validation_kl;
            self.validation_objective =
                self.validation_bound.unwrap_or(negative_elbo) / dimensions as f64;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_record_is_completed_by_its_bound_or_its_elbo() {
        let record = |bound: &str| -> Record {
            let text = format!(
                r#"{{"step": 890, "epoch": 1.0, "seconds": 155.9, "learning_rate": 0.001,
                    "kl_weight": 0.25, "train_nll": 107.2, "train_kl": 103.1,
                    "validation_nll": 70.0, "validation_kl": 20.0{bound}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let mut plain = record("");
        assert!(plain.validation_objective.is_nan() && plain.head.is_none());
        plain.complete(2.0, 200);
        assert_eq!(plain.validation_objective, 110.0 / 200.0);
        plain.complete(1.0, 200);
        assert_eq!(plain.validation_objective, 110.0 / 200.0);
        let mut bounded = record(r#", "validation_bound": 85.0"#);
        bounded.complete(1.0, 200);
        assert_eq!(bounded.validation_objective, 85.0 / 200.0);
    }
}
