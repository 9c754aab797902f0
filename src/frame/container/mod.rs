//! What the structure of a file tells before its pixels are decoded: how many pictures it holds,
//! and whether it goes on to its end. The decoders that are used show the first of several pictures
//! without a word.

mod bmp;
mod gif;
pub(super) mod pnm;
mod tiff;

use std::borrow::Cow;

use image::ImageFormat;

use super::jpeg;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pictures {
    /// Frames of an animation, one drawn over the other.
    Frames(usize),
    /// Pages that each can be read by itself: where each, or what tells of it, begins.
    Pages(Vec<usize>),
}

impl Pictures {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Frames(count) => *count,
            Self::Pages(pages) => pages.len(),
        }
    }
}

/// Walks through the file without decoding a pixel. Damage is left for the decoder to name.
pub(super) fn pictures(format: ImageFormat, bytes: &[u8]) -> Pictures {
    match format {
        ImageFormat::Png => Pictures::Frames(png_frames(bytes).unwrap_or(1).max(1)),
        ImageFormat::WebP => Pictures::Frames(webp_frames(bytes).max(1)),
        ImageFormat::Gif => Pictures::Frames(gif::frames(bytes).max(1)),
        ImageFormat::Jpeg => Pictures::Pages(jpeg::pictures(bytes)),
        ImageFormat::Tiff => Pictures::Pages(tiff::pages(bytes)),
        ImageFormat::Pnm => Pictures::Pages(pnm::pictures(bytes)),
        _ => Pictures::Frames(1),
    }
}

/// The page that begins at `start`, as the first one of a file.
pub(super) fn page(format: ImageFormat, bytes: &[u8], start: usize) -> Cow<'_, [u8]> {
    match format {
        ImageFormat::Tiff => tiff::led_by(bytes, start),
        _ => bytes[start..].into(),
    }
}

/// Checks what decoders don't: that a picture which one of them took is whole.
///
/// # Errors
/// What is missing or damaged.
pub(super) fn check_whole(format: ImageFormat, bytes: &[u8]) -> Result<(), String> {
    match format {
        ImageFormat::Bmp => bmp::check(bytes),
        ImageFormat::Gif => gif::check(bytes),
        ImageFormat::Jpeg => jpeg::check(bytes),
        ImageFormat::Tiff => tiff::check(bytes),
        ImageFormat::WebP => check_webp(bytes),
        _ => Ok(()),
    }
}

fn u32_at(bytes: &[u8], at: usize, from_bytes: fn([u8; 4]) -> u32) -> Option<usize> {
    let field: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(from_bytes(field)).ok()
}

/// Frames that the chunk `acTL` of an animated PNG announces; it stands before the pixels.
fn png_frames(bytes: &[u8]) -> Option<usize> {
    let mut at = 8;
    loop {
        let length = u32_at(bytes, at, u32::from_be_bytes)?;
        match bytes.get(at + 4..at + 8)? {
            b"acTL" => return u32_at(bytes, at + 8, u32::from_be_bytes),
            b"IDAT" => return None,
            _ => at = at.checked_add(length)?.checked_add(12)?,
        }
    }
}

/// `ANMF` chunks of a WebP file; a still picture has none.
fn webp_frames(bytes: &[u8]) -> usize {
    let mut at = 12;
    let mut frames = 0;
    while let Some(length) = u32_at(bytes, at + 4, u32::from_le_bytes) {
        if bytes[at..].starts_with(b"ANMF") {
            frames += 1;
        }
        // chunks are padded to an even length
        let Some(next) = at.checked_add(8 + length + length % 2) else {
            break;
        };
        at = next;
    }
    frames
}

/// A file whose end was never written has zeros there, which a decoder of arithmetic code takes for
/// data; coded data as good as never has that many in a row.
const ZEROS: usize = 64;

fn check_webp(bytes: &[u8]) -> Result<(), String> {
    let end = u32_at(bytes, 4, u32::from_le_bytes).map_or(bytes.len(), |length| length + 8);
    let picture = &bytes[..end.min(bytes.len())];
    let zeros = picture.iter().rev().take_while(|&&byte| byte == 0).count();
    if zeros >= ZEROS {
        return Err(format!(
            "its last {zeros} bytes are zeros, which are no data"
        ));
    }
    Ok(())
}
