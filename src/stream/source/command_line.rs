//! The commands of the programs that decode streams, videos and CSI cameras.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use super::{Address, Decoder, SourceSettings, settings::Transport, splitter::Splitter};
use crate::frame::raw::{RawFormat, RawLayout};

/// Silence of a network stream after which ffmpeg and GStreamer give it up by themselves,
/// microseconds; ours comes later and is the last resort.
const SOCKET_TIMEOUT: &str = "5000000";

/// How long GStreamer holds datagrams back to put them in order, milliseconds.
const JITTER: &str = "100";

/// The program that runs elements of GStreamer.
pub(super) const GST_LAUNCH: &str = "gst-launch-1.0";

/// What a Jetson's camera is asked for unless told otherwise.
const CSI_SIZE: [u32; 2] = [1280, 720];
const CSI_RATE: f64 = 30.0;

/// A program with its arguments, as it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<OsString>,
    /// The layout of the pictures it writes, where they don't say it themselves.
    pub(super) layout: Option<RawLayout>,
}

impl CommandLine {
    fn new(
        program: &'static str,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
            layout: None,
        }
    }

    /// A shell's command.
    pub(super) fn shell(command: &str) -> Self {
        Self::new("sh", ["-c", command])
    }

    /// Those of GStreamer's elements that make the pictures, not those that write them out.
    #[cfg(feature = "gstreamer")]
    pub(super) fn elements(&self) -> &[OsString] {
        // No other word is one of these: all that is given stands behind a property's name.
        let writes = |word: &OsString| word == "pnmenc" || word == "fdsink";
        let end = self.arguments.iter().position(writes).unwrap_or_default();
        // Without the `-q` before them, and the `!` behind.
        self.arguments
            .get(1..end.saturating_sub(1))
            .unwrap_or_default()
    }

    pub(super) fn splitter(&self) -> Splitter {
        self.layout.map_or(Splitter::Unknown, Splitter::Raw)
    }
}

/// As it can be given to a shell.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program)?;
        for argument in &self.arguments {
            let argument = argument.to_string_lossy();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&b);
            if !argument.is_empty() && argument.bytes().all(plain) {
                write!(f, " {argument}")?;
            } else {
                write!(f, " '{}'", argument.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

/// Which of the programs there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tools {
    /// Version of ffmpeg: two numbers.
    ffmpeg: Option<[u32; 2]>,
    gstreamer: bool,
}

impl Tools {
    /// Looks for them.
    pub(super) fn find() -> Self {
        Self {
            ffmpeg: is_program("ffmpeg").then(ffmpeg_version),
            gstreamer: cfg!(feature = "gstreamer") || is_program(GST_LAUNCH),
        }
    }

    /// The command for an address that needs one.
    ///
    /// # Errors
    /// What is not installed, or can't be.
    pub(super) fn command(
        self,
        address: &Address,
        settings: &SourceSettings,
    ) -> Result<Option<CommandLine>, String> {
        Ok(Some(match address {
            Address::Csi(number) => {
                self.gstreamer()?;
                csi(*number, settings)?
            }
            Address::Stream(url) => match self.decoder(settings)? {
                Some(version) => ffmpeg_stream(url, version, settings),
                None => gstreamer_stream(url, settings),
            },
            Address::File(path) => match self.decoder(settings)? {
                Some(version) => ffmpeg_file(path, version, settings),
                None => gstreamer_file(path, settings)?,
            },
            Address::Pipe(command) => CommandLine::shell(command),
            _ => return Ok(None),
        }))
    }

    /// The version of ffmpeg, or `None` for GStreamer.
    fn decoder(self, settings: &SourceSettings) -> Result<Option<[u32; 2]>, String> {
        match (settings.decoder.unwrap_or_default(), self.ffmpeg) {
            (Decoder::Auto | Decoder::Ffmpeg, Some(version)) => Ok(Some(version)),
            (Decoder::Ffmpeg, None) => {
                Err("ffmpeg is not installed; install the package ffmpeg".into())
            }
            (Decoder::Gstreamer, _) => self.gstreamer().map(|()| None),
            (Decoder::Auto, None) => self.gstreamer().map(|()| None).map_err(|_| {
                "neither ffmpeg nor gst-launch-1.0 is installed; install the package ffmpeg"
                    .to_owned()
            }),
        }
    }

    fn gstreamer(self) -> Result<(), String> {
        if self.gstreamer {
            return Ok(());
        }
        Err(
            "gst-launch-1.0 is not installed; install the packages gstreamer1.0-tools, \
             gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad"
                .to_owned(),
        )
    }
}

fn is_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| {
        let file = folder.join(name).metadata();
        file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// The version that `ffmpeg -version` tells. Builds between releases have none, and are new.
fn ffmpeg_version() -> [u32; 2] {
    let output = Command::new("ffmpeg")
        .arg("-version")
        .stdin(Stdio::null())
        .output();
    let said = output.map(|output| output.stdout).unwrap_or_default();
    parse_version(&String::from_utf8_lossy(&said)).unwrap_or([u32::MAX; 2])
}

fn parse_version(said: &str) -> Option<[u32; 2]> {
    let word = said
        .strip_prefix("ffmpeg version ")?
        .split_whitespace()
        .next()?;
    let mut numbers = word.trim_start_matches('n').split(['.', '-', '+']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().and_then(|minor| minor.parse().ok());
    Some([major, minor.unwrap_or(0)])
}

/// Portable maps: each says its size, and holds what the decoder made, bit for bit.
fn ffmpeg(input: Vec<OsString>, version: [u32; 2], settings: &SourceSettings) -> CommandLine {
    let (pixels, encoder) = if settings.grey == Some(true) {
        ("gray", "pgm")
    } else {
        ("rgb24", "ppm")
    };
    let mut arguments: Vec<OsString> = ["-nostdin", "-hide_banner", "-loglevel", "error"]
        .map(OsString::from)
        .into();
    arguments.extend(input);
    // Every frame once: by default frames are left out and repeated for a constant rate, and a
    // repeated one looks as if the camera were frozen.
    let [option, every] = if version >= [5, 1] {
        ["-fps_mode", "passthrough"]
    } else {
        ["-vsync", "0"]
    };
    let output = [
        "-map",
        "0:v:0",
        option,
        every,
        "-pix_fmt",
        pixels,
        "-c:v",
        encoder,
        "-f",
        "image2pipe",
        "pipe:1",
    ];
    arguments.extend(output.map(OsString::from));
    CommandLine::new("ffmpeg", arguments)
}

fn ffmpeg_stream(url: &str, version: [u32; 2], settings: &SourceSettings) -> CommandLine {
    let mut input: Vec<&str> = vec!["-fflags", "nobuffer", "-thread_type", "slice"];
    if url.starts_with("rtsp") {
        input.extend(["-rtsp_transport", transport(settings)]);
        // The same thing under another name; before 5.0 `-timeout` makes ffmpeg a server.
        let name = if version >= [5, 0] {
            "-timeout"
        } else {
            "-stimeout"
        };
        input.extend([name, SOCKET_TIMEOUT]);
    } else if url.starts_with("http") || url.starts_with("tcp") {
        input.extend(["-rw_timeout", SOCKET_TIMEOUT]);
    }
    input.extend(["-i", url]);
    ffmpeg(
        input.into_iter().map(OsString::from).collect(),
        version,
        settings,
    )
}

fn ffmpeg_file(path: &Path, version: [u32; 2], settings: &SourceSettings) -> CommandLine {
    let mut input: Vec<OsString> = Vec::new();
    if settings.realtime == Some(true) {
        input.push("-re".into());
    }
    if settings.looped == Some(true) {
        input.extend(["-stream_loop", "-1"].map(OsString::from));
    }
    // With the protocol in front, no name is taken for something else.
    let mut file = OsString::from("file:");
    file.push(path);
    input.extend(["-i".into(), file]);
    ffmpeg(input, version, settings)
}

fn transport(settings: &SourceSettings) -> &'static str {
    match settings.transport.unwrap_or_default() {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// From the source's elements to portable maps on standard output.
fn gstreamer(source: Vec<OsString>, settings: &SourceSettings, sync: bool) -> CommandLine {
    let caps = if settings.grey == Some(true) {
        "video/x-raw,format=GRAY8"
    } else {
        "video/x-raw,format=RGB"
    };
    let mut arguments = vec![OsString::from("-q")];
    arguments.extend(source);
    let sync = format!("sync={sync}");
    let rest = [
        "!",
        "decodebin",
        "!",
        "videoconvert",
        "!",
        caps,
        "!",
        "pnmenc",
        "!",
        "fdsink",
        "fd=1",
        &sync,
    ];
    arguments.extend(rest.map(OsString::from));
    CommandLine::new(GST_LAUNCH, arguments)
}

fn gstreamer_stream(url: &str, settings: &SourceSettings) -> CommandLine {
    let source = if url.starts_with("rtsp") {
        vec![
            "rtspsrc".to_owned(),
            format!("location={url}"),
            format!("protocols={}", transport(settings)),
            format!("latency={JITTER}"),
            format!("tcp-timeout={SOCKET_TIMEOUT}"),
        ]
    } else {
        vec!["urisourcebin".to_owned(), format!("uri={url}")]
    };
    let source = source.into_iter().map(OsString::from).collect();
    gstreamer(source, settings, false)
}

fn gstreamer_file(path: &Path, settings: &SourceSettings) -> Result<CommandLine, String> {
    if settings.looped == Some(true) {
        return Err("setting loop needs ffmpeg; install it, or leave decoder=gstreamer out".into());
    }
    let mut location = OsString::from("location=");
    location.push(path);
    let source = vec![OsString::from("filesrc"), location];
    Ok(gstreamer(source, settings, settings.realtime == Some(true)))
}

/// NV12 is what the sensor's pipeline makes; the conversion is ours, as for other cameras.
fn csi(number: u32, settings: &SourceSettings) -> Result<CommandLine, String> {
    let width = settings.width.unwrap_or(CSI_SIZE[0]);
    let height = settings.height.unwrap_or(CSI_SIZE[1]);
    if !height.is_multiple_of(2) {
        return Err(format!("height={height}: choose an even one"));
    }
    let rate = (settings.fps.filter(|&fps| fps > 0.0).unwrap_or(CSI_RATE) * 1000.0).round();
    let rate = if rate % 1000.0 == 0.0 {
        format!("{}/1", rate / 1000.0)
    } else {
        format!("{rate}/1000")
    };
    let size = format!("width={width},height={height}");
    let camera = format!("video/x-raw(memory:NVMM),{size},framerate={rate},format=NV12");
    let memory = format!("video/x-raw,{size},format=NV12");
    let sensor = format!("sensor-id={number}");
    let line = [
        "-q",
        "nvarguscamerasrc",
        &sensor,
        "!",
        &camera,
        "!",
        "nvvidconv",
        "!",
        &memory,
        "!",
        "fdsink",
        "fd=1",
        "sync=false",
    ];
    // GStreamer pads rows to four bytes.
    let row = width.next_multiple_of(4) as usize;
    let layout = RawLayout::new(RawFormat::Nv12, width, height)
        .and_then(|layout| layout.with_strides(row, row))
        .map_err(|error| error.to_string())?;
    Ok(CommandLine {
        layout: Some(layout),
        ..CommandLine::new(GST_LAUNCH, line.map(OsStr::new))
    })
}

#[cfg(test)]
mod tests;
