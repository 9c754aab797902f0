//! TensorRT's engines of a bundle: built ahead of time, accepted on frames, and found again.
//!
//! TensorRT compiles each graph for one GPU, which takes minutes. [`build`] does it once, compares
//! the scores with those of another engine, and keeps a [`BuiltEngine`] in an [`EngineStore`]; from
//! then on `tensorrt` and `auto` run on it.

mod agreement;
mod build;
mod provider;
mod store;
#[cfg(test)]
mod tests;
mod variants;

pub use agreement::Agreement;
pub use build::{BuildError, BuildProgress, Comparison, build};
pub use provider::{EngineProvider, Scored};
pub use store::{BuiltEngine, EngineState, EngineStore};
pub use variants::golden_variants;
