//! Sources against real peers: ffmpeg's own pictures, GStreamer, and an RTSP server.
//!
//! Where a program is absent a test is skipped, which it says, unless `EDGE_VAE_PEERS=1` is set.

mod clip;
mod conversion;
mod rtsp;

use std::{
    env,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use edge_vae::{
    Frame,
    frame::Samples,
    stream::source::{Arrival, Source, SourceSettings, SourceUri, open},
};

/// Whether the absence of a peer is a failure.
fn peers_are_asked_for() -> bool {
    env::var_os("EDGE_VAE_PEERS").is_some_and(|value| value == "1")
}

/// Whether `peer` is there; a test without it is skipped, or fails where peers are asked for.
fn has(peer: &str, probe: &mut Command) -> bool {
    let works = probe.output().is_ok_and(|output| output.status.success());
    if !works {
        assert!(
            !peers_are_asked_for(),
            "EDGE_VAE_PEERS=1, but {peer} is absent"
        );
        eprintln!("skipped: {peer} is absent");
    }
    works
}

fn has_ffmpeg() -> bool {
    has("ffmpeg", Command::new("ffmpeg").arg("-version"))
}

fn has_gstreamer(element: &str) -> bool {
    has(
        &format!("GStreamer's {element}"),
        Command::new("gst-inspect-1.0").arg(element),
    )
}

fn ffmpeg(arguments: &[&str], input: &Path) -> Vec<u8> {
    let output: Output = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error"])
        .args(arguments)
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn opened(uri: &str) -> Box<dyn Source> {
    let uri: SourceUri = uri.parse().unwrap();
    open(&uri, &SourceSettings::default()).unwrap()
}

/// What comes within half a minute, `Nothing` aside.
fn next(source: &mut dyn Source, frame: &mut Frame) -> Arrival {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        match source.read(frame).unwrap() {
            Arrival::Nothing => {}
            arrival => return arrival,
        }
    }
    panic!("nothing comes for 30 s");
}

fn u8s(frame: &Frame) -> &[u8] {
    match frame.samples() {
        Samples::U8(samples) => samples,
        Samples::U16(_) => panic!("16 bits"),
    }
}
