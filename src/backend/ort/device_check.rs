//! Whether a device works, shown by a small convolution before any model is loaded on it.

use ::ort::ep::{self, ExecutionProvider};

use super::message::said;
use super::{OrtGraph, Placement, Runtime};
use crate::backend::model_file::ModelFile;
use crate::backend::onnx::{Dim, GraphProto, Message, NodeProto, TensorProto, ValueInfoProto};
use crate::backend::{BackendError, Device, Graph};

impl Runtime {
    /// Shows that the device works, by a small convolution on a GPU.
    ///
    /// # Errors
    /// A device whose provider this build lacks, or whose provider fails.
    pub(in crate::backend) fn check(&self, placement: &Placement) -> Result<(), BackendError> {
        let device = placement.device;
        let (provider, available, needs) = match device {
            Device::Auto | Device::Cpu => return Ok(()),
            Device::Cuda => (
                "CUDA",
                ep::CUDA::is_available(),
                "an NVIDIA driver and the CUDA and cuDNN libraries of the versions that this ONNX \
                 Runtime was built for",
            ),
            Device::TensorRt => (
                "TensorRT",
                ep::TensorRT::is_available(),
                "an NVIDIA driver and the CUDA, cuDNN and TensorRT libraries of the versions that \
                 this ONNX Runtime was built for",
            ),
        };
        let failed = |message: String| BackendError::ProviderFailed {
            device,
            message,
            needs,
        };
        if !available.map_err(|error| failed(said(&error)))? {
            return Err(BackendError::ProviderMissing {
                device,
                provider,
                path: self.path.clone(),
                version: self.version.clone(),
            });
        }
        if device == Device::TensorRt {
            // Registering opens TensorRT's libraries. The convolution runs on CUDA, which TensorRT
            // stands on: building a TensorRT engine for it would take seconds at each start.
            self.builder(placement, &placement.cache)
                .map_err(|error| failed(said(&error)))?;
        }
        let on_cuda = Placement {
            device: Device::Cuda,
            ..placement.clone()
        };
        self.run_check_graph(&on_cuda).map_err(failed)
    }

    /// Runs [`check_graph`] on the device.
    pub(super) fn run_check_graph(&self, placement: &Placement) -> Result<(), String> {
        let onnx = check_graph();
        let file =
            ModelFile::read(&onnx, "the check graph", 1).map_err(|error| error.to_string())?;
        let mut graph = OrtGraph::load(self, placement, &onnx, file, None).map_err(reason)?;
        let mut sums = [0.0; 1];
        graph
            .run(&[&[1.0, 2.0, 3.0, 4.0]], &mut [&mut sums])
            .map_err(reason)?;
        if sums == [10.0] {
            Ok(())
        } else {
            Err(format!(
                "a convolution that sums 1, 2, 3 and 4 gave {}",
                sums[0]
            ))
        }
    }
}

/// What an engine said, without the graph that it said it of.
fn reason(error: BackendError) -> String {
    match error {
        BackendError::Load { message, .. } | BackendError::Run { message, .. } => message,
        other => other.to_string(),
    }
}

/// `input` 1×1×2×2 → Conv of ones → `sum` 1×1×1×1: asks a GPU for its driver and for cuDNN.
fn check_graph() -> Vec<u8> {
    let square =
        |name, size| ValueInfoProto::float_tensor(name, [1, 1, size, size].map(Dim::DimValue));
    let graph = GraphProto {
        name: "check".into(),
        node: vec![NodeProto {
            op_type: "Conv".into(),
            name: "conv".into(),
            input: vec!["input".into(), "ones".into()],
            output: vec!["sum".into()],
            ..NodeProto::default()
        }],
        initializer: vec![TensorProto::floats("ones", &[1, 1, 2, 2], &[1.0; 4])],
        input: vec![square("input", 2)],
        output: vec![square("sum", 1)],
        ..GraphProto::default()
    };
    graph.into_model(Vec::new()).encode_to_vec()
}
