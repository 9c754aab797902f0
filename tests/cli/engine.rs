//! `edge-vae engine`: what is kept of engines, on a machine without TensorRT.

use std::{env, fs};

use edge_vae::runtime::tensor_rt::EngineStore;

use crate::test_dir::{Ran, TestDir};

#[test]
fn without_tensorrt_nothing_is_built_and_one_line_says_why() {
    let dir = TestDir::new();
    dir.run(&["engine", "build", "--model", "model"])
        .fails_at_once(&["ONNX Runtime not found", "pip install onnxruntime"]);
    if let Some(library) = env::var_os("ORT_DYLIB_PATH") {
        let mut command = dir.command(&["engine", "build", "--model", "model"]);
        let ran = Ran::of(command.env("ORT_DYLIB_PATH", library).output().unwrap());
        if ran.stderr.contains("NVIDIA driver") {
            eprintln!("skipped: this ONNX Runtime has the TensorRT provider");
        } else {
            ran.fails_at_once(&["device `tensorrt` cannot run", "TensorRT provider"]);
        }
    }
}

#[test]
fn impossible_engines_are_refused_before_anything_is_opened() {
    let dir = TestDir::new();
    let build =
        |extra: &[&str]| dir.run(&[&["engine", "build", "--model", "model"], extra].concat());
    build(&["--dla", "0"]).fails_at_once(&["DLA has no fp32", "fp16"]);
    build(&["--dla", "2", "--precision", "fp16"]).fails_at_once(&["--dla", "2"]);
    build(&["--precision", "bf16"]).fails_at_once(&["bf16"]);
    dir.write("cache", "a file in the folder's place");
    build(&[]).fails_at_once(&["cache", "EDGE_VAE_CACHE names another"]);
    dir.run(&["engine", "build", "--model", "nowhere"])
        .fails_at_once(&["nowhere"]);
}

#[test]
fn what_is_kept_is_listed_and_cleared() {
    let dir = TestDir::new();
    let ran = dir.run(&["engine", "list"]);
    assert!(ran.is_fine().stdout.starts_with("nothing is kept in "));
    // As `build` writes it on a machine with a GPU.
    let record = r#"
model-id = "part-01234567"
bundle = "ab"
precision = "fp16"
dla = 0
date = "2026-11-30T12:00:00Z"
seconds = 93.5
nodes = 40
milliseconds = 1.25
[machine]
gpu = ""
board = "NVIDIA Jetson Orin Nano Developer Kit"
[agreement]
frames = 19
source = "the golden frame and 18 variants of it"
largest-difference = 0.5
tolerance = 0.2
largest-p-change = 0.01
flips = 0
refused = "a score differs by 5.000e-1, allowed are 2.000e-1"
"#;
    dir.write("cache/tensorrt/part-01234567.fp16.dla0.toml", record);
    let trial = "[key]\nmodel = \"part-01234567\"\ncpu = \"Cortex\"\nthreads = \"1\"\n\
                 [[trial]]\nengine = \"tract 0.23.9 on cpu\"\nmilliseconds = 6.5\n";
    dir.write("cache/choices/part-01234567.ab.toml", trial);
    dir.write("cache/choices/damaged.toml", "no TOML");
    let ran = dir.run(&["engine", "list"]);
    for word in [
        "part-01234567  TensorRT fp16, DLA 0, built 2026-11-30T12:00:00Z in 94 s, 1.25 ms a frame",
        "board NVIDIA Jetson Orin Nano",
        "not accepted: a score differs",
        "measured on Cortex (1 threads)",
        "tract 0.23.9 on cpu takes 6.5 ms",
    ] {
        assert!(
            ran.is_fine().stdout.contains(word),
            "{word}: {}",
            ran.stdout
        );
    }
    let listed = dir.run(&["engine", "list", "--json"]).json();
    assert_eq!(listed[0]["built"][0]["precision"], "fp16");
    assert_eq!(listed[0]["built"][0]["agreement"]["flips"], 0);
    assert_eq!(listed[0]["measured"][0]["trial"][0]["milliseconds"], 6.5);
    let other = dir.run(&["engine", "list", "--model", "model", "--json"]);
    assert_eq!(other.json()[0]["built"], serde_json::json!([]));

    let ran = dir.run(&["engine", "clear", "--model", "model"]);
    assert!(ran.stderr.contains("0 measurements and 0 built engines"));
    assert_eq!(dir.files("cache").len(), 3);
    let ran = dir.run(&["engine", "clear"]);
    assert!(ran.stderr.contains("2 measurements and 1 built engine "));
    assert!(dir.files("cache/choices").is_empty());
    let store = EngineStore::in_folder(&dir.at("cache"));
    assert!(!store.folder().exists() && store.list().is_empty());
    assert_eq!(fs::read_dir(dir.at("cache")).unwrap().count(), 1);
}
