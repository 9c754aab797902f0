//! What the graphs of a model made of one frame.

/// Everything that was computed for one frame, without batch dimension; what a model does not have
/// is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelOutputs<'a> {
    /// The prepared frame, `C×H×W`.
    pub input: &'a [f32],
    /// Posterior mean, `L` or `L×h×w`.
    pub mean: &'a [f32],
    /// Posterior log-variance, `L` or `L×h×w`.
    pub log_variance: &'a [f32],
    /// Decoded posterior mean, `C×H×W`.
    pub reconstruction: &'a [f32],
    /// Bernoulli logits, `C×H×W`.
    pub logits: &'a [f32],
    /// Learned log-variance of the reconstruction, `C×H×W`.
    pub reconstruction_log_variance: &'a [f32],
    /// Logits of the head, `h×w`.
    pub head: &'a [f32],
    /// Distances of the features, `h×w`.
    pub distance: &'a [f32],
    /// Distances of residual and posterior mean, `h×w`.
    pub reconstruction_distance: &'a [f32],
    /// Distances of the finest features, `h×w`.
    pub detail_distance: &'a [f32],
}

/// Rows and columns of the maps of those sources that graphs compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphShapes {
    /// Of the tensor `head_logits`; `None` where no graph makes it.
    pub head: Option<[usize; 2]>,
    /// Of the tensor `distance`; `None` where no graph makes it.
    pub distance: Option<[usize; 2]>,
    /// Of the tensor `reconstruction_distance`; `None` where no graph makes it.
    pub reconstruction_distance: Option<[usize; 2]>,
    /// Of the tensor `detail_distance`; `None` where no graph makes it.
    pub detail_distance: Option<[usize; 2]>,
}
