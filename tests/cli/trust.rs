//! Signed models: who signs, who refuses what, and Python's `model-signing` on the same files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::test_dir::{Ran, TestDir};

/// A folder with the keys `trainer` and `line`, and the model signed by the trainer.
fn signed() -> TestDir {
    let dir = TestDir::new();
    for name in ["trainer", "line"] {
        dir.run(&["model", "keygen", name]).is_fine();
    }
    sign(&dir, &["--version", "7"]);
    dir
}

fn sign(dir: &TestDir, arguments: &[&str]) {
    let sign = ["model", "sign", "model", "--key", "trainer.key"];
    dir.run(&[&sign, arguments].concat()).is_fine();
}

/// `score` of the model that must be signed by the trainer.
fn score(dir: &TestDir, arguments: &[&str]) -> Ran {
    let required = ["good.png", "--require-signature", "trainer.pub"];
    dir.verb("score", &[&required, arguments].concat())
}

/// Enough normal frames for a rate, and the arguments that calibrate on them.
const CALIBRATE: [&str; 3] = ["normals", "--false-alarm-rate", "0.2"];

fn normals(dir: &TestDir) {
    for number in 0..4 {
        dir.frame(&format!("normals/{number}.png"), None);
    }
}

fn write(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_signed_model_is_believed_and_any_other_is_not() {
    let dir = signed();
    score(&dir, &[]).is_fine();
    let verified = dir.run(&[
        "model",
        "verify",
        "model",
        "--require-signature",
        "trainer.pub",
    ]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    for words in [
        "model: signed by ",
        ", version 7",
        "calibration: signed by ",
        "agrees",
    ] {
        assert!(verified.stdout.contains(words), "{verified:?}");
    }
    let attack = |change: &dyn Fn(&Path), words: &[&str]| {
        let dir = signed();
        change(&dir.at("model"));
        score(&dir, &[]).fails_at_once(words);
    };
    let flip =
        |name: &'static str| move |model: &Path| write(&model.join(name), |bytes| bytes[20] ^= 1);
    // ONNX that no parser has seen: what is said is the digest.
    attack(
        &flip("encoder.onnx"),
        &["encoder.onnx: SHA-256 is", "the manifest says"],
    );
    attack(
        &flip("manifest.toml"),
        &["manifest.toml: SHA-256 is", "signed was"],
    );
    attack(
        &flip("calibration/calibration.toml"),
        &[".sig: the calibration is not signed"],
    );
    attack(
        &|model| fs::remove_file(model.join("model.sig")).unwrap(),
        &["is not signed"],
    );
    attack(
        &|model| fs::write(model.join("model.sig"), "{}").unwrap(),
        &["is no signature"],
    );
    attack(
        &|model| fs::remove_file(model.join("golden.png")).unwrap(),
        &["golden.png: is missing"],
    );
    attack(
        &|model| fs::write(model.join("more.onnx"), "x").unwrap(),
        &["more.onnx: is not among the files"],
    );
    attack(
        &|model| fs::create_dir(model.join(".git")).unwrap(),
        &[".git: is not among the files"],
    );
    attack(
        &|model| fs::write(model.join("calibration/more"), "x").unwrap(),
        &["calibration/more: is not among the files"],
    );
    #[cfg(unix)]
    attack(
        &|model| {
            fs::rename(model.join("encoder.onnx"), model.join("../encoder.onnx")).unwrap();
            std::os::unix::fs::symlink("../encoder.onnx", model.join("encoder.onnx")).unwrap();
        },
        &["encoder.onnx: is a symbolic link"],
    );
    // A manifest that lists a file of the attacker's, digests and all.
    attack(
        &|model| {
            fs::write(model.join("encoder.onnx"), "other").unwrap();
            let text = fs::read_to_string(model.join("manifest.toml")).unwrap();
            fs::write(model.join("manifest.toml"), text + "\n").unwrap();
        },
        &["manifest.toml: SHA-256 is", "signed was"],
    );
    // Signed, by somebody else.
    let key = ["good.png", "--require-signature", "line.pub"];
    dir.verb("score", &key)
        .fails_at_once(&["is signed by the key", "trusted here for models is"]);
    let both = [&key[..], &["--require-signature", "trainer.pub"]].concat();
    dir.verb("score", &both).is_fine();
    dir.verb("score", &["good.png", "--require-signature", "trainer.key"])
        .fails_at_once(&["trainer.key: is a private key"]);
    dir.verb("score", &["good.png", "--require-signature", "none.pub"])
        .fails_at_once(&["none.pub: cannot read"]);
    dir.run(&["model", "keygen", "trainer"])
        .fails_at_once(&["trainer.key: cannot write"]);
}

#[test]
#[cfg(unix)]
fn a_private_key_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let dir = signed();
    let mode = fs::metadata(dir.at("trainer.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_would_be_refused_is_not_signed_in_silence() {
    let dir = signed();
    dir.write("model/notes.txt", "x");
    dir.run(&["model", "sign", "model", "--key", "trainer.key"])
        .fails_at_once(&["signed, but would be refused", "notes.txt"]);
    dir.run(&["model", "sign", "model", "--key", "trainer.pub"])
        .fails_at_once(&["trainer.pub: is a public key"]);
    dir.run(&[
        "model",
        "sign",
        "model",
        "--key",
        "trainer.key",
        "--expires",
        "soon",
    ])
    .fails_at_once(&["--expires", "soon"]);
}

#[test]
fn keys_of_the_machine_hold_for_every_run() {
    let dir = signed();
    fs::create_dir(dir.at("trust.d")).unwrap();
    fs::copy(dir.at("trainer.pub"), dir.at("trust.d/trainer.pub")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = dir.command(arguments);
        Ran::of(
            command
                .env("EDGE_VAE_TRUST_D", dir.at("trust.d"))
                .output()
                .unwrap(),
        )
    };
    let verbs = [
        &["score", "--model", "model", "good.png", "--quiet"][..],
        &["model", "info", "model"],
        &[
            "encode", "--model", "model", "good.png", "--out", "z.npz", "--quiet",
        ],
    ];
    for verb in verbs {
        run(verb).is_fine();
    }
    // A flag can narrow it down and not widen it.
    let other = [verbs[0], &["--require-signature", "line.pub"]].concat();
    run(&other).fails_at_once(&["line.pub: is none of the keys that this machine trusts"]);
    dir.write("trust.d/policy.toml", "models = [\"screw\", \"nut\"]\n");
    run(verbs[0]).fails_at_once(&["the model is called `tiny`, allowed here: screw, nut"]);
    dir.write("trust.d/policy.toml", "models = [\"tiny\"]\n");
    fs::remove_file(dir.at("model/model.sig")).unwrap();
    for verb in verbs {
        run(verb).fails_at_once(&["model.sig: is not signed"]);
    }
    dir.write("trust.d/broken.pub", "no key");
    run(verbs[0]).fails_at_once(&["broken.pub: is no public key"]);
}

#[test]
fn a_model_of_another_name_is_refused() {
    let dir = TestDir::new();
    dir.verb("score", &["good.png", "--allow-model", "tiny"])
        .is_fine();
    dir.verb("score", &["good.png", "--allow-model", "screw"])
        .fails_at_once(&["the model is called `tiny`, allowed here: screw"]);
}

#[test]
fn there_is_no_way_back_to_an_older_version() {
    let dir = signed();
    let old = dir.at("old");
    copy(&dir.at("model"), &old);
    score(&dir, &[]).is_fine();
    sign(&dir, &["--version", "8"]);
    // Looking at it accepts nothing.
    let verify = [
        "model",
        "verify",
        "model",
        "--require-signature",
        "trainer.pub",
        "--quiet",
    ];
    dir.run(&verify).is_fine();
    let score_old = |arguments: &[&str]| {
        let old = [
            "score",
            "--model",
            "old",
            "good.png",
            "--require-signature",
            "trainer.pub",
        ];
        dir.run(&[&old[..], arguments].concat())
    };
    score_old(&["--quiet"]).is_fine();
    score(&dir, &[]).is_fine();
    score_old(&["--quiet"]).fails_at_once(&[
        "is version 7 of `tiny`, and version 8 was accepted here before",
        "--allow-rollback",
    ]);
    // What stands in the signature is signed.
    let text = fs::read_to_string(old.join("model.sig")).unwrap();
    let payload = text
        .split("\"payload\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(!payload.is_empty() && text.contains("\"payloadType\""));
    let allowed = score_old(&["--allow-rollback"]);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    assert!(
        allowed
            .stderr
            .contains("--allow-rollback: taken all the same"),
        "{allowed:?}"
    );
    // From then on the older one is the last one accepted.
    score_old(&["--quiet"]).is_fine();
    dir.write(".local/state/edge-vae/accepted-models.json", "{");
    score(&dir, &[]).fails_at_once(&["accepted-models.json: is damaged"]);
}

#[test]
fn a_signature_runs_out() {
    let dir = signed();
    sign(
        &dir,
        &["--version", "9", "--expires", "2999-01-01T00:00:00Z"],
    );
    score(&dir, &[]).is_fine();
    let sign = ["model", "sign", "model", "--key", "trainer.key"];
    let expired = [
        &sign[..],
        &["--version", "10", "--expires", "2020-01-01T00:00:00Z"],
    ]
    .concat();
    dir.run(&expired)
        .fails(&["would be refused", "the signature expired on 2020-01-01"]);
    score(&dir, &[]).fails_at_once(&["model.sig: the signature expired on 2020-01-01T00:00:00Z"]);
}

#[test]
fn the_box_calibrates_and_the_trainers_signature_stays() {
    let dir = signed();
    let before = fs::read(dir.at("model/model.sig")).unwrap();
    normals(&dir);
    let calibrate = |arguments: &[&str]| {
        let required = ["--require-signature", "trainer.pub"];
        dir.verb(
            "calibrate",
            &[&CALIBRATE, &required[..], arguments].concat(),
        )
    };
    calibrate(&[]).fails_at_once(&["what is written would be refused", "--sign-key"]);
    calibrate(&["--sign-key", "line.key"]).fails_at_once(&["--sign-key", "calibrations"]);
    let line = ["--calibration-key", "line.pub"];
    let ran = calibrate(&[&line[..], &["--sign-key", "line.key"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read(dir.at("model/model.sig")).unwrap(), before);
    score(&dir, &line).is_fine();
    score(&dir, &[]).fails_at_once(&["trusted here for calibrations is"]);
    let verified = dir.run(
        &[
            &[
                "model",
                "verify",
                "model",
                "--require-signature",
                "trainer.pub",
            ],
            &line[..],
        ]
        .concat(),
    );
    let keys: Vec<&str> = verified
        .stdout
        .lines()
        .filter_map(|line| line.split("signed by ").nth(1)?.split(',').next())
        .collect();
    assert_eq!(keys.len(), 2, "{verified:?}");
    assert_ne!(keys[0], keys[1]);
    // Moved along the table: signed anew.
    let moved = [
        "--review-rate",
        "0.5",
        "--sign-key",
        "line.key",
        "--require-signature",
    ];
    let moved = [&moved[..], &["trainer.pub"], &line[..]].concat();
    let ran = dir.verb("calibrate", &moved);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    score(&dir, &line).is_fine();
}

#[test]
fn calibrations_are_not_swapped_between_models() {
    let dir = signed();
    let mut other = crate::tiny::writer();
    other.name = "other".into();
    other.finish().unwrap().save(&dir.at("other")).unwrap();
    for file in dir.files("model/calibration") {
        fs::remove_file(dir.at("model/calibration").join(file)).unwrap();
    }
    copy(&dir.at("other/calibration"), &dir.at("model/calibration"));
    dir.verb("score", &["good.png"]).fails_at_once(&[
        "calibration.toml: is the calibration of `other-",
        "this model is `tiny-",
    ]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Python with the package `model-signing`; `None` and a word why where it is not there.
fn model_signing() -> Option<PathBuf> {
    let python = ["EDGE_VAE_OMS_PYTHON", "EDGE_VAE_PYTHON"]
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .find(|python| {
            let mut command = Command::new(python);
            let imported = command.args(["-c", "import model_signing"]).output();
            imported.is_ok_and(|output| output.status.success())
        });
    if python.is_none() {
        eprintln!("skipped: no Python with the package model-signing in EDGE_VAE_PYTHON");
    }
    python
}

fn run_python(python: &Path, dir: &TestDir, arguments: &[&str]) -> Ran {
    let mut command = Command::new(python);
    command.args(["-m", "model_signing"]).args(arguments);
    Ran::of(command.current_dir(dir.at("")).output().unwrap())
}

#[test]
fn python_verifies_what_is_signed_here() {
    let Some(python) = model_signing() else {
        return;
    };
    let dir = signed();
    let verify = |folder: &str, signature: &str| {
        let key = [
            "verify",
            "key",
            folder,
            "--signature",
            signature,
            "--public_key",
        ];
        run_python(&python, &dir, &[&key[..], &["trainer.pub"]].concat())
    };
    let ran = verify("model", "model/model.sig");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // The calibration's signature too.
    let name = dir
        .files("model/calibration")
        .into_iter()
        .find(|name| name.ends_with(".sig"));
    let signature = format!("model/calibration/{}", name.unwrap());
    let ran = verify("model/calibration", &signature);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // After calibrating on the box, the trainer's is as good as before.
    normals(&dir);
    let ran = dir.verb("calibrate", &CALIBRATE);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = verify("model", "model/model.sig");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    write(&dir.at("model/encoder.onnx"), |bytes| bytes[9] ^= 4);
    assert_ne!(verify("model", "model/model.sig").code, Some(0));
}

#[test]
fn what_python_signs_is_verified_here() {
    let Some(python) = model_signing() else {
        return;
    };
    let dir = signed();
    let sign = |ignored: &[&str]| {
        let key = [
            "sign",
            "key",
            "model",
            "--private_key",
            "trainer.key",
            "--signature",
        ];
        let arguments = [&key[..], &["model/model.sig"], ignored].concat();
        let ran = run_python(&python, &dir, &arguments);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    sign(&["--ignore-paths", "model/calibration"]);
    score(&dir, &[]).is_fine();
    // A model that was signed with its calibration.
    sign(&[]);
    score(&dir, &[]).is_fine();
    write(&dir.at("model/calibration/calibration.toml"), |bytes| {
        bytes.push(b'\n')
    });
    score(&dir, &[]).fails_at_once(&["calibration.toml: SHA-256 is", "signed was"]);
    write(&dir.at("model/golden.png"), |bytes| bytes.push(0));
    score(&dir, &[]).fails_at_once(&["golden.png"]);
}
