use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ::ort::ep::{self, ExecutionProvider};
use rand::{RngExt, SeedableRng};

use super::message::without_location;
use super::tensor_rt::library_version;
use super::*;
use crate::backend::model_file::ModelFile;
use crate::backend::onnx::ModelProto;
use crate::backend::test_graphs::{
    absurd_size, bernoulli_decoder, encode, largest_difference, two_heads, unknown_operator, values,
};
use crate::backend::tract::{Plans, TractGraph};
use crate::backend::{
    BackendError, Device, Graph, Precision, TensorInfo, TensorRtSettings, library,
};

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
        tensor_rt: TensorRtSettings::default(),
        identity: BTreeMap::new(),
    }
}

fn load(runtime: &Runtime, bytes: &[u8], batch: usize) -> Result<OrtGraph, BackendError> {
    OrtGraph::load(
        runtime,
        &cpu(1),
        bytes,
        ModelFile::read(bytes, "test.onnx", batch)?,
        None,
    )
}

/// Runs a graph of one input and two outputs.
fn run(graph: &mut dyn Graph, input: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut a = vec![0.0; graph.outputs()[0].len()];
    let mut b = vec![0.0; graph.outputs()[1].len()];
    graph.run(&[input], &mut [&mut a, &mut b]).unwrap();
    (a, b)
}

#[test]
fn both_engines_agree_and_rows_are_independent() {
    let Some(runtime) = runtime() else { return };
    for (proto, row) in [(two_heads(), 72), (bernoulli_decoder(), 4)] {
        let bytes = encode(&proto);
        let mut single = load(&runtime, &bytes, 1).unwrap();
        let input = values(40, 5 * row);
        let (a, b) = run(&mut load(&runtime, &bytes, 5).unwrap(), &input);
        let mut tract = TractGraph::load(
            &bytes,
            ModelFile::read(&bytes, "test.onnx", 5).unwrap(),
            &Plans::default(),
            None,
        )
        .unwrap();
        assert_eq!(tract.outputs(), single_batch_as(&single, 5));
        let (c, d) = run(&mut tract, &input);
        assert!(largest_difference(&a, &c) < 1e-5 && largest_difference(&b, &d) < 1e-5);
        for (frame, (a, b)) in input
            .chunks(row)
            .zip(a.chunks(a.len() / 5).zip(b.chunks(b.len() / 5)))
        {
            // Another batch may be summed in another order, as arm64's kernels do.
            let (single_a, single_b) = run(&mut single, frame);
            assert!(
                largest_difference(a, &single_a) < 1e-5 && largest_difference(b, &single_b) < 1e-5
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
    let mut two = OrtGraph::load(&runtime, &cpu(2), &bytes, file, None).unwrap();
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
            cache: cache.path().to_owned(),
            ..cpu(1)
        };
        let bytes = encode(&two_heads());
        let file = ModelFile::read(&bytes, "test.onnx", 1).unwrap();
        assert!(OrtGraph::load(&runtime, &placement, &bytes, file, None).is_err());
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
    let error = load(&runtime, &unknown_operator(), 1)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("ONNX Runtime: cannot load test.onnx: ") && error.contains("Frobnicate"),
        "{error}"
    );

    let bytes = absurd_size(1_000_000);
    let error = load(&runtime, &bytes, 1_000_000).err().unwrap().to_string();
    assert!(error.contains("makes a tensor of shape"), "{error}");
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
            "/onnxruntime_src/core/session/provider_bridge_ort.cc:2043 Provider& \
             ProviderLibrary::Get() \
             [ONNXRuntimeError] : 1 : FAIL : Failed to load library libx.so with error: a : b"
        ),
        "Failed to load library libx.so with error: a : b"
    );
    assert_eq!(without_location("no code here"), "no code here");
}

#[test]
fn engine_folders_differ_by_weights_driver_and_precision() {
    let (a, b) = (two_heads(), {
        let mut proto = two_heads();
        proto.graph.as_mut().unwrap().initializer[0].raw_data[0] ^= 1;
        proto
    });
    let here = Placement {
        cache: "/c".into(),
        ..cpu(1)
    };
    let folder = |proto: &ModelProto| engine_folder(&here, &encode(proto));
    assert_ne!(folder(&a), folder(&b));
    assert_eq!(folder(&a), folder(&two_heads()));
    assert!(folder(&a).starts_with("/c/graphs"));
    let mut changed = here.clone();
    changed.identity.insert("driver".into(), "580".into());
    assert_ne!(engine_folder(&changed, &encode(&a)), folder(&a));
    changed = here.clone();
    changed.tensor_rt.precision = Precision::Fp16;
    assert_ne!(engine_folder(&changed, &encode(&a)), folder(&a));
}

#[test]
fn the_version_of_an_open_library_is_read_from_its_name() {
    let maps = "7f00-7f01 r-xp 00000000 08:01 42  /usr/lib/x86_64-linux-gnu/libnvinfer.so.10.3.0\n\
                7f02-7f03 r-xp 00000000 08:01 43  /usr/lib/libnvinfer_plugin.so.10.3.0\n";
    assert_eq!(library_version(maps, "libnvinfer.so."), "10.3.0");
    assert_eq!(library_version("", "libnvinfer.so."), "");
}
