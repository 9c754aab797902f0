//! From a trained network to a bundle.

mod agreement;
mod bundle;
mod golden;
pub mod graphs;
pub mod onnx;
pub mod residual;
mod second_network;

pub use agreement::{Graphs, TOLERANCE, prove};
pub use bundle::Export;
pub use second_network::SecondNetwork;
