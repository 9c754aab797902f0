use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::frame::raw::RawFormat;

const MAX_PIXELS: u64 = 100_000_000;

/// What a stream was split into.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Picture(Vec<u8>),
    Broken,
    Lost,
    Rest(usize),
}

/// Splits `bytes` that arrive at most `at_once` at a time.
fn split(mut splitter: Splitter, bytes: &[u8], at_once: usize) -> Vec<Piece> {
    let (mut start, mut end) = (0, 0);
    let mut pieces = Vec::new();
    loop {
        match splitter.step(&bytes[start..end], end == bytes.len(), MAX_PIXELS) {
            Step::More(wanted) => {
                assert!(wanted > end - start, "asks for {wanted} of {}", end - start);
                if end == bytes.len() {
                    if start < end {
                        pieces.push(Piece::Rest(end - start));
                    }
                    return pieces;
                }
                end = (start + wanted).min(end + at_once).min(bytes.len());
            }
            Step::Skip(length) => {
                assert!(length > 0);
                start += length;
            }
            Step::Picture { length, content } => {
                let at = match content {
                    Content::Raw(_, at) => at,
                    _ => 0,
                };
                pieces.push(Piece::Picture(bytes[start + at..start + length].to_vec()));
                start += length;
            }
            Step::Broken { length, problem } => {
                assert!(length > 0 && !problem.contains('\n'));
                pieces.push(Piece::Broken);
                start += length;
            }
            Step::Lost(problem) => {
                assert!(!problem.contains('\n'));
                pieces.push(Piece::Lost);
                return pieces;
            }
        }
        assert!(start <= end, "more was taken than there was");
    }
}

fn picture(format: image::ImageFormat, seed: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(40, 30, |x, y| {
        image::Rgb([(x * 6 + seed) as u8, (y * 8) as u8, (x * y * seed) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG with another whole JPEG in a segment, as cameras put thumbnails there, and a restart and
/// fill bytes.
fn jpeg_with_thumbnail() -> Vec<u8> {
    let inner = picture(image::ImageFormat::Jpeg, 9);
    let outer = picture(image::ImageFormat::Jpeg, 3);
    let mut bytes = outer[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend((inner.len() as u16 + 2).to_be_bytes());
    bytes.extend(inner);
    bytes.extend([0xff, 0xff]);
    bytes.extend(&outer[2..]);
    bytes
}

fn whole(pictures: &[Vec<u8>]) -> Vec<Piece> {
    pictures.iter().cloned().map(Piece::Picture).collect()
}

#[test]
fn pictures_come_out_as_they_went_in_however_they_arrive() {
    use image::ImageFormat::{Jpeg, Png, Pnm};
    for (format, mut pictures) in [
        (Jpeg, vec![jpeg_with_thumbnail()]),
        (Png, Vec::new()),
        (Pnm, Vec::new()),
    ] {
        pictures.extend((0..3).map(|seed| picture(format, seed)));
        let stream = pictures.concat();
        // The samples of portable maps are given without their header.
        let expected: Vec<_> = pictures
            .iter()
            .map(|picture| match format {
                Pnm => picture[picture.len() - 3600..].to_vec(),
                _ => picture.clone(),
            })
            .collect();
        for at_once in [1, 2, 7, 1000, 1 << 20] {
            let pieces = split(Splitter::Unknown, &stream, at_once);
            assert_eq!(pieces, whole(&expected), "{format:?} {at_once}");
        }
    }
}

#[test]
fn jpegs_in_parts_of_a_web_page_are_found() {
    let pictures = [jpeg_with_thumbnail(), picture(image::ImageFormat::Jpeg, 2)];
    let mut stream = Vec::new();
    for picture in &pictures {
        stream.extend(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n");
        stream.extend(picture);
        stream.extend(b"\r\n");
    }
    for at_once in [1, 13, 1 << 20] {
        assert_eq!(split(Splitter::Unknown, &stream, at_once), whole(&pictures));
    }
}

/// Found by the fuzzer.
#[test]
fn a_scan_s_header_that_has_not_arrived_whole_is_waited_for() {
    // Start of image, a scan whose header has the bytes of an end in it, data, the end.
    let header = [0xff, 0xda, 0, 6, 0xff, 0xd9, 0, 0];
    let bytes = [&[0xff, 0xd8][..], &header, &[1, 2], &[0xff, 0xd9]].concat();
    for at_once in [1, 3, bytes.len()] {
        let pieces = split(Splitter::jpeg(), &bytes, at_once);
        assert_eq!(pieces, whole(std::slice::from_ref(&bytes)), "{at_once}");
    }
}

#[test]
fn a_truncated_picture_costs_one() {
    use image::ImageFormat::{Jpeg, Png};
    for format in [Jpeg, Png] {
        let pictures: Vec<_> = (0..3).map(|seed| picture(format, seed)).collect();
        let cut = pictures[1].len() * 2 / 3;
        let stream = [&pictures[0][..], &pictures[1][..cut], &pictures[2]].concat();
        let pieces = split(Splitter::Unknown, &stream, 50);
        assert_eq!(pieces[0], Piece::Picture(pictures[0].clone()));
        if format == Jpeg {
            assert_eq!(
                pieces[1..],
                [Piece::Broken, Piece::Picture(pictures[2].clone())]
            );
        } else {
            // A chunk that lacks its end takes what follows for it, up to the length that it says.
            assert!(
                pieces.len() > 1 && !pieces[1..].contains(&Piece::Picture(pictures[1].clone()))
            );
        }

        let stream = [&pictures[0][..], &pictures[1][..cut]].concat();
        let pieces = split(Splitter::Unknown, &stream, 50);
        assert_eq!(
            pieces,
            [Piece::Picture(pictures[0].clone()), Piece::Rest(cut)]
        );
    }
}

#[test]
fn pictures_after_garbage_are_found_again() {
    for format in [image::ImageFormat::Jpeg, image::ImageFormat::Png] {
        let pictures: Vec<_> = (0..2).map(|seed| picture(format, seed)).collect();
        let garbage: Vec<u8> = (0..5000u32).map(|i| (i * 7 % 251) as u8).collect();
        let stream = [&pictures[0][..], &garbage, &pictures[1], &garbage].concat();
        for at_once in [1, 999, 1 << 20] {
            assert_eq!(split(Splitter::Unknown, &stream, at_once), whole(&pictures));
        }
    }
}

#[test]
fn headers_of_portable_maps() {
    let layout = |format, width, height| RawLayout::new(format, width, height).unwrap();
    for (bytes, length, content) in [
        (
            &b"P5 2 1 255\nab"[..],
            13,
            Content::Raw(layout(RawFormat::Gray, 2, 1), 11),
        ),
        (
            b"P5\n# a comment\n2 # another\n1\n65535 abcd",
            39,
            Content::Raw(layout(RawFormat::Gray16be, 2, 1), 35),
        ),
        (
            b"P6\n1 1\n255\nabc",
            14,
            Content::Raw(layout(RawFormat::Rgb24, 1, 1), 11),
        ),
        (b"P5 2 1 4095\nabcd", 16, Content::File),
        (b"P4 9 2\nabcd", 11, Content::File),
        (
            b"P7\nWIDTH 1\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\nabcdef",
            65,
            Content::Raw(layout(RawFormat::Rgb24, 1, 2), 59),
        ),
    ] {
        assert_eq!(bytes.len(), length);
        assert_eq!(
            pnm::step(bytes, MAX_PIXELS),
            Step::Picture { length, content }
        );
        for cut in 0..length {
            assert!(
                matches!(pnm::step(&bytes[..cut], MAX_PIXELS), Step::More(_)),
                "{cut}"
            );
        }
    }
    for bytes in [
        &b"P3 1 1 255\n0 0 0\n"[..],
        b"P8 1 1 255\n",
        b"P5 0 1 255\n",
        b"P5 99999 99999 255\n",
        b"P5 99999999999 1 255\n",
        b"P5 1 1 0\na",
        b"P5 1 1 65536\na",
        b"P5 -1 1 255\na",
        b"P5 1 1 255x",
        b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 9\nMAXVAL 255\nENDHDR\n",
        b"junk",
    ] {
        assert!(
            matches!(pnm::step(bytes, MAX_PIXELS), Step::Lost(_)),
            "{bytes:?}"
        );
    }
    let endless = [&b"P5 #"[..], &[b'x'; 5000]].concat();
    assert!(matches!(pnm::step(&endless, MAX_PIXELS), Step::Lost(_)));
}

#[test]
fn headers_of_y4m() {
    let frame = |size: usize, value: u8| [&b"FRAME\n"[..], &vec![value; size]].concat();
    let stream = [
        &b"YUV4MPEG2 W5 H3 F30:1 Ip A1:1 C420jpeg XYSCSS=420JPEG\n"[..],
        &frame(27, 1),
        &b"FRAME Ip\n"[..],
        &[2; 27],
        &b"YUV4MPEG2 W2 H2 F30:1 C444\n"[..],
        &frame(12, 3),
    ]
    .concat();
    for at_once in [1, 10, 1000] {
        let pieces = split(Splitter::Unknown, &stream, at_once);
        assert_eq!(pieces, whole(&[vec![1; 27], vec![2; 27], vec![3; 12]]));
    }
    for bytes in [
        &b"YUV4MPEG2 W5 H3 C420p10\nFRAME\n"[..],
        b"YUV4MPEG2 H3 C420\nFRAME\n",
        b"YUV4MPEG2 W\xff H3 C420\nFRAME\n",
        b"YUV4MPEG2 W2 H2\nFROME\n",
    ] {
        assert_eq!(split(Splitter::Unknown, bytes, 100), [Piece::Lost]);
    }
}

#[test]
fn what_is_no_stream_of_pictures_is_named() {
    for bytes in [&b"hello"[..], b"GIF89a", &[0; 40], b"\xff\xd7\xff"] {
        let mut splitter = Splitter::Unknown;
        let Step::Lost(problem) = splitter.step(bytes, false, MAX_PIXELS) else {
            panic!("{bytes:?} is taken");
        };
        assert!(
            problem.contains("need the settings format, width and height"),
            "{problem}"
        );
    }
    assert_eq!(split(Splitter::Unknown, b"", 1), []);
}

#[test]
fn pictures_without_end_are_given_up() {
    let mut jpeg = picture(image::ImageFormat::Jpeg, 1);
    jpeg.truncate(jpeg.len() - 2);
    jpeg.resize(MOST_BYTES + 3 * CHUNK, 0x55);
    assert_eq!(split(Splitter::Unknown, &jpeg, 1 << 20)[0], Piece::Broken);

    let mut png = picture(image::ImageFormat::Png, 1);
    png[33..37].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    assert_eq!(split(Splitter::Unknown, &png, 1 << 20)[0], Piece::Broken);
}

#[test]
fn damaged_streams_end_without_a_panic() {
    use image::ImageFormat::{Jpeg, Png, Pnm};
    let mut random = rand_pcg::Pcg64::seed_from_u64(3);
    for format in [Jpeg, Png, Pnm] {
        let stream: Vec<u8> = (0..3).flat_map(|seed| picture(format, seed)).collect();
        for _ in 0..200 {
            let mut damaged = stream.clone();
            for _ in 0..random.random_range(1..8) {
                let at = random.random_range(0..damaged.len());
                damaged[at] = random.next_u32() as u8;
            }
            split(Splitter::Unknown, &damaged, random.random_range(20..4000));
        }
    }
}
