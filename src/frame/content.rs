//! What the first bytes of a file say of its content.

use image::ImageFormat;

/// A format of picture files that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFormat {
    pub(super) format: ImageFormat,
    /// As people write it.
    pub(super) name: &'static str,
}

/// The format by the content, if it is one that is read.
pub(crate) fn recognise(bytes: &[u8]) -> Option<FileFormat> {
    let format = image::guess_format(bytes).ok()?;
    let name = match format {
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Qoi => "QOI",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::WebP => "WebP",
        _ => return None,
    };
    Some(FileFormat { format, name })
}

/// What content that is not a readable picture looks like.
pub(super) fn describe(bytes: &[u8]) -> String {
    let known: &[(usize, &[u8], &str)] = &[
        (4, b"ftypavif", "an AVIF picture"),
        (4, b"ftyphe", "a HEIC picture"),
        (4, b"ftypmif1", "a HEIF picture"),
        (4, b"ftyp", "an MP4 or MOV video"),
        (0, b"\xff\x0a", "a JPEG XL picture"),
        (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
        (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
        (0, b"II+\0", "a BigTIFF picture"),
        (0, b"MM\0+", "a BigTIFF picture"),
        (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
        (0, b"#?RADIANCE", "a Radiance HDR picture"),
        (0, b"DDS ", "a DDS texture"),
        (0, b"farbfeld", "a farbfeld picture"),
        (0, b"\0\0\x01\0", "an ICO icon"),
        (0, b"8BPS", "a Photoshop document"),
        (0, b"%PDF", "a PDF document"),
        (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
        (8, b"AVI ", "an AVI video"),
        (0, b"\x93NUMPY", "a NumPy array"),
        (0, b"PK\x03\x04", "a ZIP archive"),
        (0, b"\x1f\x8b", "gzip data"),
    ];
    for (at, magic, what) in known {
        if bytes.get(*at..).is_some_and(|b| b.starts_with(magic)) {
            return (*what).to_owned();
        }
    }
    let head = &bytes[..bytes.len().min(256)];
    if head.iter().all(|&byte| byte == 0) {
        return "zeros".to_owned();
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // the head may end within a character
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => {
            let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let start: String = line.chars().take(24).collect();
            format!("text ({start:?})")
        }
        _ => {
            let start: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!("unknown data (starts with {})", start.join(" "))
        }
    }
}
