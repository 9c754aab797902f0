//! The model card.

use std::collections::BTreeMap;

use edge_vae::{bundle::ModelCard, dataset::Split};

use crate::{nn::Snapshot, vae::State};

/// The card of a model that the run `state` made with the frames `split` of `dataset`: its
/// `values`, and its `metrics` beside those of training.
pub fn model_card(
    dataset: &str,
    split: &Split,
    state: &State,
    values: &Snapshot,
    mut metrics: BTreeMap<String, f64>,
) -> ModelCard {
    let best = state.records.iter().find(|r| r.step == state.best_step);
    if let Some(record) = best {
        metrics.insert("validation-nll-nats".to_owned(), record.validation_nll);
        metrics.insert("validation-kl-nats".to_owned(), record.validation_kl);
        if let Some(head) = record.head {
            let name = "synthetic-head-AUROC".to_owned();
            metrics.insert(name, head.validation_auroc);
        }
        if let Some(bound) = record.validation_bound {
            metrics.insert("validation-bound-nats".to_owned(), bound);
        }
    }
    ModelCard {
        dataset: dataset.to_owned(),
        train_frames: split.train.len(),
        validation_frames: split.validation.len(),
        calibration_frames: split.calibration.len(),
        preset: state.options.preset.name().to_owned(),
        seed: state.options.seed,
        steps: state.best_step,
        seconds: state.seconds.round(),
        parameters: parameters(values),
        trainer: format!("edge-vae-train {}", env!("CARGO_PKG_VERSION")),
        figures: metrics,
    }
}

/// Number of trained values, without the running statistics.
fn parameters(values: &Snapshot) -> usize {
    values
        .0
        .iter()
        .filter(|(name, _)| !name.contains(".running_"))
        .map(|(_, t)| t.elem_count())
        .sum()
}
