//! Sources that are lost, plans that are changed or impossible.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use edge_vae::stream::{
    Policy, RunSummary, SinkConfig, StreamError, run,
    sink::{SinkError, Wants},
    source::SourceError,
};

use crate::fakes::*;

#[test]
fn a_lost_source_is_opened_again_and_one_that_is_given_up_leaves_the_others() {
    let notes = Notes::default();
    let mut opened = 0;
    let mut returning = camera("returning", 0, &[]);
    returning.open = Box::new(move || {
        opened += 1;
        Ok(Box::new(Line {
            next: 10 * (opened - 1),
            count: 20,
            defective: Vec::new(),
            live: true,
            lost_at: (opened == 1).then_some(10),
        }))
    });
    returning.policy = Some(Policy::All);
    let mut hopeless = camera("hopeless", 0, &[]);
    hopeless.open = Box::new(|| {
        Err(SourceError::Impossible {
            source_name: "hopeless".into(),
            problem: "ffmpeg is not installed".into(),
        })
    });
    let mut host = TestHost::default();
    let RunSummary { abandoned, .. } = run(
        plan(
            vec![returning, hopeless],
            vec![recorder("all", &notes, ALL)],
        ),
        &mut host,
    )
    .unwrap();
    assert!(matches!(abandoned, Some(SourceError::Impossible { .. })));
    assert_eq!(notes.with("frame").len(), 20);
    assert_eq!(
        notes.with("source returning"),
        [
            "source returning true",
            "source returning false",
            "source returning true",
            "source returning false"
        ]
    );
    assert_eq!(notes.with("source hopeless"), ["source hopeless false"]);
    let said = host.notes.join("\n");
    assert!(
        said.contains("hopeless: ffmpeg is not installed; given up"),
        "{said}"
    );
    assert!(said.contains("line: unplugged; trying again"), "{said}");
    assert!(said.contains("returning: back after"), "{said}");
}

#[test]
fn an_event_is_kept_before_others_hear_of_it() {
    let notes = Notes::default();
    let keeper = Wants {
        durable: true,
        ..Wants::default()
    };
    let mut host = TestHost::default();
    // Both write into the same notes.
    let sinks = vec![
        recorder("other", &notes, Wants::default()),
        recorder("keeper", &notes, keeper),
    ];
    run(
        plan(vec![camera("line", 30, &[5, 6, 7, 8])], sinks),
        &mut host,
    )
    .unwrap();
    let events = notes.with("event");
    assert_eq!(events.len(), 4);
    assert_eq!(events[0], events[1], "{events:?}");
    assert_eq!(events[2], events[3], "{events:?}");
}

#[test]
fn another_plan_takes_over_between_two_frames() {
    let notes = Notes::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let unopened = Arc::new(AtomicUsize::new(1_000_000));
    let second = plan(
        vec![camera("kept", 2000, &[]), camera("new", 40, &[])],
        // The same key: goes on, and this one is not opened.
        vec![counter(&unopened), recorder("new", &notes, ALL)],
    );
    let mut host = TestHost {
        change_after: Some((50, second)),
        seen: Arc::clone(&seen),
        ..TestHost::default()
    };
    let first = plan(
        vec![camera("kept", 2000, &[]), camera("gone", 100_000_000, &[])],
        vec![counter(&seen), recorder("old", &notes, ALL)],
    );
    let RunSummary { tally, .. } = run(first, &mut host).unwrap();
    let names: Vec<&str> = tally.sources.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["kept", "new"]);
    assert_eq!(tally.sources[0].judged, 2000, "{:?}", host.notes);
    assert_eq!(tally.sources[1].judged, 40);
    assert_eq!(unopened.load(Ordering::Relaxed), 1_000_000);
    assert!(seen.load(Ordering::Relaxed) >= 2040);
    let mut kept = VecDeque::from(notes.with("frame kept"));
    kept.retain(|note| note.ends_with("normal"));
    assert_eq!(kept.len(), 2000, "none is told twice, none is lost");
}

#[test]
fn impossible_plans_are_refused() {
    let none = run(plan(vec![], vec![]), &mut TestHost::default());
    assert!(matches!(none, Err(StreamError::NoSource)));
    let twice = vec![camera("a", 1, &[]), camera("a", 1, &[])];
    let twice = run(plan(twice, vec![]), &mut TestHost::default());
    assert!(matches!(twice, Err(StreamError::SameName { .. })));
    let sink = SinkConfig {
        key: "bad".into(),
        open: Box::new(|| {
            Err(SinkError::Setting {
                sink: "log".into(),
                problem: "no such folder".into(),
            })
        }),
    };
    let bad = run(
        plan(vec![camera("a", 1, &[])], vec![sink]),
        &mut TestHost::default(),
    );
    assert!(matches!(bad, Err(StreamError::Sink(_))));
}
