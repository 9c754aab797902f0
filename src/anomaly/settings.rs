//! What a bundle says about scoring.

use serde::{Deserialize, Serialize};

/// How a frame's anomaly map and score are computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Scoring {
    /// Residual of the reconstruction in units of the decoder's standard deviation,
    /// a = mean over channels of |x − r|/σ, smoothed, then standardised at each position by its
    /// mean and deviation over the training frames: z = (a − μ)/s.
    #[serde(rename_all = "kebab-case")]
    ResidualZ {
        /// File of the bundle with μ and s: NPY, f32, `2×H×W`, of the *smoothed* residual.
        statistics: String,
        /// Standard deviation of the Gaussian smoothing, in tensor pixels; 0 for none.
        smoothing: f32,
        /// From the map to one score.
        aggregation: Aggregation,
    },
}

/// How a map becomes one raw score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Aggregation {
    /// The largest value.
    Maximum,
    /// The mean of the largest values.
    TopFraction {
        /// Share of all pixels, above 0 and at most 1; at least one pixel counts.
        fraction: f32,
    },
}
