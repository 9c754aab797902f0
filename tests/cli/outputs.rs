//! Places that can't be written to.

use std::{
    fs::{self, File, OpenOptions},
    process::{Command, Stdio},
};

use crate::test_dir::{Ran, TestDir};

#[test]
fn a_file_in_the_way_of_a_folder() {
    let dir = TestDir::new();
    for flag in ["--overlay", "--map"] {
        dir.verb("score", &["good.png", flag, "bad.png"])
            .fails_at_once(&["bad.png", "folder"]);
        dir.verb("score", &["good.png", flag, "bad.png/below"])
            .fails_at_once(&["bad.png/below", "folder"]);
    }
    dir.verb("reconstruct", &["good.png", "--out", "bad.png"])
        .fails_at_once(&["bad.png", "folder"]);
    dir.verb("interpolate", &["good.png", "bad.png", "--out", "model"])
        .fails_at_once(&["model", "is a folder"]);
    dir.verb("encode", &["good.png", "--out", "bad.png/z.npz"])
        .fails_at_once(&["bad.png/z.npz", "folder"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_files() {
    let dir = TestDir::new();
    // Not even root makes files there.
    dir.verb("score", &["good.png", "--overlay", "/proc/self"])
        .fails_at_once(&["/proc/self", "cannot write"]);
    dir.verb("encode", &["good.png", "--out", "/proc/self/z.npz"])
        .fails_at_once(&["/proc/self", "cannot write"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output() {
    let dir = TestDir::new();
    for arguments in [
        &["score", "--model", "model", "--quiet", "good.png"][..],
        &["score", "--model", "model", "--quiet", "good.png", "--json"],
        &["model", "info", "model"],
        &["completions", "bash"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = dir.command(arguments).stdout(full).output().unwrap();
        Ran::of(output).fails(&["standard output", "No space left"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_no_half_written_file() {
    struct Mount(std::path::PathBuf);
    impl Drop for Mount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }

    let dir = TestDir::new();
    let disk = dir.at("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: only root can mount the small disk that is to be filled");
        return;
    }
    let _mount = Mount(disk);
    dir.verb("score", &["good.png", "--map", "disk"]).is_fine();
    let first = dir.files("disk");
    let whole: Vec<_> = first
        .iter()
        .map(|file| fs::read(dir.at("disk").join(file)).unwrap())
        .collect();
    let filler = vec![0_u8; 16 << 10];
    let _ = fs::write(dir.at("disk/filler"), filler);
    dir.verb("score", &["bad.png", "--map", "disk"])
        .fails(&["bad.png.map", "No space left"]);
    // The same frame again: the good files of the first run stay as they were.
    dir.verb("score", &["good.png", "--map", "disk"])
        .fails(&["good.png.map", "No space left"]);
    let mut expected = first.clone();
    expected.insert(0, "filler".into());
    assert_eq!(dir.files("disk"), expected);
    for (file, bytes) in first.iter().zip(whole) {
        assert_eq!(
            fs::read(dir.at("disk").join(file)).unwrap(),
            bytes,
            "{file}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let dir = TestDir::new();
    for arguments in [
        &[
            "score", "--model", "model", "--quiet", "good.png", "bad.png",
        ][..],
        &["completions", "bash"],
        &["model", "info", "model"],
        &["score", "--help"],
    ] {
        let mut child = dir
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        Ran::of(child.wait_with_output().unwrap()).is_fine();
    }
}

#[test]
fn frames_are_never_written_over() {
    let dir = TestDir::new();
    dir.frame("set/1.png", None);
    let before = fs::read(dir.at("set/1.png")).unwrap();
    dir.verb("score", &["set/1.png", "--overlay", "set", "--map", "set"])
        .is_fine();
    dir.verb("reconstruct", &["set/1.png", "--plain", "--out", "set"])
        .is_fine();
    assert_eq!(fs::read(dir.at("set/1.png")).unwrap(), before);
    let _: File = File::open(dir.at("set/1.png.reconstruction.png")).unwrap();
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_loses_no_file_and_no_verdict() {
    let dir = TestDir::new();
    let closed = |arguments: &[&str]| {
        let mut child = dir
            .command(&[&["score", "--model", "model", "--quiet"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        Ran::of(child.wait_with_output().unwrap())
    };
    closed(&["good.png", "bad.png", "--overlay", "seen"]).is_fine();
    assert_eq!(dir.files("seen").len(), 2);
    closed(&["good.png", "bad.png", "--map", "maps"]).is_fine();
    assert_eq!(dir.files("maps").len(), 4);
    assert_eq!(
        closed(&["good.png", "bad.png", "--exit-code"]).code,
        Some(1)
    );
    closed(&["good.png", "none.png", "--overlay", "seen"]).fails(&["none.png"]);
}

#[test]
fn results_of_an_earlier_run_are_no_frames() {
    let dir = TestDir::new();
    dir.frame("set/a/1.png", None);
    for _ in 0..2 {
        let ran = dir.verb(
            "score",
            &["set", "--overlay", "set/seen", "--map", "set", "--json"],
        );
        assert_eq!(ran.is_fine().json().len(), 1);
        dir.verb("reconstruct", &["set", "--out", "set"]).is_fine();
    }
    // In a folder that is none of the outputs they may be meant.
    let ran = dir.verb("score", &["set/seen"]);
    assert_eq!(ran.is_fine().stdout.lines().count(), 1);
    dir.verb("score", &["set/seen", "--overlay", "set/seen"])
        .fails_at_once(&["earlier run"]);
}

#[test]
fn a_file_is_what_its_name_says_and_its_folder_is_made() {
    let dir = TestDir::new();
    dir.verb("encode", &["good.png", "--out", "z.npy"])
        .fails_at_once(&["z.npy", ".npz"]);
    dir.verb("interpolate", &["good.png", "bad.png", "--out", "way.jpg"])
        .fails_at_once(&["way.jpg", ".png"]);
    dir.verb("encode", &["good.png", "--out", "new/er/z.npz"])
        .is_fine();
    assert_eq!(dir.files("new"), ["er/z.npz"]);
    // A model that can't be opened leaves no folder.
    for verb in [
        &["score", "good.png", "--overlay", "none"][..],
        &["reconstruct", "good.png", "--out", "none"],
        &["sample", "--out", "none"],
        &["encode", "good.png", "--out", "none/z.npz"],
    ] {
        dir.run(&[verb, &["--model", "nowhere"]].concat())
            .fails_at_once(&["nowhere"]);
    }
    assert!(!dir.at("none").exists());
}

/// Where no file may have a byte, each write fails as on a full disk.
#[cfg(unix)]
#[test]
fn files_that_can_not_be_written_cost_no_verdict() {
    let dir = TestDir::new();
    let mut shell = Command::new("sh");
    let without_files = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let program = dir.command(&[]);
    shell
        .args(["-c", without_files])
        .arg(program.get_program())
        .args(["score", "--model", "model", "good.png", "bad.png"])
        .args(["--overlay", "seen", "--map", "maps", "--json", "--quiet"])
        .current_dir(dir.at(""));
    let ran = Ran::of(shell.output().unwrap());
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let records = ran.json();
    let labels: Vec<_> = records.iter().map(|line| &line["pred_label"]).collect();
    assert_eq!(labels, ["normal", "anomalous"]);
    for record in &records {
        assert!(record.get("overlay").is_none() && record.get("map").is_none());
    }
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let [first, last] = lines[..] else {
        panic!("{lines:?}")
    };
    assert!(
        first.contains("good.png.overlay.png: cannot write"),
        "{first}"
    );
    assert!(last.contains("4 files could not be written"), "{last}");
    assert_eq!(dir.files("seen").len() + dir.files("maps").len(), 0);
}
