//! Choice of back end and device.

use std::env;
use std::path::PathBuf;

use super::model_file::ModelFile;
use super::ort::{OrtGraph, Placement, Runtime};
use super::tract::{self, TractGraph};
use super::{BackendError, BackendKind, Device, EngineOptions, Graph, library};

/// One back end on one device.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    notices: Vec<String>,
}

#[derive(Debug)]
enum Runner {
    Tract,
    Ort {
        runtime: Runtime,
        placement: Placement,
    },
}

impl Engine {
    /// Opens an engine.
    ///
    /// [`Device::Auto`] is CUDA on ONNX Runtime where a library with that provider is found and a
    /// small convolution runs on it, else the CPU: on `tract`, or on `ort` where that was asked for.
    /// It costs no more than a look into some folders where there is no such library. To name a
    /// library in the options without a back end is to ask for `ort`.
    ///
    /// # Errors
    /// A device that was asked for and can't run, ONNX Runtime where it is needed and missing, too
    /// old or broken, and a number of threads outside of 1 to 1024.
    pub fn open(options: &EngineOptions) -> Result<Self, BackendError> {
        if !(1..=1024).contains(&options.threads) {
            return Err(BackendError::Threads {
                found: options.threads,
            });
        }
        match (options.backend, options.device) {
            (Some(backend @ BackendKind::Tract), device @ (Device::Cuda | Device::TensorRt)) => {
                Err(BackendError::DeviceUnsupported { backend, device })
            }
            (Some(BackendKind::Tract), Device::Auto | Device::Cpu) => Ok(Self::tract(options)),
            (None, Device::Cpu) if options.ort_library.is_none() => Ok(Self::tract(options)),
            (None, Device::Auto) if options.ort_library.is_none() => Self::best(options),
            (_, Device::Auto) => Self::best_of_ort(options),
            (_, device) => Self::ort(options, device),
        }
    }

    fn tract(options: &EngineOptions) -> Self {
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
        Self {
            runner: Runner::Tract,
            notices,
        }
    }

    fn ort(options: &EngineOptions, device: Device) -> Result<Self, BackendError> {
        let mut notices = Vec::new();
        let mut cache = PathBuf::new();
        if device == Device::TensorRt {
            cache = engine_cache(options)?;
            notices.push(format!(
                "TensorRT builds an engine for each new graph, which can take minutes; it keeps them in {}",
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

    fn best(options: &EngineOptions) -> Result<Self, BackendError> {
        let named = library::is_named_by_variable();
        let mut engine = Self::tract(options);
        let library = match library::locate(None) {
            Ok(library) => library,
            Err(error) => {
                if named {
                    let notice = format!("ONNX Runtime is not used: {error}");
                    engine.notices.push(notice);
                }
                return Ok(engine);
            }
        };
        if library::has_provider_file(&library, "cuda") {
            match Self::ort(options, Device::Cuda) {
                Ok(engine) => return Ok(engine),
                Err(error) => engine.notices.push(format!("CUDA is not used: {error}")),
            }
        } else if named {
            engine.notices.push(format!(
                "{} (from ORT_DYLIB_PATH) has no CUDA provider, so tract is used; back end `ort` would use it on the CPU",
                library.display()
            ));
        }
        Ok(engine)
    }

    fn best_of_ort(options: &EngineOptions) -> Result<Self, BackendError> {
        let library = library::locate(options.ort_library.as_deref())?;
        let mut reason = None;
        if library::has_provider_file(&library, "cuda") {
            match Self::ort(options, Device::Cuda) {
                Ok(engine) => return Ok(engine),
                Err(error) => reason = Some(format!("CUDA is not used: {error}")),
            }
        }
        let mut engine = Self::ort(options, Device::Cpu)?;
        engine.notices.extend(reason);
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
            Runner::Tract => Box::new(TractGraph::load(file)?),
            Runner::Ort { runtime, placement } => {
                Box::new(OrtGraph::load(runtime, placement, onnx, file)?)
            }
        })
    }

    /// The back end.
    pub fn backend(&self) -> BackendKind {
        match self.runner {
            Runner::Tract => BackendKind::Tract,
            Runner::Ort { .. } => BackendKind::Ort,
        }
    }

    /// The device; never [`Device::Auto`].
    pub fn device(&self) -> Device {
        match &self.runner {
            Runner::Tract => Device::Cpu,
            Runner::Ort { placement, .. } => placement.device,
        }
    }

    /// Back end with its version, and device: `tract 0.23.9 on cpu`, `ONNX Runtime 1.31.1 on cuda`.
    pub fn description(&self) -> String {
        match &self.runner {
            Runner::Tract => format!("tract {} on cpu", tract::VERSION),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::test_graphs::{encode, two_heads, values};
    use super::*;

    fn options(backend: Option<BackendKind>, device: Device) -> EngineOptions {
        EngineOptions {
            backend,
            device,
            ..EngineOptions::default()
        }
    }

    #[test]
    fn tract_runs_on_the_cpu_alone() {
        for device in [Device::Cuda, Device::TensorRt] {
            let error = Engine::open(&options(Some(BackendKind::Tract), device)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "back end `tract` does not run on device `{device}`: use back end `ort`, or device `cpu`"
                )
            );
        }
        for (backend, device) in [
            (Some(BackendKind::Tract), Device::Auto),
            (Some(BackendKind::Tract), Device::Cpu),
            (None, Device::Cpu),
        ] {
            let engine = Engine::open(&options(backend, device)).unwrap();
            assert_eq!(
                (engine.backend(), engine.device()),
                (BackendKind::Tract, Device::Cpu)
            );
            assert_eq!(engine.description(), "tract 0.23.9 on cpu");
            assert!(engine.notices().is_empty());
        }
    }

    #[test]
    fn threads_are_counted() {
        let with_threads = |threads| {
            Engine::open(&EngineOptions {
                threads,
                ..options(Some(BackendKind::Tract), Device::Cpu)
            })
        };
        assert_eq!(
            with_threads(0).unwrap_err().to_string(),
            "cannot run a graph on 0 threads: give 1 to 1024"
        );
        assert_eq!(
            with_threads(4).unwrap().notices(),
            ["tract runs on 1 thread, not 4; back end `ort` can use more"]
        );
    }

    #[test]
    fn a_library_that_was_named_is_the_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        for device in Device::ALL {
            let named = EngineOptions {
                ort_library: Some(file.clone()),
                ..options(Some(BackendKind::Ort), device)
            };
            assert!(matches!(
                Engine::open(&named).unwrap_err(),
                BackendError::LibraryMissing { .. }
            ));
        }
        // To name a library is to ask for it.
        for device in [Device::Auto, Device::Cpu] {
            let named = EngineOptions {
                ort_library: Some(file.clone()),
                ..options(None, device)
            };
            assert!(matches!(
                Engine::open(&named).unwrap_err(),
                BackendError::LibraryMissing { .. }
            ));
            let engine = Engine::open(&EngineOptions {
                backend: Some(BackendKind::Tract),
                ..named
            })
            .unwrap();
            assert_eq!(engine.backend(), BackendKind::Tract);
            assert!(
                engine.notices()[0].contains(&file.display().to_string()),
                "{:?}",
                engine.notices()
            );
        }
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        fs::write(&file, b"no library").unwrap();
        let named = |backend, device| EngineOptions {
            ort_library: Some(file.clone()),
            ..options(backend, device)
        };
        // With and without the file of a CUDA provider beside it.
        for _ in 0..2 {
            for backend in [Some(BackendKind::Ort), None] {
                for device in [Device::Cpu, Device::Auto] {
                    let error = Engine::open(&named(backend, device)).unwrap_err();
                    // Where another test has opened a library before, that one stands in the way.
                    assert!(
                        matches!(
                            error,
                            BackendError::Library { .. } | BackendError::LibraryConflict { .. }
                        ),
                        "{error}"
                    );
                }
            }
            fs::write(folder.path().join("libonnxruntime_providers_cuda.so"), b"").unwrap();
        }
    }

    #[test]
    fn ort_is_opened_once_and_says_its_version() {
        let Some(path) = library::find_ort_library() else {
            eprintln!("SKIPPED: no ONNX Runtime found; set ORT_DYLIB_PATH to libonnxruntime.so");
            return;
        };
        for device in [Device::Auto, Device::Cpu] {
            let engine = Engine::open(&options(Some(BackendKind::Ort), device)).unwrap();
            assert_eq!(engine.backend(), BackendKind::Ort);
            assert_ne!(engine.device(), Device::Auto);
            assert!(
                engine.description().starts_with("ONNX Runtime 1."),
                "{} of {path:?}",
                engine.description()
            );
            let mut graph = engine.load(&encode(&two_heads()), "g", 1).unwrap();
            let (mut mean, mut log_variance) = ([0.0; 4], [0.0; 4]);
            graph
                .run(&[&values(1, 72)], &mut [&mut mean, &mut log_variance])
                .unwrap();
        }
    }

    #[test]
    fn tensorrt_engines_have_a_folder() {
        let named = EngineOptions {
            cache: Some("/somewhere".into()),
            ..EngineOptions::default()
        };
        assert_eq!(engine_cache(&named).unwrap(), PathBuf::from("/somewhere"));
    }
}
