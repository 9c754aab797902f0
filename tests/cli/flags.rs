//! Flags, help, completions and manual pages.

use crate::test_dir::TestDir;

#[test]
fn wrong_values_are_one_line_with_what_is_possible() {
    let dir = TestDir::new();
    let refused = |arguments: &[&str], words: &[&str]| {
        dir.run(arguments)
            .fails_at_once(&[words, &["--help"]].concat());
    };
    refused(
        &["score", "good.png", "--device", "gpu"],
        &["gpu", "--device", "cuda"],
    );
    refused(
        &["score", "good.png", "--backend", "onnx"],
        &["onnx", "--backend", "tract"],
    );
    refused(
        &["score", "good.png", "--threads", "0"],
        &["0", "--threads"],
    );
    refused(&["score"], &["FRAMES", "edge-vae score --help"]);
    refused(&["score", "good.png", "--jsno"], &["--jsno"]);
    refused(&["scroe", "good.png"], &["scroe", "score"]);
    refused(&["sample", "--count", "-3", "--out", "x"], &["-3"]);
    refused(
        &["likelihood", "good.png", "--samples", "many"],
        &["many", "--samples"],
    );
    refused(
        &["likelihood", "good.png", "--binarise", "half"],
        &["half", "dynamic"],
    );
    refused(
        &["interpolate", "a", "b", "--steps", "1", "--out", "x"],
        &["--steps"],
    );
}

#[test]
fn a_device_that_is_not_there_is_never_replaced_in_silence() {
    let dir = TestDir::new();
    dir.verb(
        "score",
        &["good.png", "--backend", "tract", "--device", "cuda"],
    )
    .fails_at_once(&["tract", "cuda"]);
    if std::path::Path::new("/dev/nvidiactl").exists() {
        eprintln!("skipped: this machine has a GPU, so that asking for one may be right");
        return;
    }
    for device in ["cuda", "tensorrt"] {
        let ran = dir.verb("score", &["good.png", "--device", device]);
        ran.fails_at_once(&[]);
        let says = ran.stderr.to_lowercase();
        assert!(
            says.contains("onnx runtime") || says.contains(device),
            "{says}"
        );
    }
}

#[test]
fn a_missing_library_is_named() {
    let dir = TestDir::new();
    dir.verb(
        "score",
        &[
            "good.png",
            "--backend",
            "ort",
            "--ort-library",
            "no/libonnxruntime.so",
        ],
    )
    .fails_at_once(&["no/libonnxruntime.so"]);
    dir.write("libonnxruntime.so", "not a library");
    dir.verb(
        "score",
        &[
            "good.png",
            "--backend",
            "ort",
            "--ort-library",
            "libonnxruntime.so",
        ],
    )
    .fails_at_once(&["libonnxruntime.so"]);
}

#[test]
fn every_verb_has_help_with_examples() {
    let dir = TestDir::new();
    for verb in [
        "score",
        "reconstruct",
        "encode",
        "decode",
        "sample",
        "interpolate",
        "likelihood",
    ] {
        let ran = dir.run(&[verb, "--help"]);
        assert!(ran.is_fine().stdout.contains("Example"), "{verb}");
    }
    for verb in ["info", "verify"] {
        let ran = dir.run(&["model", verb, "--help"]);
        assert!(ran.is_fine().stdout.contains("Example"), "{verb}");
    }
    assert!(
        dir.run(&["--version"])
            .is_fine()
            .stdout
            .starts_with("edge-vae 0.")
    );
}

#[test]
fn completions_and_manual_pages_are_made() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = dir.run(&["completions", shell]);
        assert!(ran.is_fine().stdout.contains("likelihood"), "{shell}");
    }
    dir.run(&["man", "--out", "pages"]).is_fine();
    let pages = dir.files("pages");
    for page in ["edge-vae.1", "edge-vae-score.1", "edge-vae-model-verify.1"] {
        assert!(pages.iter().any(|found| found == page), "{page}: {pages:?}");
    }
    if cfg!(all(unix, feature = "watch")) {
        let page = "edge-vae-ctl-threshold.1";
        assert!(pages.iter().any(|found| found == page), "{page}: {pages:?}");
        assert!(dir.run(&["completions", "bash"]).stdout.contains("ctl"));
    }
}

#[test]
fn no_engine_that_was_asked_for_is_dropped() {
    let dir = TestDir::new();
    for flags in [["--device", "cuda"], ["--backend", "ort"]] {
        dir.run(&[&["model", "verify", "model", "--all-engines"], &flags[..]].concat())
            .fails_at_once(&["--all-engines", flags[0], "`edge-vae model verify --help`"]);
    }
    // To name a library is to ask for it.
    for device in ["auto", "cpu"] {
        let library = ["--ort-library", "no/libonnxruntime.so"];
        dir.verb(
            "score",
            &[&["good.png", "--device", device], &library[..]].concat(),
        )
        .fails_at_once(&["no/libonnxruntime.so"]);
    }
    let said = |extra: &[&str], variable: Option<&str>| {
        let mut command =
            dir.command(&[&["score", "--model", "model", "good.png"], extra].concat());
        if let Some(library) = variable {
            command.env("ORT_DYLIB_PATH", library);
        }
        let ran = crate::test_dir::Ran::of(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stderr
    };
    let tract = ["--backend", "tract", "--ort-library", "named.so"];
    assert!(said(&tract, None).contains("does not use named.so"));
    assert!(said(&[], Some("no/named.so")).contains("no/named.so"));
    assert!(!said(&[], Some("")).contains("ONNX Runtime"));
    dir.write("named.so", "not a library");
    assert!(said(&[], Some("named.so")).contains("named.so"));
}

#[cfg(unix)]
#[test]
fn standard_input_with_settings_is_no_flag() {
    let dir = TestDir::new();
    let stdin = "-?format=gray&width=32&height=32";
    let ran = dir.run(&["watch", "--model", "model", "--quiet", "--check", stdin]);
    assert!(
        ran.is_fine().stdout.contains("source       stdin"),
        "{ran:?}"
    );
    // Elsewhere such a word is no flag that is known, and the way out is shown.
    dir.verb("score", &["-?.png"]).fails(&["-?", "-- -?"]);
}
