//! Training: options, frames, loss, loop, checkpoints.

mod augment;
mod checkpoint;
mod frames;
mod objective;
mod options;
mod progress;
mod record;
mod report;
mod run;
mod schedule;
pub use options::{Augmentation, Budget, FitOptions};
