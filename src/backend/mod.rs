//! The engines that run a graph: `tract` (built in) and `ort` (ONNX Runtime, opened at run time),
//! each a feature of the crate.
//!
//! An [`Engine`] is one back end on one device; it loads ONNX files into [`Graph`]s of a fixed
//! batch size. A device that was asked for runs, or opening fails and says what is missing. What
//! the options leave open is chosen by [`Engine::for_bundle`], and [`Engine::notices`] says so.

mod cache_folder;
mod candidates;
mod engine;
mod error;
mod graph_memory;
#[cfg(feature = "ort")]
mod library;
#[cfg(any(feature = "ort", all(feature = "cli", feature = "watch", unix)))]
pub(crate) mod library_folders;
mod limits;
mod machine;
pub(crate) mod model_file;
mod node_times;
pub mod onnx;
mod onnx_outline;
mod onnx_shapes;
#[cfg(feature = "ort")]
mod ort;
mod ranges;
mod tensor_rt;
#[cfg(test)]
pub(crate) mod test_graphs;
#[cfg(feature = "tract")]
mod tract;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) use candidates::Candidates;
pub use engine::Engine;
pub use error::BackendError;
#[cfg(feature = "ort")]
pub use library::find_ort_library;
pub use limits::{GraphLimits, MAX_MODEL_BYTES, MEMORY_VARIABLE};
pub use machine::Machine;
pub use node_times::{NodeTime, NodeTimes};
pub(crate) use ranges::Ranges;
pub use tensor_rt::{Precision, TensorRtSettings};
pub(crate) use tensor_rt::{TENSOR_RT_FOLDER, graph_folder};

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

/// What a graph is called, takes and gives.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Path or name of the graph, for messages.
    pub name: String,
    /// Inputs in the order of [`Graph::run`].
    pub inputs: Vec<TensorInfo>,
    /// Outputs in the order of [`Graph::run`].
    pub outputs: Vec<TensorInfo>,
    /// The file's `metadata_props`.
    pub metadata: HashMap<String, String>,
}

/// A loaded graph of one fixed batch size, ready to run.
pub trait Graph: Send {
    /// Names and shapes.
    fn signature(&self) -> &Signature;

    /// Runs the graph into the caller's buffers.
    ///
    /// # Errors
    /// A buffer whose length differs from its [`TensorInfo`], or a failure of the engine.
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError>;

    /// Inputs in the order of [`Graph::run`].
    fn inputs(&self) -> &[TensorInfo] {
        &self.signature().inputs
    }

    /// Outputs in the order of [`Graph::run`].
    fn outputs(&self) -> &[TensorInfo] {
        &self.signature().outputs
    }

    /// A value of the file's `metadata_props`.
    fn metadata(&self, key: &str) -> Option<String> {
        self.signature().metadata.get(key).cloned()
    }
}

/// The engine that runs a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Pure Rust, built in, CPU.
    Tract,
    /// ONNX Runtime, opened at run time.
    Ort,
}

impl BackendKind {
    /// Every back end.
    pub const ALL: [Self; 2] = [Self::Tract, Self::Ort];

    /// The name used in flags and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::Ort => "ort",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| BackendError::UnknownName {
                what: "back end",
                found: text.to_owned(),
                known: "tract, ort",
            })
    }
}

/// Where a graph runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The fastest that works; what was chosen is said.
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA GPU by ONNX Runtime's CUDA provider.
    Cuda,
    /// NVIDIA GPU by ONNX Runtime's TensorRT provider. Nodes that TensorRT does not know run on
    /// its CUDA provider.
    TensorRt,
}

impl Device {
    /// Every device.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Cpu, Self::Cuda, Self::TensorRt];

    /// The name used in flags and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Device {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        Self::ALL
            .into_iter()
            .find(|device| device.name() == text)
            .ok_or_else(|| BackendError::UnknownName {
                what: "device",
                found: text.to_owned(),
                known: "auto, cpu, cuda, tensorrt",
            })
    }
}

/// How to open an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The back end; without one: `ort` where the device needs it or its library is named
    /// below, else whichever is faster.
    pub backend: Option<BackendKind>,
    /// The device.
    pub device: Device,
    /// ONNX Runtime's shared library; without it `ORT_DYLIB_PATH`, then the usual places.
    pub ort_library: Option<PathBuf>,
    /// Threads within a graph; 1 or more. `tract` always runs on one.
    pub threads: usize,
    /// Folder of what is kept between runs: times of engines, and the engines that TensorRT built.
    /// Without it `$EDGE_VAE_CACHE`, else `$XDG_CACHE_HOME/edge-vae`, else `~/.cache/edge-vae`.
    pub cache: Option<PathBuf>,
    /// What [`Device::TensorRt`] builds.
    pub tensor_rt: TensorRtSettings,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            backend: None,
            device: Device::Auto,
            ort_library: None,
            threads: 1,
            cache: None,
            tensor_rt: TensorRtSettings::default(),
        }
    }
}

impl Signature {
    /// Checks the caller's buffers.
    fn check_buffers(&self, inputs: &[&[f32]], outputs: &[&mut [f32]]) -> Result<(), BackendError> {
        self.check_count("inputs", inputs.len(), self.inputs.len())?;
        self.check_count("outputs", outputs.len(), self.outputs.len())?;
        for (info, buffer) in self.inputs.iter().zip(inputs) {
            self.check_length("input", info, buffer.len())?;
        }
        for (info, buffer) in self.outputs.iter().zip(outputs) {
            self.check_length("output", info, buffer.len())?;
        }
        Ok(())
    }

    fn check_count(
        &self,
        direction: &'static str,
        found: usize,
        expected: usize,
    ) -> Result<(), BackendError> {
        if found == expected {
            return Ok(());
        }
        Err(BackendError::BufferCount {
            graph: self.name.clone(),
            direction,
            found,
            expected,
        })
    }

    fn check_length(
        &self,
        direction: &'static str,
        info: &TensorInfo,
        found: usize,
    ) -> Result<(), BackendError> {
        if found == info.len() {
            return Ok(());
        }
        Err(BackendError::BufferLength {
            graph: self.name.clone(),
            direction,
            name: info.name.clone(),
            found,
            expected: info.shape.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_themselves() {
        for kind in BackendKind::ALL {
            assert_eq!(kind.to_string().parse::<BackendKind>().unwrap(), kind);
        }
        for device in Device::ALL {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!(
            format!("{:>6}|{:<9}|", Device::Cpu, Device::TensorRt),
            "   cpu|tensorrt |"
        );
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = "gpu".parse::<Device>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown device `gpu`; known: auto, cpu, cuda, tensorrt"
        );
        let error = "Tract".parse::<BackendKind>().unwrap_err().to_string();
        assert_eq!(error, "unknown back end `Tract`; known: tract, ort");
    }
}
