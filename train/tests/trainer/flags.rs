//! Flags and help.

use super::{Scratch, fit, stderr};

#[test]
fn wrong_flags_are_errors() {
    let scratch = Scratch::new();
    for (flag, value) in [
        ("--false-alarm-rate", "1.5"),
        ("--latent", "vector:0"),
        ("--crop", "0.5,0,0.2,1"),
        ("--likelihood", "poisson"),
        ("--minutes", "-1"),
        ("--beta", "nan"),
    ] {
        let run = scratch.train(&["fit", "frames", "--out", "model", flag, value]);
        assert_eq!(run.status.code(), Some(2));
        assert!(stderr(&run).contains(flag), "{}", stderr(&run));
    }
}

#[test]
fn the_short_help_has_what_people_use_first() {
    let scratch = Scratch::new();
    let help = |flag: &str| {
        let run = scratch.train(&["fit", flag]);
        assert!(run.status.success());
        String::from_utf8(run.stdout).expect("text")
    };
    let flags = |text: &str| {
        let lines = text.lines().map(str::trim_start);
        lines
            .filter(|line| line.starts_with("--") || line.starts_with("-"))
            .count()
    };
    let (short, long) = (help("-h"), help("--help"));
    // Ten, and --quiet and --help.
    assert_eq!(flags(&short), 12, "{short}");
    assert!(
        short.contains("--minutes") && !short.contains("--free-bits"),
        "{short}"
    );
    assert!(flags(&long) > 40, "{long}");
    for heading in ["Frames:", "What decides:", "Optimiser:", "Augmentation:"] {
        assert!(long.contains(heading), "{long}");
    }
}

#[test]
fn a_quiet_run_says_nothing_but_warnings() {
    let scratch = Scratch::new();
    let run = scratch.train(&fit("model", &["--quiet", "--false-alarm-rate", "0.2"]));
    assert!(run.status.success());
    assert_eq!(stderr(&run), "");
    let run = scratch.train(&fit("other", &["--quiet", "--false-alarm-rate", "0.001"]));
    let said = stderr(&run);
    assert!(
        said.lines().all(|line| line.starts_with("warning: ")),
        "{said}"
    );
    assert!(!said.is_empty());
}
