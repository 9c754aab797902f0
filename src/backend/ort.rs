//! ONNX Runtime, opened at run time, with its providers for CPU, CUDA and TensorRT.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::ort::environment::Environment;
use ::ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ::ort::logging::LogLevel;
use ::ort::session::builder::SessionBuilder;
use ::ort::session::{Session, SessionInputValue};
use ::ort::value::TensorRef;
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb;

use super::error::one_line;
use super::model_file::ModelFile;
use super::{BackendError, Device, Graph, TensorInfo, check_buffers, library};

const ENGINE: &str = "ONNX Runtime";

/// ONNX Runtime as this process opened it.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    environment: Environment,
    path: PathBuf,
    version: String,
}

/// What a session needs beside the graph.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// Never [`Device::Auto`].
    pub(super) device: Device,
    pub(super) threads: usize,
    /// Folder for TensorRT's engines; used by that device alone.
    pub(super) cache: PathBuf,
}

/// The one library of this process. It is kept for ever: `ort` can neither close it nor make a
/// second environment.
struct Opened {
    path: PathBuf,
    runtime: Option<Runtime>,
}

static OPENED: Mutex<Option<Opened>> = Mutex::new(None);

/// The last error that ONNX Runtime logged. Its log names a provider's missing library where the
/// returned status does not, and would otherwise go to stderr.
static LOGGED: Mutex<String> = Mutex::new(String::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime {
    /// Opens the library at `path`, a real path.
    ///
    /// # Errors
    /// A file that is no ONNX Runtime, one that is too old, and a second library in this process.
    pub(super) fn open(path: &Path) -> Result<Self, BackendError> {
        let mut opened = lock(&OPENED);
        match &*opened {
            Some(first) if first.path != path => {
                return Err(BackendError::LibraryConflict {
                    opened: first.path.clone(),
                    asked: path.to_owned(),
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
                    *lock(&LOGGED) = one_line(message);
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

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Shows that the device works, by a small convolution on a GPU.
    ///
    /// # Errors
    /// A device whose provider this build lacks, or whose provider fails.
    pub(super) fn check(&self, placement: &Placement) -> Result<(), BackendError> {
        let device = placement.device;
        let (provider, available, needs) = match device {
            Device::Auto | Device::Cpu => return Ok(()),
            Device::Cuda => (
                "CUDA",
                ep::CUDA::is_available(),
                "an NVIDIA driver and the CUDA and cuDNN libraries of the versions that this ONNX Runtime was built for",
            ),
            Device::TensorRt => (
                "TensorRT",
                ep::TensorRT::is_available(),
                "an NVIDIA driver and the CUDA, cuDNN and TensorRT libraries of the versions that this ONNX Runtime \
                 was built for",
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
    fn run_check_graph(&self, placement: &Placement) -> Result<(), String> {
        let onnx = check_graph();
        let file =
            ModelFile::read(&onnx, "the check graph", 1).map_err(|error| error.to_string())?;
        let mut graph = OrtGraph::load(self, placement, &onnx, file).map_err(reason)?;
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

    /// A session builder for the device; `engines` is the folder for TensorRT's engines.
    fn builder(
        &self,
        placement: &Placement,
        engines: &Path,
    ) -> Result<SessionBuilder, ::ort::Error> {
        let mut builder =
            Session::builder(&self.environment)?.with_intra_threads(placement.threads)?;
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
                let engines = engines.to_string_lossy();
                let tensor_rt = ep::TensorRT::default()
                    .with_engine_cache(true)
                    .with_engine_cache_path(&engines)
                    .with_timing_cache(true)
                    .with_timing_cache_path(&engines)
                    .build()
                    .error_on_failure();
                builder
                    .with_execution_providers([tensor_rt, cuda()])?
                    .with_disable_cpu_fallback()?
            }
        };
        Ok(builder)
    }
}

/// What an engine said, without the graph that it said it of.
fn reason(error: BackendError) -> String {
    match error {
        BackendError::Load { message, .. } | BackendError::Run { message, .. } => message,
        other => other.to_string(),
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

/// A graph in ONNX Runtime.
pub(super) struct OrtGraph {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    metadata: HashMap<String, String>,
    session: Session,
}

impl OrtGraph {
    pub(super) fn load(
        runtime: &Runtime,
        placement: &Placement,
        onnx: &[u8],
        file: ModelFile,
    ) -> Result<Self, BackendError> {
        let engines = if placement.device == Device::TensorRt {
            let folder = engine_folder(&placement.cache, onnx);
            fs::create_dir_all(&folder).map_err(|error| BackendError::Cache {
                path: folder.clone(),
                message: error.to_string(),
            })?;
            folder
        } else {
            PathBuf::new()
        };
        let commit = || {
            let mut builder = runtime.builder(placement, &engines)?;
            for symbol in &file.batch_symbols {
                builder = builder.with_dimension_override(symbol, file.batch as i64)?;
            }
            builder.commit_from_memory(onnx)
        };
        let load_error = |message| BackendError::Load {
            engine: ENGINE,
            graph: file.name.clone(),
            message,
        };
        let session = commit().map_err(|error| load_error(said(&error)))?;
        let same_names = |outlets: &[::ort::value::Outlet], infos: &[TensorInfo]| {
            outlets.len() == infos.len()
                && infos
                    .iter()
                    .all(|info| outlets.iter().any(|o| o.name() == info.name))
        };
        if !same_names(session.inputs(), &file.inputs)
            || !same_names(session.outputs(), &file.outputs)
        {
            return Err(load_error(
                "it names other inputs or outputs than the file".into(),
            ));
        }
        Ok(Self {
            name: file.name,
            inputs: file.inputs,
            outputs: file.outputs,
            metadata: file.metadata,
            session,
        })
    }
}

impl Graph for OrtGraph {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.metadata.get(key).cloned()
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError> {
        check_buffers(&self.name, (&self.inputs, inputs), (&self.outputs, outputs))?;
        let Self {
            name,
            inputs: input_infos,
            outputs: output_infos,
            session,
            ..
        } = self;
        let run_error = |message| BackendError::Run {
            engine: ENGINE,
            graph: name.clone(),
            message,
        };
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            Vec::with_capacity(inputs.len());
        for (info, input) in input_infos.iter().zip(inputs) {
            let value = TensorRef::from_array_view((info.shape.as_slice(), *input))
                .map_err(|error| run_error(said(&error)))?;
            values.push((info.name.as_str().into(), value.into()));
        }
        let results = session
            .run(values)
            .map_err(|error| run_error(said(&error)))?;
        for (info, buffer) in output_infos.iter().zip(outputs) {
            let value = results
                .get(&info.name)
                .ok_or_else(|| run_error(format!("output `{}` is missing", info.name)))?;
            let (shape, data) = value
                .try_extract_tensor::<f32>()
                .map_err(|error| run_error(said(&error)))?;
            if !shape
                .iter()
                .map(|&dim| dim as usize)
                .eq(info.shape.iter().copied())
            {
                return Err(run_error(format!(
                    "output `{}` has shape {:?} and is declared as {:?}",
                    info.name,
                    &shape[..],
                    info.shape
                )));
            }
            buffer.copy_from_slice(data);
        }
        Ok(())
    }
}

/// The error's message, with what was logged on the way where that says more.
fn said<R>(error: &::ort::Error<R>) -> String {
    let message = without_location(error.message());
    let logged = without_location(&std::mem::take(&mut *lock(&LOGGED)));
    if logged.is_empty() || message.contains(&logged) {
        message
    } else if logged.contains(&message) {
        logged
    } else {
        one_line(&format!("{message} ({logged})"))
    }
}

/// Cuts the place in ONNX Runtime's source and the error code from
/// `/…/provider_bridge_ort.cc:2043 … [ONNXRuntimeError] : 1 : FAIL : Failed to load library …`.
fn without_location(message: &str) -> String {
    let rest = message
        .rsplit_once("[ONNXRuntimeError] : ")
        .and_then(|(_, coded)| coded.splitn(3, " : ").nth(2));
    one_line(rest.unwrap_or(message))
}

/// The folder for the TensorRT engines of one graph. ONNX Runtime names an engine by the graph's
/// structure and not by its weights, so two models of one architecture would share an engine and
/// the second would run with the weights of the first.
fn engine_folder(cache: &Path, onnx: &[u8]) -> PathBuf {
    let digest = Sha256::digest(onnx);
    let name: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    cache.join(name)
}

/// `input` 1×1×2×2 → Conv of ones → `sum` 1×1×1×1: asks a GPU for its driver and for cuDNN.
fn check_graph() -> Vec<u8> {
    let value = |name: &str, size| pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto {
            denotation: String::new(),
            value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                elem_type: pb::tensor_proto::DataType::Float as i32,
                shape: Some(pb::TensorShapeProto {
                    dim: [1, 1, size, size]
                        .into_iter()
                        .map(|size| pb::tensor_shape_proto::Dimension {
                            denotation: String::new(),
                            value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(size)),
                        })
                        .collect(),
                }),
            })),
        }),
        doc_string: String::new(),
    };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        graph: Some(pb::GraphProto {
            name: "check".into(),
            node: vec![pb::NodeProto {
                op_type: "Conv".into(),
                name: "conv".into(),
                input: vec!["input".into(), "ones".into()],
                output: vec!["sum".into()],
                ..Default::default()
            }],
            initializer: vec![pb::TensorProto {
                name: "ones".into(),
                dims: vec![1, 1, 2, 2],
                data_type: pb::tensor_proto::DataType::Float as i32,
                raw_data: [1.0f32; 4]
                    .iter()
                    .flat_map(|one| one.to_le_bytes())
                    .collect(),
                ..Default::default()
            }],
            input: vec![value("input", 2)],
            output: vec![value("sum", 1)],
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::super::test_graphs::{GraphBuilder, bernoulli_decoder, encode, two_heads, values};
    use super::super::tract::TractGraph;
    use super::*;

    /// ONNX Runtime, or `None` said aloud.
    fn runtime() -> Option<Runtime> {
        let Some(path) = library::find_ort_library() else {
            eprintln!("SKIPPED: no ONNX Runtime found; set ORT_DYLIB_PATH to libonnxruntime.so");
            return None;
        };
        Some(Runtime::open(&path).unwrap())
    }

    fn cpu(threads: usize) -> Placement {
        Placement {
            device: Device::Cpu,
            threads,
            cache: PathBuf::new(),
        }
    }

    fn load(runtime: &Runtime, bytes: &[u8], batch: usize) -> Result<OrtGraph, BackendError> {
        OrtGraph::load(
            runtime,
            &cpu(1),
            bytes,
            ModelFile::read(bytes, "test.onnx", batch)?,
        )
    }

    /// Runs a graph of one input and two outputs.
    fn run(graph: &mut dyn Graph, input: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut a = vec![0.0; graph.outputs()[0].len()];
        let mut b = vec![0.0; graph.outputs()[1].len()];
        graph.run(&[input], &mut [&mut a, &mut b]).unwrap();
        (a, b)
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn both_engines_agree_and_rows_are_independent() {
        let Some(runtime) = runtime() else { return };
        for (proto, row) in [(two_heads(), 72), (bernoulli_decoder(), 4)] {
            let bytes = encode(&proto);
            let mut single = load(&runtime, &bytes, 1).unwrap();
            let input = values(40, 5 * row);
            let (a, b) = run(&mut load(&runtime, &bytes, 5).unwrap(), &input);
            let mut tract =
                TractGraph::load(ModelFile::read(&bytes, "test.onnx", 5).unwrap()).unwrap();
            assert_eq!(tract.outputs(), single_batch_as(&single, 5));
            let (c, d) = run(&mut tract, &input);
            assert!(largest_difference(&a, &c) < 1e-5 && largest_difference(&b, &d) < 1e-5);
            for (frame, (a, b)) in input
                .chunks(row)
                .zip(a.chunks(a.len() / 5).zip(b.chunks(b.len() / 5)))
            {
                let (single_a, single_b) = run(&mut single, frame);
                assert!(
                    largest_difference(a, &single_a) < 1e-6
                        && largest_difference(b, &single_b) < 1e-6
                );
            }
        }
    }

    fn single_batch_as(graph: &OrtGraph, batch: usize) -> Vec<TensorInfo> {
        let mut infos = graph.outputs().to_vec();
        for info in &mut infos {
            info.shape[0] = batch;
        }
        infos
    }

    #[test]
    fn threads_and_metadata() {
        let Some(runtime) = runtime() else { return };
        let bytes = encode(&two_heads());
        let mut one = load(&runtime, &bytes, 2).unwrap();
        let file = ModelFile::read(&bytes, "test.onnx", 2).unwrap();
        let mut two = OrtGraph::load(&runtime, &cpu(2), &bytes, file).unwrap();
        let input = values(41, 144);
        assert!(largest_difference(&run(&mut one, &input).0, &run(&mut two, &input).0) < 1e-6);
        assert_eq!(two.metadata("edge_vae.model").as_deref(), Some("test"));
        assert_eq!(two.metadata("absent"), None);
    }

    #[test]
    fn the_check_graph_sums() {
        let Some(runtime) = runtime() else { return };
        runtime.run_check_graph(&cpu(1)).unwrap();
    }

    #[test]
    fn a_library_for_cpus_refuses_gpus() {
        let Some(runtime) = runtime() else { return };
        if ep::CUDA::is_available().unwrap() {
            eprintln!("SKIPPED: this ONNX Runtime has the CUDA provider");
            return;
        }
        for (device, provider) in [(Device::Cuda, "CUDA"), (Device::TensorRt, "TensorRT")] {
            let placement = Placement { device, ..cpu(1) };
            let error = runtime.check(&placement).unwrap_err();
            assert!(
                matches!(error, BackendError::ProviderMissing { .. }),
                "{error:?}"
            );
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("device `{device}` cannot run: ")),
                "{text}"
            );
            assert!(
                text.contains(&format!("built without the {provider} provider")),
                "{text}"
            );
            // Without the check, registering the provider is refused as well: nothing falls back.
            let cache = tempfile::tempdir().unwrap();
            let placement = Placement {
                device,
                threads: 1,
                cache: cache.path().to_owned(),
            };
            let bytes = encode(&two_heads());
            let file = ModelFile::read(&bytes, "test.onnx", 1).unwrap();
            assert!(OrtGraph::load(&runtime, &placement, &bytes, file).is_err());
        }
    }

    #[test]
    fn a_second_library_is_a_conflict() {
        let Some(runtime) = runtime() else { return };
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("libonnxruntime.so");
        fs::copy(&runtime.path, &other).unwrap();
        let error = Runtime::open(&other).unwrap_err();
        assert!(
            matches!(error, BackendError::LibraryConflict { .. }),
            "{error}"
        );
        assert!(Runtime::open(&runtime.path).is_ok());
    }

    #[test]
    fn engine_errors_name_the_graph() {
        let Some(runtime) = runtime() else { return };
        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 3]);
        builder.node("Frobnicate", &["x"], &["y"], vec![]);
        builder.output("y", &[0, 3]);
        let error = load(&runtime, &encode(&builder.finish()), 1)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("ONNX Runtime: cannot load test.onnx: ")
                && error.contains("Frobnicate"),
            "{error}"
        );

        let mut builder = GraphBuilder::default();
        builder.input("x", &[0, 1]);
        builder.integers("large", &[1_000_000, 1_000_000]);
        builder.integers("axes", &[1]);
        builder.node("Expand", &["x", "large"], &["e"], vec![]);
        builder.node("ReduceSum", &["e", "axes"], &["y"], vec![]);
        builder.output("y", &[1_000_000, 1]);
        let bytes = encode(&builder.finish());
        let loaded = load(&runtime, &bytes, 1_000_000).and_then(|mut graph| {
            graph.run(&[&vec![0.0; 1_000_000]], &mut [&mut vec![0.0; 1_000_000]])
        });
        let error = loaded.unwrap_err().to_string();
        assert!(error.starts_with("ONNX Runtime: cannot "), "{error}");
    }

    #[test]
    fn damaged_files_are_errors() {
        let Some(runtime) = runtime() else { return };
        let mut rng = rand_pcg::Pcg64::seed_from_u64(9);
        let whole = encode(&two_heads());
        let mut refused = 0;
        for _ in 0..150 {
            let mut damaged = whole.clone();
            for _ in 0..rng.random_range(1..8) {
                let at = rng.random_range(0..damaged.len());
                damaged[at] ^= 1 << rng.random_range(0..8);
            }
            refused += usize::from(load(&runtime, &damaged, 1).is_err());
        }
        assert!(refused > 10, "{refused}");
    }

    #[test]
    fn source_locations_are_cut() {
        assert_eq!(
            without_location(
                "/onnxruntime_src/core/session/provider_bridge_ort.cc:2043 Provider& ProviderLibrary::Get() \
                 [ONNXRuntimeError] : 1 : FAIL : Failed to load library libx.so with error: a : b"
            ),
            "Failed to load library libx.so with error: a : b"
        );
        assert_eq!(without_location("no code here"), "no code here");
    }

    #[test]
    fn engine_folders_differ_by_weights() {
        let (a, b) = (two_heads(), {
            let mut proto = two_heads();
            proto.graph.as_mut().unwrap().initializer[0].raw_data[0] ^= 1;
            proto
        });
        let folder = |proto: &pb::ModelProto| engine_folder(Path::new("/c"), &encode(proto));
        assert_ne!(folder(&a), folder(&b));
        assert_eq!(folder(&a), folder(&two_heads()));
        assert_eq!(folder(&a).parent(), Some(Path::new("/c")));
    }
}
