//! Addresses of sources and sinks: what is refused, and what is never shown.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use edge_vae::frame::Samples;

use crate::{
    free_port,
    test_dir::{Ran, TestDir},
    tiny, until,
};

#[test]
fn a_password_that_is_cut_is_refused_and_no_piece_of_it_is_shown() {
    let dir = TestDir::new();
    for password in [
        "qux#zyg", "qux/zyg", "qux?zyg", "12/zyg", "qux#z@yg", "qux%zyg",
    ] {
        for (flag, scheme) in [
            (None, "rtsp"),
            (None, "RTSP"),
            (None, "http"),
            (None, "srt"),
            (Some("--mqtt"), "mqtt"),
            (Some("--mqtt"), "MQTTS"),
            (Some("--webhook"), "https"),
        ] {
            let address = format!("{scheme}://user:{password}@host/s");
            let mut arguments = vec!["--check"];
            arguments.extend(flag.map_or(vec![&*address], |flag| vec!["folder/", flag, &address]));
            let output = dir.watch(&arguments).output().unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(2), "{address}: {text}");
            assert!(text.contains('%'), "no advice for {address}: {text}");
            for piece in ["qux", "zyg", "z@yg", "12/"] {
                assert!(!text.contains(piece), "{address}: {text}");
            }
        }
    }
}

#[test]
fn secrets_are_shown_neither_in_the_plan_nor_in_messages() {
    let dir = TestDir::new();
    for address in [
        "rtsp://user:hunter2@cam/s",
        "srt://cam:9000?passphrase=hunter2hunter2",
        "http://cam/video.cgi?usr=me&pwd=hunter2",
        "rtsp:/user:hunter2@cam/s",
        "user:hunter2@cam/s",
        "pipe:cat rtsp://user:hun/ter2@cam",
    ] {
        let output = dir.watch(&[address, "--check"]).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(text.contains("***") && !text.contains("ter2"), "{text}");
    }
    let ran = Ran::of(&mut dir.watch(&["user:hunter2@cam/s", "--retries", "0"]));
    assert_eq!(ran.code, Some(2));
    assert!(!ran.messages.contains("hunter2"), "{}", ran.messages);
    let hook = "https://user:hunter2@hooks.example/T0/hunter2hunter2hunter2?key=hunter2";
    let broker = "mqtt://user:hunter2@broker/hall";
    let arguments = ["folder/", "--check", "--webhook", hook, "--mqtt", broker];
    let output = dir.watch(&arguments).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        text.contains("webhook https://hooks.example/T0/***"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_scheme_in_capitals_keeps_its_options() {
    let dir = TestDir::new();
    let ffmpeg = dir.path("ffmpeg");
    fs::write(&ffmpeg, "#!/bin/sh\necho ffmpeg version 6.1\n").unwrap();
    fs::set_permissions(&ffmpeg, fs::Permissions::from_mode(0o755)).unwrap();
    for (address, expected) in [
        (
            "RTSP://cam/Live",
            "-rtsp_transport tcp -timeout 5000000 -i rtsp://cam/Live",
        ),
        ("Http://cam/Live", "-rw_timeout 5000000 -i http://cam/Live"),
    ] {
        let mut command = dir.watch(&[address, "--print-pipeline"]);
        let output = command
            .env("PATH", ffmpeg.parent().unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn standard_input_with_settings_is_no_flag() {
    let dir = TestDir::new();
    let side = tiny::SIDE;
    let address = format!("-?format=gray&width={side}&height={side}");
    for arguments in [vec![&*address, "--json"], vec!["--json", &address]] {
        let mut child = dir.watch(&arguments).stdin(Stdio::piped()).spawn().unwrap();
        let frame = tiny::frame(1, None);
        let Samples::U8(samples) = frame.samples() else {
            panic!("a frame of 8 bits");
        };
        let mut input = child.stdin.take().unwrap();
        input.write_all(&samples.repeat(3)).unwrap();
        drop(input);
        let ran = Ran::until_end(child);
        assert_eq!(ran.code, Some(0), "{}", ran.messages);
        assert_eq!(ran.of_type("frame").len(), 3);
    }
    for flag in ["--jsno", "-x"] {
        let ran = Ran::of(&mut dir.watch(&["folder/", flag]));
        assert_eq!(ran.code, Some(2));
        assert!(ran.messages.contains(flag), "{}", ran.messages);
    }
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn metrics_are_served_by_name_and_for_everybody() {
    let dir = TestDir::new();
    let line = dir.line(9);
    for host in ["localhost", "127.0.0.1", ""] {
        let port = free_port();
        let address = format!("{host}:{port}");
        let mut child = dir.watch(&[&line, "--metrics", &address]).spawn().unwrap();
        until("metrics", || {
            get(&format!("127.0.0.1:{port}"), "/metrics")
                .is_some_and(|text| text.contains("edge_vae_frames_total"))
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for address in [
        "9184",
        "localhost",
        "http://localhost:9184",
        "no-such-host.invalid:1",
    ] {
        let ran = Ran::of(&mut dir.watch(&[&line, "--metrics", address]));
        assert_eq!(ran.code, Some(2), "{address}");
        assert!(ran.messages.contains(address), "{}", ran.messages);
    }
}
