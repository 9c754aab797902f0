use std::{env, process::Command};

use super::{
    super::{child_process::ChildSource, command_line::GST_LAUNCH, splitter::Splitter},
    *,
};
use crate::frame::Samples;

const FILE: ChildOptions = ChildOptions {
    live: false,
    ends: true,
    fails_for_good: true,
    timeout: None,
};

const CAMERA: ChildOptions = ChildOptions {
    live: true,
    ends: false,
    fails_for_good: false,
    timeout: Some(Duration::from_secs(20)),
};

/// A command of which the pictures are written as they lie in memory.
fn command(elements: &str) -> CommandLine {
    CommandLine {
        program: GST_LAUNCH,
        arguments: format!("-q {elements} ! fdsink fd=1 sync=false")
            .split_whitespace()
            .map(OsString::from)
            .collect(),
        layout: None,
    }
}

fn open(elements: &str, options: ChildOptions) -> Result<AppSource, SourceError> {
    let settings = SourceSettings::default();
    AppSource::open(
        "camera",
        &command(elements),
        Some("rtsp://me:secret@nowhere"),
        &settings,
        options,
    )
}

/// All up to the end.
fn drain(source: &mut dyn Source) -> (Vec<Frame>, Result<Arrival, SourceError>) {
    let mut frames = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let mut frame = Frame::blank("camera");
        match source.read(&mut frame) {
            Ok(Arrival::Frame) => frames.push(frame),
            Ok(Arrival::Nothing) => {}
            end => return (frames, end),
        }
    }
    panic!("no end within 30 s");
}

#[test]
fn padded_planes_are_those_that_the_child_writes() {
    let launch = Command::new(GST_LAUNCH).arg("--version").output();
    if !launch.is_ok_and(|output| output.status.success()) {
        assert!(
            env::var_os("EDGE_VAE_PEERS").is_none_or(|value| value != "1"),
            "EDGE_VAE_PEERS=1, but {GST_LAUNCH} is absent"
        );
        eprintln!("skipped: {GST_LAUNCH} is absent");
        return;
    }
    let formats = [
        ("NV12", RawFormat::Nv12, 1),
        ("RGB", RawFormat::Rgb24, 3),
        ("GRAY8", RawFormat::Gray, 1),
    ];
    for (name, format, bytes) in formats {
        // Rows of 4n + 2 bytes, which GStreamer pads.
        let (width, height) = (62, 46);
        let elements = format!(
            "videotestsrc pattern=smpte75 horizontal-speed=3 num-buffers=5 ! \
             video/x-raw,format={name},width={width},height={height}"
        );
        let stride = (width as usize * bytes).next_multiple_of(4);
        let layout = RawLayout::new(format, width, height)
            .and_then(|layout| layout.with_strides(stride, stride))
            .unwrap();
        let mut child = ChildSource::open(
            "child",
            &command(&elements),
            Splitter::Raw(layout),
            &SourceSettings::default(),
            FILE,
        )
        .unwrap();
        let (expected, end) = drain(&mut child);
        assert_eq!((expected.len(), end.unwrap()), (5, Arrival::End));
        let (found, end) = drain(&mut open(&elements, FILE).unwrap());
        assert_eq!((found.len(), end.unwrap()), (5, Arrival::End));
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!((found.width(), found.height()), (width, height));
            assert!(
                found.samples() == expected.samples(),
                "{name}: frame {index}"
            );
        }
        assert!(found[0].samples() != found[4].samples());
    }
}

#[test]
fn a_picture_that_says_itself_where_its_samples_lie() {
    gst::init().unwrap();
    // White at the left, black at the right, 30 pixels cut off above and 10 at the left: the
    // cropped picture lies in the memory of the whole one.
    let whole =
        "videotestsrc pattern=gradient num-buffers=1 ! video/x-raw,format=GRAY8,width=64,height=50";
    let (whole_frames, _) = drain(&mut open(whole, FILE).unwrap());
    let (cropped, _) =
        drain(&mut open(&format!("{whole} ! videocrop top=30 left=10"), FILE).unwrap());
    let (Samples::U8(all), Samples::U8(part)) = (whole_frames[0].samples(), cropped[0].samples())
    else {
        panic!("16 bits");
    };
    let expected: Vec<u8> = all
        .chunks(64)
        .skip(30)
        .flat_map(|row| &row[10..])
        .copied()
        .collect();
    assert!(*part == expected);
}

#[test]
fn a_live_picture_is_as_old_as_its_timestamp() {
    let elements = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=8,height=4 ! \
        identity sleep-time=2000000";
    let mut source = open(elements, CAMERA).unwrap();
    let mut frame = Frame::blank("camera");
    while source.read(&mut frame).unwrap() != Arrival::Frame {}
    let age = frame.captured().elapsed().unwrap();
    assert!(
        age >= Duration::from_secs(1) && age < MOST_AGE + Duration::from_secs(10),
        "{age:?}"
    );
}

#[test]
fn ends_and_errors_are_told_apart() {
    let two = "videotestsrc num-buffers=2 ! video/x-raw,format=GRAY8,width=8,height=4";
    let (frames, end) = drain(&mut open(two, CAMERA).unwrap());
    assert_eq!(
        (frames.len(), end.unwrap_err().to_string().as_str()),
        (2, "camera: the stream ended")
    );

    // The second picture is an error.
    let (frames, end) =
        drain(&mut open(&format!("{two} ! identity error-after=2"), CAMERA).unwrap());
    let error = end.unwrap_err();
    assert_eq!(frames.len(), 1);
    assert!(
        !error.is_permanent() && error.to_string().contains("GStreamer's identity"),
        "{error}"
    );

    for (options, permanent) in [(FILE, true), (CAMERA, false)] {
        let missing = open("filesrc location=/nowhere/clip ! decodebin", options);
        let error = missing.err().unwrap();
        assert_eq!(error.is_permanent(), permanent);
        let logged = error.to_string();
        assert!(
            logged.starts_with("camera: GStreamer's filesrc"),
            "{logged}"
        );
        assert!(
            logged.contains("No such file \"/nowhere/clip\"") && !logged.contains('\n'),
            "{logged}"
        );
    }
    let error = open("nosuchelement ! decodebin", CAMERA).err().unwrap();
    assert!(
        error.is_permanent() && error.to_string().contains("nosuchelement"),
        "{error}"
    );
}

#[test]
fn silence_is_noticed() {
    let options = ChildOptions {
        timeout: Some(Duration::from_millis(300)),
        ..CAMERA
    };
    let elements = "videotestsrc is-live=true ! valve drop=true ! video/x-raw,format=GRAY8";
    let (frames, end) = drain(&mut open(elements, options).unwrap());
    assert_eq!(
        (frames.len(), end.unwrap_err().to_string().as_str()),
        (0, "camera: no frame for 300ms")
    );
}

#[test]
fn passwords_are_not_repeated() {
    let elements = "rtspsrc location=rtsp://me:secret@nowhere protocols=tcp ! decodebin";
    let (_, end) = match open(elements, CAMERA) {
        Ok(mut source) => drain(&mut source),
        Err(error) => (Vec::new(), Err(error)),
    };
    let logged = end.unwrap_err().to_string();
    assert!(
        logged.contains("GStreamer") && !logged.contains("secret"),
        "{logged}"
    );
}
