//! Time of each part of a verdict, one thread, on a procedural frame of 256×256 pixels with a
//! defect and the shipped model `models/surface`, or the bundle that `BUNDLE` names.
//!
//! `make bench`, or `cargo bench --bench parts -- map` for the parts whose name contains «map».

use std::{env, hint::black_box, io::Cursor, path::PathBuf};

use divan::Bencher;
use edge_vae::{
    Detector, Frame, InferenceSession,
    backend::{Engine, EngineOptions},
    bundle::Bundle,
    frame::{DecodeOptions, PixelFormat},
    render::judged_overlay,
    runtime::{load_preprocessor, load_scorer},
    scoring::regions,
    synth::{DefectKind, Defects, SurfaceSettings, surface_frame},
};
use image::ImageFormat;

fn main() {
    divan::main();
}

fn bundle() -> Bundle {
    let shipped = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/models/surface"));
    let path = env::var_os("BUNDLE").map_or_else(shipped, PathBuf::from);
    Bundle::open(&path).expect("a bundle")
}

fn engine() -> Engine {
    Engine::open(&EngineOptions::default()).expect("the engine that is compiled in")
}

fn session() -> InferenceSession {
    InferenceSession::open(&bundle(), &engine()).expect("a bundle that runs")
}

fn picture() -> image::GrayImage {
    let settings = SurfaceSettings {
        defects: Defects::Always(DefectKind::ALL[0]),
        ..SurfaceSettings::default()
    };
    surface_frame(1, 0, &settings)
        .expect("settings in range")
        .picture
}

fn frame() -> Frame {
    let picture = picture();
    let (width, height) = picture.dimensions();
    Frame::from_u8(
        width,
        height,
        PixelFormat::Gray8,
        picture.into_raw(),
        "bench",
    )
    .expect("one sample for each pixel")
}

#[divan::bench(args = [ImageFormat::Png, ImageFormat::Jpeg])]
fn decode_picture(bencher: Bencher, format: ImageFormat) {
    let mut file = Cursor::new(Vec::new());
    picture()
        .write_to(&mut file, format)
        .expect("memory takes it");
    let file = file.into_inner();
    bencher.bench(|| Frame::decode(black_box(&file), "bench", &DecodeOptions::default()));
}

#[divan::bench]
fn prepare_tensor(bencher: Bencher) {
    let mut preprocessor = load_preprocessor(&bundle()).expect("settings in range");
    let mut canvas = vec![0.0; preprocessor.canvas().len()];
    let frame = frame();
    bencher.bench_local(|| {
        preprocessor
            .prepare(black_box(&frame), &mut canvas)
            .map(drop)
    });
}

/// Each graph by itself, on zeros.
#[divan::bench(args = graphs())]
fn run_graph(bencher: Bencher, file: &str) {
    let bundle = bundle();
    let bytes = bundle.file(file).expect("a file of the bundle");
    let mut graph = engine().load(bytes, file, 1).expect("a graph that runs");
    let inputs: Vec<_> = graph
        .inputs()
        .iter()
        .map(|tensor| vec![0.0; tensor.len()])
        .collect();
    let inputs: Vec<_> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs: Vec<_> = graph
        .outputs()
        .iter()
        .map(|tensor| vec![0.0; tensor.len()])
        .collect();
    bencher.bench_local(|| {
        let mut outputs: Vec<_> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        graph.run(black_box(&inputs), &mut outputs)
    });
}

fn graphs() -> Vec<String> {
    let bundle = bundle();
    let files = bundle.manifest().files.keys();
    files
        .filter(|name| name.ends_with(".onnx"))
        .cloned()
        .collect()
}

/// Score and map of a frame whose graphs have run.
#[divan::bench]
fn score_map(bencher: Bencher) {
    let mut session = session();
    let mut scorer = load_scorer(&bundle(), &session.tensor_shapes())
        .expect("statistics that fit")
        .expect("a bundle that scores");
    let mut map = vec![0.0; scorer.positions()];
    session.run(&frame()).expect("a frame");
    bencher.bench_local(|| scorer.score(&session.outputs(), &mut map));
}

/// Regions of the map of a frame with a defect.
#[divan::bench]
fn find_regions(bencher: Bencher) {
    let mut detector = Detector::new(&bundle(), &engine()).expect("a bundle that scores");
    let detection = detector.score(&frame()).expect("a frame");
    let map = detector.frame_map(&detection).expect("it was scored");
    let mean = map.mean().expect("it is not empty");
    bencher.bench(|| regions(black_box(map.view()), mean, 1));
}

#[divan::bench]
fn draw_overlay(bencher: Bencher) {
    let mut detector = Detector::new(&bundle(), &engine()).expect("a bundle that scores");
    let frame = frame();
    let detection = detector.score(&frame).expect("a frame");
    let map = detector.frame_map(&detection).expect("it was scored");
    bencher.bench(|| {
        judged_overlay(
            black_box(&frame),
            &detection,
            Some(map.view()),
            [0.0, 1.0],
            1.0,
            "bench",
        )
    });
}

/// From frame to verdict.
#[divan::bench]
fn score_frame(bencher: Bencher) {
    let mut detector = Detector::new(&bundle(), &engine()).expect("a bundle that scores");
    let frame = frame();
    bencher.bench_local(|| detector.score(black_box(&frame)));
}
