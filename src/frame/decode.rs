//! From the bytes of a picture file to a frame, within limits.

use std::{
    error::Error as _,
    fs::{self, File},
    io::{Cursor, Read},
    path::Path,
};

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader,
    error::UnsupportedErrorKind,
};

use super::{Frame, FrameError, PixelFormat, container};

/// What a picture may ask for before it is refused. Both are checked before anything of that size
/// is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels, width × height. Default: 100 million, twice the largest industrial sensors.
    pub max_pixels: u64,
    /// Most bytes of the file. Default: 512 MiB, which 100 million pixels of uncompressed RGB fit
    /// into.
    pub max_file_bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            max_file_bytes: 512 << 20,
        }
    }
}

pub(super) fn open(path: &Path, limits: &DecodeLimits) -> Result<Frame, FrameError> {
    let read = |source| FrameError::Read {
        path: path.to_owned(),
        source,
    };
    // before opening: to open a named pipe waits for its writer
    let metadata = fs::metadata(path).map_err(read)?;
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
    check_bytes(&name, metadata.len(), limits)?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // the file may grow while it is read
    File::open(path)
        .and_then(|file| {
            file.take(limits.max_file_bytes.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(read)?;
    let frame = decode(&bytes, &name, limits)?;
    Ok(match metadata.modified() {
        Ok(modified) => frame.with_captured(modified),
        Err(_) => frame,
    })
}

fn check_bytes(name: &str, bytes: u64, limits: &DecodeLimits) -> Result<(), FrameError> {
    if bytes > limits.max_file_bytes {
        return Err(FrameError::TooManyBytes {
            name: name.to_owned(),
            bytes,
            limit: limits.max_file_bytes,
        });
    }
    Ok(())
}

pub(super) fn decode(
    bytes: &[u8],
    source: &str,
    limits: &DecodeLimits,
) -> Result<Frame, FrameError> {
    check_bytes(source, bytes.len() as u64, limits)?;
    if bytes.is_empty() {
        return Err(FrameError::Empty {
            name: source.to_owned(),
        });
    }
    let Some((format, format_name)) = recognise(bytes) else {
        return Err(FrameError::NotAPicture {
            name: source.to_owned(),
            found: describe(bytes),
        });
    };
    let failed = |error| explain(error, source, format_name);

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder_limits = image::Limits::no_limits();
    // Twice the largest pixel for the decoders' own buffers, and some room for metadata.
    decoder_limits.max_alloc = Some(
        limits
            .max_pixels
            .saturating_mul(16)
            .saturating_add(64 << 20),
    );
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;

    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(FrameError::TooManyPixels {
            name: source.to_owned(),
            width,
            height,
            limit: limits.max_pixels,
        });
    }
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(FrameError::Unsupported {
            name: source.to_owned(),
            format: format_name,
            found: "32-bit float samples".to_owned(),
        });
    }
    let container = container::inspect(format, bytes);
    if container.pictures > 1 {
        return Err(FrameError::Animated {
            name: source.to_owned(),
            format: format_name,
            pictures: container.pictures,
        });
    }

    let orientation = decoder.orientation().map_err(failed)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    // After decoding, since a decoder that stumbles knows better what is wrong.
    if !container.complete {
        return Err(FrameError::Corrupt {
            name: source.to_owned(),
            format: format_name,
            reason: "the file stops before the picture's end".to_owned(),
        });
    }
    picture.apply_orientation(orientation);

    let (width, height) = (picture.width(), picture.height());
    match picture.color() {
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
    }
}

/// The format by the content, if it is one that is read.
pub(crate) fn recognise(bytes: &[u8]) -> Option<(ImageFormat, &'static str)> {
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
    Some((format, name))
}

/// What content that is not a readable picture looks like.
fn describe(bytes: &[u8]) -> String {
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
mod tests {
    use std::path::PathBuf;

    use super::{super::Samples, *};

    /// Small pictures that Pillow wrote. The grey one has the value 5·(8y + x) at (x, y) of 8×6
    /// pixels; the RGB one has that, 255 minus that, and 40.
    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/frame/testdata")
            .join(name)
    }

    fn open(name: &str) -> Frame {
        Frame::open(&fixture(name)).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        Frame::decode(bytes, "test", &DecodeLimits::default())
    }

    /// The message, which has to be one line that starts with the name.
    fn message(result: Result<Frame, FrameError>, name: &str) -> String {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
        assert!(!message.contains('\n'), "{message}");
        message
    }

    fn refused(name: &str) -> String {
        let path = fixture(name);
        message(Frame::open(&path), &path.display().to_string())
    }

    fn u8s(frame: &Frame) -> &[u8] {
        match frame.samples() {
            Samples::U8(samples) => samples,
            Samples::U16(_) => panic!("16 bits"),
        }
    }

    fn ramp() -> Vec<u8> {
        (0..48).map(|i| 5 * i).collect()
    }

    fn rgb_ramp() -> Vec<u8> {
        ramp().into_iter().flat_map(|v| [v, 255 - v, 40]).collect()
    }

    #[test]
    fn grey_and_rgb_of_every_kind() {
        for name in ["grey.tif", "white-is-zero.tif", "grey-alpha.png"] {
            let frame = open(name);
            assert_eq!(frame.format(), PixelFormat::Gray8, "{name}");
            assert_eq!((frame.width(), frame.height()), (8, 6), "{name}");
            assert_eq!(u8s(&frame), ramp(), "{name}");
        }
        for name in ["rgba.png", "still.webp"] {
            let frame = open(name);
            assert_eq!(frame.format(), PixelFormat::Rgb8, "{name}");
            assert_eq!(u8s(&frame), rgb_ramp(), "{name}");
        }
        // GIF is always RGB; this one has grey levels.
        let repeated: Vec<u8> = ramp().into_iter().flat_map(|v| [v; 3]).collect();
        assert_eq!(u8s(&open("still.gif")), repeated);

        let frame = open("grey16.png");
        assert_eq!(frame.format(), PixelFormat::Gray16);
        let expected: Vec<u16> = (0..48).map(|i| 1000 * i).collect();
        assert_eq!(frame.samples(), &Samples::U16(expected));
    }

    #[test]
    fn bits_and_palettes_are_expanded() {
        let expected: Vec<u8> = ramp()
            .iter()
            .map(|&v| if v > 120 { 255 } else { 0 })
            .collect();
        assert_eq!(u8s(&open("bits.png")), expected);
        let frame = open("palette.png");
        assert_eq!(frame.format(), PixelFormat::Rgb8);
        for (i, pixel) in u8s(&frame).chunks(3).enumerate() {
            let expected = if i % 8 < 4 { [255, 0, 0] } else { [0, 0, 255] };
            assert_eq!(pixel, expected);
        }
    }

    #[test]
    fn portable_maps_are_scaled_by_their_maximum() {
        let frame = decode(b"P2\n3 1\n100\n0 50 100\n").unwrap();
        assert_eq!(u8s(&frame), [0, 128, 255]);
        // 12 bits in two bytes, as machine-vision cameras write them
        let frame = decode(b"P5\n3 1\n4095\n\x00\x00\x08\x00\x0f\xff").unwrap();
        assert_eq!(
            frame.samples(),
            &Samples::U16(vec![
                0,
                (2048.0_f64 / 4095.0 * 65535.0).round() as u16,
                65535
            ])
        );
    }

    #[test]
    fn cmyk_becomes_rgb() {
        for name in ["cmyk.jpg", "cmyk.tif"] {
            let frame = open(name);
            assert_eq!(frame.format(), PixelFormat::Rgb8, "{name}");
            let pixel = |x: usize| &u8s(&frame)[(8 * 16 + x) * 3..][..3];
            for (found, expected) in pixel(2).iter().zip([0, 255, 255]) {
                assert!(found.abs_diff(expected) < 8, "{name}: {:?}", pixel(2));
            }
            for found in pixel(13) {
                assert!(*found < 8, "{name}: {:?}", pixel(13));
            }
        }
    }

    #[test]
    fn exif_orientation_turns_the_picture() {
        // Stored 32×16 with red on the left; orientation 6 is to be shown turned clockwise, which
        // brings the left to the top.
        let frame = open("rotated.jpg");
        assert_eq!((frame.width(), frame.height()), (16, 32));
        let pixel = |y: usize| &u8s(&frame)[(y * 16 + 8) * 3..][..3];
        assert!(pixel(2)[0] > 240 && pixel(2)[2] < 15, "{:?}", pixel(2));
        assert!(pixel(29)[2] > 240 && pixel(29)[0] < 15, "{:?}", pixel(29));
    }

    #[test]
    fn content_decides_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let misnamed = folder.path().join("picture.jpg");
        fs::copy(fixture("rgba.png"), &misnamed).unwrap();
        assert_eq!(u8s(&Frame::open(&misnamed).unwrap()), rgb_ramp());

        let text = folder.path().join("text.png");
        fs::write(&text, "not a picture\nat all").unwrap();
        let message = message(Frame::open(&text), &text.display().to_string());
        assert!(
            message.contains("found text (\"not a picture at all\")"),
            "{message}"
        );
    }

    #[test]
    fn other_content_is_named() {
        for (bytes, what) in [
            (&b"%PDF-1.7\n"[..], "PDF"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x20ftypheic\0\0\0\0", "HEIC"),
            (b"\0\0\0\x20ftypisom\0\0\0\0", "video"),
            (&[0; 100], "zeros"),
            (b"\x01\x02\x03", "01 02 03"),
            ("grün".as_bytes(), "text"),
        ] {
            let message = message(decode(bytes), "test");
            assert!(message.contains(what), "{message}");
        }
        assert!(message(decode(b""), "test").contains("empty"));
    }

    #[test]
    fn animations_are_refused_by_the_number_of_their_frames() {
        for name in ["animated.gif", "animated.png", "animated.webp"] {
            let message = refused(name);
            assert!(
                message.contains("with 3 frames is animated: extract a frame first"),
                "{message}"
            );
        }
    }

    #[test]
    fn unread_kinds_are_named() {
        assert!(
            refused("float.tif").contains("is not supported"),
            "{}",
            refused("float.tif")
        );
        assert!(
            refused("palette.tif").contains("is not supported"),
            "{}",
            refused("palette.tif")
        );
        let mut rgb = Cursor::new(Vec::new());
        image::Rgb32FImage::new(4, 4)
            .write_to(&mut rgb, ImageFormat::Tiff)
            .unwrap();
        let message = message(decode(rgb.get_ref()), "test");
        assert!(message.contains("32-bit float"), "{message}");
    }

    #[test]
    fn bombs_are_refused_by_their_header() {
        // A PNG of 50,000×50,000 pixels: signature, IHDR, the start of IDAT.
        let mut ihdr = b"IHDR".to_vec();
        ihdr.extend(50_000_u32.to_be_bytes());
        ihdr.extend(50_000_u32.to_be_bytes());
        ihdr.extend([8, 2, 0, 0, 0]);
        let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        bomb.extend(&ihdr);
        bomb.extend(0x58e8_da40_u32.to_be_bytes());
        let crc = bomb.len() - 4;
        bomb[crc..].copy_from_slice(&crc32(&ihdr).to_be_bytes());
        bomb.extend(b"\0\0\x10\0IDAT");
        let started = std::time::Instant::now();
        let text = message(decode(&bomb), "test");
        assert!(text.contains("50000×50000"), "{text}");
        assert!(started.elapsed().as_millis() < 500);

        let mut bmp = open("grey.tif").to_rgb8();
        bmp = image::imageops::crop_imm(&bmp, 0, 0, 4, 4).to_image();
        let mut bytes = Cursor::new(Vec::new());
        bmp.write_to(&mut bytes, ImageFormat::Bmp).unwrap();
        let mut bytes = bytes.into_inner();
        bytes[18..22].copy_from_slice(&40_000_u32.to_le_bytes());
        bytes[22..26].copy_from_slice(&40_000_u32.to_le_bytes());
        assert!(message(decode(&bytes), "test").contains("40000×40000"));

        let limits = DecodeLimits {
            max_pixels: 47,
            ..DecodeLimits::default()
        };
        let path = fixture("grey.tif");
        let error = Frame::open_with(&path, &limits).unwrap_err();
        assert!(error.to_string().contains("8×6 pixels and the limit is 47"));
        let limits = DecodeLimits {
            max_file_bytes: 100,
            ..DecodeLimits::default()
        };
        let error = Frame::open_with(&path, &limits).unwrap_err();
        assert!(error.to_string().contains("170 bytes and the limit is 100"));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }

    /// Every fixture, and each format that only this library's encoders wrote.
    fn all_formats() -> Vec<(String, Vec<u8>)> {
        let mut all: Vec<_> = fs::read_dir(fixture(""))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
            .collect();
        all.sort();
        let picture = image::RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8])
        });
        for format in [
            ImageFormat::Bmp,
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Pnm,
            ImageFormat::Qoi,
            ImageFormat::Tiff,
            ImageFormat::WebP,
        ] {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            all.push((format!("{format:?}"), bytes.into_inner()));
        }
        all
    }

    #[test]
    fn truncated_pictures_are_errors() {
        for (name, bytes) in all_formats() {
            if decode(&bytes).is_err() {
                continue;
            }
            for length in [1, bytes.len() / 4, bytes.len() / 2, bytes.len() * 3 / 4] {
                let result = decode(&bytes[..length]);
                assert!(result.is_err(), "{name} cut to {length} of {}", bytes.len());
                message(result, "test");
            }
        }
    }

    #[test]
    fn damaged_pictures_do_not_panic() {
        use rand::{Rng, RngExt, SeedableRng};

        let limits = DecodeLimits {
            max_pixels: 1 << 20,
            ..DecodeLimits::default()
        };
        let mut random = rand_pcg::Pcg64::seed_from_u64(1);
        for (_, bytes) in all_formats() {
            for _ in 0..300 {
                let mut damaged = bytes.clone();
                for _ in 0..random.random_range(1..6) {
                    let at = random.random_range(0..damaged.len().min(600));
                    damaged[at] = random.next_u32() as u8;
                }
                if random.random_range(0..4) == 0 {
                    damaged.truncate(random.random_range(1..=damaged.len()));
                }
                if let Err(error) = Frame::decode(&damaged, "test", &limits) {
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
    }

    #[test]
    fn folders_pipes_and_missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().display().to_string();
        assert!(message(Frame::open(folder.path()), &name).contains("is a folder"));

        let missing = folder.path().join("missing.png");
        let name = missing.display().to_string();
        assert!(message(Frame::open(&missing), &name).contains("cannot read"));

        #[cfg(unix)]
        {
            let pipe = folder.path().join("pipe.png");
            let made = std::process::Command::new("mkfifo").arg(&pipe).status();
            if made.is_ok_and(|status| status.success()) {
                let name = pipe.display().to_string();
                assert!(message(Frame::open(&pipe), &name).contains("pipe"));
            } else {
                eprintln!("skipped: no mkfifo here, a named pipe was not tried");
            }
        }
    }
}
