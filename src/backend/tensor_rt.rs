//! How TensorRT builds its engines.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::BackendError;

/// Folder of engines and their records below the cache folder.
pub(crate) const TENSOR_RT_FOLDER: &str = "tensorrt";

/// The folder of all engines of a graph, below that of TensorRT.
pub(crate) fn graph_folder(folder: &Path, onnx: &[u8]) -> PathBuf {
    folder.join("graphs").join(digest(onnx))
}

/// The first half of the SHA-256, lower-case hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The numbers in which TensorRT computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats, as every other engine.
    #[default]
    Fp32,
    /// 16-bit floats where TensorRT finds them faster.
    Fp16,
    /// 8-bit integers where TensorRT finds them faster, else 16-bit floats.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::Fp32, Self::Fp16, Self::Int8];

    /// The name used in flags and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == text)
            .ok_or_else(|| BackendError::UnknownName {
                what: "precision",
                found: text.to_owned(),
                known: "fp32, fp16, int8",
            })
    }
}

/// What engine TensorRT builds of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TensorRtSettings {
    /// The numbers in which it computes.
    pub precision: Precision,
    /// A Jetson's deep-learning accelerator, 0 or 1, in place of the GPU; what it can't run runs on
    /// the GPU. It has no 32-bit floats.
    pub dla: Option<u32>,
}

impl TensorRtSettings {
    /// Checks that there is such an engine.
    ///
    /// # Errors
    /// A DLA with `fp32`.
    pub fn check(&self) -> Result<(), BackendError> {
        match (self.dla, self.precision) {
            (Some(_), Precision::Fp32) => Err(BackendError::DlaPrecision),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for TensorRtSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dla {
            None => write!(f, "{}", self.precision),
            Some(core) => write!(f, "{}, DLA {core}", self.precision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_names_and_a_dla_has_no_fp32() {
        for precision in Precision::ALL {
            assert_eq!(
                precision.to_string().parse::<Precision>().unwrap(),
                precision
            );
            let settings = TensorRtSettings {
                precision,
                dla: Some(1),
            };
            assert_eq!(settings.check().is_ok(), precision != Precision::Fp32);
            assert_eq!(settings.to_string(), format!("{precision}, DLA 1"));
        }
        let error = "bf16".parse::<Precision>().unwrap_err().to_string();
        assert!(error.contains("fp32, fp16, int8"), "{error}");
    }
}
