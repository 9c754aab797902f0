//! `manifest.toml`: the settings that the rooms own, and what proves the bundle.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{BundleError, layout};
use crate::{
    model::{FeatureExtractorSettings, GraphSettings},
    preprocess::PreprocessSettings,
    scoring::Scoring,
    vae::VaeSpec,
};

/// The schema that this version writes and reads.
pub const SCHEMA_VERSION: u32 = 3;

/// Name of the encoder's graph in every bundle with a VAE.
pub const ENCODER: &str = "encoder.onnx";

/// Name of the decoder's graph in every bundle with a VAE.
pub const DECODER: &str = "decoder.onnx";

/// Name of the manifest in every bundle.
pub const MANIFEST: &str = "manifest.toml";

/// Name of the signature of manifest and files.
pub(crate) const SIGNATURE: &str = "model.sig";

/// Name of the file that holds all files of a sealed bundle.
pub(crate) const SEALED: &str = "sealed.age";

/// Name of the calibration's folder.
pub(crate) const CALIBRATION: &str = "calibration";

/// Largest sum of the sizes of all files, in bytes: a bundle is read into memory whole.
pub(crate) const MAX_TOTAL_BYTES: u64 = 1 << 30;

/// The whole of `manifest.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the model, then the first eight hexadecimal digits of the SHA-256 over encoder,
    /// decoder, feature extractor, graphs, the sources' statistics and the mask, one after the
    /// other: `surface-1a2b3c4d`.
    pub model_id: String,
    /// NPZ of lists of f64, of drawn defects: `scores`, `sizes` (shares of the frame's area) and
    /// `contrasts` (mean absolute change, 0–1). The operating table is made of them.
    #[serde(
        default,
        rename = "synthetic-defects",
        skip_serializing_if = "Option::is_none"
    )]
    pub synthetic_defects: Option<String>,
    /// From frame to tensor.
    pub preprocess: PreprocessSettings,
    /// Shapes and likelihood; absent where features alone judge and nothing is reconstructed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<VaeSpec>,
    /// A frozen network, pretrained or the user's own, whose feature maps `backbone_…` take the
    /// place of the encoder's in the graphs.
    #[serde(
        default,
        rename = "feature-extractor",
        skip_serializing_if = "Option::is_none"
    )]
    pub feature_extractor: Option<FeatureExtractorSettings>,
    /// The graphs that run after these, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub graphs: Vec<GraphSettings>,
    /// How map and score are computed; absent where a model only reconstructs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scoring>,
    /// The frame that proves an engine.
    pub golden: Golden,
    /// What the model was made of.
    pub card: ModelCard,
    /// What it learned since, where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptation: Option<Adaptation>,
    /// Every other file of the model by its name.
    pub files: BTreeMap<String, FileEntry>,
}

/// The golden frame and what training saw for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Golden {
    /// The picture, a PNG.
    pub frame: String,
    /// NPZ of f32 arrays without batch dimension, by tensor name: those of the VAE, those that
    /// score sources read, and `anomaly_map`.
    pub expected: String,
    /// The score of the golden frame, where the bundle has a scoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Largest absolute difference (of values above 1: relative) at which an engine still agrees:
    /// of tensors, unless their graph says otherwise.
    pub tolerance: f64,
    /// The same for anomaly map and score, which divide by small deviations and so enlarge an
    /// engine's rounding; their unit is a standard deviation.
    pub map_tolerance: f64,
}

/// What a model learned from accepted frames, without training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adaptation {
    /// When it last did, RFC 3339 in UTC.
    pub date: String,
    /// Accepted frames, of all times.
    pub frames: usize,
    /// How often each of the last counted, against a frame of training.
    pub weight: f64,
    /// Id of the model that was adapted last.
    pub from: String,
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
    /// Frames that the network was trained on.
    pub train_frames: usize,
    /// Frames held out for early stopping.
    pub validation_frames: usize,
    /// Frames held out from both. They calibrate, with folds all frames do.
    pub calibration_frames: usize,
    /// Preset of the trainer.
    pub preset: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Optimiser steps of the exported weights.
    pub steps: u64,
    /// Wall-clock training time in seconds.
    pub seconds: f64,
    /// Parameters of encoder and decoder; 0 without them.
    pub parameters: usize,
    /// Version of the trainer.
    pub trainer: String,
    /// Figures on held-out data, by name.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
}

impl Manifest {
    /// Parses and checks a manifest; `path` names it in errors.
    ///
    /// # Errors
    /// Another schema (looked at before anything else), a syntax error with its line, a key that
    /// is unknown, missing or of the wrong type, and a value that is impossible.
    pub fn parse(text: &str, path: &Path) -> Result<Self, BundleError> {
        let malformed = |error: toml::de::Error| BundleError::Manifest {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().lines().collect::<Vec<_>>().join(", "),
        };
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema_version: i64,
        }
        let found = toml::from_str::<SchemaOnly>(text)
            .map_err(malformed)?
            .schema_version;
        let supported = SCHEMA_VERSION;
        if (1..i64::from(supported)).contains(&found) {
            return Err(BundleError::OldSchema {
                path: path.to_owned(),
                found,
                supported,
            });
        }
        if found > i64::from(supported) {
            return Err(BundleError::NewerSchema {
                path: path.to_owned(),
                found,
                supported,
            });
        }
        if found < 1 {
            return Err(BundleError::UnknownSchema {
                path: path.to_owned(),
                found,
                supported,
            });
        }
        let manifest: Self = toml::from_str(text).map_err(malformed)?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// The text of `manifest.toml`; `path` names it in errors.
    ///
    /// # Errors
    /// A value that is impossible.
    pub fn to_toml(&self, path: &Path) -> Result<String, BundleError> {
        self.check(path)?;
        layout::to_toml(self).map_err(|error| BundleError::Setting {
            path: path.to_owned(),
            key: "manifest".into(),
            problem: format!(
                "cannot be written as TOML: {}",
                error.to_string().lines().collect::<Vec<_>>().join(", ")
            ),
        })
    }

    /// The ONNX files, in the order in which they run.
    pub(super) fn graph_files(&self) -> impl Iterator<Item = &str> {
        let vae = self.vae.iter().flat_map(|_| [ENCODER, DECODER]);
        let extractor = self.feature_extractor.iter().map(|settings| &settings.file);
        let graphs = self.graphs.iter().map(|graph| &graph.file);
        vae.chain(extractor.chain(graphs).map(String::as_str))
    }

    /// The name of the model without the digits of its weights.
    pub fn model_name(&self) -> &str {
        self.model_id
            .rsplit_once('-')
            .map_or(self.model_id.as_str(), |(name, _)| name)
    }
}

/// Line of a byte, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text
        .bytes()
        .take(byte)
        .filter(|&found| found == b'\n')
        .count()
}
