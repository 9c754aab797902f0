//! Full disks, broken disks and power cuts at the calls of the trainer.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::process::Output;

use edge_vae::bundle::Bundle;

use super::{
    Scratch,
    faults::{Fault, Limits, Room, explore, is_cut},
    fit, graphs, stderr,
};

/// A failure says why in its last line.
fn says_why(fault: Fault, output: &Output) -> Result<(), String> {
    if is_cut(output) || output.status.success() {
        return Ok(());
    }
    let cause = match fault.kind {
        "enospc" => "No space left on device",
        "eio" => "Input/output error",
        _ => return Err("failed without a fault that fails".to_owned()),
    };
    let said = stderr(output);
    let last = said.lines().last().unwrap_or_default();
    let is_told = output.status.code() == Some(2) && last.contains(cause) && last.contains(": ");
    is_told.then_some(()).ok_or("does not say why".to_owned())
}

fn no_strays(room: &Room) -> Result<(), String> {
    let mut folders = vec![room.folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".partial") || name.ends_with(".replaced") {
                return Err(format!("{} stays for ever", entry.path().display()));
            }
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[test]
fn a_data_set_is_whole_or_not_there() {
    let scratch = Scratch {
        directory: tempfile::tempdir().unwrap(),
    };
    let synth = [
        "synth",
        "--out",
        "a/frames",
        "--width",
        "16",
        "--height",
        "16",
        "--train",
        "2",
        "--test-good",
        "1",
        "--per-kind",
        "1",
    ];
    let command = |_: &Room| scratch.command(&synth);
    let is_whole = |room: &Room| -> Result<bool, String> {
        let target = room.folder().join("a/frames");
        let mut count = 0;
        let mut folders: Vec<_> = target.exists().then_some(target).into_iter().collect();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => {
                        image::open(entry.path()).map_err(|error| error.to_string())?;
                        count += 1;
                    }
                }
            }
        }
        match count {
            0 => Ok(false),
            // Two to train with, a good one, and a frame and a mask of each of seven kinds.
            17 => Ok(true),
            count => Err(format!("{count} pictures are there")),
        }
    };
    let judge = |room: &Room, fault: Fault, output: &Output| {
        let there = is_whole(room)?;
        if output.status.success() && !there {
            return Err("ended well, and nothing is there".to_owned());
        }
        says_why(fault, output)?;
        if !there {
            let mut again = command(room);
            let ran = again.current_dir(room.folder()).output().unwrap();
            if !ran.status.success() {
                return Err(format!("the next run failed: {}", stderr(&ran)));
            }
            is_whole(room)?;
            no_strays(room)?;
        }
        Ok(())
    };
    let tally = explore(
        scratch.directory.path(),
        Limits::most(150),
        &command,
        &judge,
    );
    println!(
        "| synth | {} | {} | {} |",
        tally.calls,
        tally.points,
        tally.lost.len()
    );
    assert!(tally.lost.is_empty(), "{:#?}", tally.lost);
}

#[test]
fn a_run_goes_on_or_begins_anew_and_ends_with_the_same_bits() {
    let scratch = Scratch::new();
    let with_seed = |seed| {
        let mut arguments = fit("model", &["--seed", seed]);
        for argument in &mut arguments {
            if *argument == "60" {
                *argument = "8";
            }
        }
        arguments
    };
    let old = scratch.train(&with_seed("1"));
    assert!(old.status.success(), "{}", stderr(&old));
    let id = |folder: &std::path::Path| {
        let bundle = Bundle::open(&folder.join("model"));
        bundle.map(|bundle| bundle.model_id().to_owned())
    };
    let before = id(scratch.directory.path()).unwrap();
    let undisturbed = Room::of(scratch.directory.path());
    let run = |room: &Room, more: &[&str]| {
        let mut command = scratch.command(&[&with_seed("2"), more].concat());
        command.current_dir(room.folder());
        command
    };
    let ran = run(&undisturbed, &[]).output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
    let expected = graphs(&undisturbed.folder().join("model"));
    let after = id(&undisturbed.folder()).unwrap();
    assert_ne!(before, after);
    let judge = |room: &Room, fault: Fault, output: &Output| {
        let bundle =
            Bundle::open(&room.folder().join("model")).map_err(|error| error.to_string())?;
        let found = bundle.model_id();
        // What judges without a VAE is written first.
        let is_early = bundle.manifest().vae.is_none();
        if found != after && (output.status.success() || found != before && !is_early) {
            return Err(format!("the model is {found}, not {before} or {after}"));
        }
        says_why(fault, output)?;
        // The checkpoint may be of this run, of the one before, which has other options, or none.
        let mut ran = run(room, &["--resume"]).output().unwrap();
        let said = stderr(&ran);
        let anew = [
            "made with other flags",
            "cannot read the",
            "no checkpoint to resume",
        ];
        if !ran.status.success() && anew.iter().any(|why| said.contains(why)) {
            ran = run(room, &[]).output().unwrap();
        }
        if !ran.status.success() {
            return Err(format!("the next run failed: {}", stderr(&ran)));
        }
        if graphs(&room.folder().join("model")) != expected {
            return Err("the next run gave other bits".to_owned());
        }
        no_strays(room)
    };
    let tally = explore(
        scratch.directory.path(),
        Limits::most(24),
        &|room| run(room, &[]),
        &judge,
    );
    println!(
        "| fit | {} | {} | {} |",
        tally.calls,
        tally.points,
        tally.lost.len()
    );
    assert!(tally.lost.is_empty(), "{:#?}", tally.lost);
}
