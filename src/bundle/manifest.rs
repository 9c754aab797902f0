//! `manifest.toml`: the settings that the rooms own, and what proves the bundle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    anomaly::{Calibration, Scoring},
    preprocess::PreprocessSettings,
    vae::VaeSpec,
};

/// The schema that this version writes and reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole of `manifest.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the model, then the first eight hexadecimal digits of its weights' SHA-256:
    /// `surface-1a2b3c4d`.
    pub model_id: String,
    /// From frame to tensor.
    pub preprocess: PreprocessSettings,
    /// Shapes and likelihood.
    pub vae: VaeSpec,
    /// How map and score are computed; absent where a model only reconstructs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scoring>,
    /// Threshold and promised false-alarm rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The frame that proves an engine.
    pub golden: Golden,
    /// What the model was made of.
    pub card: ModelCard,
    /// Every other file of the bundle by its name.
    pub files: BTreeMap<String, FileEntry>,
}

/// The golden frame and what training saw for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Golden {
    /// The picture, a PNG.
    pub frame: String,
    /// NPZ of f32 arrays without batch dimension: `input`, `mean`, `log_variance`,
    /// `reconstruction`, and, where the model has them, `logits` or `reconstruction_log_variance`,
    /// and `anomaly_map`; each decoded from the posterior mean.
    pub expected: String,
    /// The score of the golden frame, where the bundle has a scoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Largest absolute difference (of values above 1: relative) at which an engine still agrees.
    pub tolerance: f64,
}

/// Size and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Lower-case hexadecimal SHA-256.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// What the model was trained on, how long, and how well it did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelCard {
    /// Name of the data set (never a path).
    pub dataset: String,
    /// Frames trained on.
    pub train_frames: usize,
    /// Frames held out for early stopping.
    pub validation_frames: usize,
    /// Frames held out for calibration.
    pub calibration_frames: usize,
    /// Preset of the trainer.
    pub preset: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Optimiser steps of the exported weights.
    pub steps: u64,
    /// Wall-clock training time in seconds.
    pub seconds: f64,
    /// Parameters of encoder and decoder.
    pub parameters: usize,
    /// Version of the trainer.
    pub trainer: String,
    /// Figures on held-out data, by name.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
}
