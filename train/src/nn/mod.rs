//! What networks are made of and trained with: operations, layers, parameters, the optimiser.

pub(crate) mod blocks;
mod forward;
mod layer;
pub mod memory;
pub mod ops;
pub mod optimiser;
mod parameters;
mod start;
mod weights;

pub use forward::NORM_EPSILON;
pub use layer::{Branch, Layer};
pub use parameters::{Mode, NormStatistics, Parameters, Snapshot};
pub use start::{DenseStart, Norm, Start, Weight};
