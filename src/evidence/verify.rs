//! Verifying a log, over all its files.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Entry, EvidenceError, Line,
    entry::{NO_LINE, Signed},
    files::{files_of, log_at},
    write::MAX_LINE_BYTES,
};
use crate::{bundle::sha256, trust::PublicKey};

/// Faults that are told apart; of more, only the number is.
const MAX_FAULTS: usize = 20;

/// What a log holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvidenceReport {
    /// Lines.
    pub lines: u64,
    /// Verdicts.
    pub verdicts: u64,
    /// Verdicts that the log itself says are missing, since they could not be written.
    pub lost: u64,
    /// Signatures that were verified.
    pub signatures: u64,
    /// Digest of the last line.
    pub head: String,
    /// What is wrong, in order; none: the log is whole.
    pub faults: Vec<String>,
    /// Faults beyond those.
    pub more_faults: u64,
    /// What a reader should know, such as a process that was killed.
    pub notices: Vec<String>,
}

impl EvidenceReport {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, text: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(text);
        } else {
            self.more_faults += 1;
        }
    }
}

/// What is asked of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvidenceCheck<'a> {
    /// Public keys: every signature must be by one of them, and everything must be signed. None:
    /// signatures are not looked at.
    pub keys: &'a [PublicKey],
    /// The log is still written: it need not have an end.
    pub running: bool,
    /// Digest of the line before the first one here, where older files of the log are kept
    /// elsewhere.
    pub after: Option<&'a str>,
}

/// Verifies a log with all its files, and hands each of its lines to `each`. `path` is the file
/// that is written, or a folder that has this one log.
///
/// # Errors
/// A file that can't be read, a folder without a log or with several. What is wrong with the log is
/// in the report.
pub fn verify(
    path: &Path,
    asked: EvidenceCheck<'_>,
    mut each: impl FnMut(&Line),
) -> Result<EvidenceReport, EvidenceError> {
    let path = log_at(path)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| EvidenceError::Read { path, source }
    };
    let mut files = files_of(&path).map_err(failed(&path))?;
    if files.is_empty() {
        // What can't be opened says why.
        files.push(path);
    }
    let mut check = Check {
        asked,
        report: EvidenceReport::default(),
        digest: asked.after.unwrap_or(NO_LINE).to_owned(),
        next: 0,
        last: None,
        file: None,
        number: 0,
        session: None,
        signed_up_to: 0,
    };
    let mut bytes = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let mut reader = BufReader::new(File::open(file).map_err(failed(file))?);
        let name = file.file_name().filter(|_| files.len() > 1);
        check.file = name.map(|name| name.to_string_lossy().into_owned());
        check.number = 0;
        loop {
            bytes.clear();
            // A line that is longer was never written: it comes in parts, which are none.
            let mut one = reader.by_ref().take(MAX_LINE_BYTES);
            if one.read_until(b'\n', &mut bytes).map_err(failed(file))? == 0 {
                break;
            }
            match bytes.strip_suffix(b"\n") {
                Some(text) => check.line(text).iter().for_each(&mut each),
                None => check.cut_off(place + 1 == files.len()),
            }
        }
    }
    Ok(check.finish())
}

struct Check<'a> {
    asked: EvidenceCheck<'a>,
    report: EvidenceReport,
    /// Of the last line.
    digest: String,
    /// Sequence that the next line must have.
    next: u64,
    last: Option<Entry>,
    /// The file, where there are several, and the line in it, from 1.
    file: Option<String>,
    number: u64,
    /// Verdicts since a process began to write; `None` where that is in a file that is not here.
    session: Option<u64>,
    /// Lines up to the last good signature.
    signed_up_to: u64,
}

impl Check<'_> {
    /// The line that is looked at: `line 5`, `day.evidence, line 5`.
    fn here(&self) -> String {
        match &self.file {
            Some(file) => format!("{file}, line {}", self.number),
            None => format!("line {}", self.number),
        }
    }

    /// The line before it.
    fn before(&self) -> String {
        match (&self.file, self.number) {
            (Some(file), 1) => format!("the last line before {file}"),
            (Some(file), number) => format!("{file}, line {}", number - 1),
            (None, number) => format!("line {}", number.saturating_sub(1)),
        }
    }

    fn line(&mut self, text: &[u8]) -> Option<Line> {
        self.report.lines += 1;
        self.number += 1;
        let digest = sha256([text]);
        let Ok(line) = serde_json::from_slice::<Line>(text) else {
            let fault = format!("{} is no entry: it was overwritten", self.here());
            self.report.fault(fault);
            self.digest = digest;
            self.next += 1;
            return None;
        };
        if line.to_json() != text {
            let fault = format!("{} is not as it was written", self.here());
            self.report.fault(fault);
        }
        self.check_place(&line);
        self.check_entry(&line);
        self.digest = digest;
        self.next = line.sequence + 1;
        self.last = Some(line.entry.clone());
        Some(line)
    }

    /// A line without an end.
    fn cut_off(&mut self, is_last: bool) {
        self.report.lines += 1;
        self.number += 1;
        let text = format!("{} is cut off", self.here());
        match is_last && self.asked.running {
            true => self.report.notices.push(text),
            false => self.report.fault(text),
        }
    }

    fn check_place(&mut self, line: &Line) {
        let (found, expected) = (line.sequence, self.next);
        let here = self.here();
        let is_first = self.report.lines == 1;
        let fault = if is_first && self.asked.after.is_some() {
            match line.previous == self.digest {
                true => return,
                false => format!(
                    "{here} follows the line {}, not the one that was named",
                    line.previous
                ),
            }
        } else if is_first && (found != 0 || line.previous != NO_LINE) {
            format!("{here} has number {found}: the beginning was removed")
        } else if found > expected {
            let removed = found - expected;
            format!("before {here}, {removed} were removed, from number {expected} on")
        } else if found < expected {
            format!("{here} has number {found}, expected {expected}: it was inserted or moved")
        } else if line.previous != self.digest {
            format!(
                "{} was changed: {here} was written after another one",
                self.before()
            )
        } else {
            return;
        };
        self.report.fault(fault);
    }

    fn check_entry(&mut self, line: &Line) {
        let here = self.here();
        match &line.entry {
            Entry::Open { after_torn, .. } => {
                self.session = Some(0);
                if *after_torn {
                    self.report.notices.push(format!(
                        "before {here} a line was cut off when the process that wrote it ended"
                    ));
                }
                let unclosed = !matches!(self.last, None | Some(Entry::Close { .. }));
                if unclosed {
                    self.report.notices.push(format!(
                        "before {here} a process ended without closing the log"
                    ));
                }
            }
            _ if self.report.lines == 1 && self.asked.after.is_none() => {
                self.report.fault(format!("{here} does not open a log"));
            }
            Entry::Verdict(_) => {
                self.report.verdicts += 1;
                self.session = self.session.map(|verdicts| verdicts + 1);
            }
            Entry::Gap { lost } => self.report.lost += lost,
            Entry::Checkpoint(signed) => self.check_signature(line, signed),
            Entry::Close { verdicts, signed } => {
                // Of lines that are missing nothing more is said.
                if let Some(found) = self.session.filter(|found| found != verdicts)
                    && self.report.is_whole()
                {
                    let fault = format!("{here} closes {verdicts} verdicts, and {found} are there");
                    self.report.fault(fault);
                }
                if let Some(signed) = signed {
                    self.check_signature(line, signed);
                }
            }
            Entry::Settings(_) | Entry::Continue { .. } => {}
        }
    }

    fn check_signature(&mut self, line: &Line, signed: &Signed) {
        let keys = self.asked.keys;
        if keys.is_empty() {
            return;
        }
        let message = line.signed_message();
        let der = BASE64_STANDARD
            .decode(&signed.signature)
            .unwrap_or_default();
        if keys.iter().any(|key| key.verifies(&message, &der)) {
            self.report.signatures += 1;
            self.signed_up_to = self.report.lines;
        } else {
            let here = self.here();
            let fault = format!("the signature in {here} is wrong, or by another key");
            self.report.fault(fault);
        }
    }

    fn finish(mut self) -> EvidenceReport {
        let lines = self.report.lines;
        let EvidenceCheck { keys, running, .. } = self.asked;
        if lines == 0 {
            self.report.fault("is empty".to_owned());
        }
        let closed = matches!(self.last, Some(Entry::Close { .. }));
        if lines > 0 && !closed && !running {
            self.report.fault(
                "it is not closed: its end was removed, or it is still written (--running), or the \
                 process was killed"
                    .to_owned(),
            );
        }
        let unsigned = lines - self.signed_up_to;
        if !keys.is_empty() && unsigned > 0 && !running {
            let fault = format!("the last {unsigned} of {lines} lines are not signed");
            self.report.fault(fault);
        }
        self.report.head = self.digest;
        self.report
    }
}
