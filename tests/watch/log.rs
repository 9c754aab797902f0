//! The event log while others rename and remove it.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    process::Command,
    thread,
};

use serde_json::Value;

use crate::{
    test_dir::{TestDir, lines},
    until,
};

fn identity(event: &Value) -> (String, String) {
    let text = |key: &str| event[key].as_str().unwrap().to_owned();
    (text("event_id"), text("phase"))
}

#[test]
fn nothing_that_was_announced_is_missing_when_the_log_is_moved() {
    let dir = TestDir::new();
    let line = dir.line(5);
    let configuration =
        format!("[[source]]\nuri = '{line}'\nname = 'cam'\n[[log]]\npath = 'logs/events.jsonl'\n");
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let mut child = dir.watch(&["--json"]).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let objects = out
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let events = objects.filter(|object: &Value| object["type"] == "event");
        events.map(|event| identity(&event)).collect::<Vec<_>>()
    });
    let log = dir.path("logs/events.jsonl");
    let grows = |what: &str| {
        let bytes = || fs::metadata(&log).map_or(0, |metadata| metadata.len());
        until(what, || bytes() > 10_000);
    };
    let kept = |number: usize| dir.path(&format!("logs/kept-{number}"));
    grows("the first log");
    // As logrotate does without a word, with a signal, and a person who removes it.
    for number in 0..5 {
        match number % 2 {
            0 => fs::rename(&log, kept(number)).unwrap(),
            _ => {
                fs::hard_link(&log, kept(number)).unwrap();
                fs::remove_file(&log).unwrap();
            }
        }
        if number == 2 {
            let pid = child.id().to_string();
            let status = Command::new("kill").args(["-HUP", &pid]).status();
            assert!(status.unwrap().success());
        }
        grows("the next log");
    }
    // With its folder, and what is in it by now.
    let mut known: HashSet<(String, String)> = HashSet::new();
    let mut remember = |path: &std::path::Path| {
        let objects = lines(path);
        let events = objects.iter().filter(|object| object["type"] == "event");
        known.extend(events.map(identity));
    };
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let announced = reader.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for number in 0..5 {
        remember(&kept(number));
    }
    remember(&log);
    let missing = announced
        .iter()
        .filter(|event| !known.contains(event))
        .count();
    assert_eq!(missing, 0, "of {}", announced.len());
    assert!(announced.len() > 40);
}

#[test]
fn a_log_that_was_removed_comes_back_without_an_event() {
    let dir = TestDir::new();
    let log = dir.path("events.jsonl");
    dir.pictures("line", 1, &[]);
    let mut child = dir
        .watch(&["line", "--log", "events.jsonl"])
        .spawn()
        .unwrap();
    until("the log", || log.exists());
    fs::remove_file(&log).unwrap();
    until("another log", || log.exists());
    child.kill().unwrap();
    child.wait().unwrap();
}
