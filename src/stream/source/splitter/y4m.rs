//! YUV4MPEG2, the stream of mjpegtools, ffmpeg's `yuv4mpegpipe` and GStreamer's `y4menc`.

use super::{CHUNK, Content, Step, find, first_bytes};
use crate::frame::raw::{RawFormat, RawLayout};

/// The first bytes of a stream.
pub(super) const SIGNATURE: &[u8] = b"YUV4MPEG2 ";

/// Most bytes of a header line.
const MOST_LINE: usize = 4096;

pub(super) fn step(layout: &mut Option<RawLayout>, bytes: &[u8], max_pixels: u64) -> Step {
    let Some(line) = find(&bytes[..bytes.len().min(MOST_LINE)], b"\n") else {
        return if bytes.len() >= MOST_LINE {
            Step::Lost(format!("a Y4M header has no end within {MOST_LINE} bytes"))
        } else {
            Step::More(bytes.len() + CHUNK)
        };
    };
    // A second stream may follow the first one, of another size.
    if bytes.starts_with(SIGNATURE) {
        return match header(&bytes[..line], max_pixels) {
            Ok(found) => {
                *layout = Some(found);
                Step::Skip(line + 1)
            }
            Err(problem) => Step::Lost(problem),
        };
    }
    match layout {
        Some(layout) if bytes.starts_with(b"FRAME") => {
            let length = line + 1 + layout.frame_bytes();
            if bytes.len() < length {
                Step::More(length)
            } else {
                Step::Picture {
                    length,
                    content: Content::Raw(*layout, line + 1),
                }
            }
        }
        _ => Step::Lost(format!("{} in place of a Y4M frame", first_bytes(bytes))),
    }
}

fn header(line: &[u8], max_pixels: u64) -> Result<RawLayout, String> {
    let line = String::from_utf8_lossy(line);
    let (mut width, mut height, mut colour) = (0, 0, "420");
    for word in line.split(' ').skip(1) {
        let number = || {
            word[1..]
                .parse()
                .map_err(|_| format!("a Y4M header has {word:?}"))
        };
        match word.as_bytes().first() {
            Some(b'W') => width = number()?,
            Some(b'H') => height = number()?,
            Some(b'C') => colour = &word[1..],
            _ => {}
        }
    }
    let format = match colour {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => RawFormat::Yuv420p,
        "422" => RawFormat::Yuv422p,
        "444" => RawFormat::Yuv444p,
        _ => {
            return Err(format!(
                "Y4M of colour {colour} is not read; readable are 420, 422 and 444 of 8 bits"
            ));
        }
    };
    RawLayout::within(max_pixels, format, width, height).map_err(|error| error.to_string())
}
