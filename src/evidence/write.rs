//! Writing the log.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Entry, EvidenceError, EvidenceSettings, EvidenceVerdict, Line,
    entry::{NO_LINE, SCHEMA_VERSION, Signed},
};
use crate::{bundle::sha256, timestamp, trust::SigningKey};

/// Longest line that is looked for at the end of a log, in bytes.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// When the log is signed and flushed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvidenceParams {
    /// Lines between signatures, with a key, and between waits for the disk. 1000: half a minute of
    /// a camera, which is the most that a power cut takes, at a cost that does not show.
    pub every: u64,
}

impl Default for EvidenceParams {
    fn default() -> Self {
        Self { every: 1000 }
    }
}

/// A log that is written. Every line is in the file when a method returns.
pub struct EvidenceLog {
    path: PathBuf,
    file: File,
    /// Length of the file up to its last whole line.
    length: u64,
    /// Of the last line.
    digest: String,
    next: u64,
    settings: Option<EvidenceSettings>,
    verdicts: u64,
    /// Verdicts that could not be written since the last line.
    lost: u64,
    /// Lines since the last signature.
    since: u64,
    key: Option<SigningKey>,
    params: EvidenceParams,
}

impl EvidenceLog {
    /// Opens a log, or begins it, and writes that it did; with a key, it is signed now and then and
    /// at the end.
    ///
    /// # Errors
    /// A file that can't be written, is written by another process, or is something else.
    pub fn open(
        path: &Path,
        key: Option<SigningKey>,
        params: EvidenceParams,
    ) -> Result<Self, EvidenceError> {
        let failed = |source| EvidenceError::Write {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(EvidenceError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let end = End::read(&mut file).map_err(failed)?;
        let end = end.ok_or_else(|| EvidenceError::Foreign {
            path: path.to_owned(),
        })?;
        if end.torn {
            // What was cut off stays, as a line of its own.
            file.write_all(b"\n").map_err(failed)?;
        }
        let length = file.metadata().map_err(failed)?.len();
        let mut log = Self {
            path: path.to_owned(),
            file,
            length,
            digest: end.digest,
            next: end.next,
            settings: None,
            verdicts: 0,
            lost: 0,
            since: 0,
            key,
            params,
        };
        log.append(Entry::Open {
            schema_version: SCHEMA_VERSION,
            program: format!("edge-vae {}", env!("CARGO_PKG_VERSION")),
            after_torn: end.torn,
        })?;
        log.flush()?;
        Ok(log)
    }

    /// Writes a verdict, and the settings before it where they are others than those of the last.
    ///
    /// # Errors
    /// A line that can't be written; the next one that can says how many are missing.
    pub fn verdict(
        &mut self,
        settings: &EvidenceSettings,
        verdict: EvidenceVerdict,
    ) -> Result<(), EvidenceError> {
        let written = self.try_verdict(settings, verdict);
        self.lost += u64::from(written.is_err());
        written
    }

    fn try_verdict(
        &mut self,
        settings: &EvidenceSettings,
        verdict: EvidenceVerdict,
    ) -> Result<(), EvidenceError> {
        if self.lost > 0 {
            self.append(Entry::Gap { lost: self.lost })?;
            self.lost = 0;
        }
        if self.settings.as_ref() != Some(settings) {
            self.append(Entry::Settings(settings.clone()))?;
            self.settings = Some(settings.clone());
        }
        self.append(Entry::Verdict(verdict))?;
        self.verdicts += 1;
        if self.since >= self.params.every {
            if let Some(signed) = self.signed() {
                self.append(Entry::Checkpoint(signed))?;
            }
            self.since = 0;
            self.flush()?;
        }
        Ok(())
    }

    /// Writes that it ends here, and gives the digest of the last line: who keeps it elsewhere can
    /// tell whether this log was replaced.
    ///
    /// # Errors
    /// A line that can't be written.
    pub fn close(mut self) -> Result<String, EvidenceError> {
        if self.lost > 0 {
            self.append(Entry::Gap { lost: self.lost })?;
        }
        self.append(Entry::Close {
            verdicts: self.verdicts,
            signed: self.signed(),
        })?;
        self.flush()?;
        Ok(self.digest)
    }

    /// Verdicts that are missing so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The signature to be, of an entry that is signed when it is written.
    fn signed(&self) -> Option<Signed> {
        Some(Signed {
            key: self.key.as_ref()?.public().fingerprint().to_owned(),
            signature: String::new(),
        })
    }

    fn append(&mut self, entry: Entry) -> Result<(), EvidenceError> {
        let mut line = Line {
            sequence: self.next,
            previous: self.digest.clone(),
            timestamp: timestamp(SystemTime::now()),
            entry,
        };
        let message = line.signed_message();
        if let (
            Some(key),
            Entry::Checkpoint(signed)
            | Entry::Close {
                signed: Some(signed),
                ..
            },
        ) = (&self.key, &mut line.entry)
        {
            signed.signature = BASE64_STANDARD.encode(key.sign(&message));
        }
        let mut bytes = line.to_json();
        let digest = sha256([bytes.as_slice()]);
        bytes.push(b'\n');
        if let Err(source) = self.file.write_all(&bytes) {
            // A part of the line would make the next one part of it.
            let _ = self.file.set_len(self.length);
            return Err(EvidenceError::Write {
                path: self.path.clone(),
                source,
            });
        }
        self.length += bytes.len() as u64;
        self.digest = digest;
        self.next += 1;
        self.since += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EvidenceError> {
        self.file
            .sync_data()
            .map_err(|source| EvidenceError::Write {
                path: self.path.clone(),
                source,
            })
    }
}

/// Where a log ends that is there already.
struct End {
    digest: String,
    next: u64,
    /// Its last line has no end.
    torn: bool,
}

impl End {
    /// `None` where it is no log.
    fn read(file: &mut File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2 * MAX_LINE_BYTES)))?;
        let mut tail = Vec::new();
        file.take(2 * MAX_LINE_BYTES).read_to_end(&mut tail)?;
        if tail.is_empty() {
            return Ok(Some(Self {
                digest: NO_LINE.to_owned(),
                next: 0,
                torn: false,
            }));
        }
        let torn = !tail.ends_with(b"\n");
        let text = tail.strip_suffix(b"\n").unwrap_or(&tail);
        let mut lines = text.rsplit(|&byte| byte == b'\n');
        let last = lines.next().unwrap_or_default();
        let parsed = |line: &[u8]| serde_json::from_slice::<Line>(line).ok();
        // A torn line has no number that could be read, the one before it has.
        let next = match (parsed(last), torn) {
            (Some(line), _) => Some(line.sequence + 1),
            (None, true) => match lines.next() {
                Some(before) => parsed(before).map(|line| line.sequence + 2),
                None => last.starts_with(b"{\"sequence\":0").then_some(1),
            },
            (None, false) => None,
        };
        Ok(next.map(|next| Self {
            digest: sha256([last]),
            next,
            torn,
        }))
    }
}
