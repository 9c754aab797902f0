//! Allocations of a frame in steady state: none of our own between a decoded frame and the verdict.

#[path = "../tiny/mod.rs"]
mod tiny;
#[cfg(feature = "watch")]
mod watch;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use edge_vae::{
    Detector, Explain, Frame,
    backend::{BackendKind, Device, Engine, EngineOptions},
    bundle::Bundle,
    runtime::Label,
};

/// Notes where a watched thread allocates.
struct Noting;

#[global_allocator]
static ALLOCATOR: Noting = Noting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Vec<Backtrace>> = const { RefCell::new(Vec::new()) };
}

fn note() {
    // Where it fails the thread is ending, and what notes allocates itself.
    if WATCHED.try_with(|watched| watched.replace(false)) == Ok(true) {
        let trace = Backtrace::force_capture();
        NOTED.with_borrow_mut(|noted| noted.push(trace));
        WATCHED.set(true);
    }
}

// SAFETY: all work is the system allocator's; what is done beside it returns to this allocator
// with the thread no longer watched, and touches no memory that was asked for.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Whose an allocation is: the innermost of these that the stack has.
const OTHERS: [(&str, &str); 2] = [
    ("tract", "edge_vae::backend::tract::TractGraph"),
    ("fast_image_resize", "fast_image_resize::"),
];

/// How often each library allocates in `work`, and where we do.
fn allocations(work: impl FnOnce()) -> (BTreeMap<&'static str, usize>, Vec<String>) {
    WATCHED.set(true);
    work();
    noted()
}

/// The same of this thread since it is watched; it no longer is.
fn noted() -> (BTreeMap<&'static str, usize>, Vec<String>) {
    WATCHED.set(false);
    let traces = NOTED.take();
    let (mut counts, mut own) = (BTreeMap::new(), Vec::new());
    for trace in traces {
        let text = trace.to_string();
        match OTHERS.iter().find(|(_, symbol)| text.contains(symbol)) {
            Some((name, _)) => *counts.entry(*name).or_default() += 1,
            None => {
                let ours = text.lines().filter(|line| line.contains("edge_vae::"));
                own.push(ours.take(4).map(str::trim).collect::<Vec<_>>().join(" < "));
            }
        }
    }
    (counts, own)
}

fn engine() -> Engine {
    let options = EngineOptions {
        backend: Some(BackendKind::Tract),
        device: Device::Cpu,
        ..EngineOptions::default()
    };
    Engine::open(&options).unwrap()
}

/// Asserts that frames like `frame`, a normal one, are judged without an allocation of ours.
fn assert_none(name: &str, bundle: &Bundle, frame: &Frame) {
    let mut detector = Detector::new(bundle, &engine()).unwrap();
    for explain in [Explain::Always, Explain::Anomalous] {
        detector.explain(explain);
        // Buffers are made for the first.
        for _ in 0..2 {
            assert_eq!(
                detector.score(frame).unwrap().verdict.label,
                Label::Normal,
                "{name}"
            );
        }
        let (counts, own) = allocations(|| drop(detector.score(frame).unwrap()));
        println!("{name}, {explain:?}: {counts:?} a frame");
        assert!(own.is_empty(), "{name}, {explain:?}: {own:#?}");
    }
}

#[test]
fn a_normal_frame_of_the_vae_route_allocates_nothing_of_ours() {
    let bundle = tiny::writer().finish().unwrap();
    assert_none("tiny", &bundle, &tiny::frame(1, None));
}

#[test]
fn a_normal_frame_of_the_feature_route_allocates_nothing_of_ours() {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "models", "surface"]
        .iter()
        .collect();
    let bundle = Bundle::open(&folder).unwrap();
    let frame = Frame::open(&folder.join(Path::new("golden.png"))).unwrap();
    assert_none("models/surface", &bundle, &frame);
}

/// The allocator sees what it is to see.
#[test]
fn allocations_are_seen_and_named() {
    let (counts, own) = allocations(|| drop(std::hint::black_box(vec![0_u8; 100])));
    assert_eq!((counts.len(), own.len()), (0, 1));
}
