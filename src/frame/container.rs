//! What the structure of a file tells before its pixels are decoded: how many pictures it holds,
//! and whether it goes on to its end. The decoders that are used show the first frame of an
//! animation without a word, and fill the missing part of a truncated JPEG with grey.

use image::ImageFormat;

/// What the structure of a file tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Container {
    /// Frames of an animation; 1 for a still picture.
    pub(super) pictures: usize,
    /// Whether the end of the file was found where the format has one that its decoder ignores.
    pub(super) complete: bool,
}

/// Walks through the file without decoding a pixel. Damage is left for the decoder to name,
/// except for a missing end.
pub(super) fn inspect(format: ImageFormat, bytes: &[u8]) -> Container {
    let still = |complete| Container {
        pictures: 1,
        complete,
    };
    match format {
        ImageFormat::Png => Container {
            pictures: png_frames(bytes).unwrap_or(1).max(1),
            complete: true,
        },
        ImageFormat::WebP => Container {
            pictures: webp_frames(bytes).max(1),
            complete: true,
        },
        ImageFormat::Gif => gif(bytes),
        ImageFormat::Jpeg => still(jpeg_has_end(bytes).is_some()),
        _ => still(true),
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

/// Image descriptors of a GIF file, and whether the trailer ends it.
fn gif(bytes: &[u8]) -> Container {
    let mut pictures = 0;
    let complete = (|| {
        let mut at = 13 + gif_table(*bytes.get(10)?);
        loop {
            match bytes.get(at)? {
                0x21 => at = gif_blocks(bytes, at + 2)?,
                0x2c => {
                    pictures += 1;
                    // descriptor of 10 bytes, colour table, one byte of code size, data
                    let table = gif_table(*bytes.get(at + 9)?);
                    at = gif_blocks(bytes, at + 11 + table)?;
                }
                0x3b => return Some(()),
                _ => return None,
            }
        }
    })()
    .is_some();
    Container { pictures, complete }
}

/// Bytes of the colour table that a packed field announces.
fn gif_table(packed: u8) -> usize {
    if packed & 0x80 == 0 {
        0
    } else {
        3 << ((packed & 7) + 1)
    }
}

/// Position after a row of data blocks, each led by its length, the last of length 0.
fn gif_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

/// Position of the marker that ends a JPEG picture. Segments are walked over, since the thumbnail
/// within an EXIF segment has such a marker, too.
fn jpeg_has_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        // from anything, entropy-coded data above all, to the next marker
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        at += bytes.get(at..)?.iter().position(|&byte| byte != 0xff)?;
        match bytes.get(at)? {
            0xd9 => return Some(at),
            // stuffed byte within data, TEM, restarts, start of image: nothing follows them
            0x00 | 0x01 | 0xd0..=0xd8 => at += 1,
            _ => {
                let high = usize::from(*bytes.get(at + 1)?);
                let low = usize::from(*bytes.get(at + 2)?);
                at += 1 + (high << 8 | low).max(2);
            }
        }
    }
}
