//! Why a calibration could not be made, or is impossible.

use crate::value::ValueError;

/// Why a calibration could not be made, or is impossible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// Too few calibration frames for the target false-alarm rate.
    #[error(
        "{found} calibration frames cannot guarantee a false-alarm rate of {rate}: at least \
         {needed} are needed; hold out more normal frames or accept a higher rate"
    )]
    TooFewFrames {
        /// Frames given.
        found: usize,
        /// Frames needed.
        needed: usize,
        /// The rate that was requested.
        rate: f64,
    },
    /// Too few groups of calibration frames for the target false-alarm rate.
    #[error(
        "{found} groups of calibration frames cannot guarantee a false-alarm rate of {rate}: at \
         least {needed} are needed, however many frames each has; hold out more groups or accept \
         a higher rate"
    )]
    TooFewGroups {
        /// Groups given.
        found: usize,
        /// Groups needed.
        needed: usize,
        /// The rate that was requested.
        rate: f64,
    },
    /// A rate is asked of a calibration that guarantees none.
    #[error(
        "the model guarantees no false-alarm rate, since it was trained on too few frames: \
         calibrate it with normal frames that it does not know, or train it on more"
    )]
    Unguaranteed,
    /// More calibration frames than a bundle has room for.
    #[error(
        "{found} calibration frames are more than a bundle has room for, which is {most}; take a \
         random part of them"
    )]
    TooManyFrames {
        /// Frames given.
        found: usize,
        /// Most frames.
        most: usize,
    },
    /// A rate or a score outside of its domain, or lists of different lengths.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A calibration that [`Calibration::fit`](super::Calibration::fit) would not have made.
    #[error("calibration: {reason}; take the bundle from its source, or train it again")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
}
