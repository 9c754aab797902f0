//! ONNX Runtime, opened at run time, with its providers for CPU, CUDA and TensorRT.

mod device_check;
mod graph;
mod message;
mod profile;
mod runtime;
mod tensor_rt;
#[cfg(test)]
mod tests;

pub(super) use graph::{OrtGraph, engine_folder};
pub(super) use runtime::{Placement, Runtime};
pub(super) use tensor_rt::{RANGES, tensor_rt_identity};

const ENGINE: &str = "ONNX Runtime";
