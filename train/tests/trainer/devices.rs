//! Several devices train together.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Scratch, assert_fails, fit, graphs, interruption::long_fit, stderr};

#[test]
fn one_device_and_several_train_the_same_network_also_when_interrupted() {
    let scratch = Scratch::new();
    let one = scratch.train(&long_fit(
        "one/model",
        &["--device", "cpu", "--shards", "3"],
    ));
    assert!(one.status.success(), "{}", stderr(&one));
    let wanted = graphs(&scratch.path("one/model"));

    let three = ["--devices", "cpu,cpu,cpu"];
    let child = scratch
        .command(&long_fit("several/model", &three))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the trainer starts");
    // It is written before the first step.
    let begun = scratch.path("several/model.training/metrics.jsonl");
    let patience = Instant::now();
    while !begun.exists() && patience.elapsed() < Duration::from_secs(300) {
        thread::sleep(Duration::from_millis(1));
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill runs").success());
    let output = child.wait_with_output().expect("the trainer ends");
    let said = stderr(&output);
    assert!(said.contains("300 steps on 3 devices"), "{said}");
    assert_fails(&output, &["interrupted at step", "--resume"]);

    let resume = |more: &[&str]| {
        let arguments = [&["--resume"], more].concat();
        scratch.train(&long_fit("several/model", &arguments))
    };
    assert_fails(
        &resume(&["--device", "cpu,cpu,cpu,cpu"]),
        &["--device", "4 devices", "has 3"],
    );
    assert_fails(&resume(&["--shards", "2"]), &["other flags", "shards 2"]);
    let two = resume(&["--device", "cpu,cpu"]);
    assert!(two.status.success(), "{}", stderr(&two));
    assert!(
        graphs(&scratch.path("several/model")) == wanted,
        "other devices gave other bits"
    );
}

#[test]
fn devices_that_cannot_train_together_are_errors() {
    let scratch = Scratch::new();
    for (list, words) in [
        ("tpu", "\"tpu\" is no device"),
        ("cpu,cuda:0", "name one kind"),
        ("cuda:0,cuda:1,cuda", "cuda:0 is named twice"),
    ] {
        let run = scratch.train(&fit("model", &["--device", list]));
        assert_eq!(run.status.code(), Some(2));
        assert!(stderr(&run).contains(words), "{}", stderr(&run));
    }
    if !cfg!(feature = "cuda") {
        let run = scratch.train(&fit("model", &["--device", "cuda:0,cuda:1"]));
        assert_fails(&run, &["--device cuda", "without CUDA"]);
    }
    let run = scratch.train(&fit("model", &["--device", "cpu,cpu", "--vae", "off"]));
    assert_fails(&run, &["--device", "--vae off"]);
    let run = scratch.train(&fit("model", &["--shards", "9"]));
    assert_fails(&run, &["--shards", "8 frames"]);
    assert!(!scratch.path("model").exists());
}
