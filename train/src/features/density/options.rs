//! How to fit a density.

use super::{Room, Shrinkage};

/// How to fit.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Rows and columns of the grid. Each map's sides must be multiples or divisors of its. Without
    /// it the grid that suits all maps and whose number of cells is nearest to 256 (as a ratio).
    pub grid: Option<[usize; 2]>,
    /// Principal components, r. Without it as many as [`Self::bytes`] allows: of all, of the
    /// leading ones at most [`Self::most_components`], of the least varying at most half; rounded
    /// down to a multiple of 8, above 64 of 32, where these do not fit.
    pub components: Option<usize>,
    /// Leading components of per-location Gaussians at most, and of a VAE.
    pub most_components: usize,
    /// Most dimensions of the image-level covariate; without it one for five frames that are no
    /// augmented samples, at most 96. 0 for none. A mixture has no covariate.
    pub covariate: Option<usize>,
    /// Bytes that the graph's file shall not exceed where the components are chosen: a bundle has
    /// 10 MB, and the networks and fine-scale features take the other half.
    pub bytes: usize,
    /// Cells up, down, left and right in which the local-neighbourhood minimum looks; 1 or more.
    pub reach: usize,
    /// Numbers of Gaussians among which a mixture chooses.
    pub gaussians: Vec<usize>,
    /// Shrinkage of their covariances; without it chosen too.
    pub shrinkage: Option<Shrinkage>,
    /// Steps in which the VAE is trained.
    pub steps: usize,
    /// Seed of the mixture and of the VAE.
    pub seed: u64,
    /// Frames, evenly spaced, from which scales and components are estimated, and held-out frames
    /// that a mixture is chosen by. Both are shared by all cells, so that more would change little.
    pub statistics_frames: usize,
    /// Bytes of feature vectors that are kept from the first pass for the second.
    pub kept_bytes: usize,
    /// Memory for kept vectors; the rest of them lies in a file.
    pub room: Room,
    /// Feature vectors to which a mixture is fitted, and by which the number of its Gaussians is
    /// chosen: more change no covariance.
    pub mixture_vectors: [usize; 2],
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            grid: None,
            components: None,
            most_components: 64,
            covariate: None,
            bytes: 4_700_000,
            reach: 1,
            gaussians: vec![1, 4, 16, 32, 64],
            shrinkage: None,
            steps: 3000,
            seed: 0,
            statistics_frames: 512,
            kept_bytes: 512 << 20,
            room: Room::default(),
            mixture_vectors: [100_000, 10_000],
        }
    }
}
