//! Odd training frames: which they are, what they look like, and a page on which people decide.

mod judge;
mod page;
mod ranking;

pub use judge::Judge;
pub use page::{ReviewJob, review};
pub use ranking::{RANKING, RankedFrame, Ranking, ScoredBy};
