//! `kill -9` at random moments.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::Value;

use crate::test_dir::{TestDir, lines};

/// What distinguishes an announcement.
fn identity(event: &Value) -> (String, String) {
    let text = |key: &str| event[key].as_str().unwrap().to_owned();
    (text("event_id"), text("phase"))
}

#[test]
fn no_event_that_was_announced_is_missing_after_kill_9() {
    let dir = TestDir::new();
    // As fast as they are judged.
    let line = dir.line(5);
    let mut random = Pcg64::seed_from_u64(1);
    let mut announced = Vec::new();
    let mut stopped_in_time = 0;
    for _ in 0..20 {
        let mut child = dir
            .watch(&[&line, "--json", "--log", "events.jsonl"])
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        // Some events, and then the end at any moment.
        let wanted = random.random_range(1..40);
        let delay = Duration::from_micros(random.random_range(0..5000));
        let mut seen = 0;
        let mut killed = false;
        for line in out.lines() {
            let line = line.unwrap();
            let Ok(object) = serde_json::from_str::<Value>(&line) else {
                // The last line, cut off.
                assert!(killed, "{line}");
                continue;
            };
            if object["type"] == "event" {
                announced.push(identity(&object));
                seen += 1;
            }
            if seen == wanted && !killed {
                killed = true;
                std::thread::sleep(delay);
                child.kill().unwrap();
            }
        }
        stopped_in_time += usize::from(killed);
        child.wait().unwrap();
    }
    assert_eq!(stopped_in_time, 20);
    // The last end may have cut the last line, which then was not announced.
    let log = dir.path("events.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    fs::write(&log, &text[..whole]).unwrap();
    let kept: Vec<(String, String)> = lines(&log)
        .iter()
        .filter(|object| object["type"] == "event")
        .map(identity)
        .collect();
    let known: HashSet<_> = kept.iter().collect();
    assert_eq!(known.len(), kept.len(), "an event is kept twice");
    for event in &announced {
        assert!(
            known.contains(event),
            "{event:?} was announced and is missing"
        );
    }
    assert!(announced.len() > 100);
}
