//! Choice of back end and device.

#[cfg(feature = "ort")]
use std::{env, path::PathBuf};

use super::model_file::ModelFile;
#[cfg(feature = "tract")]
use super::tract::{self, TractGraph};
use super::{BackendError, BackendKind, Device, EngineOptions, Graph};
#[cfg(feature = "ort")]
use super::{
    library,
    ort::{OrtGraph, Placement, Runtime},
};

/// One back end on one device.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    notices: Vec<String>,
}

#[derive(Debug)]
enum Runner {
    #[cfg(feature = "tract")]
    Tract,
    #[cfg(feature = "ort")]
    Ort {
        runtime: Runtime,
        placement: Placement,
    },
}

impl Engine {
    /// Opens an engine.
    ///
    /// [`Device::Auto`] is CUDA on ONNX Runtime where a library with that provider is found and a
    /// small convolution runs on it, else the CPU: on `tract`, or on `ort` where that was asked
    /// for. It costs no more than a look into some folders where there is no such library. To name
    /// a library in the options without a back end is to ask for `ort`.
    ///
    /// Without the feature `tract`, `ort` is the engine where none was asked for.
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
            (None, Device::Cpu) if tract_by_default => Self::tract(options),
            (None, Device::Auto) if tract_by_default => Self::cuda_or_tract(options),
            (_, Device::Auto) => Self::cuda_or_cpu(options),
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
            runner: Runner::Tract,
            notices,
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
        let mut notices = Vec::new();
        let mut cache = PathBuf::new();
        if device == Device::TensorRt {
            cache = engine_cache(options)?;
            notices.push(format!(
                "TensorRT builds an engine for each new graph, which can take minutes; \
                 it keeps them in {}",
                cache.display()
            ));
        }
        let placement = Placement {
            device,
            threads: options.threads,
            cache,
        };
        let runtime = Runtime::open(&library::locate(options.ort_library.as_deref())?)?;
        runtime.check(&placement)?;
        Ok(Self {
            runner: Runner::Ort { runtime, placement },
            notices,
        })
    }

    #[cfg(not(feature = "ort"))]
    fn ort(_: &EngineOptions, _: Device) -> Result<Self, BackendError> {
        Err(BackendError::NotBuilt {
            backend: BackendKind::Ort,
        })
    }

    /// CUDA where a library with that provider is found and works, else `tract`.
    fn cuda_or_tract(options: &EngineOptions) -> Result<Self, BackendError> {
        let tract = Self::tract(options)?;
        #[cfg(feature = "ort")]
        let tract = tract.unless_cuda_works(options);
        Ok(tract)
    }

    #[cfg(feature = "ort")]
    fn unless_cuda_works(mut self, options: &EngineOptions) -> Self {
        let named = library::is_named_by_variable();
        match library::locate(None) {
            Ok(library) if library::has_provider_file(&library, "cuda") => {
                match Self::ort(options, Device::Cuda) {
                    Ok(cuda) => return cuda,
                    Err(error) => self.notices.push(format!("CUDA is not used: {error}")),
                }
            }
            Ok(library) if named => self.notices.push(format!(
                "{} (from ORT_DYLIB_PATH) has no CUDA provider, so tract is used; \
                 back end `ort` would use it on the CPU",
                library.display()
            )),
            Err(error) if named => {
                self.notices
                    .push(format!("ONNX Runtime is not used: {error}"));
            }
            Ok(_) | Err(_) => {}
        }
        self
    }

    /// ONNX Runtime on CUDA where that works, else on the CPU.
    fn cuda_or_cpu(options: &EngineOptions) -> Result<Self, BackendError> {
        let mut reason = None;
        #[cfg(feature = "ort")]
        if library::has_provider_file(&library::locate(options.ort_library.as_deref())?, "cuda") {
            match Self::ort(options, Device::Cuda) {
                Ok(engine) => return Ok(engine),
                Err(error) => reason = Some(format!("CUDA is not used: {error}")),
            }
        }
        let mut engine = Self::ort(options, Device::Cpu)?;
        engine.notices.extend(reason.take());
        Ok(engine)
    }

    /// Loads an ONNX file whose symbolic batch dimension becomes `batch`; `name` is its path or
    /// name in messages.
    ///
    /// Inputs and outputs are `f32` with a first dimension for the batch, named or dynamic or
    /// already `batch`, and others that are fixed; weights are inside the file.
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
        let file = ModelFile::read(onnx, name, batch)?;
        Ok(match &self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract => Box::new(TractGraph::load(onnx, file)?),
            #[cfg(feature = "ort")]
            Runner::Ort { runtime, placement } => {
                Box::new(OrtGraph::load(runtime, placement, onnx, file)?)
            }
        })
    }

    /// The back end.
    pub fn backend(&self) -> BackendKind {
        match self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract => BackendKind::Tract,
            #[cfg(feature = "ort")]
            Runner::Ort { .. } => BackendKind::Ort,
        }
    }

    /// The device; never [`Device::Auto`].
    pub fn device(&self) -> Device {
        match &self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract => Device::Cpu,
            #[cfg(feature = "ort")]
            Runner::Ort { placement, .. } => placement.device,
        }
    }

    /// Back end with its version, and device: `tract 0.23.9 on cpu`, `ONNX Runtime 1.31.1 on cuda`.
    pub fn description(&self) -> String {
        match &self.runner {
            #[cfg(feature = "tract")]
            Runner::Tract => format!("tract {} on cpu", tract::VERSION),
            #[cfg(feature = "ort")]
            Runner::Ort { runtime, placement } => {
                format!("ONNX Runtime {} on {}", runtime.version(), placement.device)
            }
        }
    }

    /// What a user should know before graphs are loaded, a line each: why [`Device::Auto`] passed
    /// over CUDA, that TensorRT takes its time, that threads are not used. Mostly empty.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }
}

#[cfg(feature = "ort")]
fn engine_cache(options: &EngineOptions) -> Result<PathBuf, BackendError> {
    let below = |variable: &str, folder: &str| {
        let base = PathBuf::from(env::var_os(variable)?);
        base.is_absolute().then(|| base.join(folder))
    };
    options
        .cache
        .clone()
        .or_else(|| below("XDG_CACHE_HOME", "edge-vae/tensorrt"))
        .or_else(|| below("HOME", ".cache/edge-vae/tensorrt"))
        .ok_or_else(|| BackendError::Cache {
            path: "~/.cache/edge-vae/tensorrt".into(),
            message: "neither XDG_CACHE_HOME nor HOME is set; name a folder".into(),
        })
}

#[cfg(all(test, feature = "tract", feature = "ort"))]
mod tests;
