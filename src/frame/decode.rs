//! From the bytes of a picture file to a frame, within limits.

use std::{
    borrow::Cow,
    error::Error as _,
    fs::{self, File, Metadata},
    io::{Cursor, Read},
    path::Path,
};

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader,
    error::UnsupportedErrorKind,
};

use super::{
    Frame, FrameError, PixelFormat,
    container::{self, Pictures},
    content::{FileFormat, describe, recognise},
    jpeg,
};

/// How picture files are read, and what they may ask for before they are refused. The limits are
/// checked before anything of that size is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Most pixels, width × height. Default: 100 million, twice the largest industrial sensors.
    pub max_pixels: u64,
    /// Most bytes of the file. Default: 512 MiB, which 100 million pixels of uncompressed RGB fit
    /// into.
    pub max_file_bytes: u64,
    /// Which picture of a file with several pages is read, from 1. Without it, such a file is
    /// refused.
    pub page: Option<usize>,
    /// Bits that samples of 16 bits use: see [`Frame::set_bits`]. Portable maps say it themselves.
    pub bits: Option<u32>,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            max_file_bytes: 512 << 20,
            page: None,
            bits: None,
        }
    }
}

impl DecodeOptions {
    /// With at least as many bytes of the file as so many pixels need, uncompressed.
    pub fn with_room(self) -> Self {
        Self {
            max_file_bytes: self.max_file_bytes.max(self.max_pixels.saturating_mul(6)),
            ..self
        }
    }
}

pub(super) fn open(path: &Path, options: &DecodeOptions) -> Result<Frame, FrameError> {
    let (bytes, metadata) = read(path, options)?;
    let frame = decode(&bytes, &path.display().to_string(), options)?;
    Ok(match metadata.modified() {
        Ok(modified) => frame.with_captured(modified),
        Err(_) => frame,
    })
}

fn check_bytes(name: &str, bytes: u64, options: &DecodeOptions) -> Result<(), FrameError> {
    if bytes > options.max_file_bytes {
        return Err(FrameError::TooManyBytes {
            name: name.to_owned(),
            bytes,
            limit: options.max_file_bytes,
        });
    }
    Ok(())
}

/// The bytes of a file.
fn read(path: &Path, options: &DecodeOptions) -> Result<(Vec<u8>, Metadata), FrameError> {
    let failed = |source| FrameError::Read {
        path: path.to_owned(),
        source,
    };
    // before opening: to open a named pipe waits for its writer
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(FrameError::NotAFile {
            path: path.to_owned(),
            found: if metadata.is_dir() {
                "a folder"
            } else {
                "a pipe or device"
            },
        });
    }
    let name = path.display().to_string();
    check_bytes(&name, metadata.len(), options)?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // the file may grow while it is read
    File::open(path)
        .and_then(|file| {
            file.take(options.max_file_bytes.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(failed)?;
    Ok((bytes, metadata))
}

/// The alpha channel of a picture file as a grey frame; `None` where it has none.
pub(super) fn open_alpha(
    path: &Path,
    options: &DecodeOptions,
) -> Result<Option<Frame>, FrameError> {
    let name = path.display().to_string();
    let picture = picture(&read(path, options)?.0, &name, options)?;
    if !picture.color().has_alpha() {
        return Ok(None);
    }
    let (width, height) = (picture.width(), picture.height());
    let alpha = picture
        .into_rgba8()
        .pixels()
        .map(|pixel| pixel.0[3])
        .collect();
    Frame::from_u8(width, height, PixelFormat::Gray8, alpha, name).map(Some)
}

fn picture(
    bytes: &[u8],
    source: &str,
    options: &DecodeOptions,
) -> Result<DynamicImage, FrameError> {
    check_bytes(source, bytes.len() as u64, options)?;
    if bytes.is_empty() {
        return Err(FrameError::Empty {
            name: source.to_owned(),
        });
    }
    let Some(file_format) = recognise(bytes) else {
        return Err(FrameError::NotAPicture {
            name: source.to_owned(),
            found: describe(bytes),
        });
    };
    let FileFormat { format, name } = file_format;
    let mut bytes = page(bytes, source, file_format, options.page)?;
    if format == ImageFormat::Jpeg && jpeg::lacks_tables(&bytes) {
        bytes = jpeg::with_standard_tables(&bytes).into();
    }
    let failed = |error| explain(error, source, name);

    let mut reader = ImageReader::with_format(Cursor::new(&*bytes), format);
    let mut decoder_limits = image::Limits::no_limits();
    // Twice the largest pixel for the decoders' own buffers, and some room for metadata.
    decoder_limits.max_alloc = Some(
        options
            .max_pixels
            .saturating_mul(16)
            .saturating_add(64 << 20),
    );
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;

    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > options.max_pixels {
        return Err(FrameError::TooManyPixels {
            name: source.to_owned(),
            width,
            height,
            limit: options.max_pixels,
        });
    }
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(FrameError::Unsupported {
            name: source.to_owned(),
            format: name,
            found: "32-bit float samples".to_owned(),
        });
    }

    let orientation = decoder.orientation().map_err(failed)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    // After decoding, since a decoder that stumbles knows better what is wrong.
    container::check_whole(format, &bytes).map_err(|reason| FrameError::Corrupt {
        name: source.to_owned(),
        format: name,
        reason,
    })?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

pub(super) fn decode(
    bytes: &[u8],
    source: &str,
    options: &DecodeOptions,
) -> Result<Frame, FrameError> {
    let picture = picture(bytes, source, options)?;
    let (width, height) = (picture.width(), picture.height());
    let mut frame = match picture.color() {
        ColorType::L8 | ColorType::La8 => Frame::from_u8(
            width,
            height,
            PixelFormat::Gray8,
            picture.into_luma8().into_raw(),
            source,
        ),
        ColorType::L16 | ColorType::La16 => Frame::from_u16(
            width,
            height,
            PixelFormat::Gray16,
            picture.into_luma16().into_raw(),
            source,
        ),
        ColorType::Rgb16 | ColorType::Rgba16 => Frame::from_u16(
            width,
            height,
            PixelFormat::Rgb16,
            picture.into_rgb16().into_raw(),
            source,
        ),
        _ => Frame::from_u8(
            width,
            height,
            PixelFormat::Rgb8,
            picture.into_rgb8().into_raw(),
            source,
        ),
    }?;
    let scaled = container::pnm::Header::parse(bytes, 0).is_some_and(|header| header.is_scaled());
    match options.bits {
        _ if scaled => frame.set_bits(16)?,
        Some(bits) => frame.set_bits(bits)?,
        None => {}
    }
    Ok(frame)
}

/// The bytes to decode: those of the page that was asked for, or of the only picture.
fn page<'a>(
    bytes: &'a [u8],
    source: &str,
    FileFormat { format, name }: FileFormat,
    page: Option<usize>,
) -> Result<Cow<'a, [u8]>, FrameError> {
    let pictures = container::pictures(format, bytes);
    let count = pictures.count();
    match (pictures, page) {
        (Pictures::Frames(2..), _) => Err(FrameError::Animated {
            name: source.to_owned(),
            format: name,
            pictures: count,
        }),
        (Pictures::Pages(starts), Some(page)) if (1..=count).contains(&page) => {
            Ok(container::page(format, bytes, starts[page - 1]))
        }
        (_, Some(page)) if page != 1 => Err(FrameError::NoPage {
            name: source.to_owned(),
            format: name,
            page,
            pictures: count.max(1),
        }),
        (Pictures::Pages(_), None) if count > 1 => Err(FrameError::ManyPages {
            name: source.to_owned(),
            format: name,
            pictures: count,
        }),
        _ => Ok(bytes.into()),
    }
}

/// A decoder's error as one of ours, in one line.
fn explain(error: ImageError, name: &str, format: &'static str) -> FrameError {
    let name = name.to_owned();
    let line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match error {
        ImageError::Unsupported(error) => FrameError::Unsupported {
            name,
            format,
            found: match error.kind() {
                UnsupportedErrorKind::GenericFeature(feature) => line(feature),
                UnsupportedErrorKind::Color(kind) => format!("samples of kind {kind:?}"),
                _ => line(error.to_string()),
            },
        },
        other => {
            let reason = other
                .source()
                .map_or_else(|| other.to_string(), ToString::to_string);
            FrameError::Corrupt {
                name,
                format,
                reason: line(reason),
            }
        }
    }
}

#[cfg(test)]
mod tests;
