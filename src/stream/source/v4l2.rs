//! Cameras of the kernel, Video for Linux.

use std::{
    io::{self, ErrorKind},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use linuxvideo::{
    BufType, CapabilityFlags, Device, Fract,
    format::{FrameSizes, PixFormat, PixelFormat},
    stream::ReadStream,
};

use super::{
    Arrival, PATIENCE, PictureFormat, Source, SourceError, SourceSettings,
    negotiation::{Choice, Mode, Sizes, largest_of_each_format, negotiate},
    picture_stream::{converter, decode, wait_for_input},
};
use crate::{
    Frame,
    frame::{
        DecodeOptions, FrameError,
        raw::{RawConverter, RawLayout},
    },
};

/// Silence after which a camera is given up, unless the setting `timeout` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Frames are read from the driver's memory into ours at once; the time of capture is that of their
/// arrival, since the device's own is not given by the crate that speaks to it.
pub(super) struct Camera {
    name: String,
    stream: ReadStream,
    pictures: Pictures,
    timeout: Duration,
    last: Instant,
}

/// What the camera delivers, and how it becomes a frame.
enum Pictures {
    Jpeg,
    Raw {
        layout: RawLayout,
        converter: RawConverter,
    },
}

impl Camera {
    pub(super) fn open(
        name: &str,
        path: &Path,
        settings: &SourceSettings,
    ) -> Result<Self, SourceError> {
        let impossible = |problem: String| SourceError::Impossible {
            source_name: name.to_owned(),
            problem,
        };
        let lost = |what: &str, error: io::Error| SourceError::Lost {
            source_name: name.to_owned(),
            problem: match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
                    "another program has the camera".to_owned()
                }
                _ => format!("{what}: {error}"),
            },
        };
        let (device, modes) = look_at(name, path)?;
        let choice = negotiate(&modes, settings).map_err(impossible)?;
        let format = PixFormat::new(
            choice.size[0],
            choice.size[1],
            PixelFormat::from_fourcc(choice.code),
        );
        let capture = device
            .video_capture(format)
            .map_err(|error| lost("cannot set its format", error))?;
        let found = capture.format();
        let size = [found.width(), found.height()];
        if found.pixel_format().as_fourcc() != choice.code || size != choice.size {
            return Err(impossible(format!(
                "{} of {}×{} was asked for and {} of {}×{} is what the driver gives; ask for that \
                 by format, width and height",
                choice.format,
                choice.size[0],
                choice.size[1],
                found.pixel_format(),
                size[0],
                size[1]
            )));
        }
        let pictures = pictures(&choice, found.bytes_per_line(), settings)
            .map_err(|error| impossible(error.to_string()))?;
        let interval = Fract::new(1000, (choice.rate * 1000.0).round().max(1.0) as u32);
        // Cameras without a rate to choose refuse; one that was asked for was offered.
        if let Err(error) = capture.set_frame_interval(interval)
            && settings.fps.is_some()
        {
            return Err(impossible(format!(
                "cannot set {} fps: {error}",
                choice.rate
            )));
        }
        let stream = capture
            .into_stream()
            .map_err(|error| lost("cannot start it", error))?;
        Ok(Self {
            name: name.to_owned(),
            stream,
            pictures,
            timeout: settings.timeout.map_or(TIMEOUT, |timeout| timeout.0),
            last: Instant::now(),
        })
    }

    fn lost(&self, problem: String) -> SourceError {
        SourceError::Lost {
            source_name: self.name.clone(),
            problem,
        }
    }
}

impl Source for Camera {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        let ready = wait_for_input(&self.stream, PATIENCE)
            .map_err(|error| self.lost(format!("cannot wait for a frame: {error}")))?;
        if !ready {
            if self.last.elapsed() > self.timeout {
                let silence = humantime::format_duration(self.timeout);
                return Err(self.lost(format!("no frame for {silence}")));
            }
            return Ok(Arrival::Nothing);
        }
        let captured = SystemTime::now();
        let pictures = &mut self.pictures;
        // A camera that was unplugged is ready too, and says so here.
        let shown = self
            .stream
            .dequeue(|bytes| {
                if bytes.is_error() {
                    return Ok(Err(FrameError::Raw {
                        name: frame.source().to_owned(),
                        problem: "the driver says that the frame is damaged".to_owned(),
                    }));
                }
                Ok(pictures.show(&bytes, captured, frame))
            })
            .map_err(|error| self.lost(format!("the camera is gone: {error}")))?;
        self.last = Instant::now();
        shown?;
        Ok(Arrival::Frame)
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Pictures {
    fn show(
        &mut self,
        bytes: &[u8],
        captured: SystemTime,
        frame: &mut Frame,
    ) -> Result<(), FrameError> {
        match self {
            Self::Jpeg => decode(bytes, &DecodeOptions::default(), captured, frame),
            Self::Raw { layout, converter } => converter.convert(layout, bytes, captured, frame),
        }
    }
}

fn pictures(
    choice: &Choice,
    bytes_per_line: u32,
    settings: &SourceSettings,
) -> Result<Pictures, FrameError> {
    Ok(match choice.format {
        PictureFormat::Mjpeg => Pictures::Jpeg,
        PictureFormat::Raw(format) => {
            let layout = RawLayout::new(format, choice.size[0], choice.size[1])?;
            Pictures::Raw {
                // Some drivers say nothing, and pad nothing.
                layout: match bytes_per_line {
                    0 => layout,
                    bytes => layout.with_stride(bytes as usize)?,
                },
                converter: converter(settings),
            }
        }
    })
}

/// Opens a camera without starting it; what it offers.
fn look_at(name: &str, path: &Path) -> Result<(Device, Vec<Mode>), SourceError> {
    let device = Device::open(path).map_err(|error| not_opened(name, error))?;
    check_capabilities(&device).map_err(|problem| SourceError::Impossible {
        source_name: name.to_owned(),
        problem,
    })?;
    let modes = modes(&device).map_err(|error| SourceError::Lost {
        source_name: name.to_owned(),
        problem: format!("cannot list its formats: {error}"),
    })?;
    Ok((device, modes))
}

/// What a camera offers, of what is read: each format with its largest size.
pub(super) fn formats(path: &Path) -> Result<Vec<String>, SourceError> {
    let (_, modes) = look_at(&path.display().to_string(), path)?;
    Ok(largest_of_each_format(&modes))
}

/// Whether a camera can do what is asked for.
pub(super) fn check(path: &Path, settings: &SourceSettings) -> Result<(), SourceError> {
    let name = path.display().to_string();
    let (_, modes) = look_at(&name, path)?;
    let choice = negotiate(&modes, settings).map_err(|problem| SourceError::Impossible {
        source_name: name,
        problem,
    });
    choice.map(drop)
}

fn not_opened(name: &str, error: io::Error) -> SourceError {
    let source_name = name.to_owned();
    let impossible = |problem: &str| SourceError::Impossible {
        source_name: name.to_owned(),
        problem: problem.to_owned(),
    };
    let not_a_camera = [
        rustix::io::Errno::NOTTY,
        rustix::io::Errno::ISDIR,
        rustix::io::Errno::INVAL,
    ]
    .map(|errno| Some(errno.raw_os_error()));
    match error.kind() {
        ErrorKind::NotFound => SourceError::Lost {
            source_name,
            problem: "there is no such device; is the camera plugged in?".to_owned(),
        },
        ErrorKind::PermissionDenied => impossible(
            "no permission to use it; add the user to the group `video`, and log in again",
        ),
        _ if not_a_camera.contains(&error.raw_os_error()) => {
            impossible("is not a camera; cameras are /dev/video0 and so on")
        }
        _ => SourceError::Lost {
            source_name,
            problem: format!("cannot open the camera: {error}"),
        },
    }
}

fn check_capabilities(device: &Device) -> Result<(), String> {
    let capabilities = device.capabilities().map_err(|error| error.to_string())?;
    let flags = capabilities.device_capabilities();
    if !flags.contains(CapabilityFlags::VIDEO_CAPTURE) {
        return Err(if flags.contains(CapabilityFlags::VIDEO_CAPTURE_MPLANE) {
            format!(
                "{} gives its pictures in separate planes, which is not read; have another \
                 program read it, by pipe:COMMAND",
                capabilities.card()
            )
        } else {
            format!(
                "{} gives no pictures here; a camera often has a second device without any, so \
                 try its other /dev/video",
                capabilities.card()
            )
        });
    }
    Ok(())
}

/// What the camera offers, of what is known.
fn modes(device: &Device) -> io::Result<Vec<Mode>> {
    let mut modes = Vec::new();
    for offered in device.formats(BufType::VIDEO_CAPTURE) {
        let pixel_format = offered?.pixel_format();
        let code = pixel_format.as_fourcc();
        let Some(format) = format_of(code) else {
            continue;
        };
        let fastest = |[width, height]: [u32; 2]| {
            let intervals = device.frame_intervals(pixel_format, width, height).ok()?;
            let least = intervals.min();
            let rate = f64::from(least.denominator()) / f64::from(least.numerator());
            rate.is_finite().then_some(rate)
        };
        match device.frame_sizes(pixel_format)? {
            FrameSizes::Discrete(sizes) => modes.extend(sizes.iter().map(|size| {
                let size = [size.width(), size.height()];
                Mode {
                    format,
                    code,
                    sizes: Sizes::Exactly(size),
                    fastest: fastest(size),
                }
            })),
            FrameSizes::Stepwise(sizes) | FrameSizes::Continuous(sizes) => modes.push(Mode {
                format,
                code,
                sizes: Sizes::Range {
                    least: [sizes.min_width(), sizes.min_height()],
                    most: [sizes.max_width(), sizes.max_height()],
                    step: [sizes.step_width(), sizes.step_height()],
                },
                // It may depend on the size; asking for more than there is fails later.
                fastest: None,
            }),
        }
    }
    Ok(modes)
}

/// The format of a four-character code, if it is one that is read.
fn format_of(code: [u8; 4]) -> Option<PictureFormat> {
    // Bit 31 says that 16-bit samples are big-endian.
    if code == [b'Y', b'1', b'6', b' ' | 0x80] {
        return "gray16be".parse().ok();
    }
    std::str::from_utf8(&code).ok()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::raw::RawFormat;

    fn refusal(path: &Path) -> SourceError {
        let name = path.display().to_string();
        let error = Camera::open(&name, path, &SourceSettings::default())
            .err()
            .unwrap();
        assert!(error.to_string().starts_with(&name), "{error}");
        error
    }

    #[test]
    fn what_is_no_camera_is_told_apart() {
        let missing = refusal(Path::new("/dev/video-missing"));
        assert!(!missing.is_permanent() && missing.to_string().contains("plugged in"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "text").unwrap();
        for path in [Path::new("/dev/null"), &file, dir.path()] {
            let error = refusal(path);
            assert!(
                error.is_permanent() && error.to_string().contains("not a camera"),
                "{error}"
            );
        }
        let error = not_opened("camera", io::Error::from(ErrorKind::PermissionDenied));
        assert!(error.is_permanent() && error.to_string().contains("group `video`"));
    }

    #[test]
    fn codes_of_the_kernel_are_known() {
        use PictureFormat::{Mjpeg, Raw};
        for (code, format) in [
            (b"MJPG", Mjpeg),
            (b"JPEG", Mjpeg),
            (b"YUYV", Raw(RawFormat::Yuyv422)),
            (b"UYVY", Raw(RawFormat::Uyvy422)),
            (b"NV12", Raw(RawFormat::Nv12)),
            (b"YU12", Raw(RawFormat::Yuv420p)),
            (b"422P", Raw(RawFormat::Yuv422p)),
            (b"GREY", Raw(RawFormat::Gray)),
            (b"Y10 ", Raw(RawFormat::Gray10le)),
            (b"Y12 ", Raw(RawFormat::Gray12le)),
            (b"Y16 ", Raw(RawFormat::Gray16le)),
            (b"Y16\xa0", Raw(RawFormat::Gray16be)),
            (b"RGB3", Raw(RawFormat::Rgb24)),
            (b"BGR3", Raw(RawFormat::Bgr24)),
            (b"XR24", Raw(RawFormat::Bgra)),
        ] {
            assert_eq!(format_of(*code), Some(format), "{code:?}");
        }
        for code in [b"H264", b"RGB4", b"BA81", b"\0\0\0\0", b"\xff\xff\xff\xff"] {
            assert_eq!(format_of(*code), None, "{code:?}");
        }
    }

    #[test]
    fn padded_rows_are_those_of_the_driver() {
        let choice = Choice {
            format: PictureFormat::Raw(RawFormat::Gray),
            code: *b"GREY",
            size: [3, 2],
            rate: 30.0,
        };
        let settings = SourceSettings::default();
        let mut frame = Frame::blank("camera");
        for (bytes_per_line, expected) in [(4, [0, 1, 2, 4, 5, 6]), (0, [0, 1, 2, 3, 4, 5])] {
            let mut pictures = pictures(&choice, bytes_per_line, &settings).unwrap();
            pictures
                .show(&[0, 1, 2, 3, 4, 5, 6, 7], SystemTime::now(), &mut frame)
                .unwrap();
            let expected = crate::frame::Samples::U8(expected.into());
            assert_eq!(frame.samples(), &expected);
        }
        assert!(pictures(&choice, 2, &settings).is_err());
    }
}
