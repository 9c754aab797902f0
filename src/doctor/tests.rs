//! Each finding, on recorded machines.

mod configuration;
mod devices;

use std::path::Path;

use super::{Finding, Severity, examine, has_errors, recorded::RecordedMachine};
use crate::stream::Configuration;

use Severity::{Error, Note, Ok, Warning};

/// All findings of a machine; the engine's are a mark.
fn findings(machine: &RecordedMachine, configuration: Option<&str>) -> Vec<Finding> {
    let configuration =
        configuration.map(|text| Configuration::parse(text, Path::new("/etc/a.toml")).unwrap());
    let engine = || vec![Finding::ok("engine", "the engine")];
    examine(machine, configuration.as_ref(), engine)
}

/// The findings of one topic, as lines.
fn lines(machine: &RecordedMachine, topic: &str) -> Vec<String> {
    let found = findings(machine, None).into_iter();
    let found = found.filter(|finding| finding.topic == topic);
    found.map(|finding| finding.to_string()).collect()
}

/// The only finding of a topic has this severity and these words.
#[track_caller]
fn says(machine: &RecordedMachine, topic: &str, severity: Severity, words: &[&str]) {
    let found = lines(machine, topic);
    let [line] = &found[..] else {
        panic!("{topic}: {found:?}");
    };
    told(line, severity, words);
}

#[track_caller]
fn told(line: &str, severity: Severity, words: &[&str]) {
    assert!(line.starts_with(&severity.to_string()), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

#[test]
fn every_machine_has_one_line_a_finding_and_remedies_where_something_is_wrong() {
    for (name, machine) in RecordedMachine::all() {
        let found = findings(&machine, None);
        for finding in &found {
            let line = finding.to_string();
            assert!(
                !line.contains('\n') && !finding.text.is_empty(),
                "{name}: {line}"
            );
            if finding.severity >= Warning {
                assert!(finding.remedy.is_some(), "{name}: {line}");
            }
        }
        for topic in [
            "board",
            "processor",
            "system",
            "gpu",
            "engine",
            "camera",
            "disk",
            "time",
        ] {
            assert!(
                found.iter().any(|finding| finding.topic == topic),
                "{name}: {topic}"
            );
        }
        assert!(!has_errors(&found), "{name}");
    }
}

#[test]
fn boards_are_named() {
    says(
        &RecordedMachine::orin(),
        "board",
        Ok,
        &["NVIDIA Jetson AGX Orin Developer Kit"],
    );
    says(
        &RecordedMachine::pi5(),
        "board",
        Ok,
        &["Raspberry Pi 5 Model B"],
    );
    says(
        &RecordedMachine::x86(),
        "board",
        Ok,
        &["Dell Inc. OptiPlex 7010"],
    );
    let bare = RecordedMachine::x86().without("/sys/class/dmi");
    says(&bare, "board", Ok, &["virtual machine"]);
    says(
        &RecordedMachine::x86(),
        "system",
        Ok,
        &["bookworm", "6.1.0-28-amd64"],
    );
    let inside = RecordedMachine::x86().with("/.dockerenv", "");
    says(&inside, "system", Ok, &["in a container"]);
}

#[test]
fn jetpack_is_told_by_the_release_of_linux_for_tegra() {
    says(
        &RecordedMachine::orin(),
        "jetpack",
        Ok,
        &["JetPack 6.2 ", "36.4.3"],
    );
    let of = |release: &str| {
        let text = format!("# R{release}, GCID: 1, BOARD: generic");
        RecordedMachine::orin().with("/etc/nv_tegra_release", &text)
    };
    says(
        &of("36 (release), REVISION: 4.0"),
        "jetpack",
        Ok,
        &["JetPack 6.1 "],
    );
    says(
        &of("38 (release), REVISION: 2.0"),
        "jetpack",
        Ok,
        &["JetPack 7.0 "],
    );
    says(
        &of("39 (release), REVISION: 1.0"),
        "jetpack",
        Ok,
        &["39.1.0", "not known"],
    );
    let old = of("35 (release), REVISION: 6.0");
    says(
        &old,
        "jetpack",
        Warning,
        &["JetPack 5 ", "install JetPack 6"],
    );
    let hidden = RecordedMachine::orin().without("/etc/nv_tegra_release");
    says(&hidden, "jetpack", Note, &["not visible"]);
    assert!(lines(&RecordedMachine::pi5(), "jetpack").is_empty());
}

#[test]
fn a_processor_without_vectors_is_told() {
    says(
        &RecordedMachine::x86(),
        "processor",
        Ok,
        &["i5-13500T", "2 cores", "x86_64"],
    );
    let old = RecordedMachine::x86().with("/proc/cpuinfo", "processor: 0\nflags: sse4_2 avx\n");
    says(&old, "processor", Warning, &["AVX2"]);
    says(
        &RecordedMachine::pi5(),
        "processor",
        Ok,
        &["Cortex-A76", "4 cores", "aarch64"],
    );
}

#[test]
fn without_a_gpu_there_is_one_calm_line() {
    for machine in [RecordedMachine::x86(), RecordedMachine::pi5()] {
        says(
            &machine,
            "gpu",
            Ok,
            &["no NVIDIA GPU here; frames are judged on the processor"],
        );
        for topic in ["cuda", "cudnn", "tensorrt"] {
            assert!(lines(&machine, topic).is_empty());
        }
    }
}

#[test]
fn gpus_and_their_libraries_are_told() {
    let orin = RecordedMachine::orin();
    says(&orin, "gpu", Ok, &["Jetson", "540.4.0"]);
    says(&orin, "cuda", Ok, &["12.6.68"]);
    says(&orin, "cudnn", Ok, &["9.3.0"]);
    says(&orin, "tensorrt", Ok, &["10.3.0"]);
    let card = RecordedMachine::x86_gpu();
    says(&card, "gpu", Ok, &["RTX A2000", "12 GiB", "550.120"]);
    says(&card, "cuda", Ok, &["site-packages/nvidia/cuda_runtime"]);
    says(
        &card,
        "tensorrt",
        Note,
        &["--device tensorrt", "tensorrt-cu12"],
    );
    let nano = RecordedMachine::orin_nano();
    says(
        &nano,
        "cudnn",
        Warning,
        &["no libcudnn.so", "nvidia-cudnn", "JetPack"],
    );
    let old = card.with("/usr/local/cuda/lib64/libcudnn.so.8", "");
    let old = old.without("/home/line/venv/lib/python3.12/site-packages/nvidia/cudnn");
    says(&old, "cudnn", Warning, &["cuDNN 8", "needs 9"]);
}

#[test]
fn a_card_without_its_driver_is_told() {
    let card = RecordedMachine::x86_gpu().without("/proc/driver/nvidia");
    says(
        &card,
        "gpu",
        Warning,
        &["without NVIDIA's driver", "ubuntu-drivers"],
    );
}

#[test]
fn every_onnx_runtime_is_told_with_what_is_wrong() {
    says(
        &RecordedMachine::orin(),
        "onnxruntime",
        Ok,
        &["1.23.0", "CPU, CUDA, TensorRT"],
    );
    let old = RecordedMachine::x86();
    says(
        &old,
        "onnxruntime",
        Warning,
        &["inspect/.venv", "1.18.1", "1.23 or newer"],
    );
    let none = RecordedMachine::pi5();
    says(
        &none,
        "onnxruntime",
        Note,
        &["none found", "tract", "pip install onnxruntime"],
    );
    says(
        &RecordedMachine::orin_nano(),
        "onnxruntime",
        Note,
        &["to use the GPU"],
    );

    let place = "/usr/local/lib/libonnxruntime.so";
    let unnamed = RecordedMachine::pi5().with(place, "\u{0}VERS_1.20.1\u{0}");
    says(
        &unnamed,
        "onnxruntime",
        Warning,
        &["1.20.1", "1.23 or newer"],
    );

    let venv = "/opt/tools/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.25.0";
    let elsewhere = RecordedMachine::pi5().with(venv, "");
    says(
        &elsewhere,
        "onnxruntime",
        Note,
        &["not active", "--ort-library /opt/tools"],
    );

    let mut named = RecordedMachine::pi5();
    named
        .variables
        .insert("ORT_DYLIB_PATH".into(), "/nowhere/libonnxruntime.so".into());
    says(
        &named,
        "onnxruntime",
        Warning,
        &["/nowhere", "can't be read"],
    );
}

#[test]
fn a_gpu_that_idles_for_want_of_a_provider_is_told() {
    let capi = "/home/line/venv/lib/python3.12/site-packages/onnxruntime/capi";
    let card = RecordedMachine::x86_gpu()
        .without(&format!("{capi}/libonnxruntime_providers_cuda.so"))
        .without(&format!("{capi}/libonnxruntime_providers_tensorrt.so"));
    let found = lines(&card, "onnxruntime");
    assert_eq!(found.len(), 2);
    told(&found[0], Ok, &["1.23.2 for CPU"]);
    told(&found[1], Warning, &["the GPU idles", "onnxruntime-gpu"]);
}
