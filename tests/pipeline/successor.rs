//! A detector that is made while another judges: a fake one, as of an engine that is compiled.

use std::{
    fmt::Display,
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use edge_vae::{
    Detector,
    stream::{Host, Plan, Successor, record::Tally, run},
};

use crate::fakes::*;

/// Stops fifty frames after it was told of the successor.
struct UntilTold {
    said: String,
    seen: Arc<AtomicUsize>,
    stop_at: Option<usize>,
}

impl Host for UntilTold {
    fn stop(&mut self) -> bool {
        let seen = self.seen.load(Ordering::Relaxed);
        self.stop_at.is_some_and(|stop| seen >= stop)
    }

    fn change(&mut self) -> Option<Result<Plan, String>> {
        None
    }

    fn alive(&mut self) {}

    fn tally(&mut self, _tally: &Tally) {}

    fn note(&mut self, text: &dyn Display) {
        let text = text.to_string();
        if text.contains("on tract 0.") {
            self.stop_at = Some(self.seen.load(Ordering::Relaxed) + 50);
        }
        self.said += &text;
    }
}

/// Runs frames every second of which has a spot, while `make` gets a detector once twenty are
/// judged. Returns what was said, and what was noted of the frames.
fn ran(
    change: impl FnOnce(&mut Plan),
    make: impl FnOnce() -> Result<Detector, String> + Send + 'static,
) -> (String, Vec<String>) {
    let (notes, seen) = (Notes::default(), Arc::new(AtomicUsize::new(0)));
    let defective: Vec<u64> = (0..100_000).map(|frame| 2 * frame).collect();
    let mut plan = plan(
        vec![camera("line", 200_000, &defective)],
        vec![counter(&seen), recorder("all", &notes, ALL)],
    );
    let mut host = UntilTold {
        said: String::new(),
        seen: Arc::clone(&seen),
        stop_at: None,
    };
    let after_twenty = move || {
        while seen.load(Ordering::Relaxed) < 20 {
            thread::sleep(Duration::from_millis(1));
        }
        make()
    };
    plan.successor = Some(Successor::start(after_twenty).unwrap());
    change(&mut plan);
    run(plan, &mut host).unwrap();
    let frames = notes.with("frame");
    assert!(frames.len() >= 70, "{}", frames.len());
    for (number, frame) in frames.iter().enumerate() {
        // None is lost, none is told twice.
        let start = format!("frame line {number} ");
        assert!(frame.starts_with(&start), "{number}: {frame}");
    }
    (host.said, frames)
}

fn anomalous(frames: &[String]) -> usize {
    let is_anomalous = |frame: &&String| frame.ends_with("anomalous");
    frames.iter().filter(is_anomalous).count()
}

#[test]
fn it_takes_over_between_two_frames_and_keeps_the_threshold() {
    let made = detector();
    // As after `ctl threshold`: nothing is anomalous any more.
    let raise = |plan: &mut Plan| plan.detector.calibration_mut().threshold = 1e9;
    let (said, frames) = ran(raise, move || Ok(made));
    assert!(
        said.contains("runs on tract 0.") && said.contains("from now on"),
        "{said}"
    );
    assert_eq!(anomalous(&frames), 0);
}

#[test]
fn where_there_is_none_the_first_goes_on() {
    let (said, frames) = ran(|_| (), || Err("out of memory".to_owned()));
    assert!(said.contains("goes on on tract 0."), "{said}");
    assert!(said.contains("out of memory"), "{said}");
    assert_eq!(anomalous(&frames), frames.len().div_ceil(2));

    let (said, frames) = ran(|_| (), || panic::resume_unwind(Box::new("of the test")));
    assert!(said.contains("it broke off"), "{said}");
    assert_eq!(anomalous(&frames), frames.len().div_ceil(2));
}

#[test]
fn a_run_that_ends_does_not_wait_for_it() {
    let notes = Notes::default();
    let mut plan = plan(
        vec![camera("line", 20, &[])],
        vec![recorder("all", &notes, ALL)],
    );
    let endless = || loop {
        thread::sleep(Duration::from_secs(1));
    };
    plan.successor = Some(Successor::start(endless).unwrap());
    run(plan, &mut TestHost::default()).unwrap();
    assert_eq!(notes.with("frame").len(), 20);
}
