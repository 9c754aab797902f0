//! What frames may be scored by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The score that decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// What separates synthetic defects from held-out normal frames best
    #[default]
    Auto,
    /// Residual of the reconstruction, in units of the decoder's deviation
    Residual,
    /// Residual standardised per location, or Mahalanobis distance of residual features at four
    /// scales and the posterior mean, whichever separates synthetic defects better
    ResidualZ,
    /// Negative ELBO of the frame
    Likelihood,
    /// Highest values of the likelihood map, standardised per location
    LikelihoodZ,
    /// KL divergence of the frame's posterior
    Latent,
    /// Head that was trained on synthetic defects
    Head,
    /// Mahalanobis distance of patch features; at 28x28 distance to prototypes of whole frames
    Features,
    /// Likelihood of a VAE over the features, which is trained after the network
    FeaturesVae,
    /// Gaussians over the pretrained backbone's finest features (stride 4).
    FineFeatures,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Residual => "residual",
            Self::ResidualZ => "residual-z",
            Self::Likelihood => "likelihood",
            Self::LikelihoodZ => "likelihood-z",
            Self::Latent => "latent",
            Self::Head => "head",
            Self::Features => "features",
            Self::FeaturesVae => "features-vae",
            Self::FineFeatures => "fine-features",
        })
    }
}
