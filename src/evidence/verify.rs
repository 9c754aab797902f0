//! Verifying a log.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Entry, EvidenceError, Line,
    entry::{NO_LINE, Signed},
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

/// Verifies a log, and hands each of its lines to `each`. With keys, every signature must be by one
/// of them, and everything must be signed. A log that is `running` need not have an end.
///
/// # Errors
/// A file that can't be read. What is wrong with the log is in the report.
pub fn verify(
    path: &Path,
    keys: &[PublicKey],
    running: bool,
    mut each: impl FnMut(&Line),
) -> Result<EvidenceReport, EvidenceError> {
    let failed = |source: io::Error| EvidenceError::Read {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut check = Check {
        keys,
        report: EvidenceReport::default(),
        digest: NO_LINE.to_owned(),
        next: 0,
        last: None,
        torn: None,
        session: 0,
        signed_up_to: 0,
    };
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            break;
        }
        let whole = bytes.last() == Some(&b'\n');
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if let Some(line) = check.line(text, whole) {
            each(&line);
        }
    }
    Ok(check.finish(running))
}

struct Check<'a> {
    keys: &'a [PublicKey],
    report: EvidenceReport,
    /// Of the last line.
    digest: String,
    /// Sequence that the next line must have.
    next: u64,
    last: Option<Entry>,
    /// Number, from 1, of a line that is no entry, and that the next one must explain.
    torn: Option<u64>,
    /// Verdicts since a process began to write.
    session: u64,
    /// Lines up to the last good signature.
    signed_up_to: u64,
}

impl Check<'_> {
    fn line(&mut self, text: &[u8], whole: bool) -> Option<Line> {
        self.report.lines += 1;
        let number = self.report.lines;
        let digest = sha256([text]);
        let Some(line) = serde_json::from_slice::<Line>(text).ok().filter(|_| whole) else {
            self.explain_torn();
            self.torn = Some(number);
            self.digest = digest;
            self.next += 1;
            return None;
        };
        if let (
            Some(torn),
            Entry::Open {
                after_torn: true, ..
            },
        ) = (self.torn, &line.entry)
        {
            self.torn = None;
            self.report.notices.push(format!(
                "line {torn} was cut off when the process that wrote it ended"
            ));
        }
        self.explain_torn();
        if line.to_json() != text {
            let fault = format!("line {number} is not as it was written");
            self.report.fault(fault);
        }
        self.check_place(number, &line);
        self.check_entry(number, &line);
        self.digest = digest;
        self.next = line.sequence + 1;
        self.last = Some(line.entry.clone());
        Some(line)
    }

    fn explain_torn(&mut self) {
        if let Some(torn) = self.torn.take() {
            let fault = format!("line {torn} is no entry: it was overwritten or cut");
            self.report.fault(fault);
        }
    }

    fn check_place(&mut self, number: u64, line: &Line) {
        let (found, expected) = (line.sequence, self.next);
        let fault = if number == 1 && (found != 0 || line.previous != NO_LINE) {
            format!("line 1 has number {found}: the beginning was removed")
        } else if found > expected {
            let removed = found - expected;
            format!("before line {number}, {removed} were removed, from number {expected} on")
        } else if found < expected {
            format!(
                "line {number} has number {found}, expected {expected}: it was inserted or moved"
            )
        } else if line.previous != self.digest {
            format!(
                "line {} was changed: line {number} was written after another one",
                number - 1
            )
        } else {
            return;
        };
        self.report.fault(fault);
    }

    fn check_entry(&mut self, number: u64, line: &Line) {
        match &line.entry {
            Entry::Open { .. } => {
                self.session = 0;
                let unclosed = !matches!(self.last, None | Some(Entry::Close { .. }));
                if unclosed {
                    self.report.notices.push(format!(
                        "before line {number} a process ended without closing the log"
                    ));
                }
            }
            _ if number == 1 => self.report.fault("line 1 does not open a log".to_owned()),
            Entry::Verdict(_) => {
                self.report.verdicts += 1;
                self.session += 1;
            }
            Entry::Gap { lost } => self.report.lost += lost,
            Entry::Checkpoint(signed) => self.check_signature(number, line, signed),
            Entry::Close { verdicts, signed } => {
                // Of lines that are missing nothing more is said.
                if *verdicts != self.session && self.report.is_whole() {
                    self.report.fault(format!(
                        "line {number} closes {verdicts} verdicts, and {} are there",
                        self.session
                    ));
                }
                if let Some(signed) = signed {
                    self.check_signature(number, line, signed);
                }
            }
            Entry::Settings(_) => {}
        }
    }

    fn check_signature(&mut self, number: u64, line: &Line, signed: &Signed) {
        if self.keys.is_empty() {
            return;
        }
        let message = line.signed_message();
        let der = BASE64_STANDARD
            .decode(&signed.signature)
            .unwrap_or_default();
        if self.keys.iter().any(|key| key.verifies(&message, &der)) {
            self.report.signatures += 1;
            self.signed_up_to = number;
        } else {
            let fault = format!("the signature in line {number} is wrong, or by another key");
            self.report.fault(fault);
        }
    }

    fn finish(mut self, running: bool) -> EvidenceReport {
        let lines = self.report.lines;
        if lines == 0 {
            self.report.fault("is empty".to_owned());
        }
        if let Some(torn) = self.torn.filter(|&torn| torn == lines) {
            self.torn = None;
            let text = format!("line {torn}, the last one, is cut off");
            match running {
                true => self.report.notices.push(text),
                false => self.report.fault(text),
            }
        }
        self.explain_torn();
        let closed = matches!(self.last, Some(Entry::Close { .. }));
        if lines > 0 && !closed && !running {
            self.report.fault(
                "it is not closed: its end was removed, or it is still written (--running), or the \
                 process was killed"
                    .to_owned(),
            );
        }
        let unsigned = lines - self.signed_up_to;
        if !self.keys.is_empty() && unsigned > 0 && !running {
            let fault = format!("the last {unsigned} of {lines} lines are not signed");
            self.report.fault(fault);
        }
        self.report.head = self.digest;
        self.report
    }
}
