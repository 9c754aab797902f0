//! Pictures from a file descriptor: a pipe, standard input.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    time::{Duration, Instant, SystemTime},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Arrival, PATIENCE, PictureFormat, SourceError, SourceSettings,
    splitter::{Content, Splitter, Step},
};
use crate::{
    Frame,
    frame::{
        DecodeOptions, FrameError,
        raw::{RawConverter, RawLayout},
    },
};

/// The size that is asked for a pipe's buffer in the kernel: a system call for each 64 KiB is many
/// for frames of megabytes.
const PIPE_BYTES: usize = 1 << 20;

/// Pictures that arrive one after the other.
pub(super) struct PictureStream {
    name: String,
    file: File,
    splitter: Splitter,
    converter: RawConverter,
    options: DecodeOptions,
    /// What has arrived and was not given lies from `start` to `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl PictureStream {
    pub(super) fn new(
        name: &str,
        file: File,
        splitter: Splitter,
        settings: &SourceSettings,
    ) -> Self {
        // Where it is refused, or no pipe, it goes on as it is.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES);
        Self {
            name: name.to_owned(),
            file,
            splitter,
            converter: converter(settings),
            options: settings.decode_options(),
            buffer: Vec::new(),
            start: 0,
            end: 0,
            ended: false,
        }
    }

    /// As [`Source::read`](super::Source::read).
    pub(super) fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let bytes = &self.buffer[self.start..self.end];
            match self
                .splitter
                .step(bytes, self.ended, self.options.max_pixels)
            {
                Step::More(_) if self.ended && bytes.is_empty() => return Ok(Arrival::End),
                Step::More(_) if self.ended => {
                    let rest = bytes.len();
                    self.start = self.end;
                    return Err(self.broken(format!("ended {rest} bytes into a picture")));
                }
                Step::More(wanted) => {
                    if !self.wait(deadline)? {
                        return Ok(Arrival::Nothing);
                    }
                    self.receive(wanted)?;
                }
                Step::Skip(length) => {
                    self.start += length;
                    if Instant::now() > deadline {
                        return Ok(Arrival::Nothing);
                    }
                }
                Step::Picture { length, content } => {
                    let picture = self.start..self.start + length;
                    self.start += length;
                    self.show(picture, content, frame)?;
                    return Ok(Arrival::Frame);
                }
                Step::Broken { length, problem } => {
                    self.start += length;
                    return Err(self.broken(problem));
                }
                Step::Lost(problem) => return Err(self.lost(problem)),
            }
        }
    }

    /// Waits for something to read, or the end. Once in each call at least it looks.
    fn wait(&self, deadline: Instant) -> Result<bool, SourceError> {
        let left = deadline.saturating_duration_since(Instant::now());
        wait_for_input(&self.file, left).map_err(|error| self.lost(format!("cannot wait: {error}")))
    }

    /// Reads until there are at most `wanted` bytes.
    fn receive(&mut self, wanted: usize) -> Result<(), SourceError> {
        let there = self.end - self.start;
        if self.start > 0 && (there == 0 || self.start + wanted > self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, there);
        }
        let until = self.start + wanted;
        if self.buffer.len() < until {
            // Step by step: the header of a damaged stream may ask for more than ever comes.
            let length = until.min(2 * self.buffer.len() + PIPE_BYTES);
            self.buffer.resize(length, 0);
        }
        let until = until.min(self.buffer.len());
        match self.file.read(&mut self.buffer[self.end..until]) {
            Ok(0) => self.ended = true,
            Ok(length) => self.end += length,
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(self.lost(format!("cannot read: {error}"))),
        }
        Ok(())
    }

    fn show(
        &mut self,
        picture: std::ops::Range<usize>,
        content: Content,
        frame: &mut Frame,
    ) -> Result<(), SourceError> {
        let now = SystemTime::now();
        let bytes = &self.buffer[picture];
        match content {
            Content::Raw(layout, at) => {
                self.converter.convert(&layout, &bytes[at..], now, frame)?;
            }
            Content::File => decode(bytes, &self.options, now, frame)?,
        }
        Ok(())
    }

    fn broken(&self, problem: String) -> SourceError {
        FrameError::Raw {
            name: self.name.clone(),
            problem,
        }
        .into()
    }

    fn lost(&self, problem: String) -> SourceError {
        SourceError::Lost {
            source_name: self.name.clone(),
            problem,
        }
    }
}

/// Waits until `file` has something to read, its end, or an error; `false` if nothing came.
pub(super) fn wait_for_input(
    file: impl std::os::fd::AsFd,
    patience: Duration,
) -> rustix::io::Result<bool> {
    let mut waiting = [PollFd::new(&file, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    match poll(&mut waiting, Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Decodes a picture file into `frame`, which keeps its source and has the time of capture in any
/// case.
pub(super) fn decode(
    bytes: &[u8],
    options: &DecodeOptions,
    captured: SystemTime,
    frame: &mut Frame,
) -> Result<(), FrameError> {
    match Frame::decode(bytes, frame.source(), options) {
        Ok(decoded) => {
            *frame = decoded.with_captured(captured);
            Ok(())
        }
        Err(error) => {
            frame.clear(captured);
            Err(error)
        }
    }
}

/// How to split a stream by the settings: raw or JPEG where they say so, else by its content.
pub(super) fn splitter(settings: &SourceSettings) -> Result<Splitter, String> {
    let raw = match settings.format {
        Some(PictureFormat::Raw(format)) => format,
        Some(PictureFormat::Mjpeg) => return Ok(Splitter::jpeg()),
        None => {
            let size = [
                settings.width.map(|_| "width"),
                settings.height.map(|_| "height"),
                settings.stride.map(|_| "stride"),
            ];
            return match size.into_iter().flatten().next() {
                Some(name) => Err(format!(
                    "setting {name} is of raw frames, which need the setting format too; other \
                     streams say themselves what they are"
                )),
                None => Ok(Splitter::Unknown),
            };
        }
    };
    let (Some(width), Some(height)) = (settings.width, settings.height) else {
        return Err(format!(
            "raw frames of {raw} need the settings width and height"
        ));
    };
    RawLayout::within(settings.decode_options().max_pixels, raw, width, height)
        .and_then(|layout| match settings.stride {
            Some(stride) => layout.with_stride(stride as usize),
            None => Ok(layout),
        })
        .map(Splitter::Raw)
        .map_err(|error| error.to_string())
}

/// The converter by the settings.
pub(super) fn converter(settings: &SourceSettings) -> RawConverter {
    RawConverter::new(settings.colour.unwrap_or_default()).as_grey(settings.grey == Some(true))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::OwnedFd};

    use super::*;
    use crate::frame::{PixelFormat, Samples, raw::RawFormat};

    fn piped(splitter: Splitter) -> (PictureStream, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let file = File::from(OwnedFd::from(reader));
        let stream = PictureStream::new("pipe", file, splitter, &SourceSettings::default());
        (stream, writer)
    }

    fn u8s(frame: &Frame) -> &[u8] {
        match frame.samples() {
            Samples::U8(samples) => samples,
            Samples::U16(_) => panic!("16 bits"),
        }
    }

    #[test]
    fn a_silent_pipe_has_nothing_and_a_closed_one_ends() {
        let (mut stream, mut writer) = piped(Splitter::Unknown);
        let mut frame = Frame::blank("pipe");
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::Nothing);
        writer.write_all(b"P5 2 1 255\na").unwrap();
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::Nothing);
        writer.write_all(b"bP6 1 1 255\ncdeP5 9 9 255\n").unwrap();
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::Frame);
        assert_eq!(u8s(&frame), b"ab");
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::Frame);
        assert_eq!(
            (frame.format(), u8s(&frame)),
            (PixelFormat::Rgb8, &b"cde"[..])
        );
        drop(writer);
        let error = stream.read(&mut frame).unwrap_err();
        assert!(error.is_of_one_frame());
        assert_eq!(error.to_string(), "pipe: ended 11 bytes into a picture");
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::End);
    }

    #[test]
    fn many_frames_pass_through_little_memory() {
        let layout = RawLayout::new(RawFormat::Gray, 100, 70).unwrap();
        let (mut stream, mut writer) = piped(Splitter::Raw(layout));
        let writing = std::thread::spawn(move || {
            for i in 0..2000_u32 {
                writer.write_all(&[(i % 251) as u8; 7000]).unwrap();
            }
        });
        let mut frame = Frame::blank("pipe");
        for i in 0..2000_u32 {
            while stream.read(&mut frame).unwrap() == Arrival::Nothing {}
            assert!(u8s(&frame).iter().all(|&v| v == (i % 251) as u8), "{i}");
        }
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::End);
        assert!(stream.buffer.len() <= 2 * PIPE_BYTES);
        writing.join().unwrap();
    }

    #[test]
    fn jpegs_without_tables_are_those_with_the_standard_ones() {
        let picture = image::RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8])
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, image::ImageFormat::Jpeg)
            .unwrap();
        let with = bytes.into_inner();
        // This encoder writes the standard's tables; here they are cut out.
        let mut without = with[..2].to_vec();
        let mut at = 2;
        while with[at + 1] != 0xda {
            let length = 2 + usize::from(u16::from_be_bytes([with[at + 2], with[at + 3]]));
            if with[at + 1] != 0xc4 {
                without.extend(&with[at..at + length]);
            }
            at += length;
        }
        without.extend(&with[at..]);
        assert!(without.len() + 400 < with.len());

        let (mut stream, mut writer) = piped(Splitter::Unknown);
        writer.write_all(&without).unwrap();
        writer.write_all(&with).unwrap();
        let mut frame = Frame::blank("pipe");
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::Frame);
        let found = u8s(&frame).to_vec();
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::Frame);
        assert_eq!(found, u8s(&frame));
        assert_eq!(frame.source(), "pipe");
    }

    #[test]
    fn a_picture_that_can_t_be_decoded_costs_one() {
        let (mut stream, mut writer) = piped(Splitter::jpeg());
        writer
            .write_all(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9")
            .unwrap();
        let mut frame = Frame::blank("pipe");
        assert!(stream.read(&mut frame).unwrap_err().is_of_one_frame());
        assert_eq!(stream.read(&mut frame).unwrap(), Arrival::Nothing);
    }

    #[test]
    fn raw_frames_need_their_size() {
        let settings = |text: &str| toml::from_str::<SourceSettings>(text).unwrap();
        let problem = |text| splitter(&settings(text)).unwrap_err();
        assert!(
            problem("format = 'gray'\nwidth = 4").contains("need the settings width and height")
        );
        assert!(problem("width = 4").contains("need the setting format"));
        assert!(
            problem("format = 'rgb24'\nwidth = 4\nheight = 4\nstride = 4")
                .contains("12 bytes a row")
        );
        assert!(
            splitter(&settings(
                "format = 'gray'\nwidth = 4\nheight = 4\nstride = 8"
            ))
            .is_ok()
        );
    }
}
