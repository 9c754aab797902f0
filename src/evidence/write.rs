//! Writing the log.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Entry, EvidenceError, EvidenceSettings, EvidenceVerdict, Line,
    entry::{NO_LINE, SCHEMA_VERSION, Signed},
    files::{LINE_BEGINS, files_of, part_path, sequence_in},
};
use crate::{
    bundle::sha256,
    replace::{flush_folder, folder_of},
    timestamp,
    trust::SigningKey,
};

/// Longest line that is looked for at the end of a log, in bytes.
pub(super) const MAX_LINE_BYTES: u64 = 1 << 20;

/// When the log is signed and flushed, and when a new file is begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvidenceParams {
    /// Lines between signatures, with a key, and between waits for the disk. 1000: half a minute of
    /// a camera, which is the most that a power cut takes, at a cost that does not show.
    pub every: u64,
    /// Bytes after which a new file is begun. 1 GB: about a day of a camera with 30 frames a
    /// second, which can still be copied and searched.
    pub max_size: u64,
}

impl Default for EvidenceParams {
    fn default() -> Self {
        Self {
            every: 1000,
            max_size: 1_000_000_000,
        }
    }
}

/// A log that is written. Every line is in the file when a method returns.
pub struct EvidenceLog {
    path: PathBuf,
    file: File,
    /// Length of the file up to its last whole line.
    length: u64,
    /// Sequence of its first line.
    first: u64,
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
        let mut file =
            begin(path, OpenOptions::new().create(true)).map_err(|error| match error {
                TryLockError::WouldBlock => EvidenceError::Locked {
                    path: path.to_owned(),
                },
                TryLockError::Error(source) => failed(source),
            })?;
        let foreign = |path: &Path| EvidenceError::Foreign {
            path: path.to_owned(),
        };
        let end = End::read(&mut file).map_err(failed)?;
        let end = end.ok_or_else(|| foreign(path))?;
        // What is behind the last whole line was never an entry.
        if end.torn {
            file.set_len(end.length).map_err(failed)?;
        }
        let before = files_of(path).map_err(failed)?;
        let before = before.into_iter().rfind(|file| file != path);
        let (last, first) = match (end.last, before) {
            (Some(last), _) => (Some(last), end.first),
            // A new file, or one that was cut off in its first line: the one before it goes on.
            (None, Some(part)) => {
                let before = File::open(&part).and_then(|mut file| End::read(&mut file));
                let before = before.map_err(failed)?.and_then(|end| end.last);
                let before = before.ok_or_else(|| foreign(&part))?;
                let next = before.next;
                (Some(before), next)
            }
            (None, None) => (None, 0),
        };
        let last = last.unwrap_or(LastLine {
            digest: NO_LINE.to_owned(),
            next: 0,
        });
        let mut log = Self {
            path: path.to_owned(),
            file,
            length: end.length,
            first,
            digest: last.digest,
            next: last.next,
            settings: None,
            verdicts: 0,
            lost: 0,
            since: 0,
            key,
            params,
        };
        log.append(Entry::Open {
            schema_version: SCHEMA_VERSION,
            program: program(),
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
        if self.length >= self.params.max_size {
            // Where no new file can be begun, the old one takes more.
            let _ = self.rotate();
        }
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

    /// Begins the next file: this one gets the number of its first line behind its name.
    fn rotate(&mut self) -> Result<(), EvidenceError> {
        if let Some(signed) = self.signed() {
            self.append(Entry::Checkpoint(signed))?;
        }
        self.flush()?;
        let part = part_path(&self.path, self.first);
        let moved = fs::rename(&self.path, &part);
        let begun = match moved {
            // Moved before, when no new one could be begun.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => begin(&self.path, OpenOptions::new().create_new(true)).map_err(Into::into),
        };
        match begun {
            Ok(file) => self.file = file,
            Err(source) => {
                if !self.path.exists() {
                    let _ = fs::rename(&part, &self.path);
                }
                return Err(self.failed(source));
            }
        }
        (self.length, self.first) = (0, self.next);
        // Each file says how its frames were judged.
        self.settings = None;
        self.append(Entry::Continue {
            schema_version: SCHEMA_VERSION,
            program: program(),
        })
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

    /// So many verdicts were given before the log could be opened: the next line says so.
    pub fn missed(&mut self, verdicts: u64) {
        self.lost += verdicts;
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
            return Err(self.failed(source));
        }
        self.length += bytes.len() as u64;
        self.digest = digest;
        self.next += 1;
        self.since += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EvidenceError> {
        let flushed = self.file.sync_data();
        flushed.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> EvidenceError {
        EvidenceError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

fn program() -> String {
    format!("edge-vae {}", env!("CARGO_PKG_VERSION"))
}

/// Opens a file that no other process writes, and whose name is durable.
fn begin(path: &Path, options: &mut OpenOptions) -> Result<File, TryLockError> {
    let file = options.read(true).append(true).open(path);
    let file = file.map_err(TryLockError::Error)?;
    file.try_lock()?;
    flush_folder(folder_of(path)).map_err(TryLockError::Error)?;
    Ok(file)
}

/// Where a file ends that is there already.
struct End {
    /// Sequence of its first line.
    first: u64,
    /// `None` where there is no whole line.
    last: Option<LastLine>,
    /// Bytes up to the end of the last whole line.
    length: u64,
    /// There is more behind it.
    torn: bool,
}

struct LastLine {
    digest: String,
    /// Sequence of the line after it.
    next: u64,
}

impl End {
    /// `None` where it is no log.
    fn read(file: &mut File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let from = length.saturating_sub(2 * MAX_LINE_BYTES);
        let mut head = [0; 64];
        file.seek(SeekFrom::Start(0))?;
        let read = file.read(&mut head)?;
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.take(2 * MAX_LINE_BYTES).read_to_end(&mut tail)?;
        let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') else {
            // Nothing, or a part of a first line; zeros are what some file systems leave of one.
            let text: Vec<u8> = tail.iter().copied().filter(|&byte| byte != 0).collect();
            let known = text.len().min(LINE_BEGINS.len());
            let is_ours = from == 0 && text[..known] == LINE_BEGINS[..known];
            return Ok(is_ours.then_some(Self {
                first: 0,
                last: None,
                length: 0,
                torn: length > 0,
            }));
        };
        let begin = tail[..end].iter().rposition(|&byte| byte == b'\n');
        let last = &tail[begin.map_or(0, |begin| begin + 1)..end];
        let line = serde_json::from_slice::<Line>(last).ok();
        Ok(line
            .zip(sequence_in(&head[..read]))
            .map(|(line, first)| Self {
                first,
                last: Some(LastLine {
                    digest: sha256([last]),
                    next: line.sequence + 1,
                }),
                length: from + end as u64 + 1,
                torn: from + (end as u64) + 1 < length,
            }))
    }
}
