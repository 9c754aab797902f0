//! Logs that were tampered with.

use std::{fs, path::Path};

use super::*;
use crate::trust::{PublicKey, SigningKey};

fn settings() -> EvidenceSettings {
    EvidenceSettings {
        model_id: "tiny-01234567".into(),
        model_sha256: "ab".repeat(32),
        backend: "tract".into(),
        device: "cpu".into(),
        threshold: 4.0,
        false_alarm_rate: 0.01,
    }
}

fn verdict(number: u64) -> EvidenceVerdict {
    EvidenceVerdict {
        source: None,
        frame_number: number,
        path: Some(format!("{number}.png")),
        frame_sha256: Some("cd".repeat(32)),
        pred_label: "normal".into(),
        review: false,
        pred_score: Some((number as f64).sqrt() / 3.0),
        p_value: Some(0.5),
        reasons: Vec::new(),
    }
}

/// A log of so many verdicts in the folder, and its lines.
fn written(folder: &Path, verdicts: u64, key: Option<SigningKey>) -> (Vec<String>, String) {
    let path = folder.join("log");
    let params = EvidenceParams {
        every: 7,
        ..EvidenceParams::default()
    };
    let mut log = EvidenceLog::open(&path, key, params).unwrap();
    for number in 0..verdicts {
        log.verdict(&settings(), verdict(number)).unwrap();
    }
    let head = log.close().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    (text.lines().map(str::to_owned).collect(), head)
}

fn asked(keys: &[PublicKey], running: bool) -> EvidenceCheck<'_> {
    EvidenceCheck {
        keys,
        running,
        after: None,
    }
}

fn checked(folder: &Path, lines: &[String], keys: &[PublicKey]) -> EvidenceReport {
    let path = folder.join("tampered");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).unwrap();
    verify(&path, asked(keys, false), |_| {}).unwrap()
}

#[test]
fn a_log_is_whole_and_its_numbers_come_back() {
    let room = tempfile::tempdir().unwrap();
    let (lines, head) = written(room.path(), 9, None);
    let mut scores = Vec::new();
    let report = verify(&room.path().join("log"), asked(&[], false), |line| {
        if let Entry::Verdict(verdict) = &line.entry {
            scores.push(verdict.pred_score.unwrap().to_bits());
        }
    })
    .unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.lines, report.verdicts), (lines.len() as u64, 9));
    assert_eq!(report.head, head);
    let expected = (0..9).map(|number| verdict(number).pred_score.unwrap().to_bits());
    assert!(scores.into_iter().eq(expected));
}

#[test]
fn whatever_is_done_to_a_log_is_found() {
    let room = tempfile::tempdir().unwrap();
    let key = SigningKey::generate();
    let keys = [key.public()];
    let (lines, _) = written(room.path(), 9, Some(key));
    assert!(checked(room.path(), &lines, &keys).is_whole());
    // Open, settings, five verdicts, checkpoint, …
    assert!(lines[5].contains("\"frame_number\":3"), "{}", lines[5]);
    let found = |change: &dyn Fn(&mut Vec<String>), words: &str, keys: &[PublicKey]| {
        let mut changed = lines.clone();
        change(&mut changed);
        assert_ne!(changed, lines);
        let report = checked(room.path(), &changed, keys);
        let all = report.faults.join("; ");
        assert!(all.contains(words), "{words:?} is not in {all:?}");
    };
    for keys in [&keys[..], &[]] {
        found(
            &|lines| drop(lines.remove(5)),
            "before line 6, 1 were removed",
            keys,
        );
        found(
            &|lines| drop(lines.drain(..2)),
            "the beginning was removed",
            keys,
        );
        found(&|lines| lines.truncate(8), "it is not closed", keys);
        found(&|lines| lines.swap(4, 5), "inserted or moved", keys);
        found(
            &|lines| lines.insert(5, lines[4].clone()),
            "inserted or moved",
            keys,
        );
        let normal = "\"pred_label\":\"normal\"";
        let changed = |lines: &mut Vec<String>| {
            lines[4] = lines[4].replace(normal, "\"pred_label\":\"anomalous\"");
        };
        found(&changed, "line 5 was changed", keys);
        found(&|lines| lines[4] = "{}".into(), "line 5 is no entry", keys);
        found(
            &|lines| lines[4].push(' '),
            "line 5 is not as it was written",
            keys,
        );
        let last = lines.len() - 1;
        let fewer = |lines: &mut Vec<String>| {
            lines[last] = lines[last].replace("\"verdicts\":9", "\"verdicts\":8");
        };
        found(&fewer, "closes 8 verdicts, and 9 are there", keys);
    }
    // What only a key finds: the last line, and a whole new log.
    let last = lines.len() - 1;
    let later = |lines: &mut Vec<String>| {
        lines[last] = lines[last].replacen("\"timestamp\":\"2", "\"timestamp\":\"3", 1);
    };
    found(&later, "signature in line", &keys);
    let (forged, _) = written(tempfile::tempdir().unwrap().path(), 9, None);
    let report = checked(room.path(), &forged, &keys);
    assert!(
        report.faults[0].contains("lines are not signed"),
        "{report:?}"
    );
    let other = written(
        tempfile::tempdir().unwrap().path(),
        9,
        Some(SigningKey::generate()),
    );
    let report = checked(room.path(), &other.0, &keys);
    assert!(report.faults[0].contains("by another key"), "{report:?}");
}

#[test]
fn every_bit_of_a_line_is_covered() {
    let room = tempfile::tempdir().unwrap();
    let (lines, _) = written(room.path(), 3, None);
    let path = room.path().join("tampered");
    let text = lines.join("\n") + "\n";
    // The last line is covered by a signature alone.
    let covered = text.len() - lines.last().unwrap().len() - 1;
    let mut bytes = text.into_bytes();
    for bit in 0..covered * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let report = verify(&path, asked(&[], false), |_| {}).unwrap();
        assert!(!report.is_whole(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_log_goes_on_after_a_crash() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("log");
    let mut log = EvidenceLog::open(&path, None, EvidenceParams::default()).unwrap();
    log.verdict(&settings(), verdict(0)).unwrap();
    let twice = EvidenceLog::open(&path, None, EvidenceParams::default());
    assert!(matches!(twice.err(), Some(EvidenceError::Locked { .. })));
    // Killed in the middle of a line, again and again, also while it began anew.
    drop(log);
    for torn in [
        "{\"sequence\":3,\"prev",
        "{",
        "\0\0\0",
        "{\"sequence\":4\0\0",
    ] {
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(torn.as_bytes());
        fs::write(&path, &bytes).unwrap();
        let running = verify(&path, asked(&[], true), |_| {}).unwrap();
        assert!(running.is_whole(), "{running:?}");
        drop(EvidenceLog::open(&path, None, EvidenceParams::default()).unwrap());
    }
    let mut log = EvidenceLog::open(&path, None, EvidenceParams::default()).unwrap();
    log.verdict(&settings(), verdict(1)).unwrap();
    log.close().unwrap();
    let report = verify(&path, asked(&[], false), |_| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(
        (report.verdicts, report.notices.len()),
        (2, 9),
        "{report:?}"
    );
    // In its very first line.
    for torn in ["", "{\"seq", "{\"sequence\":0,\"previous", "\0\0"] {
        fs::write(&path, torn).unwrap();
        let log = EvidenceLog::open(&path, None, EvidenceParams::default());
        log.unwrap().close().unwrap();
        assert!(verify(&path, asked(&[], false), |_| {}).unwrap().is_whole());
    }
    fs::write(&path, "something else\n").unwrap();
    let foreign = EvidenceLog::open(&path, None, EvidenceParams::default());
    assert!(matches!(foreign.err(), Some(EvidenceError::Foreign { .. })));
}

/// A log in files of some four lines.
fn in_files(folder: &Path, verdicts: u64, key: Option<SigningKey>) {
    let params = EvidenceParams {
        max_size: 1200,
        ..EvidenceParams::default()
    };
    let mut log = EvidenceLog::open(&folder.join("log"), key, params).unwrap();
    for number in 0..verdicts {
        log.verdict(&settings(), verdict(number)).unwrap();
    }
    log.close().unwrap();
}

#[test]
fn the_chain_goes_over_files_and_one_that_is_missing_is_found() {
    let room = tempfile::tempdir().unwrap();
    let key = SigningKey::generate();
    let keys = [key.public()];
    in_files(room.path(), 9, Some(key));
    let path = room.path().join("log");
    let files = files::files_of(&path).unwrap();
    assert!(files.len() >= 4, "{files:?}");
    for place in [&path, room.path()] {
        let report = verify(place, asked(&keys, false), |_| {}).unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!(report.verdicts, 9);
    }
    // It goes on in the newest, also where that could not be begun.
    let last = files.last().unwrap();
    in_files(room.path(), 2, None);
    let before = fs::read(&files[1]).unwrap();
    let aside = room.path().join("aside");
    let found = |words: &str| {
        let report = verify(&path, asked(&[], false), |_| {}).unwrap();
        let all = report.faults.join("; ");
        assert!(all.contains(words), "{words:?} is not in {all:?}");
    };
    assert!(verify(&path, asked(&[], false), |_| {}).unwrap().is_whole());
    fs::rename(&files[1], &aside).unwrap();
    found("were removed, from number ");
    fs::rename(&aside, &files[1]).unwrap();
    fs::rename(&files[0], &aside).unwrap();
    found("the beginning was removed");
    // Older files are kept elsewhere, and the digest of their last line is known.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(&aside, elsewhere.path().join("log")).unwrap();
    let older = verify(elsewhere.path(), asked(&[], true), |_| {}).unwrap();
    let after = |head: &str| {
        let asked = EvidenceCheck {
            after: Some(head),
            ..EvidenceCheck::default()
        };
        verify(&path, asked, |_| {}).unwrap()
    };
    assert!(after(&older.head).is_whole());
    assert!(after(NO_HEAD).faults[0].contains("not the one that was named"));
    fs::rename(elsewhere.path().join("log"), &files[0]).unwrap();
    let text = String::from_utf8(before.clone()).unwrap();
    let cut = text.trim_end().rfind('\n').unwrap() + 1;
    fs::write(&files[1], &text[..cut]).unwrap();
    found("1 were removed");
    fs::write(&files[1], &text[..cut + 9]).unwrap();
    found(" is cut off");
    fs::write(
        &files[1],
        text.replacen("\"pred_score\":0.", "\"pred_score\":1.", 1),
    )
    .unwrap();
    found(" was changed");
    fs::write(&files[1], before).unwrap();
    // A power cut between the two steps of a new file.
    fs::rename(last, files::part_path(&path, 900)).unwrap();
    in_files(room.path(), 1, None);
    assert!(verify(&path, asked(&[], false), |_| {}).unwrap().is_whole());
    fs::write(room.path().join("other"), fs::read(&path).unwrap()).unwrap();
    let several = verify(room.path(), asked(&[], false), |_| {}).unwrap_err();
    assert!(
        several
            .to_string()
            .contains("2 logs of evidence (log, other)")
    );
}

const NO_HEAD: &str = "0123";

#[test]
#[cfg(unix)]
fn a_new_file_that_cannot_be_begun_costs_no_line() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("log");
    // In the way of what the full file is to be called.
    fs::create_dir_all(files::part_path(&path, 0).join("x")).unwrap();
    in_files(room.path(), 9, None);
    let report = verify(&path, asked(&[], false), |_| {}).unwrap();
    assert!(report.is_whole() && report.verdicts == 9, "{report:?}");
}
