//! Where the samples of a raw picture lie.

use super::{
    super::{DecodeOptions, FrameError},
    RawFormat,
};

/// How the bytes of one raw picture lie: rows from the top, planes one behind the other. Where two
/// or four pixels share a colour, that of odd sizes is rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLayout {
    format: RawFormat,
    width: u32,
    height: u32,
    /// Bytes from row to row of the first plane, and of the planes of chroma.
    strides: [usize; 2],
}

impl RawLayout {
    /// A picture without padding, as ffmpeg's `rawvideo` has it.
    ///
    /// # Errors
    /// [`FrameError::Raw`] for a side of 0 or more pixels than [`DecodeOptions`] allow.
    pub fn new(format: RawFormat, width: u32, height: u32) -> Result<Self, FrameError> {
        Self::within(DecodeOptions::default().max_pixels, format, width, height)
    }

    /// [`RawLayout::new`] with another `limit` of pixels.
    ///
    /// # Errors
    /// [`FrameError::Raw`] for a side of 0 or more pixels than the limit.
    pub fn within(
        limit: u64,
        format: RawFormat,
        width: u32,
        height: u32,
    ) -> Result<Self, FrameError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > limit {
            return Err(FrameError::Raw {
                name: format.name().to_owned(),
                problem: format!(
                    "a picture of {width}×{height} pixels can't be; choose sides of at least 1 \
                     and at most {limit} pixels, or raise the limit (--max-pixels)"
                ),
            });
        }
        Ok(Self {
            format,
            width,
            height,
            strides: row_bytes(format, width as usize),
        })
    }

    /// The same with padded rows: `stride` bytes from row to row of the first plane. The rows of a
    /// plane of both chromas have as many, those of a plane of one chroma of half the width half as
    /// many, rounded up, which is what V4L2 says of `bytesperline`.
    ///
    /// # Errors
    /// [`FrameError::Raw`] for fewer bytes than a row has, or more than a picture may have.
    pub fn with_stride(self, stride: usize) -> Result<Self, FrameError> {
        let chroma = match self.format {
            RawFormat::Yuv420p | RawFormat::Yuv422p => stride.div_ceil(2),
            _ => stride,
        };
        self.with_strides(stride, chroma)
    }

    /// The same with padded rows: bytes from row to row of the first plane, and of the planes of
    /// chroma, which are not looked at in a format of one plane.
    ///
    /// # Errors
    /// [`FrameError::Raw`] for fewer bytes than a row has, or more than a picture may have.
    pub fn with_strides(self, first: usize, chroma: usize) -> Result<Self, FrameError> {
        let least = row_bytes(self.format, self.width as usize);
        let planes = self.planes();
        let found = [first, chroma];
        let most = DecodeOptions {
            max_pixels: u64::from(self.width) * u64::from(self.height),
            ..DecodeOptions::default()
        };
        let most = most.with_room().max_file_bytes;
        for plane in 0..planes.min(2) {
            let rows = u64::from(self.height);
            let too_many = (found[plane] as u64).saturating_mul(rows) > most;
            if found[plane] < least[plane] || too_many {
                return Err(FrameError::Raw {
                    name: self.format.name().to_owned(),
                    problem: format!(
                        "rows of {} bytes; {} pixels need {} bytes a row, and a plane may have \
                         {most} bytes",
                        found[plane], self.width, least[plane]
                    ),
                });
            }
        }
        Ok(Self {
            strides: found,
            ..self
        })
    }

    /// The format.
    pub fn format(&self) -> RawFormat {
        self.format
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of one picture, padding of its last rows included.
    pub fn frame_bytes(&self) -> usize {
        (0..self.planes())
            .map(|plane| self.plane_bytes(plane))
            .sum()
    }

    /// Bytes that have to be there: padding behind the very last row is not needed, and some
    /// drivers leave it out.
    pub(super) fn needed_bytes(&self) -> usize {
        let last = self.planes() - 1;
        let least = row_bytes(self.format, self.width as usize)[last.min(1)];
        self.frame_bytes() - (self.strides[last.min(1)] - least)
    }

    fn planes(&self) -> usize {
        match self.format {
            RawFormat::Nv12 | RawFormat::Nv21 => 2,
            RawFormat::Yuv420p | RawFormat::Yuv422p | RawFormat::Yuv444p => 3,
            _ => 1,
        }
    }

    fn plane_bytes(&self, plane: usize) -> usize {
        let height = self.height as usize;
        let rows = if plane > 0 && self.halves_rows() {
            height.div_ceil(2)
        } else {
            height
        };
        self.strides[plane.min(1)] * rows
    }

    fn halves_rows(&self) -> bool {
        matches!(
            self.format,
            RawFormat::Nv12 | RawFormat::Nv21 | RawFormat::Yuv420p
        )
    }

    /// The bytes of row `y` of the picture in a plane, without padding. `bytes` are at least
    /// [`needed_bytes`](Self::needed_bytes).
    pub(super) fn row<'a>(&self, bytes: &'a [u8], plane: usize, y: usize) -> &'a [u8] {
        let before: usize = (0..plane).map(|plane| self.plane_bytes(plane)).sum();
        let row = if plane > 0 && self.halves_rows() {
            y / 2
        } else {
            y
        };
        let at = before + self.strides[plane.min(1)] * row;
        &bytes[at..at + row_bytes(self.format, self.width as usize)[plane.min(1)]]
    }
}

/// Bytes of a row without padding, of the first plane and of the planes of chroma.
fn row_bytes(format: RawFormat, width: usize) -> [usize; 2] {
    let pairs = width.div_ceil(2);
    match format {
        RawFormat::Gray => [width, 0],
        RawFormat::Gray10le
        | RawFormat::Gray12le
        | RawFormat::Gray14le
        | RawFormat::Gray16le
        | RawFormat::Gray16be => [2 * width, 0],
        RawFormat::Rgb24 | RawFormat::Bgr24 => [3 * width, 0],
        RawFormat::Rgba | RawFormat::Bgra => [4 * width, 0],
        RawFormat::Rgb48le | RawFormat::Rgb48be => [6 * width, 0],
        RawFormat::Yuyv422 | RawFormat::Uyvy422 => [4 * pairs, 0],
        RawFormat::Nv12 | RawFormat::Nv21 => [width, 2 * pairs],
        RawFormat::Yuv420p | RawFormat::Yuv422p => [width, pairs],
        RawFormat::Yuv444p => [width, width],
    }
}
