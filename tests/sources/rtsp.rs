//! A camera of the network that goes away and comes back.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use edge_vae::{
    Frame,
    stream::source::{Arrival, Source, SourceError, SourceSettings, SourceUri, open},
};

use super::{has, has_ffmpeg, has_gstreamer};

/// Debian's interpreter, for which the bindings of GStreamer are installed.
const PYTHON: &str = "/usr/bin/python3";

/// Serves a moving picture on a port of loopback; the first argument is the port, 0 for any. Prints
/// the port.
const SERVER: &str = r#"
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,"
    "framerate=25/1 ! jpegenc ! rtpjpegpay name=pay0 pt=96 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"#;

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(port: u16) -> Self {
        let mut process = Command::new(PYTHON)
            .args(["-c", SERVER, &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut logged = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut logged).unwrap();
        let port = logged.trim().parse().unwrap_or_default();
        assert_ne!(port, 0, "the server did not start: {logged:?}");
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn has_server() -> bool {
    has(
        "GStreamer's RTSP server for Python",
        Command::new(PYTHON).args([
            "-c",
            "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import \
             GstRtspServer",
        ]),
    ) && has_gstreamer("rtpjpegpay")
}

/// Reads until a frame comes or the source is lost.
fn next(source: &mut dyn Source, frame: &mut Frame) -> Result<(), SourceError> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        match source.read(frame) {
            Ok(Arrival::Frame) => return Ok(()),
            Ok(Arrival::Nothing) => {}
            Ok(Arrival::End) => panic!("a camera has no end"),
            // A frame that the loss cut in two.
            Err(error) if error.is_of_one_frame() => {}
            Err(error) => return Err(error),
        }
    }
    panic!("neither a frame nor an end for 60 s");
}

fn frames_resume(decoder: &str) {
    let server = Server::start(0);
    let port = server.port;
    let address = format!("rtsp://127.0.0.1:{port}/live#decoder={decoder}");
    let uri: SourceUri = address.parse().unwrap();
    let opened = || open(&uri, &SourceSettings::default());
    let mut source = opened().unwrap();
    assert!(source.is_live());
    let mut frame = Frame::blank("camera");
    for _ in 0..5 {
        next(source.as_mut(), &mut frame).unwrap();
        assert_eq!((frame.width(), frame.height()), (160, 120));
    }

    drop(server);
    let error = loop {
        if let Err(error) = next(source.as_mut(), &mut frame) {
            break error;
        }
    };
    assert!(!error.is_permanent(), "{error}");
    assert!(error.to_string().starts_with(&address), "{error}");
    drop(source);

    let _server = Server::start(port);
    let begin = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut source = opened().unwrap();
        match next(source.as_mut(), &mut frame) {
            Ok(()) => break,
            Err(error) => assert!(!error.is_permanent() && attempts < 100, "{error}"),
        }
    }
    eprintln!("{decoder}: frames again after {:?}", begin.elapsed());
}

#[test]
fn frames_resume_by_ffmpeg() {
    if has_ffmpeg() && has_server() {
        frames_resume("ffmpeg");
    }
}

#[test]
fn frames_resume_by_gstreamer() {
    if has_server() && has_gstreamer("pnmenc") && has_gstreamer("rtspsrc") {
        frames_resume("gstreamer");
    }
}
