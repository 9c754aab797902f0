//! Sealed models: encrypted on disk, in the clear in memory only.

use std::{fs, path::Path};

use crate::test_dir::{Ran, TestDir};

/// A folder with the key of a device, the model, and the same sealed for the device.
fn sealed() -> TestDir {
    let dir = TestDir::new();
    dir.run(&["model", "keygen", "--sealing", "box"]).is_fine();
    let seal = [
        "model",
        "seal",
        "model",
        "--recipient",
        "box.recipient",
        "--out",
        "sealed",
    ];
    dir.run(&seal).is_fine();
    dir
}

fn score(dir: &TestDir, arguments: &[&str]) -> Ran {
    let score = ["score", "--model", "sealed", "bad.png", "--json", "--quiet"];
    dir.run(&[&score[..], arguments].concat())
}

/// Whether a file below the folder holds the bytes.
fn is_found(folder: &Path, secret: &[u8]) -> Option<String> {
    let files = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap);
    let mut files = files.filter(|entry| entry.file_type().is_file());
    let found = files.find(|entry| {
        let bytes = fs::read(entry.path()).unwrap();
        bytes.windows(secret.len()).any(|window| window == secret)
    });
    found.map(|entry| entry.path().display().to_string())
}

#[test]
fn a_sealed_model_scores_as_the_plain_one() {
    let dir = sealed();
    assert_eq!(
        dir.files("sealed"),
        [
            &dir.files("model/calibration")
                .iter()
                .map(|name| format!("calibration/{name}"))
                .collect::<Vec<_>>()[..],
            &["manifest.toml".to_owned(), "sealed.age".to_owned()],
        ]
        .concat()
    );
    let plain = dir.verb("score", &["bad.png", "--json"]);
    let score_of = |ran: &Ran| ran.is_fine().json()[0]["pred_score"].clone();
    let opened = score(&dir, &["--identity", "box.identity"]);
    assert_eq!(score_of(&opened), score_of(&plain));
    // The other places of a key.
    let with = |name: &str, value: &str| {
        let mut command = dir.command(&["score", "--model", "sealed", "bad.png", "--quiet"]);
        Ran::of(command.env(name, value).output().unwrap())
    };
    let identity = fs::read_to_string(dir.at("box.identity")).unwrap();
    with("EDGE_VAE_IDENTITY", &identity).is_fine();
    dir.write("credentials/edge-vae.identity", &identity);
    with(
        "CREDENTIALS_DIRECTORY",
        dir.at("credentials").to_str().unwrap(),
    )
    .is_fine();
    let mut command = dir.command(&["score", "--model", "sealed", "bad.png", "--identity", "-"]);
    command
        .arg("--quiet")
        .stdin(fs::File::open(dir.at("box.identity")).unwrap());
    Ran::of(command.output().unwrap()).is_fine();
    dir.run(&[
        "model",
        "info",
        "sealed",
        "--identity",
        "box.identity",
        "--quiet",
    ])
    .is_fine();
}

#[test]
fn without_its_key_a_sealed_model_is_closed() {
    let dir = sealed();
    score(&dir, &[]).fails_at_once(&["is sealed, and there is no key", "--identity"]);
    dir.run(&["model", "keygen", "--sealing", "other"])
        .is_fine();
    score(&dir, &["--identity", "other.identity"])
        .fails_at_once(&["sealed.age: is not sealed for this key"]);
    score(&dir, &["--identity", "box.recipient"])
        .fails_at_once(&["is neither a secret key of age nor a passphrase"]);
    let bytes = fs::read(dir.at("sealed/sealed.age")).unwrap();
    for cut in [10, bytes.len() / 2, bytes.len() - 1] {
        dir.write("sealed/sealed.age", &bytes[..cut]);
        let ran = score(&dir, &["--identity", "box.identity"]);
        ran.fails_at_once(&["sealed.age: is "]);
    }
    let mut changed = bytes.clone();
    let last = changed.len() - 20;
    changed[last] ^= 1;
    dir.write("sealed/sealed.age", &changed);
    score(&dir, &["--identity", "box.identity"]).fails_at_once(&["sealed.age: is damaged"]);
    dir.run(&[
        "model",
        "seal",
        "model",
        "--recipient",
        "box.identity",
        "--out",
        "more",
    ])
    .fails_at_once(&["box.identity: is a secret key"]);
    dir.run(&[
        "model",
        "seal",
        "model",
        "--recipient",
        "nobody",
        "--out",
        "more",
    ])
    .fails_at_once(&["nobody: cannot read"]);
}

#[test]
fn passphrases_and_new_keys() {
    let dir = TestDir::new();
    dir.write("secret.txt", "correct horse battery staple\n");
    let seal = [
        "model",
        "seal",
        "model",
        "--passphrase-file",
        "secret.txt",
        "--out",
        "sealed",
    ];
    dir.run(&seal).is_fine();
    let mut command = dir.command(&["score", "--model", "sealed", "bad.png", "--quiet"]);
    command.env("EDGE_VAE_PASSPHRASE", "correct horse battery staple");
    Ran::of(command.output().unwrap()).is_fine();
    dir.write("wrong.txt", "wrong\n");
    score(&dir, &["--identity", "wrong.txt"])
        .fails_at_once(&["sealed.age: is not sealed for this key"]);
    dir.run(&["model", "keygen", "--sealing", "box"]).is_fine();
    let rekey = [
        "model",
        "rekey",
        "sealed",
        "--identity",
        "secret.txt",
        "--quiet",
        "--recipient",
    ];
    dir.run(&[&rekey[..], &["box.recipient"]].concat())
        .is_fine();
    score(&dir, &["--identity", "secret.txt"]).fails_at_once(&["is not sealed for this key"]);
    score(&dir, &["--identity", "box.identity"]).is_fine();
    let unseal = [
        "model",
        "unseal",
        "sealed",
        "--identity",
        "box.identity",
        "--quiet",
        "--out",
    ];
    dir.run(&[&unseal[..], &["plain"]].concat()).is_fine();
    for name in dir.files("model") {
        let read = |folder: &str| fs::read(dir.at(folder).join(&name)).unwrap();
        assert!(read("plain") == read("model"), "{name}");
    }
}

#[test]
fn a_signature_is_good_before_and_after_sealing() {
    let dir = TestDir::new();
    dir.run(&["model", "keygen", "trainer"]).is_fine();
    dir.run(&["model", "keygen", "--sealing", "box"]).is_fine();
    dir.run(&["model", "sign", "model", "--key", "trainer.key"])
        .is_fine();
    let seal = ["model", "seal", "model", "--recipient", "box.recipient"];
    dir.run(&seal).is_fine();
    assert!(!dir.at("model/encoder.onnx").exists());
    let required = [
        "--identity",
        "box.identity",
        "--require-signature",
        "trainer.pub",
    ];
    dir.verb("score", &[&["bad.png"], &required[..]].concat())
        .is_fine();
    // Whoever has the public key can seal another model, and not sign it.
    let mut other = crate::tiny::writer();
    other.name = "other".into();
    other.files.insert("notes.txt".into(), b"more".to_vec());
    other.finish().unwrap().save(&dir.at("other")).unwrap();
    let seal = ["model", "seal", "other", "--recipient", "box.recipient"];
    dir.run(&seal).is_fine();
    fs::copy(dir.at("other/sealed.age"), dir.at("model/sealed.age")).unwrap();
    dir.verb("score", &[&["bad.png"], &required[..]].concat())
        .fails_at_once(&["sealed.age: holds more than the manifest lists"]);
    fs::copy(dir.at("model/model.sig"), dir.at("other/model.sig")).unwrap();
    let score = ["score", "--model", "other", "bad.png", "--quiet"];
    dir.run(&[&score[..], &required].concat())
        .fails_at_once(&["manifest.toml: SHA-256 is", "signed was"]);
    // Weights in the clear beside the sealed ones were put there by somebody.
    dir.write("model/encoder.onnx", "x");
    dir.verb("score", &[&["bad.png"], &required[..]].concat())
        .fails_at_once(&["encoder.onnx: lies in the clear beside sealed.age"]);
}

#[test]
fn weights_are_never_written() {
    let dir = sealed();
    let encoder = fs::read(dir.at("model/encoder.onnx")).unwrap();
    // Long enough to be nothing else.
    let secret = &encoder[encoder.len() / 2..][..48];
    assert!(is_found(&dir.at("model"), secret).is_some());
    fs::remove_dir_all(dir.at("model")).unwrap();
    fs::create_dir(dir.at("tmp")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = dir.command(arguments);
        let output = command.env("TMPDIR", dir.at("tmp")).output().unwrap();
        Ran::of(output)
    };
    let model = ["--model", "sealed", "--identity", "box.identity", "--quiet"];
    for number in 0..8 {
        dir.frame(&format!("normals/{number}.png"), None);
    }
    run(&[
        &["score", "bad.png", "--overlay", "o", "--map", "m"],
        &model[..],
    ]
    .concat())
    .is_fine();
    let rate = ["calibrate", "normals", "--false-alarm-rate", "0.2"];
    let ran = run(&[&rate, &model[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // What would write them says so.
    let out = [
        "calibrate",
        "normals",
        "--false-alarm-rate",
        "0.2",
        "--out",
        "copy",
    ];
    run(&[&out, &model[..]].concat()).fails_at_once(&["copy: is not written: the model is sealed"]);
    assert_eq!(is_found(&dir.at(""), secret), None);
}

/// Whether this machine has TensorRT or not, and before anything is compiled.
#[test]
fn no_engine_of_a_sealed_model_is_kept() {
    let dir = sealed();
    let refused = ["sealed: is sealed, and TensorRT keeps its engines on disk"];
    score(
        &dir,
        &["--identity", "box.identity", "--device", "tensorrt"],
    )
    .fails_at_once(&refused);
    let mut build = dir.command(&["engine", "build", "--model", "sealed"]);
    let identity = fs::read_to_string(dir.at("box.identity")).unwrap();
    let ran = Ran::of(build.env("EDGE_VAE_IDENTITY", identity).output().unwrap());
    ran.fails_at_once(&refused);
    assert!(!dir.at("cache").exists());
}

/// A crash on purpose: with the plain model there is a core file that has its weights, with the
/// sealed one none, and nothing in the cache and the temporary folder.
#[test]
#[cfg(target_os = "linux")]
fn a_crash_leaves_no_weights() {
    use std::process::Command;
    let dir = sealed();
    let encoder = fs::read(dir.at("model/encoder.onnx")).unwrap();
    let secret = &encoder[encoder.len() / 2..][..48];
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let crash = |model: &str| {
        let folder = dir.at(&format!("crash-{model}"));
        fs::create_dir(&folder).unwrap();
        // Frames come from a pipe that stays open, so that the process waits with its model.
        let script = format!(
            "ulimit -c unlimited; mkfifo frames; exec 3<>frames; \
             '{}' watch '-?format=gray&width=8&height=8' --model ../{model} \
             --identity ../box.identity --control ctl <frames & \
             for i in $(seq 600); do [ -S ctl ] && break; sleep 0.1; done; \
             kill -ABRT $!; wait $!; [ $? -eq 134 ]",
            assert_cmd::cargo::cargo_bin!("edge-vae").display()
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(&folder);
        for (name, inner) in [("HOME", ""), ("TMPDIR", "tmp"), ("EDGE_VAE_CACHE", "cache")] {
            let inner = folder.join(inner);
            fs::create_dir_all(&inner).unwrap();
            command.env(name, inner);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        // Beside the socket, the pipe and the folders.
        let files = entries.filter(|entry| entry.metadata().unwrap().is_file());
        (files.count(), is_found(&folder, secret))
    };
    let (cores, found) = crash("model");
    if cores == 0 {
        eprintln!("no core file is written here (core_pattern is {pattern:?})");
    } else {
        assert!(found.is_some(), "the search finds nothing in a core file");
    }
    assert_eq!(crash("sealed"), (0, None));
}
