//! What frames may be scored by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which score a bundle judges by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// What tells synthetic defects from held-out normal frames best.
    #[default]
    Auto,
    /// Residual of the reconstruction in units of the decoder's deviation.
    Residual,
    /// What is left unexplained, in deviations from what is left of normal frames at each position: of the
    /// residual alone, or of the residual at four scales and the posterior mean together (Mahalanobis'
    /// distance), whichever tells synthetic defects better.
    ResidualZ,
    /// Negative ELBO of the frame.
    Likelihood,
    /// The strangest places of its map, standardised at each position.
    LikelihoodZ,
    /// KL divergence of the frame's posterior.
    Latent,
    /// The head that was trained on synthetic defects.
    Head,
    /// Gaussians over the network's features; of a network without feature maps, as that of 28×28,
    /// prototypes of whole frames.
    Features,
    /// Likelihood of a VAE over the features, which is trained after the network.
    FeaturesVae,
}

impl Score {
    /// Whether anything over features is a candidate.
    pub(crate) fn compares_features(self) -> bool {
        matches!(self, Self::Auto | Self::Features | Self::FeaturesVae)
    }

    /// Whether Gaussians of what reconstructions leave unexplained are a candidate.
    pub(crate) fn compares_reconstructions(self, has_backbone: bool) -> bool {
        match self {
            Self::ResidualZ => true,
            // Which finds more, and in less time.
            Self::Auto => !has_backbone,
            _ => false,
        }
    }
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
        })
    }
}
