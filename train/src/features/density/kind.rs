//! The densities that there are.

use std::fmt;

/// What a feature vector is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DensityKind {
    /// The Gaussian of its own cell (PaDiM): registered objects, and textures in place.
    PerLocation,
    /// The nearest of the Gaussians of its own and of the neighbouring cells: objects that are not
    /// always quite in place.
    LocalNeighbourhood,
    /// The nearest component of a mixture that all cells share: anything anywhere.
    Mixture,
    /// The likelihood of a VAE over the vectors of all cells: surfaces that never lie the same, and
    /// what depends on its neighbours. Only for grids whose sides are multiples of 4, and 8 or
    /// more.
    Vae,
    /// The nearest of typical normal frames, smoothed by a Gaussian.
    Prototypes {
        /// Its standard deviation, as a share of the shorter side; 0 for none.
        smoothing: f32,
    },
}

impl DensityKind {
    /// The name used in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerLocation => "per-location Gaussian",
            Self::LocalNeighbourhood => "local-neighbourhood minimum",
            Self::Mixture => "global mixture",
            Self::Vae => "VAE over features",
            Self::Prototypes { .. } => "prototypes",
        }
    }

    /// Whether it is made of Gaussians, so that its score is a Mahalanobis distance.
    pub fn is_gaussian(self) -> bool {
        self.is_of_cells() || self == Self::Mixture
    }

    /// Whether it has a Gaussian for each cell.
    pub(super) fn is_of_cells(self) -> bool {
        matches!(self, Self::PerLocation | Self::LocalNeighbourhood)
    }
}

impl fmt::Display for DensityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
