//! A trained network as ONNX graphs, and that they agree with it.

mod agreement;
mod card;
mod golden;
pub mod graphs;
pub(crate) mod layers;
pub mod onnx;
pub mod residual;

pub use agreement::{LoadedGraphs, TOLERANCE, verify};
pub use card::model_card;
pub use golden::{GOLDEN_FRAME, GOLDEN_VALUES, GoldenFrame};
pub use graphs::NetworkGraphs;
