//! A clock that is set while an event is open.

use std::{fs, path::PathBuf, process::Command, thread, time::Duration};

use serde_json::Value;

use crate::{
    program,
    test_dir::{Ran, TestDir},
    until,
};

/// Sets the program's clock forward by an hour while the file `$CLOCK_IS_SET` is there.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *set = getenv("CLOCK_IS_SET");
    if (clock == CLOCK_REALTIME && set && access(set, F_OK) == 0)
        now->tv_sec += 3600;
    return result;
}
"#;

fn shim(dir: &TestDir) -> Option<PathBuf> {
    let compiler = program("cc")?;
    let (source, library) = (dir.path("clock.c"), dir.path("clock.so"));
    fs::write(&source, SHIM).unwrap();
    let mut command = Command::new(compiler);
    command
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl");
    assert!(command.status().unwrap().success());
    Some(library)
}

/// Seconds of an object's time since some day.
fn seconds(object: &Value) -> u64 {
    let text = object["timestamp"].as_str().unwrap();
    let part = |from: usize| text[from..from + 2].parse::<u64>().unwrap();
    86_400 * part(8) + 3600 * part(11) + 60 * part(14) + part(17)
}

#[test]
fn an_event_goes_on_when_the_clock_is_set() {
    let dir = TestDir::new();
    let Some(shim) = shim(&dir) else {
        return;
    };
    // Two of two have a spot, and a camera repeats them.
    let line = dir.line(2).replace(
        "while cat line.raw; do :",
        "while cat line.raw; do sleep 0.02",
    );
    let line = line.replace("pipe:?", "pipe:?live=true&");
    let configuration = format!(
        "[health]\nfrozen-after = 0\n[events]\ncool-down = 5.0\nmax-gap = 30.0\n\
         [[source]]\nuri = '{line}'\nname = 'cam'\n\
         [[log]]\npath = 'log.jsonl'\nframes = true\n"
    );
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let set = dir.path("set");
    let mut command = dir.watch(&["--json"]);
    command.env("LD_PRELOAD", shim).env("CLOCK_IS_SET", &set);
    let child = command.spawn().unwrap();
    let frames = || {
        // The last line may be half written.
        let text = fs::read_to_string(dir.path("log.jsonl")).unwrap_or_default();
        text.matches("\"type\":\"frame\"").count()
    };
    let goes_on = |what: &str| {
        let before = frames();
        until(what, || frames() > before + 20);
    };
    let pid = child.id().to_string();
    let out = thread::spawn(move || Ran::until_end(child));
    goes_on("frames before");
    fs::write(&set, "").unwrap();
    goes_on("frames an hour later");
    fs::remove_file(&set).unwrap();
    goes_on("frames after the clock was set back");
    thread::sleep(Duration::from_millis(200));
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ran = out.join().unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.messages);
    let times: Vec<u64> = ran.of_type("frame").into_iter().map(seconds).collect();
    let jumps = times
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) > 3000)
        .count();
    assert_eq!(jumps, 2, "the stamps follow the clock");
    let events = ran.of_type("event");
    assert_eq!(events.len(), 2, "one event, opened and closed: {events:?}");
    assert_eq!(events[1]["ended_by"], "the source ended");
    assert_eq!(events[0]["event_id"], events[1]["event_id"]);
}
