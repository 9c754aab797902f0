//! From reconstruction to verdict: maps, scores, regions, calibration.

mod aggregation;
mod backbone;
mod calibration;
mod drift;
mod enlarge;
mod evidence;
mod map;
mod region;
mod scorer;
mod settings;
mod statistics;
mod verdict;

pub use crate::smoothing::GaussianSmoothing;
pub use backbone::{Backbone, BackboneError, BackboneSettings};
pub use calibration::{
    Calibration, Condition, Conditions, Likeness, MAX_CALIBRATION_FRAMES, MAX_CONDITIONS, Standing,
};
pub use drift::{
    Cause, DriftFrame, DriftMonitor, DriftSettings, Quantity, QuantityTest, TwoSample,
    WindowResult, two_sample,
};
pub use evidence::{
    DETAIL_DISTANCE, DISTANCE, EvidenceMap, GraphShapes, HEAD_LOGITS, Observed,
    RECONSTRUCTION_DISTANCE,
};
pub use map::ResidualMap;
pub use region::{Region, regions};
pub(crate) use scorer::Part;
pub use scorer::{Scorer, Share};
pub use settings::{Aggregation, ImageScore, MapScore, Mean, Scoring, Source, SourceSettings};
pub use statistics::{PositionStatistics, Standardisation, statistics_size};
pub use verdict::{Label, Verdict};

/// Why a score or a calibration could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnomalyError {
    /// Too few calibration frames for the promised false-alarm rate.
    #[error(
        "{found} calibration frames cannot promise a false-alarm rate of {rate}: at least {needed} are needed; hold out more normal frames or accept a higher rate"
    )]
    TooFewFrames {
        /// Frames given.
        found: usize,
        /// Frames needed.
        needed: usize,
        /// The rate asked for.
        rate: f64,
    },
    /// Too few groups of calibration frames for the promised false-alarm rate.
    #[error(
        "{found} groups of calibration frames cannot promise a false-alarm rate of {rate}: at least {needed} are needed, however many frames each has; hold out more groups or accept a higher rate"
    )]
    TooFewGroups {
        /// Groups given.
        found: usize,
        /// Groups needed.
        needed: usize,
        /// The rate asked for.
        rate: f64,
    },
    /// More calibration frames than a manifest has room for.
    #[error(
        "{found} calibration frames are more than a manifest has room for, which is {most}; take a random part of them"
    )]
    TooManyFrames {
        /// Frames given.
        found: usize,
        /// Most frames.
        most: usize,
    },
    /// A setting outside of its domain.
    #[error("{setting}: found {found}, expected {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// Its domain.
        expected: &'static str,
    },
    /// Values that belong together differ in number.
    #[error("{what}: found {found} values, expected {expected}")]
    Length {
        /// The values.
        what: &'static str,
        /// Their number.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// A value that nothing can be compared with.
    #[error(
        "{what} {index} is {found}, not a finite number: look for such values in the model's weights or the input"
    )]
    NotFinite {
        /// The kind of value.
        what: &'static str,
        /// Which one, from 0.
        index: usize,
        /// NaN or an infinity.
        found: f64,
    },
    /// A source of evidence that the model does not have.
    #[error(
        "score `{source_name}` needs the tensor `{tensor}`, which no graph of the bundle makes: choose another score, or train with it"
    )]
    NoEvidence {
        /// The source.
        source_name: &'static str,
        /// The tensor it reads.
        tensor: &'static str,
    },
    /// A scoring that contradicts itself.
    #[error("{0}")]
    Scoring(String),
    /// A likelihood or a divergence that could not be computed.
    #[error(transparent)]
    Likelihood(#[from] crate::vae::VaeError),
    /// Statistics that cannot standardise a map.
    #[error("statistics of the anomaly maps: {reason}")]
    Statistics {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A calibration that [`Calibration::fit`] would not have made.
    #[error("calibration: {reason}; take the bundle from its source, or train it again")]
    InvalidCalibration {
        /// What is wrong.
        reason: String,
    },
}

/// Refuses values of another number.
pub(crate) fn check_length(
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), AnomalyError> {
    if found == expected {
        Ok(())
    } else {
        Err(AnomalyError::Length {
            what,
            found,
            expected,
        })
    }
}

/// Refuses NaN and infinities.
fn check_finite<T: Copy + Into<f64>>(what: &'static str, values: &[T]) -> Result<(), AnomalyError> {
    match values
        .iter()
        .map(|&value| value.into())
        .enumerate()
        .find(|(_, value)| !value.is_finite())
    {
        Some((index, found)) => Err(AnomalyError::NotFinite { what, index, found }),
        None => Ok(()),
    }
}
