//! Frames that can't be judged: one line, which names the file.

use crate::{
    test_dir::{TestDir, picture},
    tiny,
};

#[track_caller]
fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    let dir = TestDir::new();
    dir.write(name, bytes);
    dir.verb("score", &[name, "--overlay", "seen", "--map", "maps"])
        .fails_at_once(&[&[name], words].concat());
    assert_eq!(dir.files("seen").len() + dir.files("maps").len(), 0);
}

fn good() -> Vec<u8> {
    tiny::png(&tiny::frame(4, None))
}

#[test]
fn missing() {
    let dir = TestDir::new();
    dir.verb("score", &["none.png"])
        .fails_at_once(&["none.png", "no such file"]);
    dir.verb("score", &["none*.png"])
        .fails_at_once(&["none*.png", "matches no picture"]);
}

#[test]
fn truncated() {
    let png = good();
    refused(
        "torn.png",
        &png[..png.len() / 2],
        &["truncated or corrupt PNG"],
    );
    let jpeg = picture("progressive.jpg");
    refused(
        "torn.jpg",
        &jpeg[..jpeg.len() / 3],
        &["truncated or corrupt JPEG"],
    );
}

#[test]
fn corrupt() {
    let mut png = good();
    let middle = png.len() / 2;
    png[middle..middle + 8].fill(0x55);
    refused("corrupt.png", &png, &["truncated or corrupt PNG"]);
}

#[test]
fn empty() {
    refused("empty.png", b"", &["empty"]);
}

#[test]
fn wrongly_named() {
    refused("letter.png", b"Dear Sir or Madam,\n", &["not a picture"]);
}

#[test]
fn a_folder_named_like_a_frame() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.at("folder.png")).unwrap();
    dir.verb("score", &["folder.png"])
        .fails_at_once(&["folder.png", "no pictures"]);
}

#[test]
fn a_folder_without_pictures() {
    let dir = TestDir::new();
    dir.write("texts/a.txt", "a");
    dir.verb("score", &["texts"])
        .fails_at_once(&["texts", "no pictures"]);
    // The others are judged all the same.
    let ran = dir.verb("score", &["texts", "good.png"]);
    assert_eq!(ran.fails(&["texts"]).stdout.lines().count(), 1);
}

#[test]
fn a_header_of_fifty_thousand_pixels_a_side() {
    let mut bomb = Vec::new();
    let mut encoder = png::Encoder::new(&mut bomb, 50_000, 50_000);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    // An empty deflate stream; what it would unpack to is beside the point.
    writer
        .write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1])
        .unwrap();
    drop(writer);
    refused("bomb.png", &bomb, &["50000×50000"]);
}

#[test]
fn animated() {
    refused("moving.gif", &picture("animated.gif"), &["animated"]);
    refused("moving.png", &picture("animated.png"), &["animated"]);
}

#[test]
fn samples_of_floating_point() {
    refused("float.tif", &picture("float.tif"), &["not supported"]);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let dir = TestDir::new();
    let name = std::ffi::OsStr::from_bytes(b"fr\xff.png");
    std::fs::write(dir.at("").join(name), good()).unwrap();
    let mut command = dir.command(&["score", "--model", "model", "--quiet", "--json"]);
    let ran = crate::test_dir::Ran::of(command.arg(name).output().unwrap());
    assert_eq!(ran.is_fine().json()[0]["path"], "fr\u{fffd}.png");
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_costs_no_other_frame() {
    use std::os::unix::fs::symlink;
    let dir = TestDir::new();
    dir.frame("set/deep/a.png", None);
    symlink("nowhere.png", dir.at("set/gone.png")).unwrap();
    symlink("nowhere", dir.at("set/notes")).unwrap();
    symlink("..", dir.at("set/deep/back")).unwrap();
    for frames in ["set", "set/**/*"] {
        let ran = dir.verb("score", &[frames]);
        ran.fails(&["set/gone.png"]);
        assert!(ran.stdout.contains("set/deep/a.png"), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1);
    }
}

#[test]
fn a_list_may_begin_with_a_byte_order_mark() {
    let dir = TestDir::new();
    dir.write("list.txt", "\u{feff}good.png\r\nbad.png\r\n");
    let mut command = dir.command(&["score", "--model", "model", "--quiet", "-"]);
    let list = std::fs::File::open(dir.at("list.txt")).unwrap();
    let ran = crate::test_dir::Ran::of(command.stdin(list).output().unwrap());
    assert_eq!(ran.is_fine().stdout.lines().count(), 2);
}
