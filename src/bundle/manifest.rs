//! `manifest.toml`: the settings that the rooms own, and what proves the bundle.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::BundleError;
use crate::{
    calibration::Calibration,
    preprocess::{MAX_SIDE, PreprocessSettings},
    scoring::Scoring,
    vae::{Latent, Likelihood, VaeSpec},
};

/// The schema that this version writes and reads.
pub const SCHEMA_VERSION: u32 = 1;

/// Name of the encoder's graph in every bundle.
pub const ENCODER: &str = "encoder.onnx";

/// Name of the decoder's graph in every bundle.
pub const DECODER: &str = "decoder.onnx";

/// Name of the manifest in every bundle.
pub const MANIFEST: &str = "manifest.toml";

/// Largest sum of the sizes of all files, in bytes: a bundle is read into memory whole.
pub(super) const MAX_TOTAL_BYTES: u64 = 1 << 30;

/// More files than any bundle needs.
const MAX_FILES: usize = 256;

/// Most elements of a tensor or of a latent: 256 MiB of f32.
const MAX_ELEMENTS: usize = 1 << 26;

/// The whole of `manifest.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the model, then the first eight hexadecimal digits of the SHA-256 over encoder,
    /// decoder, the scoring's graphs and statistics and the mask, one after the other:
    /// `surface-1a2b3c4d`.
    pub model_id: String,
    /// From frame to tensor.
    pub preprocess: PreprocessSettings,
    /// Shapes and likelihood.
    pub vae: VaeSpec,
    /// How map and score are computed; absent where a model only reconstructs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scoring>,
    /// Threshold and target false-alarm rate.
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
    /// Largest absolute difference (of values above 1: relative) at which an engine still agrees:
    /// of the tensor and of the graphs' outputs.
    pub tolerance: f64,
    /// The same for anomaly map and score, which divide by small deviations and so enlarge an
    /// engine's rounding; their unit is a standard deviation.
    pub map_tolerance: f64,
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
    /// Parameters of encoder and decoder.
    pub parameters: usize,
    /// Version of the trainer.
    pub trainer: String,
    /// Figures on held-out data, by name.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
}

/// A key whose value is impossible, and why.
struct Fault {
    key: String,
    problem: String,
}

impl Fault {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
        }
    }
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
        toml::to_string(self).map_err(|error| BundleError::Setting {
            path: path.to_owned(),
            key: "manifest".into(),
            problem: format!(
                "cannot be written as TOML: {}",
                error.to_string().lines().collect::<Vec<_>>().join(", ")
            ),
        })
    }

    /// Checks every value, and the values against each other; `path` names the manifest in errors.
    ///
    /// # Errors
    /// The first value that is impossible, by its key.
    pub fn check(&self, path: &Path) -> Result<(), BundleError> {
        self.find_fault()
            .map_err(|Fault { key, problem }| BundleError::Setting {
                path: path.to_owned(),
                key,
                problem,
            })
    }

    /// The name of the model without the digits of its weights.
    pub fn model_name(&self) -> &str {
        self.model_id
            .rsplit_once('-')
            .map_or(self.model_id.as_str(), |(name, _)| name)
    }

    fn find_fault(&self) -> Result<(), Fault> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(Fault::new(
                "schema_version",
                format!("is {}, must be {SCHEMA_VERSION}", self.schema_version),
            ));
        }
        check_model_id(&self.model_id)?;
        self.check_files()?;
        check_tensor("preprocess", &self.preprocess.shape())?;
        check_tensor("vae", &self.vae.input_shape())?;
        self.check_vae()?;
        self.preprocess
            .validate()
            .map_err(|error| Fault::new("preprocess", error.to_string()))?;
        if let Some(mask) = &self.preprocess.mask {
            self.require("preprocess.mask", mask)?;
        }
        self.check_scoring()?;
        self.check_golden()?;
        self.check_card()
    }

    fn check_files(&self) -> Result<(), Fault> {
        if self.files.len() > MAX_FILES {
            return Err(Fault::new(
                "files",
                format!(
                    "lists {} files, at most {MAX_FILES} are read",
                    self.files.len()
                ),
            ));
        }
        let mut total = 0_u64;
        for (name, entry) in &self.files {
            let key = || format!("files.{:?}", shortened(name));
            if !is_plain_name(name) {
                return Err(Fault::new(
                    key(),
                    "is not a plain file name (letters, digits, `.`, `_`, `-`; at most 100; no leading dot)",
                ));
            }
            if name.eq_ignore_ascii_case(MANIFEST) {
                return Err(Fault::new(key(), "the manifest can't list itself"));
            }
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if entry.sha256.len() != 64 || !entry.sha256.bytes().all(hex) {
                return Err(Fault::new(
                    format!("{}.sha256", key()),
                    "must be 64 lower-case hexadecimal digits",
                ));
            }
            total = total.saturating_add(entry.bytes);
        }
        if total > MAX_TOTAL_BYTES {
            return Err(Fault::new(
                "files",
                format!("have {total} bytes together, at most {MAX_TOTAL_BYTES} are read"),
            ));
        }
        for name in [ENCODER, DECODER] {
            self.require("files", name)?;
        }
        Ok(())
    }

    /// A file that `key` names must be listed.
    fn require(&self, key: &str, name: &str) -> Result<(), Fault> {
        if self.files.contains_key(name) {
            Ok(())
        } else {
            Err(Fault::new(
                key,
                format!("`{}` is not listed under [files]", shortened(name)),
            ))
        }
    }

    fn check_vae(&self) -> Result<(), Fault> {
        let (input, tensor) = (self.vae.input_shape(), self.preprocess.shape());
        if input != tensor {
            return Err(Fault::new(
                "vae",
                format!("its input is {input:?} (C×H×W), but preprocessing gives {tensor:?}"),
            ));
        }
        let (shape, rank) = match self.vae.latent {
            Latent::Vector { length } => ([length, 1, 1], 1),
            Latent::Map {
                channels,
                height,
                width,
            } => ([channels, height, width], 3),
        };
        let elements = shape
            .iter()
            .try_fold(1_usize, |product, &side| product.checked_mul(side));
        if !elements.is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) {
            return Err(Fault::new(
                "vae.latent",
                format!(
                    "is {:?}, must have between 1 and {MAX_ELEMENTS} elements",
                    &shape[..rank]
                ),
            ));
        }
        if let Likelihood::Gaussian { sigma } = self.vae.likelihood
            && !(sigma.is_finite() && sigma > 0.0)
        {
            return Err(Fault::new(
                "vae.likelihood.sigma",
                format!("is {sigma}, must be positive and finite"),
            ));
        }
        Ok(())
    }

    fn check_scoring(&self) -> Result<(), Fault> {
        let Some(scoring) = &self.scoring else {
            return match self.calibration {
                None => Ok(()),
                Some(_) => Err(Fault::new("calibration", "needs a [scoring] to calibrate")),
            };
        };
        for name in scoring.files() {
            self.require("scoring", name)?;
        }
        scoring
            .validate(&self.vae)
            .map_err(|error| Fault::new("scoring", error.to_string()))?;
        match &self.calibration {
            None => Ok(()),
            Some(calibration) => calibration
                .validate()
                .map_err(|error| Fault::new("calibration", error.to_string())),
        }
    }

    fn check_golden(&self) -> Result<(), Fault> {
        self.require("golden.frame", &self.golden.frame)?;
        self.require("golden.expected", &self.golden.expected)?;
        for (key, tolerance) in [
            ("golden.tolerance", self.golden.tolerance),
            ("golden.map-tolerance", self.golden.map_tolerance),
        ] {
            // A tolerance of 1 or more would prove nothing about values of order 1.
            if !(tolerance > 0.0 && tolerance < 1.0) {
                return Err(Fault::new(
                    key,
                    format!("is {tolerance}, must be above 0 and below 1"),
                ));
            }
        }
        match (&self.scoring, self.golden.score) {
            (Some(_), None) => Err(Fault::new(
                "golden.score",
                "is missing, but the bundle has a [scoring]",
            )),
            (None, Some(_)) => Err(Fault::new(
                "golden.score",
                "is given, but the bundle has no [scoring]",
            )),
            (_, Some(score)) if !score.is_finite() => Err(Fault::new(
                "golden.score",
                format!("is {score}, must be finite"),
            )),
            _ => Ok(()),
        }
    }

    fn check_card(&self) -> Result<(), Fault> {
        if !(self.card.seconds.is_finite() && self.card.seconds >= 0.0) {
            return Err(Fault::new(
                "card.seconds",
                format!("is {}, must be 0 or more", self.card.seconds),
            ));
        }
        match self.card.figures.iter().find(|(_, v)| !v.is_finite()) {
            Some((name, value)) => Err(Fault::new(
                format!("card.figures.{:?}", shortened(name)),
                format!("is {value}, must be finite"),
            )),
            None => Ok(()),
        }
    }
}

/// Whether the name stays inside a folder on every system.
fn is_plain_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether a model may be called so: what [`Manifest::model_id`] has before its last hyphen.
pub(super) fn is_model_name(name: &str) -> bool {
    is_plain_name(name) && name.len() <= 64
}

fn check_model_id(id: &str) -> Result<(), Fault> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match id.rsplit_once('-') {
        Some((name, digits))
            if is_model_name(name) && digits.len() == 8 && digits.bytes().all(hex) =>
        {
            Ok(())
        }
        _ => Err(Fault::new(
            "model_id",
            format!(
                "is `{}`, must be a name (letters, digits, `.`, `_`, `-`; at most 64), a hyphen and 8 hexadecimal digits",
                shortened(id)
            ),
        )),
    }
}

fn check_tensor(key: &str, &[channels, height, width]: &[usize; 3]) -> Result<(), Fault> {
    if ![1, 3].contains(&channels) {
        return Err(Fault::new(
            format!("{key}.channels"),
            format!("is {channels}, must be 1 or 3"),
        ));
    }
    for (name, side) in [("height", height), ("width", width)] {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(Fault::new(
                format!("{key}.{name}"),
                format!("is {side}, must be between 1 and {MAX_SIDE}"),
            ));
        }
    }
    if channels * height * width > MAX_ELEMENTS {
        return Err(Fault::new(
            key,
            format!(
                "a tensor of {channels}×{height}×{width} has more than {MAX_ELEMENTS} elements"
            ),
        ));
    }
    Ok(())
}

/// A text from outside, short and free of control characters, so that an error stays one line.
fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Line of a byte, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text
        .bytes()
        .take(byte)
        .filter(|&found| found == b'\n')
        .count()
}
