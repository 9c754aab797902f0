//! Pictures that were damaged on their way, are one of several, large, or of 10 bits: each is a
//! frame, and what was not decoded is never normal.

use std::{fs, io::Cursor};

use edge_vae::frame::Samples;
use image::ImageFormat;
use serde_json::Value;
use tiny_http::{Header, Response, Server};

use crate::{
    test_dir::{Ran, TestDir},
    tiny,
};

fn jpeg() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = image::DynamicImage::from(tiny::frame(4, None).to_rgb8()).into_luma8();
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// The scan's data cut to a half, and the marker of the end behind it, as decoders fill it in.
fn half(jpeg: &[u8]) -> Vec<u8> {
    let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]);
    let start = scan.unwrap() + 2;
    [&jpeg[..start + (jpeg.len() - start) / 2], b"\xff\xd9"].concat()
}

/// A picture of 16 bits whose samples use the lowest `bits`.
fn deep(bits: u32) -> Vec<u8> {
    let frame = tiny::frame(4, None);
    let Samples::U8(samples) = frame.samples() else {
        panic!("a frame of 8 bits");
    };
    let white = f64::from((1_u32 << bits) - 1);
    let scaled = |v: &u8| (f64::from(*v) * white / 255.0).round() as u16;
    let samples: Vec<u16> = samples.iter().map(scaled).collect();
    let picture = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(32, 32, samples).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn reason(frame: &Value) -> &str {
    frame["reasons"][0].as_str().unwrap_or_default()
}

#[track_caller]
fn assert_damaged(ran: &Ran, label: [&str; 3]) {
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let frames = ran.of_type("frame");
    assert_eq!(frames.len(), 3, "{frames:?}");
    for ((frame, label), number) in frames.iter().zip(label).zip(0..) {
        assert_eq!(frame["pred_label"], label, "{frame}");
        assert_eq!(frame["frame_number"], number);
        if label == "invalid" {
            assert!(
                reason(frame).contains("truncated or corrupt JPEG"),
                "{frame}"
            );
            assert!(frame["pred_score"].is_null() && frame["p_value"].is_null());
        }
    }
    let counts = "0 unreadable; 3 judged";
    assert!(ran.messages.contains(counts), "{}", ran.messages);
    assert!(
        ran.messages.contains("1 invalid; 0 events"),
        "{}",
        ran.messages
    );
    assert!(
        ran.messages.contains("truncated or corrupt"),
        "{}",
        ran.messages
    );
}

#[test]
fn a_damaged_picture_is_an_invalid_frame_of_every_source() {
    let dir = TestDir::new();
    let whole = jpeg();
    fs::create_dir(dir.path("line")).unwrap();
    let pictures = [whole.clone(), half(&whole), whole];
    for (number, picture) in pictures.iter().enumerate() {
        fs::write(dir.path(&format!("line/{number}.jpg")), picture).unwrap();
    }
    let labels = ["normal", "invalid", "normal"];
    let folder = Ran::of(&mut dir.watch(&["line?watch=false", "--json"]));
    assert_damaged(&folder, labels);
    let damaged = folder.of_type("frame")[1];
    assert!(
        damaged["path"].as_str().unwrap().ends_with("1.jpg"),
        "{damaged}"
    );
    let modified = fs::metadata(dir.path("line/1.jpg")).unwrap().modified();
    let modified = humantime::format_rfc3339_millis(modified.unwrap()).to_string();
    assert_eq!(damaged["timestamp"], modified);

    assert_damaged(
        &Ran::of(&mut dir.watch(&["pipe:cat line/*.jpg", "--json"])),
        labels,
    );

    let server = Server::http(("127.0.0.1", 0)).unwrap();
    let port = server.server_addr().to_ip().unwrap().port();
    // The thread ends with the test's process.
    std::thread::spawn(move || {
        for (request, picture) in server.incoming_requests().zip(pictures.iter().cycle()) {
            let kind = Header::from_bytes("Content-Type", "image/jpeg").unwrap();
            let _ = request.respond(Response::from_data(picture.clone()).with_header(kind));
        }
    });
    let address = format!("http://127.0.0.1:{port}/snap#every=20ms");
    assert_damaged(
        &Ran::of(&mut dir.watch(&[&address, "--frames", "3", "--json"])),
        labels,
    );
}

#[test]
fn what_is_no_picture_is_counted_and_no_frame() {
    let dir = TestDir::new();
    let line = dir.pictures("line", 1, &[]);
    fs::write(line.join("notes.png"), "not a picture").unwrap();
    fs::write(line.join("empty.png"), "").unwrap();
    let ran = Ran::of(&mut dir.watch(&["line?watch=false", "--json"]));
    assert_eq!(ran.of_type("frame").len(), 1);
    assert!(
        ran.messages.contains("2 unreadable; 1 judged"),
        "{}",
        ran.messages
    );
}

#[test]
fn one_of_several_pictures_is_invalid_or_chosen() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("line")).unwrap();
    let tiff = concat!(env!("CARGO_MANIFEST_DIR"), "/src/frame/testdata/pages.tif");
    fs::copy(tiff, dir.path("line/pages.tif")).unwrap();
    let ran = Ran::of(&mut dir.watch(&["line?watch=false", "--json"]));
    let frame = ran.of_type("frame")[0];
    assert_eq!(frame["pred_label"], "invalid");
    assert!(reason(frame).contains("with 2 pictures"), "{frame}");
    assert!(reason(frame).contains("setting page"), "{frame}");
    let ran = Ran::of(&mut dir.watch(&["line?watch=false&page=2", "--json"]));
    assert!(!reason(ran.of_type("frame")[0]).contains("pictures"));
    let ran = Ran::of(&mut dir.watch(&["line?watch=false&page=3", "--json"]));
    assert!(reason(ran.of_type("frame")[0]).contains("no page 3"));
}

#[test]
fn the_limit_of_pixels_is_the_flag_s_the_file_s_or_the_model_s() {
    let mut writer = tiny::writer();
    writer.preprocess.max_pixels = Some(500);
    let dir = TestDir::with_model(writer);
    fs::create_dir(dir.path("line")).unwrap();
    fs::write(dir.path("line/0.png"), tiny::png(&tiny::frame(4, None))).unwrap();
    fs::write(dir.path("edge-vae.toml"), "max-pixels = 1024\n").unwrap();
    fs::write(dir.path("none.toml"), "").unwrap();
    // Raw frames and portable maps of a stream go by it too.
    fs::write(
        dir.path("map.pgm"),
        [&b"P5 32 32 255\n"[..], &[99; 1024]].concat(),
    )
    .unwrap();
    for settings in ["", "format=gray&width=32&height=32"] {
        let source = format!("pipe:?max-pixels=1000&{settings} cat map.pgm");
        let ran = Ran::of(&mut dir.watch(&[&source, "--retries", "0"]));
        assert_eq!(ran.code, Some(2));
        assert!(
            ran.messages.contains("at most 1000 pixels"),
            "{}",
            ran.messages
        );
    }
    for (arguments, limit) in [
        (
            &["line?watch=false", "--config", "none.toml"][..],
            Some(500),
        ),
        (&["line?watch=false"], None),
        (&["line?watch=false", "--max-pixels", "1000"], Some(1000)),
        (
            &["line?watch=false&max-pixels=99", "--max-pixels", "1024"],
            Some(99),
        ),
    ] {
        let ran = Ran::of(&mut dir.watch(&[arguments, &["--json"]].concat()));
        let frame = ran.of_type("frame")[0];
        match limit {
            Some(limit) => {
                assert_eq!(frame["pred_label"], "invalid", "{arguments:?}");
                let expected = format!("the limit is {limit} pixels");
                assert!(reason(frame).contains(&expected), "{frame}");
            }
            None => assert_eq!(frame["pred_label"], "normal", "{frame}"),
        }
    }
}

#[test]
fn the_bits_of_a_source_win_over_the_model_s() {
    let mut writer = tiny::writer();
    writer.preprocess.bits = Some(10);
    for dir in [TestDir::new(), TestDir::with_model(writer)] {
        fs::create_dir(dir.path("line")).unwrap();
        fs::write(dir.path("line/0.png"), deep(12)).unwrap();
        fs::write(dir.path("line/1.png"), tiny::png(&tiny::frame(4, None))).unwrap();
        let raw: Vec<u8> = {
            let decoded = image::load_from_memory(&deep(12)).unwrap().into_luma16();
            decoded.iter().flat_map(|v| v.to_le_bytes()).collect()
        };
        fs::write(dir.path("deep.raw"), raw).unwrap();
        let scores = |source: &str| -> Vec<f64> {
            let ran = Ran::of(&mut dir.watch(&[source, "--json"]));
            let frames = ran.of_type("frame");
            let scores = frames.iter().map(|frame| frame["pred_score"].as_f64());
            scores
                .collect::<Option<_>>()
                .unwrap_or_else(|| panic!("{frames:?}"))
        };
        let of_files = scores("line?watch=false&bits=12");
        let of_raw = scores("pipe:?format=gray16le&width=32&height=32&bits=12 cat deep.raw");
        for score in [of_files[0], of_raw[0]] {
            let eight = of_files[1];
            assert!(
                (score - eight).abs() < 0.02 * eight.abs().max(1.0),
                "{score} {eight}"
            );
        }
        let ran = Ran::of(&mut dir.watch(&["line?watch=false&bits=10", "--json"]));
        let frame = ran.of_type("frame")[0];
        assert_eq!(frame["pred_label"], "invalid");
        assert!(reason(frame).contains("more than 10 bits"), "{frame}");
        let ran = Ran::of(&mut dir.watch(&["line?bits=8", "--check"]));
        assert!(
            ran.messages.contains("bits=8: choose 9 to 16"),
            "{}",
            ran.messages
        );
    }
}
