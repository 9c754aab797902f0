//! A detector that is made while another judges: a fake one, as of an engine that is compiled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use edge_vae::{
    Detector,
    stream::{Plan, Successor, run},
};

use crate::fakes::*;

/// Runs a thousand frames, every second of which has a spot, while `make` gets a detector once
/// twenty frames are judged. Returns what was said, and what was noted of the frames.
fn ran(
    change: impl FnOnce(&mut Plan),
    make: impl FnOnce() -> Result<Detector, String> + Send + 'static,
) -> (String, Vec<String>) {
    let (notes, seen) = (Notes::default(), Arc::new(AtomicUsize::new(0)));
    let defective: Vec<u64> = (0..500).map(|frame| 2 * frame).collect();
    let mut plan = plan(
        vec![camera("line", 1000, &defective)],
        vec![counter(&seen), recorder("all", &notes, ALL)],
    );
    plan.successor = Some(
        Successor::start(move || {
            while seen.load(Ordering::Relaxed) < 20 {
                thread::sleep(Duration::from_millis(1));
            }
            make()
        })
        .unwrap(),
    );
    change(&mut plan);
    let mut host = TestHost::default();
    run(plan, &mut host).unwrap();
    (host.notes.join("\n"), notes.with("frame"))
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
    assert_eq!(frames.len(), 1000, "none is lost, none is told twice");
    assert!(frames.iter().all(|frame| frame.ends_with("normal")));
}

#[test]
fn where_there_is_none_the_first_goes_on() {
    let (said, frames) = ran(|_| (), || Err("out of memory".to_owned()));
    assert!(said.contains("goes on on tract 0."), "{said}");
    assert!(said.contains("out of memory"), "{said}");
    let anomalous = frames.iter().filter(|frame| frame.ends_with("anomalous"));
    assert_eq!((frames.len(), anomalous.count()), (1000, 500));

    let (said, frames) = ran(|_| (), || panic!("of the test"));
    assert!(said.contains("it broke off"), "{said}");
    assert_eq!(frames.len(), 1000);
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
