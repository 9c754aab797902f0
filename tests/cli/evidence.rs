//! Logs of verdicts as evidence: kept by `score`, verified and replayed by `log`.

use std::fs;

use crate::test_dir::TestDir;

fn with_log(arguments: &[&str]) -> TestDir {
    let dir = TestDir::new();
    for number in 0..6 {
        let spot = (number % 3 == 2).then_some((5, number % 2));
        dir.frame(&format!("line/{number}.png"), spot);
    }
    dir.write("line/torn.png", "\x7f");
    let score = ["line", "--evidence", "day.evidence"];
    let ran = dir.verb("score", &[&score[..], arguments].concat());
    assert_eq!(ran.code, Some(2), "one frame is torn: {ran:?}");
    dir
}

#[test]
fn what_is_kept_can_be_verified_and_replayed() {
    let dir = with_log(&[]);
    let verified = dir.run(&["log", "verify", "day.evidence", "--json"]);
    let report = &verified.is_fine().json()[0];
    assert_eq!(
        (&report["whole"], &report["verdicts"]),
        (&true.into(), &7.into())
    );
    let text = fs::read_to_string(dir.at("day.evidence")).unwrap();
    assert!(text.contains("\"pred_label\":\"failed\""), "{text}");
    assert!(text.contains("\"pred_label\":\"anomalous\""), "{text}");
    // Under other names, in other files of the same picture.
    fs::remove_file(dir.at("line/torn.png")).unwrap();
    fs::rename(dir.at("line"), dir.at("archive")).unwrap();
    fs::rename(dir.at("archive/0.png"), dir.at("archive/other.png")).unwrap();
    let replay = [
        "log",
        "replay",
        "day.evidence",
        "archive",
        "--model",
        "model",
    ];
    let replayed = dir.run(&[&replay[..], &["--quiet"]].concat());
    let same = replayed
        .is_fine()
        .stdout
        .lines()
        .filter(|line| line.starts_with("same"));
    assert_eq!(same.count(), 6, "{replayed:?}");
    // The log goes on with the next run.
    let again = dir.verb("score", &["archive", "--evidence", "day.evidence"]);
    again.is_fine();
    let report = dir.run(&["log", "verify", "day.evidence", "--json"]);
    assert_eq!(report.is_fine().json()[0]["verdicts"], 13);
    let head = report.json()[0]["head"].as_str().unwrap().to_owned();
    dir.run(&["log", "verify", "day.evidence", "--head", &head])
        .is_fine();
    let other = "0".repeat(64);
    dir.run(&["log", "verify", "day.evidence", "--head", &other])
        .fails(&["lines are missing"]);
}

/// Killed in the middle again and again: the chain goes on, over files too, and the scores are
/// those of the frames.
#[test]
#[cfg(all(feature = "watch", unix))]
fn a_watch_that_is_killed_leaves_a_chain_that_goes_on() {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
        time::Duration,
    };
    let dir = TestDir::new();
    for number in 0..40 {
        let spot = (number % 5 == 0).then_some((5, 2));
        dir.frame(&format!("line/{number:02}.png"), spot);
    }
    let configuration = "[[evidence]]\npath = 'kept/day.evidence'\nkey = 'line.key'\n\
        every = 7\nmax-size = 8000\n";
    dir.write("edge-vae.toml", configuration);
    dir.write("kept/notes.txt", "nothing");
    dir.run(&["model", "keygen", "line"]).is_fine();
    let watch = ["watch", "line?watch=false", "--model", "model", "--json"];
    let mut printed = 0;
    for kill_at in [3, 11, 25] {
        let mut child = dir
            .command(&watch)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let frames = out.lines().map(Result::unwrap);
        let mut frames = frames.filter(|line| line.contains("\"type\":\"frame\""));
        printed += frames.by_ref().take(kill_at).count();
        std::thread::sleep(Duration::from_micros(300 * kill_at as u64));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let verify = ["log", "verify", "kept", "--key", "line.pub", "--json"];
    let killed = dir.run(&verify);
    assert_eq!(killed.code, Some(2), "{killed:?}");
    assert!(killed.stderr.contains("it is not closed"), "{killed:?}");
    let ran = dir.run(&watch);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let verified = dir.run(&verify);
    let report = &verified.json()[0];
    assert_eq!((verified.code, &report["whole"]), (Some(0), &true.into()));
    let verdicts = report["verdicts"].as_u64().unwrap();
    // A sink has a queue of 8 frames, and one in its hands.
    let least = 40 + printed as u64 - 3 * 9;
    assert!(verdicts >= least, "{verdicts} of {printed}");
    assert!(report["signatures"].as_u64().unwrap() > 5, "{report}");
    let closed = "a process ended without closing";
    assert_eq!(verified.stderr.matches(closed).count(), 3, "{verified:?}");
    let replay = [
        "log", "replay", "kept", "line", "--model", "model", "--quiet",
    ];
    let replayed = dir.run(&replay);
    let same = replayed.is_fine().stdout.lines();
    let same = same.filter(|line| line.starts_with("same")).count() as u64;
    assert_eq!(same, verdicts, "{replayed:?}");
    // A file that is missing, and the first ones kept elsewhere.
    let mut parts = dir.files("kept");
    parts.retain(|name| name.starts_with("day.evidence."));
    assert!(parts.len() > 3, "{parts:?}");
    let missing = dir.at("kept").join(&parts[1]);
    fs::rename(&missing, dir.at("missing")).unwrap();
    let found = dir.run(&["log", "verify", "kept/day.evidence"]);
    let words = format!("before {}, line 1, ", parts[2]);
    assert!(
        found.code == Some(2) && found.stderr.contains(&words),
        "{found:?}"
    );
    fs::create_dir(dir.at("older")).unwrap();
    fs::rename(dir.at("missing"), dir.at("older").join(&parts[1])).unwrap();
    let first = dir.at("kept").join(&parts[0]);
    fs::rename(first, dir.at("older").join(&parts[0])).unwrap();
    let older = dir.run(&["log", "verify", "older", "--running", "--json"]);
    let head = older.json()[0]["head"].as_str().unwrap().to_owned();
    let after = dir.run(&[&verify[..], &["--after", &head]].concat());
    assert_eq!(after.code, Some(0), "{after:?}");
}

#[test]
fn a_log_that_was_touched_is_not_whole() {
    let dir = with_log(&[]);
    let lines = |dir: &TestDir| -> Vec<String> {
        let text = fs::read_to_string(dir.at("day.evidence")).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let whole = lines(&dir);
    let verify = |lines: &[String], words: &[&str]| {
        dir.write("touched", lines.join("\n") + "\n");
        dir.run(&["log", "verify", "touched"]).fails(words);
    };
    let mut removed = whole.clone();
    removed.remove(3);
    verify(&removed, &["before line 4, 1 were removed"]);
    verify(&whole[..5], &["it is not closed: its end was removed"]);
    let mut changed = whole.clone();
    changed[4] = changed[4].replace("anomalous", "normal");
    assert_ne!(changed, whole);
    verify(&changed, &["line 5 was changed"]);
    // Nothing is replayed of it.
    let replay = [
        "log", "replay", "touched", "line", "--model", "model", "--quiet",
    ];
    dir.run(&replay).fails_at_once(&["line 5 was changed"]);
    dir.run(&["log", "verify", "none"])
        .fails_at_once(&["none: cannot read"]);
    dir.write("line.txt", "nothing\n");
    dir.verb("score", &["good.png", "--evidence", "line.txt"])
        .fails_at_once(&["line.txt: does not end like a log"]);
}

#[test]
fn a_signed_log_is_verified_by_its_key() {
    let dir = TestDir::new();
    for name in ["line", "other"] {
        dir.run(&["model", "keygen", name]).is_fine();
    }
    let score = [
        "good.png",
        "bad.png",
        "--evidence",
        "e",
        "--evidence-key",
        "line.key",
    ];
    dir.verb("score", &score).is_fine();
    let verified = dir.run(&["log", "verify", "e", "--key", "line.pub", "--json"]);
    assert_eq!(verified.is_fine().json()[0]["signatures"], 1);
    let refused = dir.run(&["log", "verify", "e", "--key", "other.pub"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("wrong, or by another key"),
        "{refused:?}"
    );
    // Another model, another score: found, and counted.
    let mut other = crate::tiny::writer();
    other.name = "other".into();
    other.finish().unwrap().save(&dir.at("other")).unwrap();
    dir.run(&[
        "log", "replay", "e", "good.png", "--model", "other", "--quiet",
    ])
    .fails_at_once(&["e: has no score of the model other-"]);
}
