//! The feature maps of a frame, as a model's graphs made them.

use std::fmt;

use edge_vae::{Model, model::ModelError};

use super::density::FeatureMap;

/// Feature maps of one frame: name, C×h×w and values of each.
pub type Maps = Vec<(String, [usize; 3], Vec<f32>)>;

/// Which maps of a frame a density reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// Patch features: of the pretrained backbone, or of the trained network's encoder and head.
    Patch,
    /// The backbone's finest features, at stride 4.
    Fine,
    /// The residual at several scales and the posterior mean ([`crate::export::residual`]).
    Residual,
    /// The prepared frame itself.
    Frame,
}

impl Features {
    /// The maps that `model` made of the frame `input` (C×H×W, of `shape`) when it last ran.
    pub fn of(self, model: &Model, input: &[f32], shape: [usize; 3]) -> Maps {
        let maps = match self {
            Self::Patch => model.feature_maps(),
            Self::Fine => model.detail_maps(),
            Self::Residual => model.residual_maps(),
            Self::Frame => vec![("input", shape, input)],
        };
        maps.into_iter()
            .map(|(name, shape, values)| (name.to_owned(), shape, values.to_vec()))
            .collect()
    }

    /// Runs what makes the maps of the frame `input`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn run(self, model: &mut Model, input: &[f32]) -> Result<(), ModelError> {
        match self {
            Self::Patch | Self::Fine => model.run_features(input),
            Self::Residual => model.run_residual(input),
            Self::Frame => Ok(()),
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patch => "patch features",
            Self::Fine => "fine-scale features",
            Self::Residual => "residual features",
            Self::Frame => "whole frames",
        })
    }
}

/// Maps as densities take them.
pub fn borrowed(maps: &Maps) -> Vec<FeatureMap<'_>> {
    maps.iter()
        .map(|(name, shape, values)| FeatureMap {
            name,
            shape: *shape,
            values,
        })
        .collect()
}
