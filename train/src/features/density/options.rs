//! How to fit a density.

use super::Shrinkage;

/// How to fit.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Rows and columns of the grid. Each map's sides must be multiples or divisors of its. Without
    /// it the grid that suits all maps and whose number of cells is nearest to 256 (as a ratio).
    pub grid: Option<[usize; 2]>,
    /// Principal components, r. Without it as many as [`Self::bytes`] allows, at most
    /// [`Self::most_components`], rounded down to a multiple of 8, above 64 of 32.
    pub components: Option<usize>,
    /// r of per-location Gaussians at most, and of a VAE: with 48, 64 or 96 of 152, magnetic tiles
    /// and drawn parts are found alike, and few frames of cloth better with 64.
    pub most_components: usize,
    /// The same of a mixture. What tells an anomalous place of an object that lies as it falls are
    /// components that hardly vary: with 64 of 152 a third of what all find is missed.
    pub most_mixture_components: usize,
    /// Most dimensions of the image-level covariate; without it one for five frames that are no
    /// augmented samples, at most 96. 0 for none. A mixture has no covariate.
    pub covariate: Option<usize>,
    /// Bytes that the graph's file shall not exceed where the components are chosen: a bundle has
    /// 10 MB, half of them for the network.
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
            most_mixture_components: 160,
            covariate: None,
            bytes: 5_000_000,
            reach: 1,
            gaussians: vec![1, 4, 16, 32, 64],
            shrinkage: None,
            steps: 3000,
            seed: 0,
            statistics_frames: 512,
            kept_bytes: 512 << 20,
            mixture_vectors: [100_000, 10_000],
        }
    }
}
