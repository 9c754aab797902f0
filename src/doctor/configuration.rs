//! Whether a configuration can run here: its sources, its sinks and their peers, its socket.

use std::path::Path;

use super::{Finding, Machine, board};
use crate::{
    frame::recognise,
    stream::{
        Configuration, SourceEntry,
        sink::{SinkError, SinkNeeds},
        source::{Address, Decoder, SourceSettings, SourceUri},
    },
};

pub(super) fn examine(machine: &dyn Machine, configuration: &Configuration) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = configuration.options() {
        findings.push(Finding::error("configuration", error.to_string(), MEND));
    }
    // Names and settings of all; each is looked at below.
    match configuration.sources() {
        Err(error) => findings.push(Finding::error("source", error.to_string(), MEND)),
        Ok(sources) => {
            for (source, entry) in sources.iter().zip(&configuration.sources) {
                findings.push(source_finding(machine, &source.name, entry));
            }
        }
    }
    let control = configuration.control.as_ref();
    let running = control.is_some_and(|control| machine.answers(&control.path));
    for (name, needs) in configuration.sink_needs() {
        findings.extend(sink(machine, &name, needs, running));
    }
    if let Some(control) = control {
        let folder = control.path.parent().filter(|path| *path != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        findings.push(match control.check() {
            Err(error) => Finding::error("control", error.to_string(), MEND),
            Ok(()) if running => {
                let text = format!("{control}: a `watch` is running and answers");
                Finding::note("control", text)
            }
            Ok(()) if !machine.may_use(folder) => Finding::error(
                "control",
                format!("{control}: no socket can be made in {}", folder.display()),
                "make the folder, or name another path; systemd's `RuntimeDirectory=` makes one",
            ),
            Ok(()) => Finding::ok("control", control.to_string()),
        });
    }
    findings
}

const MEND: &str = "mend the key, see docs/reference/configuration.md";

fn source_finding(machine: &dyn Machine, name: &str, entry: &SourceEntry) -> Finding {
    let wrong = |text: String, remedy: &str| Finding::error("source", text, remedy);
    let uri: SourceUri = match entry.uri.parse() {
        Ok(uri) => uri,
        Err(error) => return wrong(format!("{name}: {error}"), MEND),
    };
    let settings = match uri.resolve(&entry.settings) {
        Ok(settings) => settings,
        Err(error) => return wrong(format!("{name}: {error}"), MEND),
    };
    let shown = format!("{name}: {uri}");
    if let Some(problem) = lacks_program(machine, uri.address(), &settings) {
        return wrong(format!("{shown}: {problem}"), "install it, see `decoder`");
    }
    match uri.address() {
        Address::Camera(path) => match machine.check_camera(path, &settings) {
            Ok(()) => Finding::ok("source", shown),
            Err(problem) => wrong(
                format!("{name}: {problem}"),
                "see `camera` and `permission`",
            ),
        },
        Address::Csi(_) if !board::is_jetson(machine) => wrong(
            format!("{shown}: this is no Jetson"),
            "read the camera by pipe:COMMAND, see docs/guide/cameras.md",
        ),
        Address::Folder(path) if !machine.exists(path) => Finding::warning(
            "source",
            format!("{shown}: there is no such folder yet"),
            "make it; `watch` waits until it is there",
        ),
        Address::File(path) if !machine.exists(path) => {
            wrong(format!("{shown}: there is no such file"), "mend the path")
        }
        Address::Stream(url) => {
            match peer_of(url).map(|(host, port)| machine.connect(&host, port)) {
                Some(Err(problem)) => Finding::warning(
                    "source",
                    format!("{shown} does not answer: {problem}"),
                    "look at camera, cable, address and firewall; `watch` tries for ever",
                ),
                Some(Ok(())) => Finding::ok("source", format!("{shown} answers")),
                // Datagrams: nothing answers.
                None => Finding::ok("source", shown),
            }
        }
        _ => Finding::ok("source", shown),
    }
}

/// The program that would read a source, where it is missing.
fn lacks_program(
    machine: &dyn Machine,
    address: &Address,
    settings: &SourceSettings,
) -> Option<&'static str> {
    let is_picture = |path: &Path| {
        let bytes = machine.bytes(&path.display().to_string());
        bytes.is_some_and(|bytes| recognise(&bytes).is_some())
    };
    let decoder = match address {
        Address::Csi(_) => Decoder::Gstreamer,
        // Whether it is read by one, only the server tells.
        Address::Stream(url) if url.starts_with("http") => return None,
        Address::File(path) if is_picture(path) => return None,
        Address::Stream(_) | Address::File(_) => settings.decoder.unwrap_or_default(),
        _ => return None,
    };
    let ffmpeg = machine.has_program("ffmpeg");
    let gstreamer = cfg!(feature = "gstreamer") || machine.has_program("gst-launch-1.0");
    match decoder {
        Decoder::Ffmpeg if !ffmpeg => Some("ffmpeg is not installed"),
        Decoder::Gstreamer if !gstreamer => Some("gst-launch-1.0 is not installed"),
        Decoder::Auto if !ffmpeg && !gstreamer => {
            Some("neither ffmpeg nor gst-launch-1.0 is installed")
        }
        _ => None,
    }
}

/// Host and port of a stream over TCP.
fn peer_of(url: &str) -> Option<(String, u16)> {
    let url = url::Url::parse(url).ok()?;
    let usual = match url.scheme() {
        "rtsp" => 554,
        "rtsps" => 322,
        "http" => 80,
        "https" | "rtmps" => 443,
        "rtmp" => 1935,
        // It has no usual port.
        "tcp" => url.port()?,
        _ => return None,
    };
    Some((url.host_str()?.to_owned(), url.port().unwrap_or(usual)))
}

/// What one sink lacks, a line each; one line where it lacks nothing.
fn sink(
    machine: &dyn Machine,
    name: &str,
    needs: Result<SinkNeeds, SinkError>,
    running: bool,
) -> Vec<Finding> {
    let needs = match needs {
        Ok(needs) => needs,
        Err(error) => return vec![Finding::error("sink", error.to_string(), MEND)],
    };
    let mut findings = Vec::new();
    for device in &needs.devices {
        if !machine.exists(device) {
            findings.push(Finding::error(
                "sink",
                format!("{name}: there is no {}", device.display()),
                "plug it in, or mend the path",
            ));
        } else if !machine.may_use(device) {
            findings.push(Finding::error(
                "sink",
                format!("{name}: no permission to use {}", device.display()),
                "see `permission`",
            ));
        }
    }
    if let Some((host, port)) = &needs.peer
        && let Err(problem) = machine.connect(host, *port)
    {
        findings.push(Finding::warning(
            "sink",
            format!("{name}: {host}:{port} does not answer: {problem}"),
            "start the peer, or mend address and firewall; until then messages wait in the outbox",
        ));
    }
    if let Some(address) = &needs.listens
        && let Err(problem) = machine.listen(address)
    {
        let text = format!("{name}: {address} can't be had: {problem}");
        findings.push(if running {
            Finding::note("sink", format!("{text}; the running `watch` has it"))
        } else {
            let remedy = "end the program that has it, such as another `watch`, or choose another \
                          port";
            Finding::error("sink", text, remedy)
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok("sink", name));
    }
    findings
}
