//! Full disks, broken disks and power cuts at every call of every verb that writes: afterwards the
//! old or the new state is there, whole, and the next run is as any other.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use edge_vae::{
    bundle::Bundle,
    evidence::{self, EvidenceCheck},
    trust::{self, PublicKey, TrustError, TrustPolicy, TrustSettings},
};

use crate::{
    adapt,
    faults::{Fault, Limits, Room, explore, is_cut},
    test_dir::{Ran, TestDir},
};

/// What a verb writes, and how that is looked at.
struct Writer<'a> {
    name: &'a str,
    /// Arguments of the run that meets the fault.
    verb: &'a [&'a str],
    /// Arguments of the run after it, which must succeed; none: the same, which may also find
    /// nothing to do.
    again: Option<&'a [&'a str]>,
    /// One word for the state of the folder; what is not whole is an error.
    state: &'a (dyn Fn(&Path) -> Result<String, String> + Sync),
    /// States in between that are as good: of a verb that writes several things.
    also: &'a [&'a str],
    /// How much is tried.
    limits: Limits,
}

impl<'a> Writer<'a> {
    fn new(
        name: &'a str,
        verb: &'a [&'a str],
        state: &'a (dyn Fn(&Path) -> Result<String, String> + Sync),
    ) -> Self {
        Self {
            name,
            verb,
            again: Some(verb),
            state,
            also: &[],
            limits: Limits::most(150),
        }
    }

    fn check(&self, dir: &TestDir) {
        let template = dir.at("");
        let command = |room: &Room, arguments: &[&str]| -> Command {
            let mut command = dir.command(arguments);
            command
                .current_dir(room.folder())
                .env("HOME", room.folder())
                .env("EDGE_VAE_CACHE", room.folder().join("cache"));
            command
        };
        let undisturbed = Room::of(&template);
        let old = (self.state)(&undisturbed.folder()).unwrap();
        let ran = command(&undisturbed, self.verb).output().unwrap();
        assert!(ran.status.success(), "{}: {ran:?}", self.name);
        let new = (self.state)(&undisturbed.folder()).unwrap();
        assert_ne!(old, new, "{}", self.name);
        let judge = |room: &Room, fault: Fault, output: &Output| -> Result<(), String> {
            let found = (self.state)(&room.folder())?;
            let ended_well = output.status.success();
            if ended_well && found != new {
                return Err(format!("ended well, and the state is {found}"));
            }
            let is_known = found == old || found == new || self.also.contains(&&*found);
            if !is_known {
                return Err(format!("the state is {found}, neither {old} nor {new}"));
            }
            let is_error = matches!(fault.kind, "enospc" | "eio");
            if !is_cut(output) {
                says_why(output, is_error.then_some(fault.kind))?;
            }
            let Some(again) = self.again else {
                return no_strays(room, false);
            };
            let ran = Ran::of(command(room, again).output().unwrap());
            if ran.code != Some(0) {
                return Err(format!("the next run failed: {ran:?}"));
            }
            let repaired = (self.state)(&room.folder())?;
            if repaired != new {
                return Err(format!(
                    "after the next run the state is {repaired}, not {new}"
                ));
            }
            no_strays(room, true)
        };
        let tally = explore(
            &template,
            self.limits,
            &|room| command(room, self.verb),
            &judge,
        );
        println!(
            "| {} | {} | {} | {} |",
            self.name,
            tally.calls,
            tally.points,
            tally.lost.len()
        );
        assert!(tally.lost.is_empty(), "{}: {:#?}", self.name, tally.lost);
    }
}

/// Ended well, or by one line with the cause, and with exit code 2.
fn says_why(output: &Output, error: Option<&str>) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(());
    }
    let cause = match error {
        Some("enospc") => "No space left on device",
        Some(_) => "Input/output error",
        None => return Err("failed without a fault that fails".to_owned()),
    };
    let last = said.lines().last().unwrap_or_default();
    let is_told = output.status.code() == Some(2)
        && last.starts_with("edge-vae: ")
        && last.contains(cause)
        && last.contains(": cannot ");
    is_told.then_some(()).ok_or("does not say why".to_owned())
}

/// Nothing is left of what was interrupted.
fn no_strays(room: &Room, is_repaired: bool) -> Result<(), String> {
    let walk = walkdir::WalkDir::new(room.folder()).into_iter();
    let names = walk
        .flatten()
        .map(|entry| entry.path().display().to_string());
    let mut strays = names.filter(|name| name.contains(".partial") || name.contains(".replaced"));
    match strays.next().filter(|_| is_repaired) {
        Some(stray) => Err(format!("{stray} stays for ever")),
        None => Ok(()),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn threshold(folder: &Path, model: &str) -> Result<String, String> {
    let bundle = Bundle::open(&folder.join(model)).map_err(text)?;
    let calibration = bundle.calibration().ok_or("no calibration")?;
    Ok(calibration.threshold.to_string())
}

/// Enough normal frames for a rate of 0.2.
fn with_normals() -> TestDir {
    let dir = TestDir::new();
    for number in 0..4 {
        dir.frame(&format!("normals/{number}.png"), None);
    }
    dir
}

const CALIBRATE: [&str; 7] = [
    "calibrate",
    "--model",
    "model",
    "normals",
    "--false-alarm-rate",
    "0.2",
    "--quiet",
];

#[test]
fn a_calibration_is_the_old_or_the_new_one() {
    let dir = with_normals();
    Writer::new("calibrate", &CALIBRATE, &|folder| {
        threshold(folder, "model")
    })
    .check(&dir);
}

#[test]
fn a_bundle_is_the_old_or_the_new_one() {
    let dir = with_normals();
    let verb = [&CALIBRATE[..], &["--out", "copies/copy"]].concat();
    let state = |folder: &Path| match folder.join("copies/copy").exists() {
        true => threshold(folder, "copies/copy"),
        false => Ok("none".to_owned()),
    };
    Writer::new("calibrate --out, new", &verb, &state).check(&dir);
    // In place of another.
    let mut bundle = Bundle::open(&dir.at("model")).unwrap();
    bundle.save(&dir.at("copies/copy")).unwrap();
    Writer::new("calibrate --out, replaced", &verb, &state).check(&dir);
}

#[test]
fn a_signed_calibration_is_always_believed() {
    let dir = with_normals();
    dir.run(&["model", "keygen", "trainer"]).is_fine();
    let sign = [
        "model",
        "sign",
        "model",
        "--key",
        "trainer.key",
        "--version",
        "1",
    ];
    dir.run(&sign).is_fine();
    let required = ["--require-signature", "trainer.pub"];
    let verb = [&CALIBRATE[..], &required, &["--sign-key", "trainer.key"]].concat();
    let key = PublicKey::read(&dir.at("trainer.pub")).unwrap();
    let believed = |folder: &Path| {
        let policy =
            TrustPolicy::of_keys(std::slice::from_ref(&key), &[], &TrustSettings::default());
        trust::open(&folder.join("model"), &policy).map_err(text)?;
        threshold(folder, "model")
    };
    Writer::new("calibrate, signed", &verb, &believed).check(&dir);
    // The version that was accepted last.
    let score = ["score", "--model", "model", "good.png", "--quiet"];
    let score = [&score[..], &required].concat();
    let accepted =
        |folder: &Path| match fs::read(folder.join(".local/state/edge-vae/accepted-models.json")) {
            Err(_) => Ok("none".to_owned()),
            Ok(bytes) => {
                let read: serde_json::Value = serde_json::from_slice(&bytes).map_err(text)?;
                Ok(read["tiny"]["version"].to_string())
            }
        };
    let score = Writer {
        // That it can't be kept is a warning.
        ..Writer::new("accepted versions", &score, &accepted)
    };
    score.check(&dir);
}

#[test]
fn signing_and_sealing_leave_a_model_that_opens() {
    let dir = TestDir::new();
    dir.run(&["model", "keygen", "trainer"]).is_fine();
    dir.run(&["model", "keygen", "--sealing", "box"]).is_fine();
    let key = PublicKey::read(&dir.at("trainer.pub")).unwrap();
    let signed = |folder: &Path| {
        let policy =
            TrustPolicy::of_keys(std::slice::from_ref(&key), &[], &TrustSettings::default());
        match trust::open(&folder.join("model"), &policy) {
            Ok(_) => Ok("signed".to_owned()),
            Err(TrustError::NotSigned { .. }) => Ok("unsigned".to_owned()),
            Err(TrustError::CalibrationNotSigned { .. }) => Ok("half".to_owned()),
            Err(error) => Err(text(error)),
        }
    };
    let sign = ["model", "sign", "model", "--key", "trainer.key", "--quiet"];
    let sign = Writer {
        also: &["half"],
        ..Writer::new("model sign", &sign, &signed)
    };
    sign.check(&dir);
    let sealed = |folder: &Path| {
        let settings = TrustSettings {
            identity: Some(folder.join("box.identity")),
            ..TrustSettings::default()
        };
        let policy = TrustPolicy::of_keys(&[], &[], &settings);
        let opened = trust::open(&folder.join("model"), &policy).map_err(text)?;
        Ok(opened.bundle.is_sealed().to_string())
    };
    let seal = [
        "model",
        "seal",
        "model",
        "--recipient",
        "box.recipient",
        "--quiet",
    ];
    let seal = Writer {
        again: None,
        ..Writer::new("model seal", &seal, &sealed)
    };
    seal.check(&dir);
}

#[test]
fn a_key_is_whole_or_not_there() {
    let dir = TestDir::new();
    let state = |folder: &Path| {
        let key = folder.join("k.key");
        let public = folder.join("k.pub");
        if key.exists() {
            trust::SigningKey::read(&key).map_err(text)?;
        }
        if public.exists() {
            PublicKey::read(&public).map_err(text)?;
        }
        Ok(format!("{} {}", key.exists(), public.exists()))
    };
    let keygen = Writer {
        again: None,
        also: &["true false"],
        ..Writer::new("model keygen", &["model", "keygen", "k"], &state)
    };
    keygen.check(&dir);
}

#[test]
fn an_adapted_model_is_the_old_or_the_new_one() {
    let dir = adapt::dir();
    adapt::accepted(&dir, 20);
    let state = |folder: &Path| {
        let previous = folder.join("model.previous");
        if previous.exists() {
            Bundle::open(&previous).map_err(text)?;
        }
        let bundle = Bundle::open(&folder.join("model")).map_err(text)?;
        Ok(bundle.manifest().adaptation.is_some().to_string())
    };
    let verb = ["adapt", "--model", "model", "accepted", "--quiet"];
    Writer::new("adapt", &verb, &state).check(&dir);
    dir.run(&verb).is_fine();
    // What is put back is removed afterwards, which may be interrupted.
    let state = |folder: &Path| {
        let bundle = Bundle::open(&folder.join("model")).map_err(text)?;
        Ok(bundle.manifest().adaptation.is_some().to_string())
    };
    let back = ["adapt", "--model", "model", "--rollback", "--quiet"];
    let back = Writer {
        again: None,
        ..Writer::new("adapt --rollback", &back, &state)
    };
    back.check(&dir);
}

#[test]
fn results_are_whole_or_not_there() {
    let dir = TestDir::new();
    let whole = |folder: &Path| {
        let path = folder.join("out/z.npz");
        let Ok(file) = fs::File::open(path) else {
            return Ok("none".to_owned());
        };
        let mut npz = ndarray_npy::NpzReader::new(file).map_err(text)?;
        let mut names = npz.names().map_err(text)?;
        names.sort();
        for name in &names {
            npz.by_name::<ndarray::OwnedRepr<f32>, ndarray::IxDyn>(name)
                .map(drop)
                .or_else(|error| match error {
                    ndarray_npy::ReadNpzError::Zip(_) => Err(text(error)),
                    _ => Ok(()),
                })?;
        }
        Ok(names.join(","))
    };
    let encode = [
        "encode",
        "--model",
        "model",
        "good.png",
        "--out",
        "out/z.npz",
        "--quiet",
    ];
    Writer::new("encode", &encode, &whole).check(&dir);
    let pictures = |folder: &Path| {
        let mut kinds = Vec::new();
        for kind in ["seen", "maps"] {
            for entry in fs::read_dir(folder.join(kind))
                .into_iter()
                .flatten()
                .flatten()
            {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.contains(".partial") {
                    let bytes = fs::read(entry.path()).map_err(text)?;
                    match name.ends_with(".npy") {
                        true => {
                            let read: Result<ndarray::ArrayD<f32>, _> =
                                ndarray_npy::ReadNpyExt::read_npy(&*bytes);
                            read.map_err(text)?;
                        }
                        false => drop(image::load_from_memory(&bytes).map_err(text)?),
                    }
                    kinds.push(kind);
                }
            }
        }
        Ok(kinds.join(","))
    };
    let score = ["score", "--model", "model", "bad.png", "--quiet"];
    let score = [&score[..], &["--overlay", "seen", "--map", "maps"]].concat();
    let score = Writer {
        also: &["seen", "maps", "maps,maps", "seen,maps"],
        // Not waited for, since it can be made again.
        limits: Limits {
            may_lose: true,
            ..Limits::most(150)
        },
        ..Writer::new("score --overlay --map", &score, &pictures)
    };
    score.check(&dir);
}

#[test]
fn the_log_of_evidence_goes_on_whatever_happens() {
    let dir = TestDir::new();
    let state = |folder: &Path| {
        let path = folder.join("day.evidence");
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            return Ok("none".to_owned());
        }
        let running = EvidenceCheck {
            running: true,
            ..EvidenceCheck::default()
        };
        let report = evidence::verify(&path, running, |_| {}).map_err(text)?;
        match report.faults.first() {
            None => Ok("whole".to_owned()),
            Some(fault) => Err(fault.clone()),
        }
    };
    let score = [
        "score", "--model", "model", "good.png", "bad.png", "--quiet",
    ];
    let score = [&score[..], &["--evidence", "day.evidence"]].concat();
    Writer::new("evidence", &score, &state).check(&dir);
}

/// Killed at any moment, not only at calls.
#[test]
fn a_run_that_is_killed_leaves_the_old_or_the_new_model() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_pcg::Pcg64::seed_from_u64(24);
    let calibrated = with_normals();
    let adapted = adapt::dir();
    adapt::accepted(&adapted, 20);
    let adapt = ["adapt", "--model", "model", "accepted", "--quiet"];
    for (dir, verb) in [(&calibrated, &CALIBRATE[..]), (&adapted, &adapt)] {
        let state = |room: &Room| threshold(&room.folder(), "model").unwrap();
        let command = |room: &Room| {
            let mut command = dir.command(verb);
            command
                .current_dir(room.folder())
                .env("HOME", room.folder());
            command
        };
        let undisturbed = Room::of(&dir.at(""));
        let old = state(&undisturbed);
        let began = std::time::Instant::now();
        assert!(command(&undisturbed).output().unwrap().status.success());
        let (whole, new) = (began.elapsed(), state(&undisturbed));
        assert_ne!(old, new);
        let mut kills = 0;
        for _ in 0..20 {
            let room = Room::of(&dir.at(""));
            let mut child = command(&room).spawn().unwrap();
            std::thread::sleep(whole.mul_f64(random.random_range(0.0..1.0)));
            kills += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
            let found = state(&room);
            assert!(found == old || found == new, "{found}, not {old} or {new}");
            assert!(command(&room).output().unwrap().status.success());
            // An adaptation of an adapted model is another one.
            assert!(found == new || state(&room) == new);
            no_strays(&room, true).unwrap();
        }
        assert!(kills > 0);
    }
}
