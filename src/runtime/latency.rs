//! How long a frame took.

use std::time::Duration;

/// How long the stages of one frame took; zero for stages that did not run: that an invalid frame
/// did not reach, or that [`Explain`](super::Explain) left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// From frame to tensor, the check for defects of the frame included.
    pub prepare: Duration,
    /// The encoder.
    pub encode: Duration,
    /// The decoder.
    pub decode: Duration,
    /// The graphs after it: head, features.
    pub detect: Duration,
    /// Map, score, verdict and regions.
    pub score: Duration,
    /// All of it.
    pub total: Duration,
}
