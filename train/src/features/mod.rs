//! Gaussians, or a VAE, over a network's feature maps of normal frames: the scores `features` and `features-vae`.
//!
//! [`fit`] reads the feature maps of normal frames in two passes, [`Model::distance`] tells how far
//! those of another frame are from what is normal, and [`Model::to_onnx`] writes the same as the
//! graph `features.onnx`. The maps may come from any network.
//!
//! 1. Every map is brought to one grid: finer ones by the maximum of each cell, coarser ones by
//!    repetition. The channels of all maps at a cell, each divided by its deviation over all cells
//!    and frames, are the feature vector f.
//! 2. f is expressed in principal directions: of the variation *within* the positions
//!    ([`Kind::PerPosition`], [`Kind::ShiftTolerant`]) or of all variation
//!    ([`Kind::PositionFree`]).
//! 3. In the first r directions Gaussians have full covariances; what lies beyond is left out. The
//!    distance is Mahalanobis' (per-position Gaussians: PaDiM, Defard et al. 2021).
//! 4. Gaussians of positions are those of the cell's vector *given the frame's context*: the mean of its
//!    vectors over all cells, in its principal directions, of which what is normal at a cell depends
//!    linearly, and how far all cells are from it by a factor.
//!
//! 5. In the Gaussians' place a small VAE may learn the vectors of a whole grid ([`Kind::Vae`]); the distance is
//!    then the negative evidence lower bound of each cell.
//!
//! A network without feature maps has [`Prototypes`] in their place.

mod autoencoder;
mod context;
mod directions;
mod fit;
mod graph;
mod grid;
mod k_means;
mod kept;
mod mixture;
mod model;
mod position;
mod prototypes;
mod selection;
mod spread;
mod triangle;

use std::fmt;

use anyhow::Result;

pub use fit::fit;
pub use grid::MapShape;
pub use kept::{Kept, Part};
pub use model::{Model, Summary};
pub use prototypes::Prototypes;
pub use selection::Shrinkage;

/// A feature map of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FeatureMap<'a> {
    /// Name of the tensor in the graph that makes it.
    pub name: &'a str,
    /// C×h×w.
    pub shape: [usize; 3],
    /// C·h·w values, channel after channel.
    pub values: &'a [f32],
}

/// Frames whose feature maps can be had as often as needed.
pub trait FeatureSource {
    /// Number of frames.
    fn frames(&self) -> usize;

    /// Number of frames that are no copies of others.
    fn originals(&self) -> usize {
        self.frames()
    }

    /// How much a frame counts: 1, or less where it is one of many copies of another; more than 0.
    fn weight(&self, frame: usize) -> f64 {
        let _ = frame;
        1.0
    }

    /// How much a frame counts for a mixture, which has no context to tell frames by: 0 where it is a copy so
    /// unlike the frames that it would be taken for a kind of its own, and hide defects.
    fn mixture_weight(&self, frame: usize) -> f64 {
        self.weight(frame)
    }

    /// Called before each of `total` steps of a training that a fit goes through: may show how far it is, and
    /// end it.
    ///
    /// # Errors
    /// Whatever ends the training, such as Ctrl-C.
    fn step(&mut self, done: usize, total: usize) -> Result<()> {
        let _ = (done, total);
        Ok(())
    }

    /// Calls `visit` with the feature maps of each of `frames` (from 0, ascending), one after the
    /// other in that order. The maps are the same in number, order, name and shape each time.
    ///
    /// # Errors
    /// A frame that can't be had, and the errors of `visit`, which end the visit.
    fn visit(
        &mut self,
        frames: &[usize],
        visit: &mut dyn FnMut(&[FeatureMap<'_>]) -> Result<()>,
    ) -> Result<()>;
}

/// What a feature vector is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The one of its own cell: registered objects and textures in place.
    PerPosition,
    /// The nearest of those of its own and of the neighbouring cells: objects that are not always
    /// quite in place.
    ShiftTolerant,
    /// The nearest of a mixture that all cells share: anything anywhere.
    PositionFree,
    /// The likelihood of a VAE over the vectors of all cells: surfaces that never lie the same, and what
    /// depends on its neighbours. Only for grids whose sides are multiples of 4, and 8 or more.
    Vae,
}

impl Kind {
    /// Every kind of Gaussians, from the most to the least particular about position.
    pub const GAUSSIANS: [Self; 3] = [Self::PerPosition, Self::ShiftTolerant, Self::PositionFree];

    /// The name used in flags and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerPosition => "per-position",
            Self::ShiftTolerant => "shift-tolerant",
            Self::PositionFree => "position-free",
            Self::Vae => "VAE",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How to fit.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows and columns of the grid. Each map's sides must be multiples or divisors of its. Without
    /// it the grid that suits all maps and whose number of cells is nearest to 256 (as a ratio).
    pub grid: Option<[usize; 2]>,
    /// Directions of full covariance, r. Without it as many as [`Self::bytes`] allows, at most 64
    /// (160 for [`Kind::PositionFree`]; always 64 for [`Kind::Vae`]), rounded down to a multiple of 8,
    /// above 64 of 32.
    pub directions: Option<usize>,
    /// Most directions of the frame's context; without it one for five frames that are no copies, at
    /// most 96. 0 for none. [`Kind::PositionFree`] has no context.
    pub context: Option<usize>,
    /// Bytes that the graph's file shall not exceed where the directions are chosen.
    pub bytes: usize,
    /// Cells up, down, left and right in which [`Kind::ShiftTolerant`] looks; 1 or more.
    pub reach: usize,
    /// Numbers of components among which [`Kind::PositionFree`] chooses.
    pub components: Vec<usize>,
    /// Shrinkage of their covariances; without it chosen too.
    pub shrinkage: Option<Shrinkage>,
    /// Steps in which the VAE is trained.
    pub steps: usize,
    /// Seed of the mixture and of the VAE.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grid: None,
            directions: None,
            context: None,
            bytes: 5_000_000,
            reach: 1,
            components: vec![1, 4, 16, 32, 64],
            shrinkage: None,
            steps: 3000,
            seed: 0,
        }
    }
}

#[cfg(test)]
mod tests;
