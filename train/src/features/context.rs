//! What a frame as a whole says of its cells.

use nalgebra::{DMatrix, DVector};

/// Frames for each direction of a context, at least: from fewer, what a direction says of a cell can't be told.
const FRAMES_OF_DIRECTION: usize = 5;

/// Most directions where they are not given.
const MOST_DIRECTIONS: usize = 96;

/// How far a context may be from the mean, in standard deviations of the training frames. Beyond that hardly anything
/// was learned, and a large defect, which changes the mean of its frame too, does not explain itself.
pub(super) const LIMIT: f32 = 2.0;

/// Number of directions for as many frames that are no copies of each other.
pub(super) fn directions(frames: usize) -> usize {
    (frames / FRAMES_OF_DIRECTION).min(MOST_DIRECTIONS)
}

/// From the mean x̄ of a frame's feature vectors over its cells to the context
/// a = clip(Q·(x̄ − m), ±2): its deviation in the principal directions of the means of training frames, in
/// units of their standard deviations. It says what batch, light, focus or codec a frame is of.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// m, of each channel.
    pub(super) mean: DVector<f32>,
    /// Q, directions×channels.
    pub(super) weights: DMatrix<f32>,
}

impl Context {
    /// Of no directions: frames say nothing of their cells.
    pub(super) fn none(channels: usize) -> Self {
        Self {
            mean: DVector::zeros(channels),
            weights: DMatrix::zeros(0, channels),
        }
    }

    /// Number of directions.
    pub(super) fn directions(&self) -> usize {
        self.weights.nrows()
    }

    /// Of the vectors channels×cells of a frame.
    pub(super) fn of(&self, vectors: &DMatrix<f32>) -> DVector<f32> {
        if self.directions() == 0 {
            return DVector::zeros(0);
        }
        let deviation = vectors.column_mean() - &self.mean;
        (&self.weights * deviation).map(|a| a.clamp(-LIMIT, LIMIT))
    }
}
