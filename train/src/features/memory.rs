//! Memory for features while densities are fitted. It changes where they lie and how many are on
//! their way, and nothing that comes of them.

use super::density::Room;

/// Frames that a model takes before results are handed over, where memory is plenty: enough to keep
/// it busy.
const ROUND: usize = 8;

/// How much of the features is in memory at once.
#[derive(Clone, Debug)]
pub struct FeatureMemory {
    /// For feature vectors that several fits and passes share.
    pub room: Room,
    /// Frames that a model takes before results are handed over; all wait for the slowest.
    pub round: usize,
}

impl Default for FeatureMemory {
    /// As much as is of use.
    fn default() -> Self {
        Self {
            room: Room::default(),
            round: ROUND,
        }
    }
}
