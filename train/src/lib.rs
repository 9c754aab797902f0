//! Trains variational autoencoders on normal frames and exports them to ONNX inside a bundle that
//! `edge-vae` runs.

pub mod calibration;
pub mod candidates;
pub mod cli;
pub mod data;
pub mod defects;
pub mod export;
pub mod features;
pub mod nn;
pub mod options;
pub mod outliers;
pub mod pipeline;
pub mod preview;
pub mod random;
pub mod reporter;
pub mod run_folder;
pub mod selection;
pub mod vae;
