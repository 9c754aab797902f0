//! What a bundle says about the graphs that run after the VAE and the feature extractor.

use serde::{Deserialize, Serialize};

/// A graph that finds its inputs by name among the tensors of the VAE, the feature extractor's maps
/// `backbone_…`, the encoder's `features_…`, and what the graphs before it made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GraphSettings {
    /// File of the bundle, ONNX.
    pub file: String,
    /// How closely an engine has to agree on what it makes.
    #[serde(default, skip_serializing_if = "ToleranceClass::is_tensor")]
    pub tolerance: ToleranceClass,
}

impl GraphSettings {
    /// A graph whose tensors are compared as those of the VAE are.
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            tolerance: ToleranceClass::Tensor,
        }
    }

    /// A graph that divides by small deviations, as a Mahalanobis distance does.
    pub fn of_distances(file: impl Into<String>) -> Self {
        Self {
            tolerance: ToleranceClass::Map,
            ..Self::new(file)
        }
    }
}

/// Which tolerance of the golden check a graph's tensors have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToleranceClass {
    /// That of the VAE's tensors.
    #[default]
    Tensor,
    /// That of anomaly map and score: for values that small deviations were divided by, which
    /// enlarges an engine's rounding.
    Map,
}

impl ToleranceClass {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_tensor(&self) -> bool {
        *self == Self::Tensor
    }
}
