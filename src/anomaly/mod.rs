//! From reconstruction to verdict: maps, scores, regions, calibration.

mod settings;

pub use settings::{Aggregation, Calibration, Scoring};

/// Why a score or a calibration could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnomalyError {
    /// Too few calibration frames for the promised false-alarm rate.
    #[error(
        "{found} calibration frames cannot promise a false-alarm rate of {rate}: at least {needed} are needed"
    )]
    TooFewFrames {
        /// Frames given.
        found: usize,
        /// Frames needed.
        needed: usize,
        /// The rate asked for.
        rate: f64,
    },
}
