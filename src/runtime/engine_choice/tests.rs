use std::{fs, time::Instant};

use super::*;
use crate::backend::{BackendKind, Device, Machine};

/// An engine that always takes the same time.
struct Steady {
    engine: &'static str,
    took: Result<Duration, String>,
}

impl Contender for Steady {
    fn engine(&self) -> String {
        self.engine.to_owned()
    }

    fn run(&mut self) -> Result<Duration, String> {
        self.took.clone()
    }
}

fn candidates() -> Vec<EngineOptions> {
    let candidate = |backend, device| EngineOptions {
        backend: Some(backend),
        device,
        ..EngineOptions::default()
    };
    vec![
        candidate(BackendKind::Tract, Device::Cpu),
        candidate(BackendKind::Ort, Device::Cpu),
        candidate(BackendKind::Ort, Device::Cuda),
    ]
}

/// Measures tract at 6 ms and ONNX Runtime at 3 ms, and CUDA as given.
fn measured(cuda: Result<Result<Duration, String>, String>) -> Vec<EngineTrial> {
    let steady = |engine, took| Ok(Steady { engine, took });
    let params = MeasuringParams::default();
    let (trials, complete) = measure(&candidates(), &params, |options| match options.device {
        Device::Cuda => steady("ONNX Runtime 1.31.1 on cuda", cuda.clone()?),
        _ if options.backend == Some(BackendKind::Tract) => {
            steady("tract 0.23.9 on cpu", Ok(Duration::from_millis(6)))
        }
        _ => steady("ONNX Runtime 1.31.1 on cpu", Ok(Duration::from_millis(3))),
    });
    assert!(complete);
    trials
}

#[test]
fn the_fastest_that_works_is_taken() {
    let trials = measured(Ok(Ok(Duration::from_micros(500))));
    assert_eq!(fastest(&trials), Some(2));
    assert_eq!(trials[0].milliseconds, Some(6.0));
    assert_eq!(trials[0].to_string(), "tract 0.23.9 on cpu takes 6.0 ms");
    assert_eq!(trials[2].milliseconds, Some(0.5));

    for cuda in [
        Err("no driver".to_owned()),
        Ok(Err("no driver".to_owned())),
        Ok(Ok(Duration::from_millis(4))),
    ] {
        let trials = measured(cuda.clone());
        assert_eq!(fastest(&trials), Some(1), "{cuda:?}");
        if cuda != Ok(Ok(Duration::from_millis(4))) {
            assert_eq!(
                trials[2].to_string(),
                "ONNX Runtime on cuda is left out: no driver"
            );
        }
    }
}

#[test]
fn one_that_is_left_alone_is_not_timed() {
    let (trials, _) = measure(
        &candidates(),
        &MeasuringParams::default(),
        |options| match options.backend {
            Some(BackendKind::Tract) => Ok(Steady {
                engine: "tract 0.23.9 on cpu",
                took: Err("is not run".to_owned()),
            }),
            _ => Err("disagrees".to_owned()),
        },
    );
    assert_eq!(fastest(&trials), Some(0));
    assert_eq!((trials[0].milliseconds, &trials[0].problem), (None, &None));
}

#[test]
fn none_is_opened_after_the_budget_and_each_runs_once_at_least() {
    let params = MeasuringParams {
        budget: Duration::from_millis(60),
        rounds: 1000,
    };
    let began = Instant::now();
    let (trials, complete) = measure(&candidates(), &params, |_| {
        std::thread::sleep(Duration::from_millis(70));
        Ok(Steady {
            engine: "slow to open",
            took: Ok(Duration::from_millis(1)),
        })
    });
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(trials[..2].iter().all(|trial| trial.milliseconds.is_some()));
    let problem = trials[2].problem.as_deref().unwrap();
    assert!(problem.starts_with("not tried") && !complete, "{problem}");
}

#[test]
fn where_none_works_none_is_taken() {
    let (trials, _) = measure(&candidates(), &MeasuringParams::default(), |_| {
        Err::<Steady, _>("disagrees".to_owned())
    });
    assert_eq!(fastest(&trials), None);
    assert_eq!(fastest(&[]), None);
}

fn machine(cpu: &str) -> Machine {
    Machine {
        cpu: cpu.to_owned(),
        ..Machine::default()
    }
}

#[test]
fn times_are_kept_for_the_same_bundle_engines_and_machine_alone() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    fs::write(&library, "one").unwrap();
    let asked = |threads| -> Vec<EngineOptions> {
        let with = |options: EngineOptions| EngineOptions {
            cache: Some(folder.path().join("cache")),
            ort_library: Some(library.clone()),
            threads,
            ..options
        };
        candidates().into_iter().map(with).collect()
    };
    let record = |bundle: &str, threads, cpu| {
        Record::new("m-1", bundle.to_owned(), &asked(threads), machine(cpu))
    };
    let trials = measured(Err("no driver".to_owned()));
    let first = record("a", 1, "x");
    assert_eq!(first.read(), None);
    first.write(&trials).unwrap();
    assert_eq!(record("a", 1, "x").read(), Some(trials.clone()));
    for other in [
        record("b", 1, "x"),
        record("a", 2, "x"),
        record("a", 1, "y"),
    ] {
        assert_eq!(other.read(), None);
    }
    // Another machine has the same file, for instance on a cloned disk.
    record("a", 1, "y").write(&trials).unwrap();
    assert_eq!(record("a", 1, "x").read(), None);
    assert_eq!(record("a", 1, "y").read(), Some(trials.clone()));
    fs::write(&library, "another version").unwrap();
    assert_eq!(record("a", 1, "y").read(), None);
    // Damage is no error.
    record("a", 1, "y").write(&trials).unwrap();
    for file in fs::read_dir(folder.path().join("cache/choices")).unwrap() {
        fs::write(file.unwrap().path(), "no TOML").unwrap();
    }
    assert_eq!(record("a", 1, "y").read(), None);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cache"), "a file").unwrap();
    let with = |options: EngineOptions| EngineOptions {
        cache: Some(folder.path().join("cache")),
        ..options
    };
    let asked: Vec<_> = candidates().into_iter().map(with).collect();
    let record = Record::new("m-1", "a".to_owned(), &asked, machine("x"));
    let problem = record.write(&[]).unwrap_err();
    assert!(problem.contains("cache/choices"), "{problem}");
}
