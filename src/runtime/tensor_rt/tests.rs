//! Building, failing, refusing, going stale: with a provider that has no GPU.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::*;
use crate::{
    Error,
    backend::{BackendError, Precision, TensorRtSettings},
    bundle::Bundle,
    frame::Frame,
};

/// Gives the scores of a list plus an error, and fails at a graph if it is told to.
struct Fake {
    identity: BTreeMap<String, String>,
    built: Vec<String>,
    fails_at: Option<&'static str>,
    scores: Vec<f64>,
    error: f64,
}

impl Fake {
    fn new(driver: &str) -> Self {
        Self {
            identity: [("driver", driver), ("gpu", "Orin")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            built: Vec::new(),
            fails_at: None,
            scores: Vec::new(),
            error: 0.0,
        }
    }

    fn off_by(error: f64) -> Self {
        Self {
            error,
            ..Self::new("580")
        }
    }
}

impl EngineProvider for Fake {
    fn identity(&self) -> BTreeMap<String, String> {
        self.identity.clone()
    }

    fn calibrate(&mut self, _: &Bundle, frames: &[Frame]) -> Result<(), Error> {
        self.built
            .push(format!("ranges of {} frames", frames.len()));
        Ok(())
    }

    fn build(&mut self, name: &str, onnx: &[u8]) -> Result<(), Error> {
        assert!(!onnx.is_empty());
        let file = Path::new(name).file_name().unwrap().to_str().unwrap();
        if self.fails_at == Some(file) {
            return Err(BackendError::Load {
                engine: "TensorRT",
                graph: name.to_owned(),
                message: "out of memory".to_owned(),
            }
            .into());
        }
        self.built.push(file.to_owned());
        Ok(())
    }

    fn score(&mut self, _: &Bundle, frames: &[Frame]) -> Result<Scored, Error> {
        let scores = self.scores.iter().copied().chain([1.0].into_iter().cycle());
        Ok(Scored {
            scores: scores.take(frames.len()).map(|s| s + self.error).collect(),
            took: Duration::from_micros(700),
        })
    }
}

const FP16: TensorRtSettings = TensorRtSettings {
    precision: Precision::Fp16,
    dla: None,
};

fn shipped() -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/surface");
    Bundle::open(&folder).unwrap()
}

/// Builds with a provider against one that makes no error.
fn built(
    bundle: &Bundle,
    store: &EngineStore,
    provider: &mut Fake,
) -> Result<(BuiltEngine, Vec<String>), BuildError> {
    let mut seen = Vec::new();
    let comparison = Comparison {
        frames: golden_variants(bundle).unwrap(),
        source: "the golden frame and its variants".to_owned(),
    };
    let built = build(
        bundle,
        FP16,
        (provider, &mut Fake::new("none")),
        &comparison,
        store,
        &mut |progress| {
            seen.push(match progress {
                BuildProgress::Graph {
                    name,
                    number,
                    of,
                    estimate,
                } => format!("{name} {number}/{of} {}", estimate.is_some()),
                BuildProgress::Calibration { .. } => unreachable!("of int8 alone"),
                BuildProgress::Comparison { frames } => format!("{frames} frames"),
            });
        },
    )?;
    Ok((built, seen))
}

#[test]
fn what_is_built_and_agrees_is_found_again() {
    let (bundle, folder) = (shipped(), tempfile::tempdir().unwrap());
    let store = EngineStore::in_folder(folder.path());
    let mut provider = Fake::off_by(1e-4);
    let machine = provider.identity();
    assert_eq!(store.state(&bundle, FP16, &machine), EngineState::Absent);
    assert!(!store.knows(&bundle));

    let (first, seen) = built(&bundle, &store, &mut provider).unwrap();
    // Without an earlier build there is no estimate for the first graph.
    let expected = [
        "encoder.onnx 1/6 false",
        "decoder.onnx 2/6 true",
        "backbone.onnx 3/6 true",
        "head.onnx 4/6 true",
        "features.onnx 5/6 true",
        "fine-features.onnx 6/6 true",
        "19 frames",
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        provider.built,
        [
            "encoder.onnx",
            "decoder.onnx",
            "backbone.onnx",
            "head.onnx",
            "features.onnx",
            "fine-features.onnx"
        ]
    );
    assert_eq!(first.milliseconds, 0.7);
    assert_eq!(first.agreement.refused, None, "{:?}", first.agreement);
    let ready = store.state(&bundle, FP16, &machine);
    assert_eq!(ready, EngineState::Ready(Box::new(first.clone())));
    assert_eq!(store.fastest(&bundle, &machine), Some(first));
    assert!(store.knows(&bundle));
    let fp32 = TensorRtSettings::default();
    assert_eq!(store.state(&bundle, fp32, &machine), EngineState::Absent);

    let (_, seen) = built(&bundle, &store, &mut provider).unwrap();
    assert_eq!(seen[0], "encoder.onnx 1/6 true");

    let graphs = store.folder().join("graphs");
    fs::create_dir_all(&graphs).unwrap();
    assert_eq!(store.clear(Some(&bundle)).unwrap(), 1);
    assert!(store.list().is_empty());
    built(&bundle, &store, &mut provider).unwrap();
    assert_eq!(store.clear(None).unwrap(), 1);
    assert!(!store.folder().exists());
    assert_eq!(store.clear(None).unwrap(), 0);
}

#[test]
fn another_driver_or_another_bundle_makes_it_stale() {
    let (mut bundle, folder) = (shipped(), tempfile::tempdir().unwrap());
    let store = EngineStore::in_folder(folder.path());
    built(&bundle, &store, &mut Fake::new("580")).unwrap();
    let now = Fake::new("590").identity();
    assert_eq!(
        store.state(&bundle, FP16, &now),
        EngineState::Stale("driver 580 is now 590".to_owned())
    );
    assert_eq!(store.fastest(&bundle, &now), None);
    bundle.manifest_mut().golden.tolerance *= 2.0;
    assert_eq!(
        store.state(&bundle, FP16, &Fake::new("580").identity()),
        EngineState::Stale("the bundle is another".to_owned())
    );
}

#[test]
fn scores_that_disagree_are_kept_as_refused() {
    let (bundle, folder) = (shipped(), tempfile::tempdir().unwrap());
    let store = EngineStore::in_folder(folder.path());
    let machine = Fake::new("580").identity();
    for error in [10.0, f64::NAN] {
        let (refused, _) = built(&bundle, &store, &mut Fake::off_by(error)).unwrap();
        let why = refused.agreement.refused.unwrap();
        assert_eq!(
            store.state(&bundle, FP16, &machine),
            EngineState::Refused(why)
        );
        assert_eq!(store.fastest(&bundle, &machine), None);
        assert!(!store.knows(&bundle));
    }
}

#[test]
fn a_build_that_fails_leaves_what_was_there() {
    let (bundle, folder) = (shipped(), tempfile::tempdir().unwrap());
    let store = EngineStore::in_folder(folder.path());
    built(&bundle, &store, &mut Fake::new("580")).unwrap();
    let kept = store.list();
    let mut failing = Fake {
        fails_at: Some("decoder.onnx"),
        ..Fake::new("580")
    };
    let error = built(&bundle, &store, &mut failing)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("decoder.onnx") && error.contains("out of memory"),
        "{error}"
    );
    assert_eq!(store.list(), kept);
}

#[test]
fn a_folder_that_cannot_be_written_is_told_before_anything_is_built() {
    let (bundle, folder) = (shipped(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("tensorrt"), "a file").unwrap();
    let store = EngineStore::in_folder(folder.path());
    let mut provider = Fake::new("580");
    let error = built(&bundle, &store, &mut provider).unwrap_err();
    assert!(
        error.to_string().contains("EDGE_VAE_CACHE names another"),
        "{error}"
    );
    assert!(provider.built.is_empty());
}

#[test]
fn a_dla_has_no_fp32_and_damaged_records_are_none() {
    let (bundle, folder) = (shipped(), tempfile::tempdir().unwrap());
    let store = EngineStore::in_folder(folder.path());
    let settings = TensorRtSettings {
        precision: Precision::Fp32,
        dla: Some(0),
    };
    let comparison = Comparison {
        frames: Vec::new(),
        source: String::new(),
    };
    let (mut provider, mut reference) = (Fake::new("580"), Fake::new("none"));
    let pair: (&mut dyn EngineProvider, &mut dyn EngineProvider) = (&mut provider, &mut reference);
    let refused = build(&bundle, settings, pair, &comparison, &store, &mut |_| ());
    assert!(refused.unwrap_err().to_string().contains("DLA has no fp32"));

    built(&bundle, &store, &mut Fake::new("580")).unwrap();
    for file in fs::read_dir(store.folder()).unwrap() {
        fs::write(file.unwrap().path(), "precision = 7").unwrap();
    }
    let machine = Fake::new("580").identity();
    assert_eq!(store.state(&bundle, FP16, &machine), EngineState::Absent);
}

#[test]
fn int8_is_calibrated_on_the_frames_before_it_is_built() {
    let (bundle, folder) = (shipped(), tempfile::tempdir().unwrap());
    let store = EngineStore::in_folder(folder.path());
    let int8 = TensorRtSettings {
        precision: Precision::Int8,
        dla: Some(1),
    };
    let comparison = Comparison::of_golden_frame(&bundle).unwrap();
    let (mut provider, mut reference) = (Fake::new("580"), Fake::new("none"));
    let pair: (&mut dyn EngineProvider, &mut dyn EngineProvider) = (&mut provider, &mut reference);
    build(&bundle, int8, pair, &comparison, &store, &mut |_| ()).unwrap();
    assert_eq!(provider.built[..2], ["ranges of 19 frames", "encoder.onnx"]);
    let machine = provider.identity();
    let state = store.state(&bundle, int8, &machine);
    assert!(matches!(state, EngineState::Ready(_)));
}

#[test]
fn variants_are_frames_of_which_a_model_calls_some_anomalous() {
    let bundle = shipped();
    let frames = golden_variants(&bundle).unwrap();
    assert_eq!(frames.len(), 19);
    let engine = crate::backend::Engine::open(&crate::backend::EngineOptions::default()).unwrap();
    let mut detector = crate::Detector::new(&bundle, &engine).unwrap();
    let mut anomalous = 0;
    for (place, frame) in frames.iter().enumerate() {
        let verdict = detector.score(frame).unwrap().verdict;
        anomalous += usize::from(verdict.label == crate::runtime::Label::Anomalous);
        assert!(place > 0 || verdict.label == crate::runtime::Label::Normal);
    }
    assert!((1..19).contains(&anomalous), "{anomalous}");
}
