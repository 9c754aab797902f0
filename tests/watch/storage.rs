//! Disks that are full or can only be read: frames are judged all the same, and what can be kept
//! is kept when there is room again. Power cuts at every call of a watch that writes everything.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use edge_vae::{
    evidence::{self, EvidenceCheck, EvidenceReport},
    stream::sink::{Outbox, OutboxSettings},
};
use serde_json::Value;

use crate::{
    faults::{Fault, Limits, Room, explore, is_cut, library},
    test_dir::TestDir,
    until,
};

/// What the end says of a sink that lost something.
const NOT_DELIVERED: &str = "messages were not delivered";

/// Everything that a watch writes, into `out/`; nobody takes the webhook's messages.
fn configure(dir: &TestDir) {
    let text = "[health]\nfrozen-after = 0\n\
        [[log]]\npath = 'out/events.jsonl'\nmax-size = 6000\nkeep = 50\n\
        [[pictures]]\nfolder = 'out/pictures'\n\
        [[evidence]]\npath = 'out/verdicts'\nevery = 5\nmax-size = 6000\n\
        [[webhook]]\nurl = 'http://127.0.0.1:9/'\noutbox.folder = 'out/outbox'\n";
    fs::write(dir.path("edge-vae.toml"), text).unwrap();
}

/// What a process printed so far.
type Printed = Arc<Mutex<Vec<String>>>;

fn reader(stream: impl Read + Send + 'static) -> Printed {
    let printed = Printed::default();
    let noted = Arc::clone(&printed);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            noted.lock().unwrap().push(line.unwrap());
        }
    });
    printed
}

fn is_said(printed: &Printed, words: &str) -> bool {
    let lines = printed.lock().unwrap();
    lines.iter().any(|line| line.contains(words))
}

fn judged(printed: &Printed) -> usize {
    let lines = printed.lock().unwrap();
    let frames = lines
        .iter()
        .filter(|line| line.contains("\"type\":\"frame\""));
    frames.count()
}

fn verified(path: &Path, running: bool) -> EvidenceReport {
    let asked = EvidenceCheck {
        running,
        ..EvidenceCheck::default()
    };
    evidence::verify(path, asked, |_| {}).unwrap()
}

fn end(child: &Child) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(status.unwrap().success());
}

fn status(dir: &TestDir) -> Value {
    let output = dir.ctl(&["--socket", "ctl.sock", "status"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// From the start on, again later, and over the end.
fn a_disk_that_takes_nothing(kind: &str, cause: &str) {
    let dir = TestDir::new();
    configure(&dir);
    let during = dir.path("during");
    fs::write(&during, "").unwrap();
    // Of five frames two have a spot, so that events come and go.
    dir.line(5);
    let side = crate::tiny::SIDE;
    let camera = format!(
        "pipe:?format=gray&width={side}&height={side} \
         while cat line.raw; do sleep 0.05; done"
    );
    let mut command = dir.watch(&[&camera, "--json", "--control", "ctl.sock"]);
    command
        .env("LD_PRELOAD", library())
        .env("FAULTS_FOLDER", dir.path("out"))
        .env("FAULTS_AT", "0")
        .env("FAULTS_KIND", kind)
        .env("FAULTS_WHILE", &during);
    let mut child = command.spawn().unwrap();
    let out = reader(child.stdout.take().unwrap());
    let errors = reader(child.stderr.take().unwrap());
    let sinks = ["log ", "pictures ", "evidence ", "webhook "];
    let all_say = |sinks: &[&str], words: &str| {
        let lines = errors.lock().unwrap();
        let is_of = |line: &String, sink: &str| line.contains(sink) && line.contains(words);
        let says = |sink: &&str| lines.iter().any(|line| is_of(line, sink));
        sinks.iter().all(says)
    };
    until("all sinks say why", || all_say(&sinks, cause));
    let seen = judged(&out);
    until("frames are judged", || judged(&out) > seen + 20);
    let text = status(&dir).to_string();
    assert!(text.contains("\"waiting\":"), "{text}");
    assert!(!dir.path("out/events.jsonl").exists());
    fs::remove_file(&during).unwrap();
    // The last one opens too, and then misses its peer.
    until("all sinks work", || {
        all_say(&sinks[..3], "works again") && dir.path("out/outbox/lock").exists()
    });
    let log = dir.path("out/events.jsonl");
    let kept = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    until("events are kept", || kept(&log) > 0);
    until("pictures are kept", || {
        pictures(&dir.path("out")).unwrap() > 3
    });
    until("verdicts are kept", || {
        verified(&dir.path("out/verdicts"), true).verdicts > 20
    });
    // Once more, while they are open, and to the end.
    errors.lock().unwrap().clear();
    fs::write(&during, "").unwrap();
    until("the disk is full again", || is_said(&errors, cause));
    let seen = judged(&out);
    until("frames are judged", || judged(&out) > seen + 20);
    fs::remove_file(&during).unwrap();
    until("the log works again", || is_said(&errors, "works again"));
    end(&child);
    // Pictures and verdicts are missing, and that is said.
    assert_eq!(child.wait().unwrap().code(), Some(2));
    until("what is missing is told", || {
        is_said(&errors, NOT_DELIVERED)
    });
    let report = verified(&dir.path("out/verdicts"), false);
    assert!(report.is_whole() && report.lost > 20, "{report:?}");
    // No event is missing, not even those from before there was a log.
    let announced = out.lock().unwrap();
    let announced = announced
        .iter()
        .filter(|line| line.contains("\"type\":\"event\""));
    let known = events(&dir.path("out")).unwrap();
    for line in announced {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(known.contains(&identity(&event)), "{line}");
    }
    assert!(outbox(&dir.path("out")) > 0);
}

#[test]
fn a_full_disk_leaves_watch_judging() {
    a_disk_that_takes_nothing("full", "No space left on device");
}

#[test]
fn a_folder_that_can_only_be_read_leaves_watch_judging() {
    a_disk_that_takes_nothing("read-only", "Read-only file system");
}

fn identity(event: &Value) -> (String, String) {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    (text("event_id"), text("phase"))
}

/// Events of all files of the log.
fn events(out: &Path) -> Result<HashSet<(String, String)>, String> {
    let mut known = HashSet::new();
    for entry in fs::read_dir(out)
        .map_err(|error| error.to_string())?
        .flatten()
    {
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with("events.jsonl")
        {
            continue;
        }
        let text = fs::read(entry.path()).map_err(|error| error.to_string())?;
        for line in String::from_utf8_lossy(&text).lines() {
            // A line that is none was cut off by the power.
            if let Ok(event) = serde_json::from_str::<Value>(line)
                && event["type"] == "event"
                && !known.insert(identity(&event))
            {
                return Err(format!("{line} is there twice"));
            }
        }
    }
    Ok(known)
}

/// How many pictures there are; each must be whole.
fn pictures(out: &Path) -> Result<usize, String> {
    let mut count = 0;
    for entry in walkdir::WalkDir::new(out.join("pictures"))
        .into_iter()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_file() && !name.ends_with(".partial") {
            image::open(entry.path()).map_err(|error| format!("{name}: {error}"))?;
            count += 1;
        }
    }
    Ok(count)
}

/// How many messages wait.
fn outbox(out: &Path) -> usize {
    let outbox = Outbox::open("test", &out.join("outbox"), &OutboxSettings::default());
    let mut outbox = outbox.unwrap();
    let mut count = 0;
    while let Some((number, _)) = outbox.front() {
        outbox.remove(number).unwrap();
        count += 1;
    }
    assert_eq!(outbox.aside(), 0, "{:?}", outbox.take_notice());
    count
}

#[test]
fn a_power_cut_at_any_call_loses_no_event_that_was_announced() {
    let dir = TestDir::new();
    configure(&dir);
    dir.pictures("line", 12, &[3, 4, 8]);
    let template = dir.path("");
    let watch = |room: &Room| {
        let mut command = dir.watch(&["line?watch=false", "--json"]);
        command
            .env("EDGE_VAE_MODEL", room.folder().join("model"))
            .env("XDG_STATE_HOME", room.folder().join("state"))
            .env("EDGE_VAE_CACHE", room.folder().join("cache"));
        command
    };
    let look = |room: &Room, output: &Output| -> Result<(), String> {
        let out = room.folder().join("out");
        let text = String::from_utf8_lossy(&output.stdout);
        let objects = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let known = if out.exists() {
            events(&out)?
        } else {
            HashSet::new()
        };
        for event in objects.filter(|object| object["type"] == "event") {
            if !known.contains(&identity(&event)) {
                return Err(format!("{event} was announced and is missing"));
            }
        }
        pictures(&out)?;
        Ok(())
    };
    let judge = |room: &Room, fault: Fault, output: &Output| -> Result<(), String> {
        let said = String::from_utf8_lossy(&output.stderr);
        // All frames are judged; at the end it says what it could not keep.
        let is_told = output.status.code() == Some(2) && said.contains(NOT_DELIVERED);
        let ends = output.status.success() || is_told && fault.kind.starts_with('e');
        let is_well = ends && said.contains("12 judged");
        if !is_cut(output) && !is_well {
            return Err(format!("{} ended it", fault.kind));
        }
        if said.contains("panicked") {
            return Err("panicked".to_owned());
        }
        look(room, output)?;
        // The next start is as any other, and goes on with everything.
        let mut again = watch(room);
        let ran = again.current_dir(room.folder()).output().unwrap();
        if ran.status.code() != Some(0) {
            return Err(format!("the next run failed: {ran:?}"));
        }
        look(room, &ran)?;
        let out = room.folder().join("out");
        let report = verified(&out.join("verdicts"), false);
        if !report.is_whole() || report.verdicts < 12 {
            return Err(format!("{report:?}"));
        }
        if outbox(&out) == 0 {
            return Err("nothing waits in the outbox".to_owned());
        }
        let walk = walkdir::WalkDir::new(&out).into_iter().flatten();
        let mut names = walk.map(|entry| entry.path().display().to_string());
        match names.find(|name| name.ends_with(".partial")) {
            Some(stray) => Err(format!("{stray} stays for ever")),
            None => Ok(()),
        }
    };
    // Each run waits for seconds for the web server that is not there.
    let limits = Limits {
        at_once: 8,
        ..Limits::most(60)
    };
    let tally = explore(&template, limits, &watch, &judge);
    println!(
        "| watch | {} | {} | {} |",
        tally.calls,
        tally.points,
        tally.lost.len()
    );
    assert!(tally.lost.is_empty(), "{:#?}", tally.lost);
}
