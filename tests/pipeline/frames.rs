//! Each frame is scored once, in order, or counted.

use std::sync::{Arc, Mutex, atomic::AtomicUsize};

use edge_vae::{
    drift::DriftSettings,
    stream::{
        Policy, RunSummary, SinkConfig, run,
        sink::{Message, Sink, SinkError, Wants},
    },
};

use crate::{fakes::*, tiny};

#[test]
fn every_frame_is_judged_in_order_and_each_defect_is_one_event() {
    let notes = Notes::default();
    let defective: Vec<u64> = (20..26).chain(100..104).collect();
    let RunSummary { tally, .. } = run(
        plan(
            vec![camera("line", 200, &defective)],
            vec![recorder("all", &notes, ALL)],
        ),
        &mut TestHost::default(),
    )
    .unwrap();
    let frames: Vec<String> = (0..200)
        .map(|number| {
            let label = match defective.contains(&number) {
                true => "anomalous",
                false => "normal",
            };
            format!("frame line {number} {label}")
        })
        .collect();
    assert_eq!(notes.with("frame"), frames);
    assert_eq!(
        notes.with("event open").len(),
        2,
        "{:?}",
        notes.with("event")
    );
    assert_eq!(
        notes.with("event closed"),
        ["event closed line 20-25 6", "event closed line 100-103 4"]
    );
    assert_eq!(notes.read().last().map(String::as_str), Some("finished"));
    let source = &tally.sources[0];
    assert_eq!(
        (source.captured, source.judged, source.dropped),
        (200, 200, 0)
    );
    assert_eq!(
        (source.normal, source.anomalous, source.invalid),
        (190, 10, 0)
    );
    assert_eq!(source.events, 2);
    assert!(tally.stages.iter().all(|stage| stage.p50 <= stage.p99));
}

/// Numbers of the frames for which the encoder ran.
#[derive(Clone, Default)]
struct Encoded(Arc<Mutex<Vec<u64>>>);

impl Sink for Encoded {
    fn name(&self) -> &str {
        "encoded"
    }

    fn wants(&self) -> Wants {
        ALL
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        if let Message::Frame(scored) = message
            && scored.record.latency_ms.encode > 0.0
        {
            self.0.lock().unwrap().push(scored.record.frame_number);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Of a live source one a second, 40 ms a frame, is compared for drift.
#[test]
fn what_a_verdict_does_not_need_runs_for_drift_and_anomalous_frames() {
    let encoded = Encoded::default();
    let mut line = camera("line", 60, &[10]);
    line.open = Box::new(|| {
        Ok(Box::new(Line {
            next: 0,
            count: 60,
            defective: vec![10],
            live: true,
            lost_at: None,
        }))
    });
    line.policy = Some(Policy::All);
    line.monitoring.drift = Some(DriftSettings::default());
    // Its frames are all the same.
    line.monitoring.health.frozen_after = 0;
    let sink = encoded.clone();
    let sink = SinkConfig {
        key: "encoded".into(),
        open: Box::new(move || Ok(Box::new(sink))),
    };
    let mut plan = plan(vec![line], vec![sink]);
    plan.detector = detector_of(tiny::without_vae(false));
    plan.options.frames = Some(60);
    let RunSummary { tally, .. } = run(plan, &mut TestHost::default()).unwrap();
    let source = &tally.sources[0];
    assert_eq!((source.normal, source.anomalous), (59, 1));
    assert_eq!(*encoded.0.lock().unwrap(), [0, 10, 25, 50]);
}

#[test]
fn where_the_latest_is_wanted_each_frame_is_judged_or_counted_as_dropped() {
    let notes = Notes::default();
    let mut line = camera("line", 3000, &[]);
    line.policy = Some(Policy::Latest);
    let RunSummary { tally, .. } = run(
        plan(vec![line], vec![recorder("all", &notes, ALL)]),
        &mut TestHost::default(),
    )
    .unwrap();
    let source = &tally.sources[0];
    assert_eq!(source.captured, 3000);
    assert_eq!(source.judged + source.dropped, 3000);
    let numbers: Vec<u64> = notes
        .with("frame")
        .iter()
        .map(|note| note.split(' ').nth(2).unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers.len() as u64, source.judged);
    assert!(numbers.is_sorted());
    assert_eq!(numbers.last(), Some(&2999), "the latest is never lost");
}

#[test]
fn a_limit_of_frames_is_kept_to_the_frame() {
    let notes = Notes::default();
    let mut plan = plan(
        vec![camera("a", 1000, &[]), camera("b", 1000, &[])],
        vec![recorder("all", &notes, ALL)],
    );
    plan.options.frames = Some(61);
    let RunSummary { tally, .. } = run(plan, &mut TestHost::default()).unwrap();
    assert_eq!(notes.with("frame").len(), 61);
    let judged: u64 = tally.sources.iter().map(|source| source.judged).sum();
    assert_eq!(judged, 61);
}

#[test]
fn at_the_end_the_frames_in_flight_are_judged() {
    let notes = Notes::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut host = TestHost {
        // As soon as it runs.
        stop_after: Some(0),
        seen,
        ..TestHost::default()
    };
    let RunSummary { tally, .. } = run(
        plan(
            vec![camera("line", 1_000_000, &[])],
            vec![recorder("all", &notes, ALL)],
        ),
        &mut host,
    )
    .unwrap();
    let source = &tally.sources[0];
    // Each that was captured is judged, but for the one that waits for dir at the end.
    assert!(source.captured - source.judged <= 1, "{source:?}");
    assert_eq!(notes.read().last().map(String::as_str), Some("finished"));
}
