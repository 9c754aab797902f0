//! From a trained network to a bundle.

pub mod graphs;
pub mod onnx;
