//! From a bundle to engines that may run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use super::{Agreement, BuiltEngine, EngineProvider, EngineStore, golden_variants};
use crate::{
    Error,
    backend::{
        BackendError, Device, Precision, TensorRtSettings,
        onnx::{Message, ModelProto},
    },
    bundle::Bundle,
    frame::Frame,
    runtime::load::check_sealed,
    text::timestamp,
};

/// Frames on which an engine is compared with another.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The frames.
    pub frames: Vec<Frame>,
    /// Where they come from, for people: `the golden frame and 18 variants`.
    pub source: String,
}

impl Comparison {
    /// For a bundle of which there are no other frames: its golden frame, and [variants] of it.
    ///
    /// [variants]: golden_variants
    ///
    /// # Errors
    /// Those of [`golden_variants`].
    pub fn of_golden_frame(bundle: &Bundle) -> Result<Self, Error> {
        let frames = golden_variants(bundle)?;
        Ok(Self {
            source: format!("the golden frame and {} variants of it", frames.len() - 1),
            frames,
        })
    }
}

/// What is being done.
#[derive(Clone, Debug, PartialEq)]
pub enum BuildProgress<'a> {
    /// Magnitudes are looked at for `int8`.
    Calibration {
        /// Number of frames.
        frames: usize,
    },
    /// A graph is compiled.
    Graph {
        /// Its file.
        name: &'a str,
        /// From 1.
        number: usize,
        /// Number of graphs.
        of: usize,
        /// What is left in all, by what other graphs took on this machine.
        estimate: Option<Duration>,
    },
    /// Scores are compared.
    Comparison {
        /// Number of frames.
        frames: usize,
    },
}

/// Why no engine was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The engine, the bundle or the cache.
    #[error(transparent)]
    Failed(#[from] Error),
    /// A bundle that judges nothing has no scores to compare.
    #[error(
        "{path} has no scoring and no calibration, so that nothing tells what a reduced precision \
         would change"
    )]
    NothingToCompare {
        /// The bundle.
        path: String,
    },
}

impl From<BackendError> for BuildError {
    fn from(error: BackendError) -> Self {
        Self::Failed(error.into())
    }
}

/// Builds the engines of all graphs of a bundle, compares the scores of `comparison` with those of
/// `reference`, and keeps the record, also where the scores do not agree: then
/// [`Agreement::refused`] says why, and it will not run.
///
/// # Errors
/// A store that can't be written, before anything is built; a bundle without scores; failures of
/// the engines: no record is kept then, and one of before is left as it was.
pub fn build(
    bundle: &Bundle,
    settings: TensorRtSettings,
    (provider, reference): (&mut dyn EngineProvider, &mut dyn EngineProvider),
    comparison: &Comparison,
    store: &EngineStore,
    see: &mut dyn FnMut(BuildProgress<'_>),
) -> Result<BuiltEngine, BuildError> {
    settings.check()?;
    check_sealed(bundle, Device::TensorRt).map_err(Error::from)?;
    let calibration = bundle.calibration();
    let (Some(calibration), true) = (calibration, bundle.manifest().scoring.is_some()) else {
        return Err(BuildError::NothingToCompare {
            path: bundle.path().display().to_string(),
        });
    };
    store.check_writable()?;
    if settings.precision == Precision::Int8 {
        see(BuildProgress::Calibration {
            frames: comparison.frames.len(),
        });
        provider.calibrate(bundle, &comparison.frames)?;
    }
    let began = Instant::now();
    let graphs: Vec<(&str, &[u8], usize)> = bundle
        .graphs()
        .map(|(name, onnx)| (name, onnx, nodes(onnx)))
        .collect();
    let all: usize = graphs.iter().map(|(.., nodes)| nodes).sum();
    let mut seconds_per_node = of_earlier_builds(store, settings, &provider.identity());
    let mut done = 0;
    for (place, &(name, onnx, nodes)) in graphs.iter().enumerate() {
        see(BuildProgress::Graph {
            name,
            number: place + 1,
            of: graphs.len(),
            estimate: seconds_per_node
                .map(|seconds| Duration::from_secs_f64(seconds * (all - done) as f64)),
        });
        let path = bundle.path().join(name).display().to_string();
        provider.build(&path, onnx)?;
        done += nodes;
        seconds_per_node = Some(began.elapsed().as_secs_f64() / done.max(1) as f64);
    }
    let seconds = began.elapsed().as_secs_f64();
    see(BuildProgress::Comparison {
        frames: comparison.frames.len(),
    });
    let expected = reference.score(bundle, &comparison.frames)?;
    let found = provider.score(bundle, &comparison.frames)?;
    let built = BuiltEngine {
        model_id: bundle.model_id().to_owned(),
        bundle: bundle.digest(),
        precision: settings.precision,
        dla: settings.dla,
        date: timestamp(SystemTime::now()),
        seconds,
        nodes: all,
        milliseconds: 1e3 * found.took.as_secs_f64(),
        machine: provider.identity(),
        agreement: Agreement::of(
            calibration,
            &comparison.source,
            &expected.scores,
            &found.scores,
        ),
    };
    store.keep(bundle, &built)?;
    Ok(built)
}

/// Nodes of a graph: TensorRT times tactics for each.
fn nodes(onnx: &[u8]) -> usize {
    let model = ModelProto::decode(onnx).ok();
    let graph = model.and_then(|model| model.graph);
    graph.map_or(1, |graph| graph.node.len().max(1))
}

/// What a node took in the last build of these settings on this machine.
fn of_earlier_builds(
    store: &EngineStore,
    settings: TensorRtSettings,
    machine: &BTreeMap<String, String>,
) -> Option<f64> {
    let built = store.list().into_iter();
    let alike = built.filter(|built| built.settings() == settings && built.machine == *machine);
    let last = alike.max_by(|a, b| a.date.cmp(&b.date))?;
    Some(last.seconds / last.nodes.max(1) as f64)
}
