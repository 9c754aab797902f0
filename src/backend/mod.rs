//! The engines that run a graph: `tract` (built in) and `ort` (ONNX Runtime, opened at run time).

use std::path::PathBuf;

/// A named, dense `f32` input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the ONNX file.
    pub name: String,
    /// Concrete shape, batch first.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A loaded graph of one fixed batch size, ready to run.
pub trait Graph: Send {
    /// Inputs in the order of [`Graph::run`].
    fn inputs(&self) -> &[TensorInfo];

    /// Outputs in the order of [`Graph::run`].
    fn outputs(&self) -> &[TensorInfo];

    /// A value of the file's `metadata_props`.
    fn metadata(&self, key: &str) -> Option<String>;

    /// Runs the graph into the caller's buffers.
    ///
    /// # Errors
    /// A buffer whose length differs from its [`TensorInfo`], or a failure of the engine.
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError>;
}

/// The engine that runs a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Pure Rust, built in, CPU.
    Tract,
    /// ONNX Runtime, opened at run time.
    Ort,
}

/// Where a graph runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The best that is available; what was chosen is said.
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA GPU by ONNX Runtime's CUDA provider.
    Cuda,
    /// NVIDIA GPU by ONNX Runtime's TensorRT provider.
    TensorRt,
}

/// How to open an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The back end; without one: `ort` where the device needs it, else `tract`.
    pub backend: Option<BackendKind>,
    /// The device.
    pub device: Device,
    /// ONNX Runtime's shared library; without it `ORT_DYLIB_PATH`, then the usual places.
    pub ort_library: Option<PathBuf>,
    /// Threads within a graph; 1 or more.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            backend: None,
            device: Device::Auto,
            ort_library: None,
            threads: 1,
        }
    }
}

/// Why an engine could not be opened, or a graph not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The engine said so.
    #[error("{engine}: cannot load {graph}: {message}")]
    Load {
        /// Engine.
        engine: &'static str,
        /// Path or name of the graph.
        graph: String,
        /// What the engine said.
        message: String,
    },
}
