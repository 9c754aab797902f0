//! The one library of a process, and sessions for its devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ::ort::environment::Environment;
use ::ort::ep::{self, ExecutionProviderDispatch};
use ::ort::logging::LogLevel;
use ::ort::session::Session;
use ::ort::session::builder::SessionBuilder;

use super::message::{lock, log, said};
use super::tensor_rt;
use crate::backend::error::one_line;
use crate::backend::{BackendError, Device, TensorRtSettings, library};

/// ONNX Runtime as this process opened it.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Runtime {
    environment: Environment,
    pub(super) path: PathBuf,
    pub(super) version: String,
}

/// What a session needs beside the graph.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Placement {
    /// Never [`Device::Auto`].
    pub(in crate::backend) device: Device,
    pub(in crate::backend) threads: usize,
    /// Folder for TensorRT's engines; this and what follows is used by that device alone.
    pub(in crate::backend) cache: PathBuf,
    pub(in crate::backend) tensor_rt: TensorRtSettings,
    /// What its engines depend on beside graph and settings.
    pub(in crate::backend) identity: BTreeMap<String, String>,
}

/// The one library of this process. It is kept for ever: `ort` can neither close it nor make a
/// second environment.
struct Opened {
    path: PathBuf,
    runtime: Option<Runtime>,
}

static OPENED: Mutex<Option<Opened>> = Mutex::new(None);

impl Runtime {
    /// Opens the library at `path`, a real path.
    ///
    /// # Errors
    /// A file that is no ONNX Runtime, one that is too old, and a second library in this process.
    pub(in crate::backend) fn open(path: &Path) -> Result<Self, BackendError> {
        let mut opened = lock(&OPENED);
        match &*opened {
            Some(first) if first.path != path => {
                return Err(BackendError::LibraryConflict {
                    opened: first.path.clone(),
                    requested: path.to_owned(),
                });
            }
            Some(Opened {
                runtime: Some(runtime),
                ..
            }) => return Ok(runtime.clone()),
            _ => {}
        }
        let library_error = |message: String| BackendError::Library {
            path: path.to_owned(),
            message: one_line(&message),
        };
        let minor = ::ort::util::probe(path);
        if let Some(minor) = minor.filter(|&minor| minor < ::ort::MINOR_VERSION) {
            return Err(BackendError::LibraryTooOld {
                path: path.to_owned(),
                found: library::version_text(path, minor),
                needed: format!("1.{}", ::ort::MINOR_VERSION),
            });
        }
        let builder = ::ort::init_from(path).map_err(|error| library_error(error.to_string()))?;
        // From here on the library stays open, whatever comes next.
        let opened = opened.insert(Opened {
            path: path.to_owned(),
            runtime: None,
        });
        let environment = builder
            .with_name("edge-vae")
            .with_telemetry(false)
            .with_logger(Arc::new(|level, _category, _id, _location, message| {
                if level >= LogLevel::Error {
                    log(message);
                }
            }))
            .build()
            .map_err(|error| library_error(said(&error)))?;
        environment.set_log_level(LogLevel::Error);
        let runtime = Self {
            environment,
            path: path.to_owned(),
            version: library::version_text(path, minor.unwrap_or(::ort::MINOR_VERSION)),
        };
        opened.runtime = Some(runtime.clone());
        Ok(runtime)
    }

    pub(in crate::backend) fn version(&self) -> &str {
        &self.version
    }

    /// A session builder for the device; `engines` is the folder for TensorRT's engines.
    pub(super) fn builder(
        &self,
        placement: &Placement,
        engines: &Path,
    ) -> Result<SessionBuilder, ::ort::Error> {
        let mut builder = Session::builder(&self.environment)?
            .with_intra_threads(placement.threads)?
            .with_intra_op_spinning(false)?;
        builder = match placement.device {
            Device::Auto | Device::Cpu => builder.with_execution_providers([ep::CPU::default()
                .with_arena_allocator(true)
                .build()])?,
            // Without `error_on_failure` and with nodes left to the CPU, a GPU that was asked for
            // would fall back in silence.
            Device::Cuda => builder
                .with_execution_providers([cuda()])?
                .with_disable_cpu_fallback()?,
            Device::TensorRt => {
                let timing = placement.cache.join("timing");
                let tensor_rt = tensor_rt::provider(placement.tensor_rt, engines, &timing);
                builder
                    .with_execution_providers([tensor_rt, cuda()])?
                    .with_disable_cpu_fallback()?
            }
        };
        Ok(builder)
    }
}

/// CUDA in full `f32`: with TF32, which is its default, a score would differ from the CPU's in the
/// third digit.
fn cuda() -> ExecutionProviderDispatch {
    ep::CUDA::default()
        .with_tf32(false)
        .build()
        .error_on_failure()
}
