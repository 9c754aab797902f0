use std::sync::{Arc, Mutex};

use super::{super::test_messages as messages, *};

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn all() -> Vec<Message> {
    vec![
        messages::frame("cam", 1, 2.0),
        messages::opened("e1", "cam"),
        messages::closed("e1", "cam"),
        messages::drift("cam"),
        messages::lost("cam\n2"),
        messages::tally(&["cam"]),
    ]
}

fn written(mut terminal: Terminal, paper: &Paper) -> String {
    for message in all() {
        terminal.take(&message).unwrap();
    }
    terminal.finish().unwrap();
    String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn json_has_an_object_a_line() {
    let paper = Paper::default();
    let text = written(Terminal::json(Box::new(paper.clone())), &paper);
    let types: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].to_string())
        .collect();
    assert_eq!(types, ["\"frame\"", "\"event\"", "\"event\"", "\"drift\""]);
}

#[test]
fn people_get_a_line_an_event_and_none_a_frame() {
    let paper = Paper::default();
    let terminal =
        Terminal::lines(Box::new(paper.clone())).with_status(ProgressDrawTarget::hidden());
    let text = written(terminal, &paper);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "2026-03-04T05:06:07.089Z  cam  event e1 opened: score 9.0000, threshold 4.0000, \
             p-value 1.00e-2, 1 region",
            "2026-03-04T05:06:07.089Z  cam  event e1 closed after 12 frames (normal frames): \
             score 9.0000, threshold 4.0000, p-value 1.00e-2, 1 region",
            "2026-03-04T05:06:07.089Z  cam  drifted: the light is darker",
        ]
    );
}

#[test]
fn the_live_line_counts() {
    let Message::Tally(tally) = messages::tally(&["cam"]) else {
        unreachable!()
    };
    let latest = [("cam".to_owned(), "normal", Some(2.128))];
    assert_eq!(
        status_line(&tally, &latest),
        "cam 29.8 fps normal 2.13 | 1790 frames, 3 events, 10 dropped | 61 °C"
    );
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    struct Fails(io::ErrorKind);
    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut terminal = Terminal::json(Box::new(Fails(io::ErrorKind::BrokenPipe)));
    terminal.take(&messages::opened("e1", "cam")).unwrap();
    assert!(terminal.is_closed());
    terminal.take(&messages::opened("e2", "cam")).unwrap();
    let mut terminal = Terminal::lines(Box::new(Fails(io::ErrorKind::StorageFull)));
    let error = terminal.take(&messages::opened("e1", "cam")).unwrap_err();
    assert!(error.to_string().starts_with("terminal: cannot write"));
}
