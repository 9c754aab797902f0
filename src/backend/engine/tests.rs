use std::fs;

use super::*;
use crate::backend::test_graphs::{encode, two_heads, values};

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
                "back end `tract` does not run on device `{device}`: use back end `ort`, or \
                 device `cpu`"
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
