//! From what the graphs made of a frame to its anomaly map and its raw score: score sources,
//! standardisation, aggregation, regions.

mod aggregation;
mod error;
mod region;
mod residual;
mod score_map;
mod scorer;
mod settings;
mod source_map;
mod statistics;
mod validation;

pub use error::ScoringError;
pub use region::{Region, RegionExtent, regions};
pub use residual::ResidualMap;
pub use score_map::ScoreMap;
pub use scorer::Scorer;
pub(crate) use scorer::SourceSubset;
pub use settings::{Aggregation, ImageScore, MapScore, Mean, ScoreSource, Scoring, SourceSettings};
pub use source_map::SourceShare;
pub use statistics::{PositionStatistics, Standardisation, statistics_size};
