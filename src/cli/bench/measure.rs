//! One way to run a model, measured in this process.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use edge_vae::{
    Detector, Explain, Frame,
    backend::{Engine, EngineOptions, NodeTimes},
    bundle::Bundle,
    frame::DecodeOptions,
    runtime::Latency,
    trust::{self, TrustPolicy, TrustSettings},
};
use serde::{Deserialize, Serialize};

use super::super::output::SCHEMA_VERSION;

/// Verdicts before the first that is timed: caches are cold, and buffers are made.
const WARM_UP: usize = 3;

/// What is measured.
pub(super) struct Setting {
    pub(super) bundle: PathBuf,
    pub(super) engine: EngineOptions,
    /// Detectors side by side.
    pub(super) jobs: usize,
    /// Pictures to judge; none for the golden frame.
    pub(super) frames: Vec<PathBuf>,
    /// For how long.
    pub(super) time: Duration,
    /// When the program began.
    pub(super) began: Instant,
    /// Whether each node is timed as well.
    pub(super) nodes: bool,
}

/// One JSON line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measurement {
    schema_version: u32,
    model_id: String,
    /// The engine, its version and device.
    pub(super) engine: String,
    backend: String,
    device: String,
    pub(super) threads: usize,
    pub(super) jobs: usize,
    /// Verdicts that were timed.
    frames: usize,
    /// From the start of the program to the first verdict.
    pub(super) start_ms: f64,
    pub(super) latency_ms: Percentiles,
    pub(super) stages_ms: Stages,
    pub(super) frames_per_second: f64,
    /// Most memory that the process had, where the system tells.
    pub(super) peak_memory_bytes: Option<u64>,
    /// The slowest first; empty where nodes were not timed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) nodes: Vec<Node>,
}

/// A node of a graph.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) graph: String,
    pub(super) node: String,
    pub(super) operator: String,
    /// Of a frame.
    pub(super) ms: f64,
    /// Of the time in all nodes, 0 to 1.
    pub(super) share: f64,
}

/// Of the times of all verdicts, each from the file or the frame to the verdict.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

/// Means over all verdicts; the verb `score` says what each is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Stages {
    pub(super) read: f64,
    pub(super) prepare: f64,
    pub(super) encode: f64,
    pub(super) decode: f64,
    pub(super) detect: f64,
    pub(super) score: f64,
}

/// Where the frames come from.
enum Source {
    /// The golden frame, in memory.
    Golden(Frame),
    /// Files, which are read anew for each verdict.
    Files(Vec<PathBuf>, DecodeOptions),
}

/// A verdict's time: reading, and the rest.
type Time = (Duration, Latency);

/// Opens the model and judges frames for some time.
///
/// # Errors
/// What the model, the engine and the frames can fail with.
pub(super) fn measure(setting: &Setting) -> anyhow::Result<Measurement> {
    let policy = TrustPolicy::load(&TrustSettings::default(), false)?;
    let bundle = trust::open(&setting.bundle, &policy)?.bundle;
    let mut engine = Engine::open(&setting.engine)?;
    let node_times = setting.nodes.then(|| engine.time_nodes());
    let source = match setting.frames.is_empty() {
        true => Source::Golden(golden_frame(&bundle)?),
        false => Source::Files(
            setting.frames.clone(),
            bundle.manifest().preprocess.decode_options(),
        ),
    };
    let open = || {
        let mut detector = Detector::new(&bundle, &engine)?;
        detector.explain(Explain::Anomalous);
        anyhow::Ok(detector)
    };
    let mut detectors = vec![open()?];
    judge(&mut detectors[0], &source, 0)?;
    let start = setting.began.elapsed();
    for _ in 1..setting.jobs {
        detectors.push(open()?);
    }
    let (description, model_id) = (
        detectors[0].description().to_owned(),
        detectors[0].model_id().to_owned(),
    );
    let (backend, device) = (detectors[0].backend(), detectors[0].device());
    for detector in &mut detectors {
        (0..WARM_UP).try_for_each(|number| judge(detector, &source, number).map(drop))?;
    }
    let began = Instant::now();
    let times = thread::scope(|scope| {
        let source = &source;
        let run = |mut detector: Detector| {
            move || -> anyhow::Result<Vec<Time>> {
                let mut times = Vec::new();
                while times.is_empty() || began.elapsed() < setting.time {
                    times.push(judge(&mut detector, source, times.len())?);
                }
                Ok(times)
            }
        };
        let running = detectors
            .into_iter()
            .map(|detector| scope.spawn(run(detector)));
        let running: Vec<_> = running.collect();
        let ended = running.into_iter().map(|thread| {
            let times = thread.join().map_err(|_| anyhow!("a detector broke off"));
            times.and_then(|times| times)
        });
        ended.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let elapsed = began.elapsed().as_secs_f64();
    let times = times.concat();
    Ok(Measurement {
        schema_version: SCHEMA_VERSION,
        model_id,
        engine: description,
        backend: backend.name().to_owned(),
        device: device.name().to_owned(),
        threads: setting.engine.threads,
        jobs: setting.jobs,
        frames: times.len(),
        start_ms: milliseconds(start),
        latency_ms: percentiles(&times),
        stages_ms: stages(&times),
        frames_per_second: (10.0 * times.len() as f64 / elapsed).round() / 10.0,
        peak_memory_bytes: peak_memory(),
        nodes: node_times.map_or_else(Vec::new, |times| nodes(&times)),
    })
}

fn judge(detector: &mut Detector, source: &Source, number: usize) -> anyhow::Result<Time> {
    let began = Instant::now();
    match source {
        Source::Golden(frame) => Ok((Duration::ZERO, detector.score(frame)?.latency)),
        Source::Files(paths, decode) => {
            let path = &paths[number % paths.len()];
            let frame = Frame::open_with(path, decode)?;
            let read = began.elapsed();
            let detection = detector.score(&frame);
            Ok((
                read,
                detection
                    .with_context(|| path.display().to_string())?
                    .latency,
            ))
        }
    }
}

fn golden_frame(bundle: &Bundle) -> anyhow::Result<Frame> {
    let name = &bundle.manifest().golden.frame;
    let bytes = bundle.file(name);
    let bytes = bytes.with_context(|| format!("{}: lacks {name}", bundle.path().display()))?;
    let decode = bundle.manifest().preprocess.decode_options();
    Ok(Frame::decode(bytes, name, &decode)?)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// By the nearest rank.
fn percentiles(times: &[Time]) -> Percentiles {
    let total = |(read, latency): &Time| *read + latency.total;
    let mut totals: Vec<Duration> = times.iter().map(total).collect();
    totals.sort_unstable();
    let percentile = |percent: usize| {
        let rank = (totals.len() * percent).div_ceil(100).max(1);
        totals.get(rank - 1).copied().map_or(0.0, milliseconds)
    };
    Percentiles {
        p50: percentile(50),
        p95: percentile(95),
        p99: percentile(99),
    }
}

fn stages(times: &[Time]) -> Stages {
    let mean = |of: fn(&Time) -> Duration| {
        let sum: Duration = times.iter().map(of).sum();
        milliseconds(sum / times.len().max(1) as u32)
    };
    Stages {
        read: mean(|(read, _)| *read),
        prepare: mean(|(_, latency)| latency.prepare),
        encode: mean(|(_, latency)| latency.encode),
        decode: mean(|(_, latency)| latency.decode),
        detect: mean(|(_, latency)| latency.detect),
        score: mean(|(_, latency)| latency.score),
    }
}

/// The warm-up is counted too: it runs the same nodes.
fn nodes(times: &NodeTimes) -> Vec<Node> {
    let times = times.slowest_first();
    let all: Duration = times.iter().map(|node| node.time).sum();
    let share = |time: Duration| time.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE);
    times
        .into_iter()
        .map(|node| Node {
            ms: milliseconds(node.time) / node.runs.max(1) as f64,
            share: share(node.time),
            graph: Path::new(&node.graph)
                .file_name()
                .map_or(node.graph.clone(), |name| {
                    name.to_string_lossy().into_owned()
                }),
            node: node.node,
            operator: node.operator,
        })
        .collect()
}

/// `VmHWM` of Linux.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(milliseconds: u64) -> Time {
        let latency = Latency {
            total: Duration::from_millis(milliseconds),
            detect: Duration::from_millis(milliseconds),
            ..Latency::default()
        };
        (Duration::from_millis(1), latency)
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank_and_reading_counts() {
        let times: Vec<Time> = (1..=100).rev().map(took).collect();
        let found = percentiles(&times);
        assert_eq!((found.p50, found.p95, found.p99), (51.0, 96.0, 100.0));
        let one = percentiles(&[took(7)]);
        assert_eq!((one.p50, one.p99), (8.0, 8.0));
        assert_eq!((stages(&times).read, stages(&times).detect), (1.0, 50.5));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_of_memory() {
        assert!(peak_memory().unwrap() > 1 << 20);
    }
}
