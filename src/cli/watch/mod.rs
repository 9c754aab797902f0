//! `edge-vae watch`.

mod check;
mod host;
mod plan;
mod service;
mod sinks;
mod summary;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{bail, ensure};
use clap::Args;
use edge_vae::stream::{self, Policy};

use super::{Outcome, flags::EngineFlags, reporter::Reporter, trust::TrustFlags};

use host::{Signals, Watcher};
use sinks::SinkFlags;

/// The configuration that is read where it is there and none is named.
pub(super) const DEFAULT_FILE: &str = "edge-vae.toml";

/// Watch cameras, streams and folders: verdicts in real time, events, drift.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  edge-vae watch v4l2:///dev/video0
  edge-vae watch rtsp://camera/stream --log events.jsonl --mqtt mqtt://broker/line-3
  edge-vae watch incoming/ --json > verdicts.jsonl
  edge-vae watch 'synth://surface?fps=30&defects=0.02' --frames 900 --json
  edge-vae watch --config edge-vae.toml --check

Sources: v4l2:///dev/video0, csi://0, rtsp://…, file://clip.mp4, a folder (what is in it, and what
arrives), - (pictures or raw frames on standard input), pipe:COMMAND, synth://surface. Their
settings may stand in the address, after a ?.

Everything else stands in edge-vae.toml (every key: docs/reference/configuration.md); flags
override it.
SIGHUP, or `edge-vae ctl reload`, reads it again and exchanges the model between two frames.
Ctrl-C and SIGTERM let the frames in flight be judged and the sinks be served; a second Ctrl-C ends
at once.

Exit codes: 0 it ended by itself, by a limit or by a signal; 2 something failed.")]
pub(crate) struct WatchFlags {
    /// Sources, by address.
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,

    /// `-?format=gray&…`, standard input with its settings, begins like a flag.
    #[arg(short = '?', value_name = "SETTINGS", hide = true)]
    stdin_settings: Option<String>,

    /// The configuration [default: edge-vae.toml, where it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration, open the model, print the resolved plan, and end.
    #[arg(long)]
    check: bool,

    /// Print the command of each source that is read by a child process, and end.
    #[arg(long)]
    print_pipeline: bool,

    /// Print a JSON object for each frame, and one when an event begins and ends.
    #[arg(long)]
    json: bool,

    /// End after so many judged frames.
    #[arg(long, value_name = "N")]
    frames: Option<u64>,

    /// End after this time, such as 90s or 8h.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Give a source up that does not come back in so many attempts [default: never].
    #[arg(long, value_name = "N")]
    retries: Option<u32>,

    /// For frames that come too fast: `latest` loses the oldest, `all` lets the source wait
    /// [default: `latest` for cameras and streams, `all` for what can wait].
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    policy: Option<Policy>,

    /// A second, larger rate of false alarms: normal frames above its threshold are for review
    /// [default: that of the model's calibration].
    #[arg(long, value_name = "RATE")]
    review_rate: Option<f64>,

    /// Read pictures of up to N pixels, width × height, if they are trusted [default: the model's
    /// limit, else 100 million].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: Option<u64>,

    /// Take commands of `edge-vae ctl` on this Unix socket, which is created and removed.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    #[command(flatten)]
    sinks: SinkFlags,

    /// Folder of the model [default: that of the configuration, else $EDGE_VAE_MODEL, else
    /// models/surface].
    #[arg(long, value_name = "DIR", help_heading = "Model and engine")]
    model: Option<PathBuf>,

    #[command(flatten)]
    engine: EngineFlags,

    #[command(flatten)]
    trust: TrustFlags,
}

fn policy(text: &str) -> Result<Policy, String> {
    match text {
        "latest" => Ok(Policy::Latest),
        "all" => Ok(Policy::All),
        _ => Err("choose `latest` or `all`".to_owned()),
    }
}

pub(crate) fn run(flags: WatchFlags, reporter: Reporter) -> anyhow::Result<Outcome> {
    let configuration = plan::configuration(&flags)?;
    if flags.print_pipeline {
        return check::print_pipelines(&configuration);
    }
    if flags.check {
        return check::check(&flags, &configuration, reporter);
    }
    let signals = Signals::catch()?;
    let plan = plan::plan(&flags, &configuration, reporter)?;
    let status_line = plan::shows_status(flags.json, reporter);
    let reload = move || {
        let configuration = plan::configuration(&flags)?;
        plan::plan(&flags, &configuration, reporter)
    };
    let mut watcher = Watcher::new(reporter, signals, Arc::new(reload), status_line);
    let summary = stream::run(plan, &mut watcher)?;
    for line in summary::lines(&summary.tally) {
        reporter.note(&line);
    }
    if let Some(error) = summary.abandoned {
        return Err(error.into());
    }
    let read: u64 = summary
        .tally
        .sources
        .iter()
        .map(|source| source.judged + source.skipped)
        .sum();
    ensure!(
        read > 0 || watcher.was_stopped(),
        "it ended without a frame that could be read"
    );
    if let Some(losses) = summary::losses(&summary.tally) {
        bail!("{losses}");
    }
    Ok(Outcome::Done)
}
