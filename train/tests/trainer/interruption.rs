//! Interrupted and resumed runs give the bits of an undisturbed one.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use edge_vae::bundle::Bundle;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::{Scratch, assert_fails, fit, graphs, stderr};

#[test]
fn same_seed_same_bits_other_seed_others() {
    // The graphs carry the model's name, which is that of the folder.
    let scratch = Scratch::new();
    for (out, seed) in [("a/model", "1"), ("b/model", "1"), ("c/model", "2")] {
        let run = scratch.train(&fit(out, &["--seed", seed]));
        assert!(run.status.success(), "{}", stderr(&run));
    }
    let [a, b, c] = ["a/model", "b/model", "c/model"].map(|out| graphs(&scratch.path(out)));
    assert!(a == b, "the same seed gave other bits");
    assert!(a != c, "another seed gave the same bits");
}

/// Long enough to be killed ten times before it ends.
pub(super) fn long_fit<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = fit(out, more);
    for argument in &mut arguments {
        if *argument == "60" {
            *argument = "300";
        }
    }
    arguments
}

#[test]
fn killed_ten_times_the_run_ends_with_the_same_bits() {
    let scratch = Scratch::new();
    let began = Instant::now();
    let undisturbed = scratch.train(&long_fit("undisturbed/model", &[]));
    assert!(undisturbed.status.success(), "{}", stderr(&undisturbed));
    let whole = began.elapsed();

    let mut random = Pcg64::seed_from_u64(6);
    let mut kills = 0;
    let checkpoint = scratch
        .path("killed/model.training")
        .join("checkpoint.safetensors");
    while kills < 10 {
        // A run that was killed before its first checkpoint starts anew.
        let resume: &[&str] = if checkpoint.exists() {
            &["--resume"]
        } else {
            &[]
        };
        let mut child = scratch
            .command(&long_fit("killed/model", resume))
            .stderr(Stdio::null())
            .spawn()
            .expect("the trainer starts");
        thread::sleep(whole.mul_f64(random.random_range(0.05..0.3)));
        let ended = child.try_wait().expect("the trainer's state").is_some();
        child.kill().expect("the trainer can be killed");
        child.wait().expect("the trainer ends");
        kills += 1;
        if ended {
            break;
        }
    }
    let resume: &[&str] = if checkpoint.exists() {
        &["--resume"]
    } else {
        &[]
    };
    let last = scratch.train(&long_fit("killed/model", resume));
    assert!(last.status.success(), "{}", stderr(&last));
    let [a, b] = ["undisturbed/model", "killed/model"].map(|out| graphs(&scratch.path(out)));
    assert!(a == b, "{kills} kills changed the bits");
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_does() {
    let scratch = Scratch::new();
    let long = [
        "fit",
        "frames",
        "--preset",
        "28x28",
        "--batch",
        "8",
        "--steps",
        "100000",
        "--out",
        "part",
        "--latent",
        "vector:16",
    ];
    let child = scratch
        .command(&long)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the trainer starts");
    let checkpoint = scratch.path("part.training").join("metrics.jsonl");
    let patience = Instant::now();
    while !checkpoint.exists() && patience.elapsed() < Duration::from_secs(300) {
        thread::sleep(Duration::from_millis(50));
    }
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(interrupt.success());
    let output = child.wait_with_output().expect("the trainer ends");
    assert_fails(&output, &["interrupted at step", "--resume"]);
    let bundle = Bundle::open(&scratch.path("part")).expect("what judges without a VAE");
    assert!(bundle.manifest().vae.is_none());

    // Without --resume an unfinished run is not thrown away.
    assert_fails(&scratch.train(&long), &["unfinished run", "--resume"]);
    // With it, other flags and other frames are refused.
    let other = [&long[..], &["--resume", "--beta", "3"]].concat();
    assert_fails(&scratch.train(&other), &["other flags"]);
    fs::remove_file(scratch.path("frames/train/good/000.png")).expect("a frame to remove");
    let resumed = [&long[..], &["--resume"]].concat();
    assert_fails(&scratch.train(&resumed), &["other frames"]);
}

#[test]
fn nothing_to_resume_and_a_damaged_checkpoint_are_errors() {
    let scratch = Scratch::new();
    assert_fails(
        &scratch.train(&fit("none", &["--resume"])),
        &["no checkpoint"],
    );
    let folder = scratch.path("bad.training");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("checkpoint.safetensors"), b"not a checkpoint").expect("a file");
    assert_fails(
        &scratch.train(&fit("bad", &["--resume"])),
        &["checkpoint.safetensors", "not a usable checkpoint"],
    );
}

#[test]
fn a_full_disk_leaves_the_last_checkpoint_whole() {
    let scratch = Scratch::new();
    let disk = scratch.path("disk");
    fs::create_dir(&disk).expect("a folder");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("SKIPPED: no small disk can be mounted here (needs root)");
        return;
    }
    // The first checkpoint fits, a second one beside it does not.
    let output = scratch.train(&fit("disk/model", &[]));
    let checkpoint = fs::read(disk.join("model.training/checkpoint.safetensors"));
    let left = fs::read_dir(disk.join("model.training")).map(Iterator::count);
    std::process::Command::new("umount")
        .arg(&disk)
        .status()
        .expect("umount runs");
    assert_fails(&output, &["checkpoint.safetensors", "No space left"]);
    let checkpoint = checkpoint.expect("the first checkpoint is still there");
    safetensors::SafeTensors::deserialize(&checkpoint).expect("and it is whole");
    assert!(
        left.expect("the folder can be listed") <= 3,
        "no partial file is left"
    );
}
