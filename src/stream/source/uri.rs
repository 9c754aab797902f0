//! Addresses of sources.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    super::address::{check_login, percent_decoded, split_scheme, without_password},
    SourceError, SourceSettings,
};

/// What is read, of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A camera of the kernel (V4L2): its device file.
    Camera(PathBuf),
    /// A camera of a Jetson's CSI port: its number.
    Csi(u32),
    /// A stream of the network: its URL, password included.
    Stream(String),
    /// A video or a picture; the content tells which.
    File(PathBuf),
    /// Pictures in a folder.
    Folder(PathBuf),
    /// Standard input.
    Stdin,
    /// What a command writes on its standard output.
    Pipe(String),
    /// The procedural camera.
    Surface,
}

impl Address {
    /// The settings that a source of this kind knows.
    pub fn settings(&self) -> &'static [&'static str] {
        match self {
            Self::Camera(_) => &[
                "width", "height", "fps", "format", "bits", "colour", "grey", "timeout",
            ],
            Self::Csi(_) => &["width", "height", "fps", "colour", "grey", "timeout"],
            Self::Stream(url) if url.starts_with("http") => &[
                "decoder",
                "transport",
                "every",
                "bits",
                "max-pixels",
                "grey",
                "timeout",
            ],
            Self::Stream(_) => &["decoder", "transport", "grey", "timeout"],
            Self::File(_) => &[
                "decoder",
                "bits",
                "page",
                "max-pixels",
                "grey",
                "realtime",
                "loop",
            ],
            Self::Folder(_) => &["new", "watch", "bits", "page", "max-pixels", "grey"],
            Self::Stdin | Self::Pipe(_) => &[
                "format",
                "width",
                "height",
                "stride",
                "bits",
                "max-pixels",
                "colour",
                "grey",
                "live",
                "timeout",
            ],
            Self::Surface => &[
                "fps", "defects", "dwell", "seed", "width", "height", "part", "count", "distinct",
                "grey",
            ],
        }
    }
}

/// The address of a source, as a user writes it, with the settings that stand in it.
///
/// | address | is |
/// |---|---|
/// | `v4l2:///dev/video0`, `/dev/video0` | a camera |
/// | `csi://0` | a Jetson's camera |
/// | `rtsp://…`; `rtsps`, `http`, `https`, `rtmp`, `rtmps`, `srt`, `udp`, `tcp`, `rtp` | a stream |
/// | `file://clip.mp4`, `clip.mp4` | a video or a picture |
/// | `folder:///data/line1`, `/data/line1` | a folder of pictures |
/// | `-` | standard input |
/// | `pipe:COMMAND` | what a shell's command writes on standard output |
/// | `synth://surface` | the procedural camera |
///
/// Settings stand behind `?`, as `/dev/video0?width=640&height=480`; behind `#` in the URL of a
/// stream, whose `?` is the camera's own; and before the command of a pipe, with a space between,
/// as `pipe:?format=gray&width=64&height=48 COMMAND`. `%20` and the like are decoded in addresses
/// with a scheme and in values; a bare path that exists is taken as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceUri {
    name: String,
    address: Address,
    settings: SourceSettings,
}

impl SourceUri {
    /// A short name for the source, of letters, digits, `-`, `_` and `.`: `video0`, `csi0`, the
    /// host of a stream, the name of a file or folder.
    pub fn short_name(&self) -> String {
        let of_path = |path: &Path| {
            let name = path.file_stem().or(path.file_name());
            name.map_or(String::new(), |name| name.to_string_lossy().into_owned())
        };
        let name = match &self.address {
            // A login without its scheme.
            Address::File(_) if self.name.contains("***") => of_path(Path::new(&self.name)),
            Address::Camera(path) | Address::File(path) | Address::Folder(path) => of_path(path),
            Address::Csi(number) => format!("csi{number}"),
            Address::Stream(url) => {
                let after = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let host = after.split(['/', '?', '#']).next().unwrap_or_default();
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                host.to_owned()
            }
            Address::Stdin => "stdin".to_owned(),
            Address::Pipe(_) => "pipe".to_owned(),
            Address::Surface => "surface".to_owned(),
        };
        let sound = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        let name: String = name
            .chars()
            .map(|c| if sound(c) { c } else { '-' })
            .collect();
        let name = name.trim_start_matches('.');
        if name.is_empty() {
            return "source".to_owned();
        }
        name.to_owned()
    }

    /// What is read.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether frames come at their own pace, as [`Source::is_live`](super::Source::is_live) will
    /// say of the opened source, where the settings are `settings`.
    pub fn is_live(&self, settings: &SourceSettings) -> bool {
        match self.address {
            Address::Camera(_) | Address::Csi(_) | Address::Stream(_) => true,
            Address::File(_) => settings.realtime == Some(true),
            Address::Stdin | Address::Pipe(_) => settings.live == Some(true),
            Address::Folder(_) | Address::Surface => false,
        }
    }

    /// The settings that stand in the address; they win over those given elsewhere.
    pub fn settings(&self) -> &SourceSettings {
        &self.settings
    }

    /// The settings that hold when `given` are those of elsewhere.
    ///
    /// # Errors
    /// [`SourceError::Uri`] for a setting that such a source does not know, or out of range.
    pub fn resolve(&self, given: &SourceSettings) -> Result<SourceSettings, SourceError> {
        let settings = self.settings.clone().or(given.clone());
        check(&self.address, &settings).map_err(|problem| SourceError::Uri {
            uri: self.name.clone(),
            problem,
        })?;
        Ok(settings)
    }
}

/// The address as it was given, but for a password, which is replaced by `***`.
impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for SourceUri {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let parsed = parse(text).and_then(|(address, settings)| {
            let settings = parse_settings(&address, settings)?;
            Ok((address, settings))
        });
        // Of what is there it is the name, whatever is in it.
        let name = match Path::new(text).exists() {
            true => text.to_owned(),
            false => without_password(text),
        };
        match parsed {
            Ok((address, settings)) => Ok(Self {
                name,
                address,
                settings,
            }),
            Err(problem) => Err(SourceError::Uri { uri: name, problem }),
        }
    }
}

const STREAMS: [&str; 10] = [
    "rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "udp", "tcp", "rtp",
];

/// The address, and the text of its settings.
fn parse(text: &str) -> Result<(Address, &str), String> {
    if text.is_empty() {
        return Err(
            "is empty; a source is a device, a URL, a file, a folder, - or pipe:COMMAND".into(),
        );
    }
    if let Some(rest) = text.strip_prefix('-')
        && (rest.is_empty() || rest.starts_with('?'))
    {
        return Ok((Address::Stdin, rest.trim_start_matches('?')));
    }
    if let Some((kind, rest)) = text.split_once(':')
        && kind.eq_ignore_ascii_case("pipe")
    {
        let (settings, command) = match rest.strip_prefix('?') {
            Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
            None => ("", rest),
        };
        if command.trim().is_empty() {
            return Err("lacks the command; write pipe:COMMAND".into());
        }
        return Ok((Address::Pipe(command.to_owned()), settings));
    }
    let Some((scheme, rest)) = split_scheme(text) else {
        let (path, settings) = if Path::new(text).exists() {
            (text, "")
        } else {
            text.split_once('?').unwrap_or((text, ""))
        };
        return Ok((of_path(PathBuf::from(path)), settings));
    };
    check_login(text)?;
    if STREAMS.contains(&scheme.as_str()) {
        let (url, settings) = rest.split_once('#').unwrap_or((rest, ""));
        let host = url.split(['/', '?']).next();
        // The URLs of listeners (`udp://:5000`, `srt://:5000`) have no host.
        if host.is_none_or(str::is_empty) {
            return Err(format!("lacks the host; write {scheme}://HOST/…"));
        }
        if url
            .bytes()
            .any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
        {
            return Err("has a space in it; write %20".into());
        }
        // Programs know schemes in lower case only.
        return Ok((Address::Stream(format!("{scheme}://{url}")), settings));
    }
    let (rest, settings) = rest.split_once('?').unwrap_or((rest, ""));
    let place = percent_decoded(rest)?;
    let number = place.parse::<u32>();
    let address = match scheme.as_str() {
        "synth" if place == "surface" => Address::Surface,
        "synth" => return Err("only synth://surface can be drawn".into()),
        "csi" => Address::Csi(
            number.map_err(|_| "lacks the number of the camera; write csi://0".to_owned())?,
        ),
        "v4l2" | "file" | "folder" if place.is_empty() => {
            return Err(format!("lacks the path; write {scheme}:///PATH"));
        }
        "v4l2" => Address::Camera(match number {
            Ok(number) => PathBuf::from(format!("/dev/video{number}")),
            Err(_) => PathBuf::from(place),
        }),
        "folder" => Address::Folder(PathBuf::from(place)),
        "file" => of_path(PathBuf::from(place)),
        _ => {
            return Err(format!(
                "{scheme}:// is not a known kind of source; known are v4l2, csi, {}, file, \
                 folder, synth, pipe:COMMAND and -",
                STREAMS.join(", ")
            ));
        }
    };
    Ok((address, settings))
}

fn of_path(path: PathBuf) -> Address {
    let name = path.as_os_str().as_encoded_bytes();
    if name.starts_with(b"/dev/video") || name.starts_with(b"/dev/v4l/") {
        Address::Camera(path)
    } else if path.is_dir() || name.ends_with(b"/") {
        Address::Folder(path)
    } else {
        Address::File(path)
    }
}

fn parse_settings(address: &Address, text: &str) -> Result<SourceSettings, String> {
    let mut settings = SourceSettings::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("setting {pair:?} has no value; write {pair}=…"))?;
        let (name, value) = (percent_decoded(name)?, percent_decoded(value)?);
        if !settings.set(&name, &value)? {
            return Err(unknown(address, &name));
        }
    }
    check(address, &settings)?;
    Ok(settings)
}

fn check(address: &Address, settings: &SourceSettings) -> Result<(), String> {
    let known = address.settings();
    if let Some(name) = settings.names().iter().find(|name| !known.contains(name)) {
        return Err(unknown(address, name));
    }
    settings.check()
}

fn unknown(address: &Address, name: &str) -> String {
    format!(
        "setting {name:?} is not known here; known are {}",
        address.settings().join(", ")
    )
}

#[cfg(test)]
mod tests;
