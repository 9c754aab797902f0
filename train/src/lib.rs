//! Trains variational autoencoders on normal frames and exports them to ONNX inside a bundle that
//! `edge-vae` runs.

pub mod backbone;
pub mod cli;
pub mod defects;
pub mod detection;
pub mod export;
pub mod features;
pub mod fit;
pub mod memory;
pub mod network;
pub mod ops;
pub mod optimiser;
pub mod random;
