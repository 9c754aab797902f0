//! Choice of back end and device.

use std::{collections::BTreeMap, path::PathBuf};

use super::model_file::ModelFile;
#[cfg(feature = "tract")]
use super::tract::{self, Plans, TractGraph};
use super::{BackendError, BackendKind, Device, EngineOptions, Graph, NodeTimes, Ranges};
#[cfg(feature = "ort")]
use super::{
    TENSOR_RT_FOLDER, TensorRtSettings, library,
    ort::{self, OrtGraph, Placement, Runtime},
};

/// One back end on one device.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    notices: Vec<String>,
    score_tolerance: Option<f64>,
    ranges: Option<Ranges>,
    node_times: Option<NodeTimes>,
}

#[derive(Debug)]
enum Runner {
    #[cfg(feature = "tract")]
    Tract(Plans),
    #[cfg(feature = "ort")]
    Ort {
        runtime: Runtime,
        placement: Placement,
    },
}

impl Engine {
    /// Opens an engine.
    ///
    /// [`Device::Auto`] is the CPU here, and without a back end `tract` is taken where it is built
    /// in: what is fastest depends on the graphs, so that [`Engine::for_bundle`] chooses. To name a
    /// library in the options without a back end is to ask for `ort`.
    ///
    /// # Errors
    /// A back end that this build lacks, a device that was asked for and can't run, ONNX Runtime
    /// where it is needed and missing, too old or broken, and a number of threads outside of 1 to
    /// 1024.
    pub fn open(options: &EngineOptions) -> Result<Self, BackendError> {
        if !(1..=1024).contains(&options.threads) {
            return Err(BackendError::Threads {
                found: options.threads,
            });
        }
        let tract_by_default = cfg!(feature = "tract") && options.ort_library.is_none();
        match (options.backend, options.device) {
            (Some(backend @ BackendKind::Tract), device @ (Device::Cuda | Device::TensorRt)) => {
                Err(BackendError::DeviceUnsupported { backend, device })
            }
            (Some(BackendKind::Tract), Device::Auto | Device::Cpu) => Self::tract(options),
            (None, Device::Auto | Device::Cpu) if tract_by_default => Self::tract(options),
            (_, Device::Auto) => Self::ort(options, Device::Cpu),
            (_, device) => Self::ort(options, device),
        }
    }

    #[cfg(feature = "tract")]
    fn tract(options: &EngineOptions) -> Result<Self, BackendError> {
        let mut notices = Vec::new();
        if options.threads > 1 {
            notices.push(format!(
                "tract runs on 1 thread, not {}; back end `ort` can use more",
                options.threads
            ));
        }
        if let Some(library) = &options.ort_library {
            notices.push(format!(
                "tract does not use {}; back end `ort` does",
                library.display()
            ));
        }
        Ok(Self {
            runner: Runner::Tract(Plans::default()),
            notices,
            score_tolerance: None,
            ranges: None,
            node_times: None,
        })
    }

    #[cfg(not(feature = "tract"))]
    fn tract(_: &EngineOptions) -> Result<Self, BackendError> {
        Err(BackendError::NotBuilt {
            backend: BackendKind::Tract,
        })
    }

    #[cfg(feature = "ort")]
    fn ort(options: &EngineOptions, device: Device) -> Result<Self, BackendError> {
        let mut placement = Placement {
            device,
            threads: options.threads,
            cache: PathBuf::new(),
            tensor_rt: options.tensor_rt,
            identity: BTreeMap::new(),
        };
        if device == Device::TensorRt {
            options.tensor_rt.check()?;
            placement.cache = options.cache_folder()?.join(TENSOR_RT_FOLDER);
        }
        let runtime = Runtime::open(&library::locate(options.ort_library.as_deref())?)?;
        runtime.check(&placement)?;
        if device == Device::TensorRt {
            placement.identity = ort::tensor_rt_identity(runtime.version());
        }
        Ok(Self {
            runner: Runner::Ort { runtime, placement },
            notices: Vec::new(),
            score_tolerance: None,
            ranges: None,
            node_times: None,
        })
    }

    #[cfg(not(feature = "ort"))]
    fn ort(_: &EngineOptions, _: Device) -> Result<Self, BackendError> {
        Err(BackendError::NotBuilt {
            backend: BackendKind::Ort,
        })
    }

    /// Loads an ONNX file whose symbolic batch dimension becomes `batch`; `name` is its path or
    /// name in messages.
    ///
    /// Inputs and outputs are `f32` with a first dimension for the batch, named or dynamic or
    /// already `batch`, and others that are fixed; weights are inside the file.
    ///
    /// Graphs of the same file and batch share their weights on tract: each one more takes little
    /// time and memory.
    ///
    /// # Errors
    /// [`BackendError::Model`] where the file breaks these rules or is no whole ONNX file,
    /// [`BackendError::Load`] where the engine refuses it. Hostile bytes do not panic.
    pub fn load(
        &self,
        onnx: &[u8],
        name: &str,
        batch: usize,
    ) -> Result<Box<dyn Graph>, BackendError> {
        match &self.ranges {
            Some(ranges) => ranges.load(onnx, name, |onnx| self.load_plain(onnx, name, batch)),
            None => self.load_plain(onnx, name, batch),
        }
    }

    fn load_plain(
        &self,
        onnx: &[u8],
        name: &str,
        batch: usize,
    ) -> Result<Box<dyn Graph>, BackendError> {
        let file = ModelFile::read(onnx, name, batch)?;
        let times = self.node_times.clone();
        Ok(match &self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract(plans) => Box::new(TractGraph::load(onnx, file, plans, times)?),
            #[cfg(feature = "ort")]
            Runner::Ort { runtime, placement } => {
                Box::new(OrtGraph::load(runtime, placement, onnx, file, times)?)
            }
        })
    }

    /// The back end.
    pub fn backend(&self) -> BackendKind {
        match self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract(_) => BackendKind::Tract,
            #[cfg(feature = "ort")]
            Runner::Ort { .. } => BackendKind::Ort,
        }
    }

    /// The device; never [`Device::Auto`].
    pub fn device(&self) -> Device {
        match &self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract(_) => Device::Cpu,
            #[cfg(feature = "ort")]
            Runner::Ort { placement, .. } => placement.device,
        }
    }

    /// Back end with its version, and device: `tract 0.23.9 on cpu`, `ONNX Runtime 1.31.1 on cuda`.
    pub fn description(&self) -> String {
        match &self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract(_) => format!("tract {} on cpu", tract::VERSION),
            #[cfg(feature = "ort")]
            Runner::Ort { runtime, placement } => {
                let precision = match (placement.device, placement.tensor_rt) {
                    (Device::TensorRt, reduced) if reduced != TensorRtSettings::default() => {
                        format!(" ({reduced})")
                    }
                    _ => String::new(),
                };
                let device = placement.device;
                format!("ONNX Runtime {} on {device}{precision}", runtime.version())
            }
        }
    }

    /// What a user should know before graphs are loaded, a line each: which engine was chosen and
    /// why, that TensorRT takes its time, that threads are not used. Mostly empty.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// On TensorRT: board, GPU, driver, and versions of TensorRT and ONNX Runtime; its engines run
    /// where all of them are the same.
    pub fn tensor_rt_identity(&self) -> Option<&BTreeMap<String, String>> {
        match &self.runner {
            #[cfg(feature = "ort")]
            Runner::Ort { placement, .. } if placement.device == Device::TensorRt => {
                Some(&placement.identity)
            }
            _ => None,
        }
    }

    /// On TensorRT: the file of a graph's ranges, which an `int8` engine is built with.
    #[cfg_attr(not(feature = "ort"), allow(unused_variables))]
    pub(crate) fn ranges_file(&self, onnx: &[u8]) -> Option<PathBuf> {
        match &self.runner {
            #[cfg(feature = "ort")]
            Runner::Ort { placement, .. } if placement.device == Device::TensorRt => {
                Some(ort::engine_folder(placement, onnx).join(ort::RANGES))
            }
            _ => None,
        }
    }

    /// By how much a score may differ from the trainer's, where the engine computes in a reduced
    /// precision that was accepted on frames; `None` where the bundle's own tolerances hold.
    pub(crate) fn score_tolerance(&self) -> Option<f64> {
        self.score_tolerance
    }

    /// Sets [`Engine::score_tolerance`].
    pub(crate) fn accept_scores_within(&mut self, tolerance: f64) {
        self.score_tolerance = Some(tolerance);
    }

    /// Notes the magnitudes of the tensors of all graphs that are loaded from now on.
    pub(crate) fn observe(&mut self) -> Ranges {
        self.ranges.get_or_insert_default().clone()
    }

    /// Times each node of the graphs that are loaded from now on, which makes them a little slower.
    pub fn time_nodes(&mut self) -> NodeTimes {
        self.node_times.get_or_insert_default().clone()
    }

    /// Adds a line to [`Engine::notices`].
    pub(crate) fn notice(&mut self, line: String) {
        self.notices.push(line);
    }
}

#[cfg(all(test, feature = "tract", feature = "ort"))]
mod tests;
