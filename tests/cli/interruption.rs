//! Ctrl-C.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

use crate::room::Room;

fn interrupt(child: &Child) {
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn score_ends_after_the_frame_with_its_summary_and_whole_files() {
    let room = Room::new();
    let mut child = room
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
    for file in room.files("seen") {
        image::open(room.at("seen").join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn a_long_estimate_ends_with_one_line() {
    let room = Room::new();
    let mut child = room
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
    // It says on which engine it runs when all signals are caught already.
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    stderr.next().unwrap().unwrap();
    interrupt(&child);
    let rest: Vec<String> = stderr.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.last().unwrap().contains("interrupted"), "{rest:?}");
}
