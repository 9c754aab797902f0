//! The image-level covariate: what a frame as a whole says of its cells.

use nalgebra::{DMatrix, DVector};

/// How much of the frame as a whole is taken into account.
#[derive(Debug)]
pub(super) struct CovariateParams {
    /// Frames for each dimension, at least: from fewer, what a dimension says of a cell can't be
    /// told.
    frames_per_dimension: usize,
    /// Most dimensions where they are not given: more make graphs larger and find no more.
    most: usize,
    /// How far a covariate may be from the mean, in standard deviations of the training frames.
    /// Beyond that hardly anything was learned, and a large defect, which changes the mean of its
    /// frame too, does not explain itself.
    pub(super) limit: f32,
}

pub(super) const PARAMS: CovariateParams = CovariateParams {
    frames_per_dimension: 5,
    most: 96,
    limit: 2.0,
};

/// Number of dimensions for as many frames that are no augmented samples.
pub(super) fn components(frames: usize) -> usize {
    (frames / PARAMS.frames_per_dimension).min(PARAMS.most)
}

/// From the mean x̄ of a frame's feature vectors over its cells to the covariate
/// a = clip(Q·(x̄ − m), ±2): its deviation in the principal components of the means of training
/// frames, in units of their standard deviations. It says what batch, light, focus or codec a frame
/// is of.
#[derive(Clone, Debug)]
pub(super) struct Covariate {
    /// m, of each channel.
    pub(super) mean: DVector<f32>,
    /// Q, components×channels.
    pub(super) weights: DMatrix<f32>,
}

impl Covariate {
    /// Its first `count` components.
    pub(super) fn truncated(&self, count: usize) -> Self {
        let count = count.min(self.components());
        Self {
            mean: self.mean.clone(),
            weights: self.weights.rows(0, count).clone_owned(),
        }
    }

    /// Number of components.
    pub(super) fn components(&self) -> usize {
        self.weights.nrows()
    }

    /// Of the vectors channels×cells of a frame.
    pub(super) fn of(&self, vectors: &DMatrix<f32>) -> DVector<f32> {
        if self.components() == 0 {
            return DVector::zeros(0);
        }
        let deviation = vectors.column_mean() - &self.mean;
        (&self.weights * deviation).map(|a| a.clamp(-PARAMS.limit, PARAMS.limit))
    }
}
