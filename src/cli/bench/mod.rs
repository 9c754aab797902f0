//! `edge-vae bench`: how fast a model is on this machine.

mod measure;

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    process::{Command, Stdio},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use edge_vae::backend::{BackendKind, Device, EngineOptions};

use super::{
    Outcome,
    flags::{EngineFlags, find_bundle},
    output::StandardOutput,
    reporter::Reporter,
};
use measure::{Measurement, Node, Setting, measure};

/// Measure how fast a model is on this machine.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae bench
  edge-vae bench --model models/part frames/*.jpg
  edge-vae bench --model models/part --backend tract --device cpu --threads 1 --jobs 1 --json
  edge-vae bench --model models/part --nodes

Each way to run the model is measured in a process of its own: tract and ONNX Runtime, on one thread
and on all cores, one frame after the other and side by side, and on a GPU where there is one. What
the flags fix is not varied.

  start      from the start of the program to the first verdict
  p50 … p99  time of a verdict that half, 95 % and 99 % of the frames stay below; with FRAMES from
             the file on, without from the frame in memory on
  stages     mean times of a frame: read (the file), prepare (to the networks' input), encode and
             decode (the VAE), detect (the other networks), score
  memory     the most that the process had
  nodes      with --nodes: times of a frame in the engine's own nodes, the slowest first

Nothing else should run on the machine. Exit codes: 0 measured; 2 something failed.")]
pub(crate) struct BenchFlags {
    /// Pictures to judge, in turn [default: the model's golden frame, in memory].
    #[arg(value_name = "FRAMES")]
    frames: Vec<PathBuf>,

    /// Folder of the model [default: $EDGE_VAE_MODEL, else models/surface].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Judge this many frames side by side [default: 1, and one on each core].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Seconds of each measurement.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,

    /// Time each node of the graphs as well, on one thread, one frame after the other.
    #[arg(long)]
    nodes: bool,

    /// Print a JSON object for each measurement.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    engine: EngineFlags,
}

/// One way to run a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    backend: BackendKind,
    device: Device,
    threads: usize,
    jobs: usize,
}

pub(crate) fn run(flags: &BenchFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    ensure!(
        flags.seconds > 0.0 && flags.seconds <= 3600.0,
        "--seconds: found {}, expected a number above 0, of at most 3600",
        flags.seconds
    );
    let several = flags
        .engine
        .threads
        .is_some_and(|threads| usize::from(threads) > 1)
        || flags.jobs.is_some_and(|jobs| jobs.get() > 1);
    ensure!(
        !flags.nodes || !several,
        "--nodes times one frame after the other on one thread: leave out --threads and --jobs"
    );
    let mut out = StandardOutput::new();
    if let Some(way) = flags.fixed() {
        let measured = measure(&flags.setting(way, began)?)?;
        if flags.json {
            out.json(&measured)?;
        } else {
            print(&mut out, &[measured])?;
        }
        out.finish()?;
        return Ok(Outcome::Done);
    }
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let mut measured = Vec::new();
    let mut reasons = Vec::new();
    for way in flags.ways(cores) {
        match flags.measure_elsewhere(way) {
            Ok(measurement) => {
                if flags.json {
                    out.json(&measurement)?;
                }
                measured.push(measurement);
            }
            Err(error) => {
                let reason = format!("{}: {error:#}", way.backend);
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
    }
    if measured.is_empty() {
        bail!("{}", reasons.join("; "));
    }
    for reason in reasons {
        reporter.note(&format_args!("left out: {reason}"));
    }
    if !flags.json {
        print(&mut out, &measured)?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}

impl BenchFlags {
    /// The one way that the flags leave.
    fn fixed(&self) -> Option<Way> {
        let device = self
            .engine
            .device
            .filter(|&device| device != Device::Auto)?;
        Some(Way {
            backend: self.engine.backend?,
            device,
            threads: usize::from(self.engine.threads?),
            jobs: self.jobs?.get(),
        })
    }

    fn setting(&self, way: Way, began: Instant) -> anyhow::Result<Setting> {
        Ok(Setting {
            bundle: find_bundle(self.model.clone())?,
            engine: EngineOptions {
                backend: Some(way.backend),
                device: way.device,
                ort_library: self.engine.ort_library.clone(),
                threads: way.threads,
                ..EngineOptions::default()
            },
            jobs: way.jobs,
            frames: self.frames.clone(),
            time: Duration::from_secs_f64(self.seconds),
            began,
            nodes: self.nodes,
        })
    }

    /// The ways that the flags leave, of which not each may work here.
    fn ways(&self, cores: usize) -> Vec<Way> {
        let all = [
            (BackendKind::Tract, Device::Cpu, 1, 1),
            (BackendKind::Tract, Device::Cpu, 1, cores),
            (BackendKind::Ort, Device::Cpu, 1, 1),
            (BackendKind::Ort, Device::Cpu, cores, 1),
            (BackendKind::Ort, Device::Cpu, 1, cores),
            (BackendKind::Ort, Device::Cuda, 1, 1),
        ];
        let device = self.engine.device.filter(|&device| device != Device::Auto);
        let mut ways: Vec<Way> = Vec::new();
        for (backend, usual, threads, jobs) in all {
            let way = Way {
                backend,
                device: device.unwrap_or(usual),
                threads: self.engine.threads.map_or(threads, usize::from),
                jobs: self.jobs.map_or(jobs, NonZeroUsize::get),
            };
            let wanted = self.engine.backend.is_none_or(|wanted| wanted == backend);
            let runs = backend == BackendKind::Ort || way.device == Device::Cpu;
            let shown = !self.nodes || (way.threads, way.jobs) == (1, 1);
            if wanted && runs && shown && !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways
    }

    /// Measures in a process of its own: its memory and its start are those of this way alone.
    fn measure_elsewhere(&self, way: Way) -> anyhow::Result<Measurement> {
        let program = std::env::current_exe().context("this program")?;
        let mut command = Command::new(program);
        command
            .args(["bench", "--json", "--quiet", "--model"])
            .arg(find_bundle(self.model.clone())?)
            .args(["--backend", way.backend.name()])
            .args(["--device", way.device.name()])
            .args(["--threads", &way.threads.to_string()])
            .args(["--jobs", &way.jobs.to_string()])
            .args(["--seconds", &self.seconds.to_string()]);
        if self.nodes {
            command.arg("--nodes");
        }
        if let Some(library) = &self.engine.ort_library {
            command.arg("--ort-library").arg(library);
        }
        let ran = command
            .arg("--")
            .args(&self.frames)
            .stdin(Stdio::null())
            .output()
            .context("cannot start a measurement")?;
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            let said = said.trim().trim_start_matches("edge-vae: ");
            match said.is_empty() {
                true => bail!("ended with {}", ran.status),
                false => bail!("{said}"),
            }
        }
        serde_json::from_slice(&ran.stdout).context("what a measurement printed is no JSON")
    }
}

fn print(out: &mut StandardOutput, measured: &[Measurement]) -> anyhow::Result<()> {
    let longest = measured.iter().map(|m| m.engine.chars().count()).max();
    let width = longest.unwrap_or(0).max("engine".len());
    out.line(format_args!(
        "{:<width$}  threads  jobs  start ms   p50 ms   p95 ms   p99 ms  frames/s  memory MiB",
        "engine"
    ))?;
    for row in measured {
        let memory = row.peak_memory_bytes.map_or_else(
            || "-".to_owned(),
            |bytes| format!("{:.0}", bytes as f64 / 1_048_576.0),
        );
        let times = &row.latency_ms;
        out.line(format_args!(
            "{:<width$}  {:>7}  {:>4}  {:>8.0}  {:>7.2}  {:>7.2}  {:>7.2}  {:>8.1}  {memory:>10}",
            row.engine,
            row.threads,
            row.jobs,
            row.start_ms,
            times.p50,
            times.p95,
            times.p99,
            row.frames_per_second,
        ))?;
    }
    out.line(format_args!(""))?;
    out.line(format_args!(
        "{:<width$}  threads  jobs  read ms  prepare   encode   decode   detect    score",
        "stages"
    ))?;
    for row in measured {
        let stages = &row.stages_ms;
        out.line(format_args!(
            "{:<width$}  {:>7}  {:>4}  {:>7.2}  {:>7.2}  {:>7.2}  {:>7.2}  {:>7.2}  {:>7.2}",
            row.engine,
            row.threads,
            row.jobs,
            stages.read,
            stages.prepare,
            stages.encode,
            stages.decode,
            stages.detect,
            stages.score,
        ))?;
    }
    for row in measured.iter().filter(|row| !row.nodes.is_empty()) {
        print_nodes(out, row)?;
    }
    Ok(())
}

/// The nodes that take a hundredth or more, and the rest as one.
fn print_nodes(out: &mut StandardOutput, row: &Measurement) -> anyhow::Result<()> {
    out.line(format_args!(""))?;
    out.line(format_args!("nodes of {}", row.engine))?;
    out.line(format_args!(
        "     ms  share  {:<16}  {:<24}  node",
        "graph", "operator"
    ))?;
    let (shown, rest): (Vec<_>, Vec<_>) = row.nodes.iter().partition(|node| node.share >= 0.01);
    for node in shown {
        out.line(format_args!(
            "{:>7.3}  {:>4.1}%  {:<16}  {:<24}  {}",
            node.ms,
            100.0 * node.share,
            node.graph,
            node.operator,
            node.node
        ))?;
    }
    let sum = |of: fn(&Node) -> f64| rest.iter().map(|node| of(node)).sum::<f64>();
    out.line(format_args!(
        "{:>7.3}  {:>4.1}%  {} others",
        sum(|node| node.ms),
        100.0 * sum(|node| node.share),
        rest.len()
    ))?;
    Ok(())
}
