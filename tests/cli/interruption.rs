//! Ctrl-C.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

use crate::test_dir::TestDir;

fn interrupt(child: &Child) {
    send("-INT", child);
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn score_ends_after_the_frame_with_its_summary_and_whole_files() {
    let dir = TestDir::new();
    let mut child = dir
        .command(&["score", "--model", "model", "-", "--overlay", "seen"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut list = child.stdin.take().unwrap();
    for _ in 0..5_000 {
        writeln!(list, "good.png\nbad.png").unwrap();
    }
    drop(list);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    interrupt(&child);
    let judged = 1 + lines.count();
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{stderr}");
    assert!(judged < 10_000);
    let said: Vec<&str> = stderr.lines().collect();
    let [.., summary, last] = said[..] else {
        panic!("{stderr}")
    };
    assert!(
        summary.contains(&format!("{judged} frame")),
        "{judged} {summary}"
    );
    assert!(
        last.contains("interrupted after") && last.contains("10000"),
        "{last}"
    );
    for file in dir.files("seen") {
        image::open(dir.at("seen").join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

/// While a list is awaited there is nothing to end well.
#[test]
fn an_unfinished_list_can_be_left() {
    use std::os::unix::process::ExitStatusExt;
    let dir = TestDir::new();
    let mut child = dir
        .command(&["score", "--model", "model", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut list = child.stdin.take().unwrap();
    writeln!(list, "good.png").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    // Tests that run in the background of a shell inherit that Ctrl-C is ignored.
    send("-TERM", &child);
    std::thread::sleep(std::time::Duration::from_millis(100));
    // Where the signal was caught, the end of the list ends the run, too.
    drop(list);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

/// Waits until the program catches Ctrl-C.
#[cfg(target_os = "linux")]
fn wait_for_handler(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    for _ in 0..6000 {
        let text = std::fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        // Signal 2 is bit 1.
        if caught & 2 != 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no handler");
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_estimate_ends_with_one_line() {
    let dir = TestDir::new();
    let mut child = dir
        .command(&[
            "likelihood",
            "--model",
            "model",
            "good.png",
            "--samples",
            "100000000",
            "--threads",
            "1",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    wait_for_handler(&child);
    interrupt(&child);
    let rest: Vec<String> = stderr.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.last().unwrap().contains("interrupted"), "{rest:?}");
}
