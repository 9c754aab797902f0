//! `edge-vae ctl`: commands to a running `watch`.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, Subcommand};
use edge_vae::stream::{
    Configuration,
    control::{MOST_PATH_BYTES, Request, Verb},
};
use serde_json::Value;

use super::{
    Outcome,
    output::{FilePlace, StandardOutput},
    watch::DEFAULT_FILE,
};

/// The variable that names a socket.
const SOCKET_VARIABLE: &str = "EDGE_VAE_CONTROL";

/// How long an answer may take; a reload opens a model, which takes minutes on some engines.
const PATIENCE: Duration = Duration::from_secs(30);
const RELOAD: Duration = Duration::from_secs(630);

/// Most bytes of an answer: the picture of a large frame.
const MOST_BYTES: u64 = 1 << 30;

/// Command a running `watch`: state, pause, threshold, reload, snapshot.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae watch /dev/video0 --control /run/edge-vae.sock      # takes commands
  edge-vae ctl --socket /run/edge-vae.sock status
  edge-vae ctl pause && edge-vae ctl resume
  edge-vae ctl threshold --false-alarm-rate 0.001
  edge-vae ctl snapshot --overlay --out now.png

The protocol of the socket: docs/reference/control.md.

Exit codes: 0 it was done; 2 it was not, and standard error says why.")]
pub(crate) struct CtlFlags {
    /// The socket of `watch --control` [default: $EDGE_VAE_CONTROL, else that of edge-vae.toml].
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,

    /// Print the answer as a JSON object.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: CtlVerb,
}

#[derive(Debug, Subcommand)]
enum CtlVerb {
    /// Model, threshold, sources with their latest verdict and counts, sinks.
    Status,
    /// Judge no frames until `resume`; cameras are still read, and nothing is called normal.
    Pause {
        /// Of this source alone.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
    /// Judge frames again.
    Resume {
        /// Of this source alone.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
    /// Read configuration and model again, as SIGHUP does, and say whether that worked.
    Reload,
    /// Judge by another threshold until the next reload or start; the model stays as it is.
    Threshold(ThresholdFlags),
    /// Write the latest frame as PNG, and print its verdict.
    Snapshot {
        /// The source, where there are several.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// The file.
        #[arg(long, value_name = "FILE", default_value = "snapshot.png")]
        out: PathBuf,
        /// Draw heat, boxes and verdict on it.
        #[arg(long)]
        overlay: bool,
    },
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct ThresholdFlags {
    /// A score, or `default` for the calibration's threshold.
    #[arg(value_name = "VALUE|default", allow_negative_numbers = true)]
    value: Option<String>,

    /// The threshold that guarantees this rate of false alarms.
    #[arg(long, value_name = "R")]
    false_alarm_rate: Option<f64>,
}

pub(crate) fn run(flags: CtlFlags) -> anyhow::Result<Outcome> {
    let (request, out) = request(flags.verb)?;
    let out = out.as_deref().map(|out| FilePlace::check(out, "png"));
    let out = out.transpose()?;
    let path = socket(flags.socket)?;
    let mut answer = ask(&path, &request)?;
    if answer["ok"] != true {
        let problem = answer["error"].as_str().unwrap_or("it gives no reason");
        bail!("{}: {problem}", request.command.as_str());
    }
    if let Some(out) = out {
        save(&mut answer, out)?;
    }
    let mut output = StandardOutput::new();
    if flags.json {
        output.json(&answer)?;
    } else {
        for line in words(request.command, &answer) {
            output.line(format_args!("{line}"))?;
        }
    }
    output.finish()?;
    Ok(Outcome::Done)
}

/// What is asked for, and where a picture goes.
fn request(verb: CtlVerb) -> anyhow::Result<(Request, Option<PathBuf>)> {
    let of_source = |verb, source| Request {
        source,
        ..Request::new(verb)
    };
    Ok(match verb {
        CtlVerb::Status => (Request::new(Verb::Status), None),
        CtlVerb::Pause { source } => (of_source(Verb::Pause, source), None),
        CtlVerb::Resume { source } => (of_source(Verb::Resume, source), None),
        CtlVerb::Reload => (Request::new(Verb::Reload), None),
        CtlVerb::Threshold(ThresholdFlags {
            value,
            false_alarm_rate,
        }) => {
            let mut request = Request {
                false_alarm_rate,
                ..Request::new(Verb::Threshold)
            };
            match value.as_deref() {
                Some("default") => request.default = Some(true),
                Some(text) => {
                    let value: Option<f64> = text.parse().ok();
                    request.value = value.filter(|value| value.is_finite());
                    ensure!(
                        request.value.is_some(),
                        "threshold {text}: give a finite number, or `default`"
                    );
                }
                None => {}
            }
            // JSON has no NaN: it would arrive as no rate at all.
            if let Some(rate) = false_alarm_rate {
                ensure!(
                    rate > 0.0 && rate < 1.0,
                    "--false-alarm-rate {rate}: give a probability above 0 and below 1"
                );
            }
            (request, None)
        }
        CtlVerb::Snapshot {
            source,
            out,
            overlay,
        } => {
            let request = Request {
                overlay: Some(overlay),
                ..of_source(Verb::Snapshot, source)
            };
            (request, Some(out))
        }
    })
}

fn socket(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path);
    }
    if let Some(path) = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let file = Path::new(DEFAULT_FILE);
    if file.is_file()
        && let Some(control) = Configuration::read(file)?.control
    {
        return Ok(control.path);
    }
    bail!(
        "no socket: {SOCKET_VARIABLE} is not set and no {DEFAULT_FILE} here has a [control]; name \
         that of `watch --control PATH` with --socket PATH"
    )
}

fn ask(path: &Path, request: &Request) -> anyhow::Result<Value> {
    let name = path.display();
    let length = path.as_os_str().len();
    ensure!(
        length <= MOST_PATH_BYTES,
        "{name}: the path of a Unix socket has at most {MOST_PATH_BYTES} bytes, and this one \
         {length}"
    );
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            anyhow!("{name}: there is no such socket; is a `watch --control {name}` running?")
        }
        ErrorKind::ConnectionRefused => {
            anyhow!("{name}: nobody listens there; the `watch` that made it has ended")
        }
        ErrorKind::PermissionDenied => anyhow!(
            "{name}: no permission; run as the user of the watch, or set mode = \"0660\" in its \
             [control] and be of its group"
        ),
        _ => anyhow!("{name}: cannot connect: {error}"),
    })?;
    let patience = match request.command {
        Verb::Reload => RELOAD,
        _ => PATIENCE,
    };
    let mut line = serde_json::to_vec(request).context("JSON")?;
    line.push(b'\n');
    let mut answer = Vec::new();
    let exchanged = (|| {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&line)?;
        BufReader::new(stream.take(MOST_BYTES)).read_until(b'\n', &mut answer)
    })();
    exchanged.map_err(|error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!(
            "{name}: no answer within {}; the command may still be done",
            humantime::format_duration(patience)
        ),
        _ => anyhow!("{name}: the connection broke: {error}"),
    })?;
    ensure!(
        !answer.is_empty(),
        "{name}: the watch closed the connection without an answer; is it ending?"
    );
    serde_json::from_slice(&answer)
        .with_context(|| format!("{name}: the answer is none; is this the socket of a watch?"))
}

/// Writes the picture, and leaves its place in the answer.
fn save(answer: &mut Value, out: FilePlace<'_>) -> anyhow::Result<()> {
    let text = answer["png"]
        .as_str()
        .context("the answer has no picture")?;
    let png = BASE64_STANDARD.decode(text).context("the picture")?;
    out.prepare()?;
    out.write(&png)?;
    if let Some(object) = answer.as_object_mut() {
        object.remove("png");
        object.insert("path".to_owned(), out.path().display().to_string().into());
    }
    Ok(())
}

/// An answer for people.
fn words(verb: Verb, answer: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    match verb {
        Verb::Status => status(answer),
        Verb::Pause | Verb::Resume => {
            let paused = list(&answer["paused"]);
            vec![match paused.is_empty() {
                true => "no source is paused".to_owned(),
                false => format!("paused: {}", paused.join(", ")),
            }]
        }
        Verb::Reload => {
            let mut lines = vec![format!("read again; model {}", text(&answer["model_id"]))];
            lines.extend(list(&answer["problems"]));
            lines
        }
        Verb::Threshold => vec![threshold(&answer["threshold"])],
        Verb::Snapshot => {
            let frame = &answer["frame"];
            let verdict = match frame["pred_label"].as_str() {
                Some(label) => format!("{label}, score {}", number(&frame["pred_score"])),
                None => "not judged: paused".to_owned(),
            };
            vec![format!(
                "{}: {} frame {} of {}, {verdict}",
                text(&answer["path"]),
                text(&answer["source"]),
                text(&answer["frame_number"]),
                text(&answer["timestamp"]),
            )]
        }
    }
}

fn number(value: &Value) -> String {
    value
        .as_f64()
        .map_or("-".to_owned(), |value| format!("{value:.4}"))
}

fn threshold(record: &Value) -> String {
    format!(
        "threshold {} ({}; false-alarm rate {:.2} %; calibrated {})",
        number(&record["threshold"]),
        match record["origin"].as_str() {
            Some("rate") => "by command, of a rate",
            Some("value") => "by command",
            _ => "of the calibration",
        },
        100.0 * record["false_alarm_rate"].as_f64().unwrap_or(f64::NAN),
        number(&record["calibrated"]),
    )
}

fn status(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let uptime = answer["uptime"].as_f64().unwrap_or_default();
    let mut lines = vec![
        format!(
            "model      {} on {}",
            text(&answer["model_id"]),
            text(&answer["engine"])
        ),
        threshold(&answer["threshold"]).replacen(' ', "  ", 1),
        format!(
            "running    {}{}",
            humantime::format_duration(Duration::from_secs(uptime as u64)),
            if answer["paused"] == true {
                ", paused"
            } else {
                ""
            }
        ),
    ];
    for source in answer["sources"].as_array().into_iter().flatten() {
        let last = &source["last"];
        let verdict = match last["pred_label"].as_str() {
            Some(label) => format!("last {label} {}", number(&last["pred_score"])),
            None => "no verdict yet".to_owned(),
        };
        lines.push(format!(
            "source     {}: {}, {:.1} frames/s, {verdict}; {} normal, {} anomalous, {} invalid, \
             {} unreadable, {} dropped, {} skipped, {} events",
            text(&source["name"]),
            text(&source["state"]),
            source["fps"].as_f64().unwrap_or_default(),
            source["normal"],
            source["anomalous"],
            source["invalid"],
            source["unreadable"],
            source["dropped"],
            source["skipped"],
            source["events"],
        ));
    }
    for sink in answer["sinks"].as_array().into_iter().flatten() {
        lines.push(format!(
            "sink       {}: {} messages, {} waiting, {} failed, {} lost",
            text(&sink["name"]),
            sink["taken"],
            sink["waiting"],
            sink["failed"],
            sink["lost"]
        ));
    }
    lines
}
