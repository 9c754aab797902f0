//! The densities that there are.

use std::fmt;

use super::ComponentSubset;

/// What a feature vector is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DensityKind {
    /// The Gaussian of its own cell (PaDiM): registered objects, and textures in place.
    PerLocation(ComponentSubset),
    /// The nearest of the Gaussians of its own and of the neighbouring cells: objects that are not
    /// always quite in place.
    LocalNeighbourhood(ComponentSubset),
    /// The nearest component of a mixture that all cells share: anything anywhere.
    Mixture(ComponentSubset),
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
            Self::PerLocation(_) => "per-location Gaussian",
            Self::LocalNeighbourhood(_) => "local-neighbourhood minimum",
            Self::Mixture(_) => "global mixture",
            Self::Vae => "VAE over features",
            Self::Prototypes { .. } => "prototypes",
        }
    }

    /// Whether it is made of Gaussians, so that its score is a Mahalanobis distance.
    pub fn is_gaussian(self) -> bool {
        self.subset().is_some()
    }

    /// The components that its Gaussians are over, where it has Gaussians.
    fn subset(self) -> Option<ComponentSubset> {
        let of_mixture = match self {
            Self::Mixture(subset) => Some(subset),
            _ => None,
        };
        self.subset_of_cells().or(of_mixture)
    }

    /// The same, where it has a Gaussian for each cell.
    pub(super) fn subset_of_cells(self) -> Option<ComponentSubset> {
        match self {
            Self::PerLocation(subset) | Self::LocalNeighbourhood(subset) => Some(subset),
            _ => None,
        }
    }
}

impl fmt::Display for DensityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subset = self.subset().map_or("", ComponentSubset::name);
        f.pad(&format!("{}{subset}", self.name()))
    }
}
