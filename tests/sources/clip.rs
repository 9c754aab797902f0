//! Videos and pipes give the frames that ffmpeg gives, bit for bit.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use edge_vae::Frame;
use edge_vae::stream::source::{Arrival, SourceSettings, SourceUri, open, pipeline};

use super::{ffmpeg, has_ffmpeg, has_gstreamer, next, opened, peers_are_asked_for, u8s};

const SIZE: [usize; 2] = [322, 182];
const FRAMES: usize = 25;

/// ffmpeg's encoders of H.264.
const H264: [&str; 2] = ["libx264", "libopenh264"];

/// A clip in H.264, with B-frames if by libx264. Where this ffmpeg has no encoder for it, which is
/// said, or fails where peers are asked for, it is in MPEG-4 part 2.
fn clip(dir: &Path) -> PathBuf {
    let path = dir.join("a clip.mp4");
    let encoders = Command::new("ffmpeg")
        .args(["-hide_banner", "-encoders"])
        .output()
        .unwrap();
    let encoders = String::from_utf8_lossy(&encoders.stdout);
    let has = |name: &str| encoders.split_whitespace().any(|word| word == name);
    let encoder = H264.into_iter().find(|name| has(name)).unwrap_or_else(|| {
        let lacks = format!("ffmpeg has no encoder for H.264 ({})", H264.join(", "));
        assert!(!peers_are_asked_for(), "EDGE_VAE_PEERS=1, but {lacks}");
        eprintln!("not H.264 but MPEG-4 part 2: {lacks}");
        "mpeg4"
    });
    // libopenh264 writes none.
    let b_frames = if encoder == "libopenh264" { "0" } else { "2" };
    let picture = format!("testsrc2=size={}x{}:rate=25", SIZE[0], SIZE[1]);
    let written = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            &picture,
        ])
        .args([
            "-frames:v",
            &FRAMES.to_string(),
            "-c:v",
            encoder,
            "-bf",
            b_frames,
        ])
        .args(["-pix_fmt", "yuv420p"])
        .arg(&path)
        .status();
    assert!(written.unwrap().success());
    path
}

fn of_ffmpeg(path: &Path, pixels: &str) -> Vec<u8> {
    let file = path.to_str().unwrap();
    let arguments = ["-i", file, "-pix_fmt", pixels, "-f", "rawvideo", "-"];
    ffmpeg(&arguments, Path::new("/dev/null"))
}

fn compare(uri: &str, expected: &[u8], channels: usize) {
    let mut source = opened(uri);
    let mut frame = Frame::blank(uri);
    let length = SIZE[0] * SIZE[1] * channels;
    assert_eq!(expected.len(), FRAMES * length);
    for (index, expected) in expected.chunks(length).enumerate() {
        assert_eq!(
            next(source.as_mut(), &mut frame),
            Arrival::Frame,
            "{uri} {index}"
        );
        let size = [frame.width() as usize, frame.height() as usize];
        assert_eq!(size, SIZE, "{uri} {index}");
        assert!(u8s(&frame) == expected, "{uri}: frame {index} differs");
    }
    assert_eq!(next(source.as_mut(), &mut frame), Arrival::End, "{uri}");
}

#[test]
fn a_clip_gives_the_frames_of_ffmpeg() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let clip = clip(dir.path());
    let path = clip.display();
    let (colour, grey) = (of_ffmpeg(&clip, "rgb24"), of_ffmpeg(&clip, "gray"));
    compare(&format!("{path}"), &colour, 3);
    compare(&format!("{path}?grey=true"), &grey, 1);

    // Again by what is shown to the user, and by other streams that name their pictures.
    let uri: SourceUri = format!("{path}").parse().unwrap();
    let shown = pipeline(&uri, &SourceSettings::default()).unwrap().unwrap();
    compare(&format!("pipe:{shown}"), &colour, 3);
    let decode = format!("pipe:ffmpeg -loglevel error -i '{path}'");
    for output in [
        "-f image2pipe -c:v png",
        "-f image2pipe -c:v pam -pix_fmt rgb24",
        "-f image2pipe -c:v ppm",
    ] {
        compare(&format!("{decode} {output} -"), &colour, 3);
    }
    compare(
        &format!("{decode} -f image2pipe -c:v pgm -pix_fmt gray -"),
        &grey,
        1,
    );
    let [width, height] = SIZE;
    compare(
        &format!(
            "pipe:?format=rgb24&width={width}&height={height} ffmpeg -loglevel error -i '{path}' \
             -f rawvideo -pix_fmt rgb24 -"
        ),
        &colour,
        3,
    );
}

#[test]
fn a_clip_that_begins_again_goes_on() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let clip = clip(dir.path());
    let mut source = opened(&format!("{}?loop=true", clip.display()));
    let mut frame = Frame::blank("clip");
    for _ in 0..FRAMES {
        assert_eq!(next(source.as_mut(), &mut frame), Arrival::Frame);
    }
    let last = u8s(&frame).to_vec();
    assert_eq!(next(source.as_mut(), &mut frame), Arrival::Frame);
    assert!(u8s(&frame) != last);
    assert!(u8s(&frame) == &of_ffmpeg(&clip, "rgb24")[..3 * SIZE[0] * SIZE[1]]);
}

#[test]
fn what_is_no_video_fails_for_good() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    std::fs::write(&path, "not a video").unwrap();
    let uri: SourceUri = path.to_str().unwrap().parse().unwrap();
    let mut source = open(&uri, &SourceSettings::default()).unwrap();
    let mut frame = Frame::blank("clip");
    let error = loop {
        match source.read(&mut frame) {
            Ok(Arrival::Nothing) => {}
            Ok(arrival) => panic!("{arrival:?}"),
            Err(error) => break error,
        }
    };
    let message = error.to_string();
    assert!(error.is_permanent(), "{message}");
    assert!(
        message.contains("clip.mp4: ffmpeg ended with exit status: 1: "),
        "{message}"
    );
    assert!(message.contains("Invalid data"), "{message}");
}

#[test]
fn gstreamer_gives_a_clip_too() {
    if !has_ffmpeg() || !has_gstreamer("pnmenc") || !has_gstreamer("avdec_mjpeg") {
        return;
    }
    // JPEGs of one colour: the same samples by whatever decoder.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.avi");
    let written = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i"])
        .args([
            "color=gray:size=62x46:rate=25",
            "-frames:v",
            "5",
            "-c:v",
            "mjpeg",
        ])
        .arg(&path)
        .status();
    assert!(written.unwrap().success());
    let mut source = opened(&format!("{}?decoder=gstreamer", path.display()));
    let mut frame = Frame::blank("clip");
    for _ in 0..5 {
        assert_eq!(next(source.as_mut(), &mut frame), Arrival::Frame);
        assert_eq!((frame.width(), frame.height()), (62, 46));
        assert!(
            u8s(&frame).iter().all(|&v| v.abs_diff(128) <= 2),
            "{:?}",
            &u8s(&frame)[..6]
        );
    }
    assert_eq!(next(source.as_mut(), &mut frame), Arrival::End);
}

#[cfg(feature = "gstreamer")]
#[test]
fn gstreamer_in_this_process_gives_the_frames_of_the_child() {
    let is_installed = has_gstreamer("pnmenc") && has_gstreamer("avdec_h264");
    if !has_ffmpeg() || !is_installed {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let clip = clip(dir.path());
    for (grey, channels) in [(false, 3), (true, 1)] {
        let uri = format!("{}?decoder=gstreamer&grey={grey}", clip.display());
        let parsed: SourceUri = uri.parse().unwrap();
        let command = pipeline(&parsed, &SourceSettings::default()).unwrap();
        let command = command.unwrap();
        assert!(command.starts_with("gst-launch-1.0 "), "{command}");
        let mut child = opened(&format!("pipe:{command}"));
        let mut frame = Frame::blank("child");
        let mut expected = Vec::new();
        while next(child.as_mut(), &mut frame) == Arrival::Frame {
            expected.extend_from_slice(u8s(&frame));
        }
        compare(&uri, &expected, channels);
    }
}
