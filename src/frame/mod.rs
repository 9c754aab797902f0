//! Frames: one picture with its size, pixel format, time of capture and source.

mod container;
mod content;
mod decode;
mod defect;
mod digest;
mod error;
mod jpeg;
pub mod raw;
mod statistics;

use std::{fmt, fmt::Write, path::Path, time::SystemTime};

#[cfg(all(feature = "watch", unix))]
pub(crate) use content::recognise;
pub use decode::DecodeOptions;
pub use defect::FrameDefect;
pub use digest::{NoDigest, PictureDigest};
pub use error::FrameError;
pub use statistics::FrameStatistics;

/// Extensions of the files that folders are searched for, in lower case. Only the search goes by
/// the name: [`Frame::open`] goes by the content.
pub const PICTURE_EXTENSIONS: &[&str] = &[
    "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "qoi",
    "tif", "tiff", "webp",
];

/// Whether the name of a file ends in one of [`PICTURE_EXTENSIONS`], in upper or lower case.
pub fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            PICTURE_EXTENSIONS
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        })
}

/// Bits of samples that lie in the lowest of 16.
pub const LESS_THAN_16: std::ops::RangeInclusive<u32> = 9..=15;

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

    /// Bits a sample: 8 or 16.
    pub fn bits(self) -> u32 {
        match self {
            Self::Gray8 | Self::Rgb8 => 8,
            Self::Gray16 | Self::Rgb16 => 16,
        }
    }

    /// The sample that stands for white: 255 or 65535.
    pub fn white(self) -> u16 {
        match self {
            Self::Gray8 | Self::Rgb8 => 0xff,
            Self::Gray16 | Self::Rgb16 => 0xffff,
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

impl Samples {
    fn len(&self) -> usize {
        match self {
            Self::U8(samples) => samples.len(),
            Self::U16(samples) => samples.len(),
        }
    }

    fn bits(&self) -> u32 {
        match self {
            Self::U8(_) => 8,
            Self::U16(_) => 16,
        }
    }
}

/// One picture with its size, pixel format, time of capture and source.
///
/// Width and height are at least 1, and the number of samples is always
/// `height × width × channels`.
#[derive(Clone, Debug)]
pub struct Frame {
    width: u32,
    height: u32,
    format: PixelFormat,
    samples: Samples,
    /// Bits of 16 that the samples use; `None` where nothing said.
    bits: Option<u32>,
    source: String,
    captured: SystemTime,
}

impl Frame {
    /// Reads and decodes a picture file within the default [`DecodeOptions`].
    ///
    /// The format is recognised by the content, never by the name. EXIF orientation is applied,
    /// alpha is dropped (not blended), palettes and 1-, 2- and 4-bit samples are expanded to 8
    /// bits, CMYK is converted to RGB without a colour profile, and colour profiles are ignored.
    /// The time of capture is the file's time of modification.
    ///
    /// # Errors
    ///
    /// A [`FrameError`] for anything but a whole, single picture with 8- or 16-bit samples: what a
    /// decoder would fill in, because data of the picture is missing, is never taken for it.
    pub fn open(path: &Path) -> Result<Self, FrameError> {
        Self::open_with(path, &DecodeOptions::default())
    }

    /// As [`open`](Self::open), with options of the caller's.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, options: &DecodeOptions) -> Result<Self, FrameError> {
        decode::open(path, options)
    }

    /// The alpha channel of a picture file, as a grey frame; `None` where it has none.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_alpha(path: &Path) -> Result<Option<Self>, FrameError> {
        decode::open_alpha(path, &DecodeOptions::default())
    }

    /// Decodes a picture from memory; `source` names it in messages. The time of capture is now.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn decode(bytes: &[u8], source: &str, options: &DecodeOptions) -> Result<Self, FrameError> {
        decode::decode(bytes, source, options)
    }

    /// A frame of 8-bit samples, `height × width × channels`, captured now.
    ///
    /// # Errors
    ///
    /// [`FrameError::Samples`] if a side is 0, the format is not an 8-bit one, or the number of
    /// samples is not the one that size and format ask for.
    pub fn from_u8(
        width: u32,
        height: u32,
        format: PixelFormat,
        samples: Vec<u8>,
        source: impl Into<String>,
    ) -> Result<Self, FrameError> {
        Self::from_samples(width, height, format, Samples::U8(samples), source.into())
    }

    /// A frame of 16-bit samples, `height × width × channels`, captured now. Samples of cameras
    /// with fewer bits have to be scaled to the full range before.
    ///
    /// # Errors
    ///
    /// [`FrameError::Samples`] if a side is 0, the format is not a 16-bit one, or the number of
    /// samples is not the one that size and format ask for.
    pub fn from_u16(
        width: u32,
        height: u32,
        format: PixelFormat,
        samples: Vec<u16>,
        source: impl Into<String>,
    ) -> Result<Self, FrameError> {
        Self::from_samples(width, height, format, Samples::U16(samples), source.into())
    }

    fn from_samples(
        width: u32,
        height: u32,
        format: PixelFormat,
        samples: Samples,
        source: String,
    ) -> Result<Self, FrameError> {
        let expected = u128::from(width) * u128::from(height) * format.channels() as u128;
        if expected == 0 || samples.bits() != format.bits() || samples.len() as u128 != expected {
            return Err(FrameError::Samples {
                name: source,
                width,
                height,
                format,
                bits: samples.bits(),
                found: samples.len(),
            });
        }
        Ok(Self {
            width,
            height,
            format,
            samples,
            bits: None,
            source,
            captured: SystemTime::now(),
        })
    }

    /// A frame of one black pixel, for a source to fill: see [`Frame::refill`].
    pub fn blank(source: impl Into<String>) -> Self {
        Self {
            width: 1,
            height: 1,
            format: PixelFormat::Gray8,
            samples: Samples::U8(vec![0]),
            bits: None,
            source: source.into(),
            captured: SystemTime::now(),
        }
    }

    /// Makes this frame another one of the same source, in the same memory where it is large
    /// enough. `fill` is given the samples, `height × width × channels`, which hold anything.
    ///
    /// # Errors
    ///
    /// [`FrameError::Samples`] for a side of 0, and what `fill` says; the frame is then one of
    /// unspecified content.
    pub fn refill(
        &mut self,
        width: u32,
        height: u32,
        format: PixelFormat,
        captured: SystemTime,
        fill: impl FnOnce(&mut Samples) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        let expected = u128::from(width) * u128::from(height) * format.channels() as u128;
        let Some(length) = usize::try_from(expected).ok().filter(|&length| length > 0) else {
            return Err(FrameError::Samples {
                name: self.source.clone(),
                width,
                height,
                format,
                bits: format.bits(),
                found: 0,
            });
        };
        match (&mut self.samples, format.bits()) {
            (Samples::U8(samples), 8) => samples.resize(length, 0),
            (Samples::U16(samples), 16) => samples.resize(length, 0),
            (samples, 8) => *samples = Samples::U8(vec![0; length]),
            (samples, _) => *samples = Samples::U16(vec![0; length]),
        }
        (self.width, self.height, self.format) = (width, height, format);
        self.bits = None;
        self.captured = captured;
        fill(&mut self.samples)
    }

    /// Makes this frame one black pixel, in the same memory: what is known of a picture that could
    /// not be decoded.
    pub fn clear(&mut self, captured: SystemTime) {
        self.samples = match std::mem::replace(&mut self.samples, Samples::U8(Vec::new())) {
            Samples::U8(mut samples) => {
                samples.clear();
                samples.push(0);
                Samples::U8(samples)
            }
            Samples::U16(_) => Samples::U8(vec![0]),
        };
        (self.width, self.height, self.format) = (1, 1, PixelFormat::Gray8);
        self.bits = None;
        self.captured = captured;
    }

    /// Calls the frame's source something else, in the same memory where it is large enough.
    pub fn rename(&mut self, source: impl fmt::Display) {
        self.source.clear();
        // A `String` takes whatever is written to it.
        let _ = write!(self.source, "{source}");
    }

    /// The same frame with another time of capture.
    pub fn with_captured(self, captured: SystemTime) -> Self {
        Self { captured, ..self }
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Layout of the samples.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The samples, `height × width × channels`.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Where the frame came from: the path of its file, or what its maker called it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// When the frame was captured, as far as known.
    pub fn captured(&self) -> SystemTime {
        self.captured
    }

    /// The sample that stands for white: 255, 65535, or less where the samples use fewer than 16
    /// bits.
    pub fn white(&self) -> u16 {
        match self.bits {
            Some(bits) if self.format.bits() == 16 => ((1_u32 << bits) - 1) as u16,
            _ => self.format.white(),
        }
    }

    /// Bits that samples of 16 bits use, where something said so.
    pub fn bits(&self) -> Option<u32> {
        self.bits
    }

    /// Says that samples of 16 bits use `bits` of them, the lowest, as those of cameras with 10 or
    /// 12 bits do. What was said already, and 8-bit samples, stay as they are.
    ///
    /// # Errors
    ///
    /// [`FrameError::Bits`] for samples above that white; the frame is left as it was.
    pub fn set_bits(&mut self, bits: u32) -> Result<(), FrameError> {
        if let (None, Samples::U16(samples)) = (self.bits, &self.samples) {
            let largest = samples.iter().copied().max().unwrap_or(0);
            if !LESS_THAN_16.contains(&bits) && bits != 16 || u32::from(largest) >> bits != 0 {
                return Err(FrameError::Bits {
                    name: self.source.clone(),
                    largest,
                    bits,
                });
            }
            self.bits = Some(bits);
        }
        Ok(())
    }

    /// How many bits samples of 16 bits seem to use, where nothing said so and it is at most 14.
    pub fn seeming_bits(&self) -> Option<u32> {
        match (&self.samples, self.bits) {
            (Samples::U16(samples), None) => {
                let largest = samples.iter().copied().max().unwrap_or(0);
                [10, 12, 14]
                    .into_iter()
                    .find(|bits| u32::from(largest) >> bits == 0)
                    .filter(|_| largest > 255)
            }
            _ => None,
        }
    }

    /// Why the frame carries no picture, or `None` for a frame that can be judged.
    ///
    /// A frame is without a picture if in each of its channels no two samples differ by more than
    /// 2/255 of the full range, which is what a dead camera delivers, or if it shows nothing but
    /// noise about black or white, hot pixels and an overlay at the top or the bottom (a clock, a
    /// name), which is what a covered or blinded one does. A mostly black picture with something
    /// bright in it has no defect, nor has even light on an even surface.
    pub fn defect(&self) -> Option<FrameDefect> {
        defect::of(self)
    }

    /// Why the frame can't be judged, in words; `None` for one that can.
    pub fn problem(&self) -> Option<String> {
        let defect = self.defect()?;
        let mut problem = format!("the frame is {defect}");
        if let Some(bits) = self.seeming_bits() {
            let _ = write!(
                problem,
                "; its values only reach {} of 65535: are they of {bits} bits? train with --bits \
                 {bits}, or watch with the source's setting bits={bits}",
                (1_u32 << bits) - 1
            );
        }
        Some(problem)
    }

    /// An 8-bit RGB copy for drawing: grey is repeated, 16-bit samples are rounded to 8.
    pub fn to_rgb8(&self) -> image::RgbImage {
        let mut rgb: Vec<u8> = match &self.samples {
            Samples::U8(samples) => samples.clone(),
            Samples::U16(samples) => {
                let white = u32::from(self.white());
                let rounded = |&v: &u16| ((u32::from(v) * 255 + white / 2) / white).min(255) as u8;
                samples.iter().map(rounded).collect()
            }
        };
        if self.format.channels() == 1 {
            rgb = rgb.iter().flat_map(|&v| [v; 3]).collect();
        }
        image::RgbImage::from_raw(self.width, self.height, rgb)
            .expect("every constructor checks the number of samples")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_must_fit_size_and_format() {
        let ok = Frame::from_u8(3, 2, PixelFormat::Gray8, vec![0; 6], "camera");
        assert_eq!(ok.unwrap().source(), "camera");
        assert!(Frame::from_u16(2, 2, PixelFormat::Rgb16, vec![0; 12], "camera").is_ok());

        for (width, height, format, count) in [
            (3, 2, PixelFormat::Gray8, 5),
            (3, 2, PixelFormat::Gray8, 7),
            (3, 2, PixelFormat::Rgb8, 6),
            (0, 2, PixelFormat::Gray8, 0),
            (2, 0, PixelFormat::Rgb8, 0),
            (2, 2, PixelFormat::Gray16, 4),
            (u32::MAX, u32::MAX, PixelFormat::Rgb8, 4),
        ] {
            let error = Frame::from_u8(width, height, format, vec![0; count], "camera")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("camera: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(Frame::from_u16(2, 2, PixelFormat::Gray8, vec![0; 4], "camera").is_err());
    }

    #[test]
    fn rgb8_copy_rounds_and_repeats() {
        let samples = vec![0, 128, 129, 257, 385, 386, 32896, 65406, 65407, 65535];
        let frame = Frame::from_u16(10, 1, PixelFormat::Gray16, samples.clone(), "x").unwrap();
        for (pixel, &v) in frame.to_rgb8().pixels().zip(&samples) {
            let nearest = (f64::from(v) / 65535.0 * 255.0).round() as u8;
            assert_eq!(pixel.0, [nearest; 3], "{v}");
        }
        let frame = Frame::from_u8(1, 1, PixelFormat::Rgb8, vec![1, 2, 3], "x").unwrap();
        assert_eq!(frame.to_rgb8().into_raw(), [1, 2, 3]);
    }

    #[test]
    fn pictures_are_searched_by_extension() {
        for name in ["a.png", "b.JPG", "c.d.TiFF", "/x/y.webp"] {
            assert!(is_picture(Path::new(name)), "{name}");
        }
        for name in ["png", "a.txt", "a.png.txt", ".png", "a.", ""] {
            assert!(!is_picture(Path::new(name)), "{name}");
        }
    }
}
