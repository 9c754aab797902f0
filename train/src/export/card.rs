//! The model card.

use std::collections::BTreeMap;

use edge_vae::{bundle::ModelCard, dataset::Split};

use crate::{nn::Snapshot, options::FitOptions, vae::State};

/// The card of a model that was made in so many `seconds` with the frames `split` of `dataset`: of
/// the `run` that trained its VAE, with the values that are exported, and `metrics` beside those of
/// training.
pub fn model_card(
    dataset: &str,
    split: &Split,
    options: &FitOptions,
    run: Option<(&State, &Snapshot)>,
    seconds: f64,
    mut metrics: BTreeMap<String, f64>,
) -> ModelCard {
    let best = run.and_then(|(state, _)| {
        let mut records = state.records.iter();
        records.find(|record| record.step == state.best_step)
    });
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
        preset: options.preset.name().to_owned(),
        seed: options.seed,
        steps: run.map_or(0, |(state, _)| state.best_step),
        seconds: run.map_or(seconds, |(state, _)| state.seconds).round(),
        parameters: run.map_or(0, |(_, values)| parameters(values)),
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
