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
