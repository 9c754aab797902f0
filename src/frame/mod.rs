//! Frames: one picture with its size, pixel format, time of capture and source.

use std::{path::PathBuf, time::SystemTime};

/// How the samples of a frame are laid out: interleaved, row by row, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// One 8-bit grey sample a pixel.
    Gray8,
    /// One 16-bit grey sample a pixel, full range 0–65535.
    Gray16,
    /// Three 8-bit samples a pixel, red first.
    Rgb8,
    /// Three 16-bit samples a pixel, red first, full range 0–65535.
    Rgb16,
}

impl PixelFormat {
    /// Samples a pixel: 1 or 3.
    pub fn channels(self) -> usize {
        match self {
            Self::Gray8 | Self::Gray16 => 1,
            Self::Rgb8 | Self::Rgb16 => 3,
        }
    }
}

/// The samples of a frame, `height × width × channels`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 8-bit samples.
    U8(Vec<u8>),
    /// 16-bit samples.
    U16(Vec<u16>),
}

/// One picture with its size, pixel format, time of capture and source.
#[derive(Clone, Debug)]
pub struct Frame {
    width: u32,
    height: u32,
    format: PixelFormat,
    samples: Samples,
    source: String,
    captured: SystemTime,
}

/// Why a frame could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The file could not be opened or read.
    #[error("{path}: cannot read the file: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
