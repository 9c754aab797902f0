//! The densities that there are.

use std::fmt;

use super::Directions;

/// What a feature vector is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DensityKind {
    /// The Gaussian of its own cell (PaDiM): registered objects, and textures in place.
    PerLocation(Directions),
    /// The nearest of the Gaussians of its own and of the neighbouring cells: objects that are not
    /// always quite in place.
    LocalNeighbourhood(Directions),
    /// The nearest component of a mixture that all cells share: anything anywhere.
    Mixture(Directions),
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
        self.directions().is_some()
    }

    /// The components that its Gaussians are over, where it has Gaussians.
    fn directions(self) -> Option<Directions> {
        let of_mixture = match self {
            Self::Mixture(directions) => Some(directions),
            _ => None,
        };
        self.directions_of_cells().or(of_mixture)
    }

    /// The same, where it has a Gaussian for each cell.
    pub(super) fn directions_of_cells(self) -> Option<Directions> {
        match self {
            Self::PerLocation(directions) | Self::LocalNeighbourhood(directions) => {
                Some(directions)
            }
            _ => None,
        }
    }
}

impl fmt::Display for DensityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directions = self.directions().map_or("", Directions::name);
        f.pad(&format!("{}{directions}", self.name()))
    }
}
