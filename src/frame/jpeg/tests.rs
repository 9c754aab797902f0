use image::{ColorType, codecs::jpeg::JpegEncoder};

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/frame/testdata");
    std::fs::read(folder.join(name)).unwrap()
}

/// Baseline, of any size; its samples are a ramp with some texture.
fn baseline(width: u32, height: u32, quality: u8, colour: ColorType) -> Vec<u8> {
    let channels = u32::from(colour.channel_count());
    let samples: Vec<u8> = (0..width * height * channels)
        .map(|i| (i * 7 / 3 + i % 13 * (i % 5)) as u8)
        .collect();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(&samples, width, height, colour.into())
        .unwrap();
    bytes
}

/// Whole pictures: baseline in one scan, progressive, with restarts, CMYK.
fn all() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = ["progressive.jpg", "restarts.jpg", "cmyk.jpg", "rotated.jpg"]
        .map(fixture)
        .into();
    for (width, height, quality) in [(1, 1, 80), (8, 8, 30), (37, 50, 95), (64, 16, 100)] {
        all.push(baseline(width, height, quality, ColorType::Rgb8));
        all.push(baseline(width, height, quality, ColorType::L8));
    }
    all
}

/// Position of the first scan's data.
fn data(bytes: &[u8]) -> usize {
    let mut at = 2;
    loop {
        let segment = next_segment(bytes, at).unwrap();
        at = segment.end;
        if segment.marker == marker::SOS {
            return at;
        }
    }
}

#[test]
fn whole_pictures_are_whole() {
    for bytes in all() {
        assert_eq!(check(&bytes), Ok(()));
        assert_eq!(end(&bytes), Some(bytes.len()));
        // What lies behind the end does not count.
        assert_eq!(check(&[&bytes[..], b"more"].concat()), Ok(()));
    }
}

#[test]
fn an_end_marker_behind_any_cut_makes_no_whole_picture() {
    for bytes in all() {
        for cut in data(&bytes)..bytes.len() - 2 {
            let damaged = [&bytes[..cut], b"\xff\xd9"].concat();
            assert!(check(&damaged).is_err(), "{cut} of {}", bytes.len());
            assert!(check(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn what_is_missing_in_between_is_missed() {
    for bytes in all().into_iter().filter(|bytes| bytes.len() > 1200) {
        let start = data(&bytes);
        let (from, to) = (start + (bytes.len() - start) / 3, bytes.len() - 150);
        let hole = [&bytes[..from], &bytes[to..]].concat();
        assert!(check(&hole).is_err());
        let mut zeros = bytes.clone();
        zeros[from..to].fill(0);
        assert!(check(&zeros).is_err());
    }
}

#[test]
fn scans_that_are_missing_are_missed() {
    let bytes = fixture("progressive.jpg");
    let mut at = 2;
    let mut scans = Vec::new();
    while let Some(segment) = next_segment(&bytes, at) {
        if segment.marker == marker::SOS {
            scans.push(segment.end - segment.content.len() - 4);
        }
        at = segment.end;
    }
    assert!(scans.len() > 4);
    for scan in &scans[1..] {
        let early = [&bytes[..*scan], b"\xff\xd9"].concat();
        let problem = check(&early).unwrap_err();
        assert!(problem.contains("scans are missing"), "{problem}");
    }
}

#[test]
fn fill_bytes_and_padding_are_no_damage() {
    let bytes = baseline(37, 50, 90, ColorType::L8);
    let (data, end) = bytes.split_at(bytes.len() - 2);
    for padding in [&[0xff; 3][..], &[0; 500], &[0, 1, 2, 3, 4]] {
        assert_eq!(check(&[data, padding, end].concat()), Ok(()));
    }
    let random: Vec<u8> = (0..200_u32).map(|i| (i * i * 89 % 251) as u8).collect();
    assert!(check(&[data, &random, end].concat()).is_err());
}

#[test]
fn tables_that_are_left_out_are_those_of_the_standard() {
    // The encoder writes the standard's tables; here they are cut out.
    let with = baseline(40, 30, 75, ColorType::Rgb8);
    let mut without = with[..2].to_vec();
    let mut at = 2;
    while let Some(segment) = next_segment(&with, at) {
        if segment.marker == marker::SOS {
            break;
        }
        if segment.marker != marker::DHT {
            without.extend(&with[at..segment.end]);
        }
        at = segment.end;
    }
    without.extend(&with[at..]);
    assert!(without.len() + 400 < with.len());
    assert!(lacks_tables(&without) && !lacks_tables(&with));
    assert_eq!(check(&without), Ok(()));
    let decode = |bytes: &[u8]| image::load_from_memory(bytes).unwrap();
    assert_eq!(decode(&with_standard_tables(&without)), decode(&with));
}

#[test]
fn pictures_of_the_same_size_count() {
    let one = baseline(32, 24, 80, ColorType::L8);
    let preview = baseline(16, 12, 80, ColorType::L8);
    let file = [&one[..], b"between", &one, &preview, &one, b"\xff\xd8\xff"].concat();
    let second = one.len() + 7;
    assert_eq!(
        pictures(&file),
        [0, second, second + one.len() + preview.len()]
    );
    assert_eq!(pictures(&[&one[..], &preview].concat()), [0]);
    assert_eq!(pictures(&one[..40]), [0]);
}
