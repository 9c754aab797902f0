//! Pictures of every kind, whole and damaged.

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
    Frame::decode(bytes, "test", &DecodeOptions::default())
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

    let limits = DecodeOptions {
        max_pixels: 47,
        ..DecodeOptions::default()
    };
    let path = fixture("grey.tif");
    let error = Frame::open_with(&path, &limits).unwrap_err();
    assert!(error.to_string().contains("8×6 pixels and the limit is 47"));
    let limits = DecodeOptions {
        max_file_bytes: 100,
        ..DecodeOptions::default()
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

/// `bytes` with a side of `from` pixels in a header of `to` at these positions, so that half of the
/// data is missing.
fn taller(mut bytes: Vec<u8>, at: &[usize], from: &[u8], to: &[u8]) -> Vec<u8> {
    for &at in at {
        assert_eq!(&bytes[at..at + from.len()], from);
        bytes[at..at + from.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn pictures_without_all_of_their_data_are_errors() {
    let encoded = |format| {
        let picture = image::RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8])
        });
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let (from, to) = (&30_u32.to_be_bytes(), &60_u32.to_be_bytes());
    let (from_little, to_little) = (&30_u16.to_le_bytes(), &60_u16.to_le_bytes());
    let gif = fs::read(fixture("still.gif")).unwrap();
    let image = gif.iter().rposition(|&byte| byte == 0x2c).unwrap();
    let jpeg = encoded(ImageFormat::Jpeg);
    let find = |bytes: &[u8], what| bytes.windows(2).position(|w| w == what).unwrap();
    let frame = find(&jpeg, [0, 30]);
    let map = encoded(ImageFormat::Pnm);
    let height = find(&map, *b"30");
    for (bytes, words) in [
        (taller(encoded(ImageFormat::Qoi), &[8], from, to), "QOI"),
        (
            taller(encoded(ImageFormat::Bmp), &[22], from_little, to_little),
            "BMP",
        ),
        (taller(map, &[height], b"30", b"60"), "PNM"),
        (
            taller(jpeg, &[frame], &[0, 30], &[0, 60]),
            "the data ends at block",
        ),
        (
            taller(gif.clone(), &[8, image + 7], &[6, 0], &[12, 0]),
            "GIF",
        ),
        (
            taller(gif, &[8], &[6, 0], &[12, 0]),
            "it has data for 8×6 of its 8×12 pixels only",
        ),
        (
            // Two rows of eight, one of them in one run, and the end of the bitmap.
            run_length_encoded(b"\x08\x07\0\0\0\x01"),
            "it has data for 1 of its 2 rows only",
        ),
    ] {
        let message = message(decode(&bytes), "test");
        assert!(message.contains("truncated or corrupt"), "{message}");
        assert!(message.contains(words), "{message}");
    }
    for data in [
        &b"\x08\x07\0\0\x08\x09\0\0\0\x01"[..],
        b"\x08\x07\0\0\0\x03abc\0\x05\x09\0\x01",
    ] {
        assert!(decode(&run_length_encoded(data)).is_ok());
    }

    // A file whose end was never written.
    let lossy = fs::read(fixture("still.webp")).unwrap();
    let mut zeros = lossy.clone();
    let length = u32::from_le_bytes(*lossy[4..].first_chunk().unwrap());
    zeros[4..8].copy_from_slice(&(length + 200).to_le_bytes());
    zeros.extend([0; 200]);
    assert!(message(decode(&zeros), "test").contains("zeros"));
}

/// A BMP of 8×2 pixels with 8 bits each.
fn run_length_encoded(data: &[u8]) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    let start = 54 + 1024;
    bytes.extend((start + data.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(start.to_le_bytes());
    for field in [
        40_u32,
        8,
        2,
        8 << 16 | 1,
        1,
        data.len() as u32,
        0,
        0,
        256,
        0,
    ] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend((0..256_u32).flat_map(|i| (i * 0x01_01_01).to_le_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn one_of_several_pages_has_to_be_chosen() {
    let page = |bytes: &[u8], page| {
        let options = DecodeOptions {
            page,
            ..DecodeOptions::default()
        };
        Frame::decode(bytes, "test", &options)
    };
    let tiff = fs::read(fixture("pages.tif")).unwrap();
    let maps = b"P5\n# one\n3 1 255\nabcP2\n1 2 255\n10 20\nP5 1 1 255\nz";
    let jpeg = fs::read(fixture("restarts.jpg")).unwrap();
    for (bytes, sizes) in [
        (&tiff[..], &[(70, 45), (30, 20)][..]),
        (maps, &[(3, 1), (1, 2), (1, 1)]),
        (&jpeg.repeat(2), &[(70, 45), (70, 45)]),
    ] {
        let count = sizes.len();
        let refusal = message(page(bytes, None), "test");
        assert!(
            refusal.contains(&format!("with {count} pictures")),
            "{refusal}"
        );
        for (index, &(width, height)) in sizes.iter().enumerate() {
            let frame = page(bytes, Some(index + 1)).unwrap();
            assert_eq!((frame.width(), frame.height()), (width, height));
        }
        for beyond in [0, count + 1] {
            let refusal = message(page(bytes, Some(beyond)), "test");
            assert!(refusal.contains(&format!("no page {beyond}")), "{refusal}");
        }
    }
    assert!(page(&jpeg, Some(1)).is_ok());
    let animated = fs::read(fixture("animated.gif")).unwrap();
    assert!(message(page(&animated, Some(1)), "test").contains("animated"));
}

#[test]
fn damaged_pictures_do_not_panic() {
    use rand::{Rng, RngExt, SeedableRng};

    let limits = DecodeOptions {
        max_pixels: 1 << 20,
        ..DecodeOptions::default()
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
