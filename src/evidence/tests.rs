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
    let params = EvidenceParams { every: 7 };
    let mut log = EvidenceLog::open(&path, key, params).unwrap();
    for number in 0..verdicts {
        log.verdict(&settings(), verdict(number)).unwrap();
    }
    let head = log.close().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    (text.lines().map(str::to_owned).collect(), head)
}

fn checked(folder: &Path, lines: &[String], keys: &[PublicKey]) -> EvidenceReport {
    let path = folder.join("tampered");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).unwrap();
    verify(&path, keys, false, |_| {}).unwrap()
}

#[test]
fn a_log_is_whole_and_its_numbers_come_back() {
    let room = tempfile::tempdir().unwrap();
    let (lines, head) = written(room.path(), 9, None);
    let mut scores = Vec::new();
    let report = verify(&room.path().join("log"), &[], false, |line| {
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
        let report = verify(&path, &[], false, |_| {}).unwrap();
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
    // Killed in the middle of a line.
    drop(log);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"sequence\":3,\"prev");
    fs::write(&path, &bytes).unwrap();
    let running = verify(&path, &[], true, |_| {}).unwrap();
    assert!(running.is_whole(), "{running:?}");
    let mut log = EvidenceLog::open(&path, None, EvidenceParams::default()).unwrap();
    log.verdict(&settings(), verdict(1)).unwrap();
    log.close().unwrap();
    let report = verify(&path, &[], false, |_| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(
        (report.verdicts, report.notices.len()),
        (2, 2),
        "{report:?}"
    );
    fs::write(&path, "something else\n").unwrap();
    let foreign = EvidenceLog::open(&path, None, EvidenceParams::default());
    assert!(matches!(foreign.err(), Some(EvidenceError::Foreign { .. })));
}
