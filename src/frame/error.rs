//! Why a frame could not be had.

use std::path::PathBuf;

use super::PixelFormat;

/// Why a frame could not be had. `name` is the path of the file or the source that was given.
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
    /// The path leads to something that is not a file.
    #[error("{path}: is {found}, not a picture file", path = path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What lies there.
        found: &'static str,
    },
    /// Nothing in it.
    #[error("{name}: the file is empty; was it written to the end?")]
    Empty {
        /// The picture.
        name: String,
    },
    /// More bytes than the limit.
    #[error(
        "{name}: the file has {bytes} bytes and the limit is {limit}; raise the limit if it is \
         trusted"
    )]
    TooManyBytes {
        /// The picture.
        name: String,
        /// Its size.
        bytes: u64,
        /// [`DecodeOptions::max_file_bytes`](super::DecodeOptions::max_file_bytes).
        limit: u64,
    },
    /// Not one of the formats that are read.
    #[error(
        "{name}: found {found}, not a picture; readable are BMP, GIF, JPEG, PNG, PNM, QOI, TIFF \
         and \
         WebP"
    )]
    NotAPicture {
        /// The picture.
        name: String,
        /// What the content looks like.
        found: String,
    },
    /// More pixels than the limit.
    #[error(
        "{name}: the header says {width}×{height} pixels and the limit is {limit} pixels; raise it \
         (--max-pixels) if the file is trusted"
    )]
    TooManyPixels {
        /// The picture.
        name: String,
        /// Width by the header.
        width: u32,
        /// Height by the header.
        height: u32,
        /// [`DecodeOptions::max_pixels`](super::DecodeOptions::max_pixels).
        limit: u64,
    },
    /// Several frames in one file.
    #[error("{name}: {format} with {pictures} frames is animated: extract a frame first")]
    Animated {
        /// The picture.
        name: String,
        /// Its file format.
        format: &'static str,
        /// Frames in it.
        pictures: usize,
    },
    /// Several pictures in one file, and none was chosen.
    #[error(
        "{name}: {format} with {pictures} pictures: choose one (--page 1 to {pictures}; of a \
         source of `watch` the setting page), or save each as a file of its own"
    )]
    ManyPages {
        /// The picture.
        name: String,
        /// Its file format.
        format: &'static str,
        /// Pictures in it.
        pictures: usize,
    },
    /// Samples beyond the bits that were said to be used.
    #[error(
        "{name}: values reach {largest}, which is more than {bits} bits: were they set for another \
         camera?"
    )]
    Bits {
        /// The picture.
        name: String,
        /// Its largest sample.
        largest: u16,
        /// The bits that were set.
        bits: u32,
    },
    /// A page beyond the last.
    #[error("{name}: there is no page {page}: the {format} has {pictures}, counted from 1")]
    NoPage {
        /// The picture.
        name: String,
        /// Its file format.
        format: &'static str,
        /// The page that was asked for.
        page: usize,
        /// Pictures in it.
        pictures: usize,
    },
    /// Samples that are neither 8- nor 16-bit integers, or a feature that is not read.
    #[error(
        "{name}: {format} with {found} is not supported; convert it to an 8- or 16-bit grey or RGB \
         PNG"
    )]
    Unsupported {
        /// The picture.
        name: String,
        /// Its file format.
        format: &'static str,
        /// What was found.
        found: String,
    },
    /// Truncated or corrupt.
    #[error("{name}: truncated or corrupt {format}: {reason}; write or copy the file again")]
    Corrupt {
        /// The picture.
        name: String,
        /// Its file format.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// A raw picture, or a stream of pictures, that does not make a frame.
    #[error("{name}: {problem}")]
    Raw {
        /// The source or the raw format.
        name: String,
        /// What was found, and what would be right.
        problem: String,
    },
    /// Raw samples that do not make a frame.
    #[error(
        "{name}: {found} samples of {bits} bits do not make a frame of {width}×{height} pixels, \
         {format:?}; expected width × height × {channels} samples and no side of 0",
        channels = format.channels()
    )]
    Samples {
        /// The source that was given.
        name: String,
        /// Width that was given.
        width: u32,
        /// Height that was given.
        height: u32,
        /// Format that was given.
        format: PixelFormat,
        /// Bits of a sample that was given.
        bits: u32,
        /// Number of samples that was given.
        found: usize,
    },
}

impl FrameError {
    /// Whether there is a picture, of which no frame that can be judged was made: damaged, one of
    /// several, too large. Otherwise there is none: no file, nothing in it, something else.
    pub fn is_of_a_picture(&self) -> bool {
        match self {
            Self::TooManyBytes { .. }
            | Self::TooManyPixels { .. }
            | Self::Animated { .. }
            | Self::ManyPages { .. }
            | Self::NoPage { .. }
            | Self::Bits { .. }
            | Self::Unsupported { .. }
            | Self::Corrupt { .. } => true,
            Self::Read { .. }
            | Self::NotAFile { .. }
            | Self::Empty { .. }
            | Self::NotAPicture { .. }
            | Self::Raw { .. }
            | Self::Samples { .. } => false,
        }
    }
}
