//! Where frames come from.

#[cfg(feature = "gstreamer")]
mod appsink;
mod bits;
mod child_process;
mod command_line;
mod error;
mod folder;
mod natural_order;
#[cfg(target_os = "linux")]
mod negotiation;
mod picture;
mod picture_stream;
mod settings;
mod snapshot;
pub(crate) mod splitter;
mod standard_input;
mod synth;
mod uri;
#[cfg(target_os = "linux")]
mod v4l2;

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
    time::Duration,
};

use super::address::without_passwords;
#[cfg(doc)]
use crate::frame::FrameError;
use crate::{Frame, frame::recognise};

use child_process::{ChildOptions, ChildSource};
use command_line::Tools;
use folder::{Folder, SeenFiles};

pub use error::SourceError;
pub use settings::{Decoder, FolderPictures, PictureFormat, Seconds, SourceSettings, Transport};
pub use synth::SyntheticTruth;
pub use uri::{Address, SourceUri};

/// Opens a source, as often as it is lost.
pub type Opener = Box<dyn FnMut() -> Result<Box<dyn Source>, SourceError> + Send>;

/// What a source had when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A frame, which is now in the caller's buffer.
    Frame,
    /// No frame within [`PATIENCE`]: ask again.
    Nothing,
    /// The last frame was given before: a file, a folder that is not watched or a finite pipe
    /// ended.
    End,
}

/// The longest that [`Source::read`] waits for a frame, so that its thread can be asked to end.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Silence after which a stream of the network or a CSI camera is given up, unless the setting
/// `timeout` says otherwise. It comes after the child's own, which tells more.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that gives frames, one after the other. Dropping it lets go of the device, ends the
/// child process, closes the connection.
pub trait Source: Send {
    /// Waits for the next frame, not much longer than [`PATIENCE`], and puts it into `frame`, whose
    /// buffers are used again. The time of capture is the device's where it tells one, else that of
    /// arrival. Where no frame is given, what `frame` holds is unspecified, but a frame.
    ///
    /// # Errors
    /// [`SourceError`] when the source is lost: it is dropped, and opened again after a while.
    /// [`SourceError::Frame`] when one frame could not be read and the next may be: the source
    /// stays open. Where there was a picture ([`FrameError::is_of_a_picture`]), `frame` has its
    /// name and time of capture, and it is an invalid frame.
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError>;

    /// Whether the times of capture are those of pictures in files. Otherwise they are those of
    /// arrival, and what lasts is measured by a clock that nobody sets.
    fn has_own_times(&self) -> bool {
        false
    }

    /// Whether frames come at their own pace (a camera), so that two equal ones in a row mean that
    /// it is frozen, and silence that it is gone. A folder of pictures is not live.
    fn is_live(&self) -> bool;
}

/// Opens a source. The settings in its address win over `settings`.
///
/// A folder that is opened again begins with its pictures again, other than by [`opener`]; a video
/// with its first frame.
///
/// # Errors
/// [`SourceError::Uri`] for settings that such a source does not know; [`SourceError::Impossible`]
/// for what this machine can't do; [`SourceError::Lost`] for what may be there later.
pub fn open(uri: &SourceUri, settings: &SourceSettings) -> Result<Box<dyn Source>, SourceError> {
    open_after(uri, settings, &SeenFiles::default())
}

/// What opens a source as often as it is lost, as [`open`] does. A folder goes on where it was:
/// pictures that it gave, told by name, size and time of modification, do not come again.
pub fn opener(uri: SourceUri, settings: SourceSettings) -> Opener {
    let seen = SeenFiles::default();
    Box::new(move || open_after(&uri, &settings, &seen))
}

fn open_after(
    uri: &SourceUri,
    settings: &SourceSettings,
    seen: &SeenFiles,
) -> Result<Box<dyn Source>, SourceError> {
    let settings = &uri.resolve(settings)?;
    let source = open_resolved(uri, settings, seen)?;
    Ok(match settings.bits {
        Some(bits) => Box::new(bits::Bits { source, bits }),
        None => source,
    })
}

fn open_resolved(
    uri: &SourceUri,
    settings: &SourceSettings,
    seen: &SeenFiles,
) -> Result<Box<dyn Source>, SourceError> {
    let name = uri.to_string();
    let timeout = settings.timeout.map(|timeout| timeout.0);
    let impossible = |problem| SourceError::Impossible {
        source_name: name.clone(),
        problem,
    };
    Ok(match uri.address() {
        #[cfg(target_os = "linux")]
        Address::Camera(path) => Box::new(v4l2::Camera::open(&name, path, settings)?),
        #[cfg(not(target_os = "linux"))]
        Address::Camera(_) => return Err(no_cameras(&name)),
        Address::Surface => Box::new(synth::Surface::open(&name, settings)?),
        Address::Folder(path) => Box::new(Folder::open(&name, path, settings, seen)?),
        Address::Stdin => {
            let splitter = picture_stream::splitter(settings).map_err(impossible)?;
            Box::new(standard_input::StandardInput::open(
                &name, splitter, settings,
            )?)
        }
        Address::File(path) if is_picture_file(&name, path)? => {
            if let Some(wrong) = ["realtime", "loop"]
                .into_iter()
                .find(|wrong| settings.names().contains(wrong))
            {
                return Err(impossible(format!(
                    "is a picture; setting {wrong} is for videos"
                )));
            }
            let options = settings.decode_options();
            Box::new(picture::Picture::new(path.clone(), options))
        }
        Address::File(_) if settings.page.is_some() => {
            return Err(impossible(
                "is a video; setting page is for pictures".to_owned(),
            ));
        }
        Address::Stream(url) if url.starts_with("http") && polls(url, settings) => {
            Box::new(snapshot::Snapshot::open(&name, url, settings)?)
        }
        address => {
            let command = Tools::find()
                .command(address, settings)
                .map_err(impossible)?
                .ok_or_else(|| impossible("is read by no program".to_owned()))?;
            let splitter = match address {
                Address::Pipe(_) => picture_stream::splitter(settings).map_err(impossible)?,
                _ => command.splitter(),
            };
            let options = match address {
                Address::File(_) => ChildOptions {
                    live: settings.realtime == Some(true),
                    ends: true,
                    fails_for_good: true,
                    timeout: None,
                },
                Address::Pipe(_) => ChildOptions {
                    live: settings.live == Some(true),
                    ends: true,
                    fails_for_good: false,
                    timeout,
                },
                _ => ChildOptions {
                    live: true,
                    ends: false,
                    fails_for_good: false,
                    timeout: Some(timeout.unwrap_or(STREAM_TIMEOUT)),
                },
            };
            #[cfg(feature = "gstreamer")]
            if command.program == command_line::GST_LAUNCH {
                let secret = match address {
                    Address::Stream(url) => Some(url.as_str()),
                    _ => None,
                };
                let source = appsink::AppSource::open(&name, &command, secret, settings, options)?;
                return Ok(Box::new(source));
            }
            Box::new(ChildSource::open(
                &name, &command, splitter, settings, options,
            )?)
        }
    })
}

/// Whether pictures are fetched one by one: as it is set, else as the server says.
fn polls(url: &str, settings: &SourceSettings) -> bool {
    settings.every.is_some() || snapshot::is_snapshot(url)
}

/// The command of the child process that reads a source, as a shell takes it, with `***` for
/// passwords: it is shown to others who help. `None` for a source that is read without one. Which
/// of the two a web address is, only its server tells: here it is a stream. What it writes on
/// standard output are portable maps (PPM, PGM), for a CSI camera raw NV12, for `pipe:` whatever
/// the command writes.
///
/// With the Cargo feature `gstreamer` the elements of a command of gst-launch-1.0 run in this
/// process, and the command shows what they are.
///
/// # Errors
/// Those of [`open`] that can be told without opening: settings, a missing program, a missing file.
pub fn pipeline(uri: &SourceUri, settings: &SourceSettings) -> Result<Option<String>, SourceError> {
    let settings = uri.resolve(settings)?;
    let name = uri.to_string();
    if let Address::File(path) = uri.address()
        && is_picture_file(&name, path)?
    {
        return Ok(None);
    }
    if settings.every.is_some() {
        return Ok(None);
    }
    let command = Tools::find()
        .command(uri.address(), &settings)
        .map_err(|problem| SourceError::Impossible {
            source_name: name,
            problem,
        })?;
    Ok(command.map(|command| without_passwords(&command.to_string()).into_owned()))
}

/// What a camera of the kernel offers, of what is read: each format with its largest size.
///
/// # Errors
/// Those of [`open`]; the camera is not started.
pub fn camera_formats(path: &Path) -> Result<Vec<String>, SourceError> {
    #[cfg(target_os = "linux")]
    return v4l2::formats(path);
    #[cfg(not(target_os = "linux"))]
    Err(no_cameras(&path.display().to_string()))
}

/// Whether a camera of the kernel can do what the settings ask for.
///
/// # Errors
/// Those of [`open`]; the camera is not started.
pub fn check_camera(path: &Path, settings: &SourceSettings) -> Result<(), SourceError> {
    #[cfg(target_os = "linux")]
    return v4l2::check(path, settings);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = settings;
        Err(no_cameras(&path.display().to_string()))
    }
}

#[cfg(not(target_os = "linux"))]
fn no_cameras(name: &str) -> SourceError {
    SourceError::Impossible {
        source_name: name.to_owned(),
        problem: "such cameras are read on Linux alone".to_owned(),
    }
}

/// Whether a file is a picture rather than a video, by its first bytes.
fn is_picture_file(name: &str, path: &Path) -> Result<bool, SourceError> {
    let failed = |error: std::io::Error| SourceError::Impossible {
        source_name: name.to_owned(),
        problem: match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("cannot read the file: {error}"),
        },
    };
    // Before opening: to open a named pipe waits for its writer.
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other(
            "it is no file; folders are folder:///PATH, cameras v4l2:///PATH, named pipes \
             pipe:cat PATH",
        )));
    }
    let mut start = Vec::with_capacity(64);
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut start))
        .map_err(failed)?;
    Ok(recognise(&start).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(uri: &str) -> SourceError {
        let uri: SourceUri = uri.parse().unwrap();
        open(&uri, &SourceSettings::default()).err().unwrap()
    }

    #[test]
    fn a_picture_is_one_frame() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picture");
        std::fs::write(&path, b"P5 2 1 255\nab").unwrap();
        let uri: SourceUri = path.to_str().unwrap().parse().unwrap();
        let mut source = open(&uri, &SourceSettings::default()).unwrap();
        let mut frame = Frame::blank("picture");
        assert_eq!(source.read(&mut frame).unwrap(), Arrival::Frame);
        assert_eq!((frame.width(), frame.source()), (2, path.to_str().unwrap()));
        assert_eq!(source.read(&mut frame).unwrap(), Arrival::End);
        assert_eq!(pipeline(&uri, &SourceSettings::default()).unwrap(), None);
        let error = refusal(&format!("{}?loop=true", path.display()));
        assert!(error.to_string().contains("loop is for videos"), "{error}");
    }

    #[test]
    fn frames_of_a_command() {
        let uri: SourceUri = "pipe:?format=bgr24&width=1&height=1 printf abcdef"
            .parse()
            .unwrap();
        let mut source = open(&uri, &SourceSettings::default()).unwrap();
        let mut frame = Frame::blank("pipe");
        for expected in [b"cba", b"fed"] {
            while source.read(&mut frame).unwrap() == Arrival::Nothing {}
            let expected = crate::frame::Samples::U8(expected.to_vec());
            assert_eq!(frame.samples(), &expected);
        }
        while source.read(&mut frame).unwrap() == Arrival::Nothing {}
        let shown = pipeline(&uri, &SourceSettings::default()).unwrap();
        assert_eq!(shown.as_deref(), Some("sh -c 'printf abcdef'"));
    }

    #[test]
    fn a_folder_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1.pgm"), b"P5 2 1 255\nab").unwrap();
        let uri: SourceUri = format!("folder://{}?watch=false", dir.path().display())
            .parse()
            .unwrap();
        let mut frame = Frame::blank("folder");
        let mut first = |source: Result<Box<dyn Source>, SourceError>| {
            let mut source = source.unwrap();
            source.read(&mut frame).unwrap()
        };
        let settings = SourceSettings::default();
        let mut open_again = opener(uri.clone(), settings.clone());
        assert_eq!(first(open_again()), Arrival::Frame);
        assert_eq!(first(open_again()), Arrival::End);
        assert_eq!(first(open(&uri, &settings)), Arrival::Frame);
    }

    #[test]
    fn what_can_t_be_opened_is_told() {
        assert!(
            refusal("/nowhere/clip.mp4")
                .to_string()
                .contains("no such file")
        );
        assert!(
            refusal("file:///dev/null")
                .to_string()
                .contains("it is no file")
        );
        assert!(
            refusal("pipe:?format=gray cat")
                .to_string()
                .contains("need the settings width")
        );
        assert!(!refusal("/nowhere/folder/").is_permanent());
    }
}
