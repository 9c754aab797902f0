//! Files that ask for too much: each is refused in one line, with exit code 2, before anything of
//! that size is made.

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};

use crate::test_dir::{Ran, TestDir};

/// A run that is refused for the reason `part`, and quickly.
#[track_caller]
fn refused(part: &str, run: impl FnOnce() -> Ran) {
    let begun = Instant::now();
    let ran = run();
    assert_eq!(ran.code, Some(2), "{part}: {}", ran.stderr);
    assert!(ran.stderr.contains(part), "{:?} lacks {part:?}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_secs(20), "{part}");
}

#[test]
fn a_graph_that_takes_more_memory_than_it_is_given_is_refused_before_it_is_planned() {
    let dir = TestDir::new();
    let with = |model: &str, mib: &str| {
        let mut command = dir.command(&["score", "--quiet", "--model", model, "good.png"]);
        command.env("EDGE_VAE_MODEL_MEMORY_MIB", mib);
        Ran::of(command.output().unwrap())
    };
    with("model", "64").is_fine();
    refused("EDGE_VAE_MODEL_MEMORY_MIB is `all`: give the MiB", || {
        with("model", "all")
    });
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/models/surface");
    let words = "of memory as far as its shapes tell (weights";
    refused(words, || with(shipped, "2"));
}

/// The header of a picture that says it is huge, with no pixels behind it.
fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let side = 60_000_u32;
    let png = {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
        bytes.extend([8, 2, 0, 0, 0]);
        let sum = crc32(&bytes[12..]);
        bytes.extend(sum.to_be_bytes());
        // The beginning of the pixels, of which a decoder wants to see some.
        bytes.extend(*b"\0\0\x01\0IDAT\x78\x9c");
        bytes.extend([0; 32]);
        bytes
    };
    let gif = {
        let mut bytes = b"GIF89a".to_vec();
        bytes.extend([(side as u16).to_le_bytes(), (side as u16).to_le_bytes()].concat());
        bytes.extend([0, 0, 0, 0x2c, 0, 0, 0, 0]);
        bytes.extend([(side as u16).to_le_bytes(), (side as u16).to_le_bytes()].concat());
        bytes.extend([0, 2, 1, 0, 0, 0x3b]);
        bytes
    };
    let bmp = {
        let mut bytes = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bytes.extend([side.to_le_bytes(), side.to_le_bytes()].concat());
        bytes.extend([1, 0, 24, 0]);
        bytes.extend([0; 24]);
        bytes
    };
    let tiff = {
        let entry = |tag: u16, value: u32| {
            let mut entry = tag.to_le_bytes().to_vec();
            entry.extend([4, 0, 1, 0, 0, 0]);
            entry.extend(value.to_le_bytes());
            entry
        };
        let mut bytes = b"II*\0\x08\0\0\0\x08\0".to_vec();
        for (tag, value) in [
            (256, side),
            (257, side),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, 8),
            (277, 1),
            (279, 100),
        ] {
            bytes.extend(entry(tag, value));
        }
        bytes.extend([0; 4]);
        bytes
    };
    let pgm = format!("P5 {side} {side} 255\n").into_bytes();
    vec![
        ("png", png),
        ("gif", gif),
        ("bmp", bmp),
        ("tif", tiff),
        ("pgm", pgm),
    ]
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            }
        })
    })
}

#[test]
fn pictures_that_say_they_are_huge_are_refused_by_their_headers() {
    let dir = TestDir::new();
    for (kind, bytes) in headers() {
        let name = format!("huge.{kind}");
        fs::write(dir.at(&name), bytes).unwrap();
        refused("60000×60000 pixels", || dir.verb("score", &[&name]));
    }
}

#[test]
fn a_picture_that_unpacks_without_end_is_refused() {
    let dir = TestDir::new();
    // An unpacked gigabyte of one grey in a megabyte, for a picture of a few pixels.
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        packed.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let packed = packed.finish().unwrap();
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let length = (data.len() as u32).to_be_bytes();
        [&length[..], &body, &crc32(&body).to_be_bytes()].concat()
    };
    let header = [
        &8_u32.to_be_bytes()[..],
        &8_u32.to_be_bytes(),
        &[8, 0, 0, 0, 0],
    ]
    .concat();
    let text = [b"note\0\0".as_slice(), &packed].concat();
    let png = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"zTXt", &text),
        chunk(b"IDAT", &packed),
        chunk(b"IEND", &[]),
    ]
    .concat();
    fs::write(dir.at("bomb.png"), png).unwrap();
    // What is more than the pixels is not kept, or refused: either way memory stays bounded.
    let ran = dir.verb("score", &["bomb.png"]);
    assert!(matches!(ran.code, Some(0 | 2)), "{}", ran.stderr);
}

#[test]
fn a_data_set_that_unpacks_to_more_than_it_says_is_refused() {
    let dir = TestDir::new();
    let folder = dir.at("digits");
    fs::create_dir(&folder).unwrap();
    let header = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28];
    let train = [&header[..], &[0; 28 * 28]].concat();
    fs::write(folder.join("train-images-idx3-ubyte"), train).unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&header).unwrap();
    for _ in 0..256 {
        packed.write_all(&vec![0; 1 << 20]).unwrap();
    }
    fs::write(
        folder.join("t10k-images-idx3-ubyte.gz"),
        packed.finish().unwrap(),
    )
    .unwrap();
    refused("and it has more", || dir.verb("evaluate", &["digits"]));
}

#[test]
fn lines_and_lists_without_end_are_refused() {
    let dir = TestDir::new();
    let long = vec![b'x'; 20 << 20];
    fs::write(dir.at("scores.jsonl"), &long).unwrap();
    refused("scores.jsonl", || {
        dir.verb("calibrate", &["--from", "scores.jsonl"])
    });
    fs::write(dir.at("evidence.jsonl"), &long).unwrap();
    let ran = dir.run(&["log", "verify", "evidence.jsonl"]);
    assert!(matches!(ran.code, Some(1 | 2)), "{}", ran.stderr);
    refused("/dev/zero", || {
        dir.verb("calibrate", &["--mask", "/dev/zero", "good.png"])
    });
    refused("/dev/zero", || {
        dir.run(&["model", "info", "model", "--require-signature", "/dev/zero"])
    });
}

/// Tables in tables, as a configuration and as a manifest.
#[test]
fn deep_nesting_is_refused() {
    let dir = TestDir::new();
    let deep = format!("a = {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    fs::write(dir.at("deep.toml"), &deep).unwrap();
    refused("deep.toml, line 1", || {
        dir.run(&["doctor", "--config", "deep.toml"])
    });
    let keys = format!("[{}b]\nc = 1\n", "a.".repeat(100_000));
    fs::write(dir.at("deep.toml"), &keys).unwrap();
    refused("deep.toml, line 1", || {
        dir.run(&["doctor", "--config", "deep.toml"])
    });
    let manifest = dir.at("model/manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{deep}{text}")).unwrap();
    refused("manifest.toml", || dir.verb("score", &["good.png"]));
    fs::write(&manifest, "x".repeat(2 << 20)).unwrap();
    refused("is longer than 1048576 bytes", || {
        dir.verb("score", &["good.png"])
    });
    let large = "#".repeat(2 << 20);
    fs::write(dir.at("deep.toml"), large).unwrap();
    refused("at most 1048576 are read", || {
        dir.run(&["doctor", "--config", "deep.toml"])
    });
}
