use std::sync::{Arc, Mutex};

use super::{super::test_messages as messages, *};

fn lines(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn events_are_lines_and_frames_only_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/events.jsonl");
    let mut log = Log::open(&LogSettings::new(&path)).unwrap();
    for message in [
        messages::frame("cam", 7, 3.5),
        messages::opened("e1", "cam"),
        messages::drift("cam"),
        messages::lost("cam"),
        messages::tally(&["cam"]),
    ] {
        log.take(&message).unwrap();
    }
    let types: Vec<_> = lines(&path)
        .iter()
        .map(|line| line["type"].clone())
        .collect();
    assert_eq!(types, ["event", "drift", "source"]);
    log.finish().unwrap();
    let settings = LogSettings {
        frames: true,
        ..LogSettings::new(&path)
    };
    let mut log = Log::open(&settings).unwrap();
    log.take(&messages::frame("cam", 8, f64::NAN)).unwrap();
    let lines = lines(&path);
    assert_eq!(lines[3]["frame_number"], 8);
    assert!(lines[3]["pred_score"].is_null());
}

#[test]
fn a_torn_line_is_closed_and_damages_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    Log::open(&LogSettings::new(&path))
        .unwrap()
        .take(&messages::opened("e1", "cam"))
        .unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut log = Log::open(&LogSettings::new(&path)).unwrap();
        log.take(&messages::opened("e2", "cam")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "cut at {cut}");
        let last: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(last["event_id"], "e2");
    }
}

#[test]
fn full_files_are_rotated_and_so_many_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let length = serde_json::to_vec(&messages::record("e0", "cam"))
        .unwrap()
        .len() as u64
        + 1;
    let settings = LogSettings {
        max_size: 2 * length,
        keep: 2,
        ..LogSettings::new(&path)
    };
    let mut log = Log::open(&settings).unwrap();
    for number in 0..9 {
        log.take(&messages::opened(&format!("e{number}"), "cam"))
            .unwrap();
    }
    let ids = |path: &Path| -> Vec<String> {
        lines(path)
            .iter()
            .map(|line| line["event_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&path), ["e8"]);
    assert_eq!(ids(&numbered(&path, 1)), ["e6", "e7"]);
    assert_eq!(ids(&numbered(&path, 2)), ["e4", "e5"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    // Of an age of nothing, every line has a file of its own.
    let settings = LogSettings {
        max_age: Some(Duration::ZERO),
        ..LogSettings::new(&path)
    };
    let mut log = Log::open(&settings).unwrap();
    log.take(&messages::opened("e9", "cam")).unwrap();
    assert_eq!(ids(&numbered(&path, 1)), ["e8"]);
}

/// Takes so many bytes, and then no more.
struct Full {
    content: Arc<Mutex<Vec<u8>>>,
    room: Arc<Mutex<usize>>,
}

impl Medium for Full {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        let room = self.room.lock().unwrap().saturating_sub(content.len());
        content.extend_from_slice(&line[..line.len().min(room)]);
        if room < line.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.content.lock().unwrap().truncate(length as usize);
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn metadata(&self) -> Option<Metadata> {
        None
    }
}

#[test]
fn a_full_disk_has_no_half_lines_and_events_follow_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&LogSettings::new(dir.path().join("x.jsonl"))).unwrap();
    let content = Arc::new(Mutex::new(Vec::new()));
    let room = Arc::new(Mutex::new(0));
    if let Some(current) = &mut log.current {
        current.medium = Box::new(Full {
            content: Arc::clone(&content),
            room: Arc::clone(&room),
        });
    }
    let length = serde_json::to_vec(&messages::record("e0", "cam"))
        .unwrap()
        .len()
        + 1;
    *room.lock().unwrap() = length + length / 2;
    log.take(&messages::opened("e0", "cam")).unwrap();
    let error = log.take(&messages::opened("e1", "cam")).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    assert_eq!(content.lock().unwrap().len(), length, "no half line");
    // Held, without another attempt at once.
    log.take(&messages::opened("e2", "cam")).unwrap();
    // A frame is not held.
    log.write(&"frame", false).unwrap();
    let status = log.status().unwrap();
    assert_eq!((status.failing, status.waiting, status.lost), (true, 2, 1));
    log.finish().unwrap_err();
    assert_eq!(log.status().unwrap().lost, 3);
    *room.lock().unwrap() = 10 * length;
    log.finish().unwrap();
    assert_eq!(log.status().unwrap().lost, 1);
    let text = String::from_utf8(content.lock().unwrap().clone()).unwrap();
    let ids: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["event_id"].to_string()
        })
        .collect();
    assert_eq!(ids, ["\"e0\"", "\"e1\"", "\"e2\""]);
}

#[test]
fn a_file_that_is_moved_gets_a_successor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs/events.jsonl");
    let mut log = Log::open(&LogSettings::new(&path)).unwrap();
    let mut take = |event: &str| log.take(&messages::opened(event, "cam")).unwrap();
    let ids = |path: &Path| -> Vec<String> {
        let id = |line: &serde_json::Value| line["event_id"].as_str().unwrap().to_owned();
        lines(path).iter().map(id).collect()
    };
    take("e0");
    let moved = dir.path().join("logs/events.jsonl-20260304");
    fs::rename(&path, &moved).unwrap();
    take("e1");
    assert_eq!(
        (ids(&moved), ids(&path)),
        (vec!["e0".into()], vec!["e1".into()])
    );
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    take("e2");
    assert_eq!(ids(&path), ["e2"]);
    // Copied and cut short, as logrotate's copytruncate does.
    fs::write(&path, "").unwrap();
    take("e3");
    assert_eq!(ids(&path), ["e3"]);
    // Another file in its place is taken over, and no message is needed for that.
    fs::rename(&path, &moved).unwrap();
    fs::write(&path, "{}\n").unwrap();
    take("e4");
    assert_eq!(lines(&path).len(), 2);
    fs::remove_file(&path).unwrap();
    log.idle().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Log::open(&LogSettings::new(dir.path())).err().unwrap();
    assert!(error.to_string().contains("cannot write"), "{error}");
    let text = "path = 'a.jsonl'\nmax-size = '1 MB'\nmax-age = '1day'\nkeep = 2\nframes = true";
    let settings: LogSettings = toml::from_str(text).unwrap();
    assert_eq!(settings.max_size, 1_000_000);
    assert_eq!(settings.max_age, Some(Duration::from_secs(86_400)));
    assert!(toml::from_str::<LogSettings>("path = 'a'\nsize = 1").is_err());
}
