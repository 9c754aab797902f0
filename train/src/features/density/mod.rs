//! Densities over feature maps of normal frames, and how far a frame is from them.
//!
//! [`fit`] reads the feature maps of normal frames in two passes, [`FittedDensity::distance`] tells
//! how far those of another frame are from what is normal, and [`FittedDensity::to_onnx`] writes
//! the same as a graph. The maps may come from any network.
//!
//! 1. Every map is brought to one grid: finer ones by the maximum of each cell, coarser ones by
//!    repetition. The channels of all maps at a cell, each divided by its deviation over all cells
//!    and frames, are the feature vector f.
//! 2. f is expressed in principal components: of the variation *within* the cells (per-location
//!    Gaussians) or of all variation (mixture). A density is over all of them, over the leading
//!    ones, or over the half that varies least ([`ComponentSubset`]).
//! 3. The score of a cell is the Mahalanobis distance to a Gaussian: of the cell (PaDiM, Defard et
//!    al. 2021), of the nearest neighbouring cell, or of the nearest component of a mixture.
//! 4. Gaussians of cells are conditional on an image-level covariate: the mean of the frame's
//!    vectors over all cells, in its principal components. What is normal at a cell depends on it
//!    linearly, and how far all cells are from normal by a factor.
//! 5. In the Gaussians' place a small VAE may learn the vectors of a whole grid; the score is then
//!    the negative evidence lower bound of each cell.
//!
//! A network without feature maps has prototypes of whole frames in their place.

mod cells;
mod component_subset;
mod components;
mod covariate;
mod feature_vae;
mod fit;
mod graph;
mod grid;
mod k_means;
mod kept;
mod kind;
mod mixture;
mod model;
mod options;
mod per_location;
mod prototypes;
mod scale;
mod shrinkage;
mod source;
mod store;
mod triangle;
mod vae_graph;
mod vectors;

pub use component_subset::ComponentSubset;
pub use fit::fit;
pub use grid::MapShape;
pub use kept::{Kept, Part};
pub use kind::DensityKind;
pub use model::{FittedDensity, Summary};
pub use options::FitOptions;
pub use prototypes::Prototypes;
pub use shrinkage::Shrinkage;
pub use source::{FeatureMap, FeatureSource};
pub use store::{Room, Store};

#[cfg(test)]
mod tests;
