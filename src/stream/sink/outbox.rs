//! Messages that wait on disk for a network that is away.
//!
//! A folder with one file a message, named by a rising number. A message is written beside its
//! place, flushed, and renamed, so that it is there whole or not at all whenever the process is
//! killed or the power goes; it is removed when it was delivered. What was delivered in the moment
//! before a power failure may be found again, and is then delivered twice.
//!
//! ```text
//! outbox/lock                       held by the process that uses the folder
//! outbox/00000000000000000042.msg   {"schema_version":1,"address":"cam/event",…}⏎ body
//! outbox/aside/                     files that can't be delivered, for a person to look at
//! ```

pub(crate) mod message;
mod settings;

use std::{
    collections::VecDeque,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use self::message::{read, written};
use super::{SinkError, quantity};
use crate::{
    read_bounded,
    replace::{create_folder, remove_partials, replace_file},
};

pub use message::OutboxMessage;
pub use settings::OutboxSettings;

/// How long a folder is waited for that is in use.
const LET_GO: Duration = Duration::from_secs(1);

/// Largest message that is read, in bytes: more than a broker takes.
const MOST_MESSAGE_BYTES: u64 = 256 << 20;

/// Files of this kind that are kept in `aside/`: enough to see what went wrong.
const MOST_ASIDE: usize = 100;

#[derive(Debug)]
struct Waiting {
    number: u64,
    bytes: u64,
    /// Here while the disk did not take it.
    unsaved: Option<OutboxMessage>,
}

/// Messages in the order in which they came.
#[derive(Debug)]
pub struct Outbox {
    sink: String,
    folder: PathBuf,
    settings: OutboxSettings,
    waiting: VecDeque<Waiting>,
    bytes: u64,
    unsaved: usize,
    next: u64,
    lost: u64,
    aside: u64,
    /// Messages that were set aside since that was reported last.
    unreported: u64,
    notice: Option<String>,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Outbox {
    /// Opens the folder, makes it where it does not exist, and finds what waits in it.
    ///
    /// # Errors
    /// [`SinkError`] for a folder that can't be used, or is used by another process.
    pub fn open(sink: &str, folder: &Path, settings: &OutboxSettings) -> Result<Self, SinkError> {
        let shown = folder.display();
        let setting = |problem: String| SinkError::setting(sink, problem);
        if settings.max_messages == 0 || settings.max_bytes == 0 {
            return Err(setting(
                "an outbox of no messages or no bytes can hold nothing; set outbox.max-messages \
                 and outbox.max-bytes to at least 1"
                    .to_owned(),
            ));
        }
        let unusable = |error: io::Error| {
            let problem = format!(
                "outbox {shown}: cannot be used: {error}; name another folder in outbox.folder"
            );
            SinkError::opening(sink, problem, &error)
        };
        create_folder(folder).map_err(unusable)?;
        let lock = File::create(folder.join("lock")).map_err(unusable)?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A child that this process starts holds whatever is locked until it runs its own
                // program, so a folder that was just let go may be held for a moment.
                Err(TryLockError::WouldBlock) if began.elapsed() < LET_GO => {
                    thread::sleep(LET_GO / 50);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(setting(format!(
                        "outbox {shown}: another process uses it; give each its own in \
                         outbox.folder"
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
        let mut outbox = Self {
            sink: sink.to_owned(),
            folder: folder.to_owned(),
            settings: settings.clone(),
            waiting: VecDeque::new(),
            bytes: 0,
            unsaved: 0,
            next: 1,
            lost: 0,
            aside: 0,
            unreported: 0,
            notice: None,
            _lock: lock,
        };
        outbox.find().map_err(unusable)?;
        Ok(outbox)
    }

    /// Fills the index from the folder.
    fn find(&mut self) -> io::Result<()> {
        // Interrupted before they were renamed: nobody was told that they were kept.
        remove_partials(&self.folder);
        let mut found: Vec<Waiting> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(number) = number_of(&name) {
                self.next = self.next.max(number.saturating_add(1));
                let metadata = entry.metadata()?;
                if metadata.is_file() {
                    found.push(Waiting {
                        number,
                        bytes: metadata.len(),
                        unsaved: None,
                    });
                } else {
                    self.move_aside(number, "it is not a file");
                }
            }
        }
        found.sort_unstable_by_key(|waiting| waiting.number);
        self.bytes = found.iter().map(|waiting| waiting.bytes).sum();
        self.waiting = found.into();
        // Numbers of files that were set aside are not given again.
        for number in numbers_in(&self.folder.join("aside")) {
            self.next = self.next.max(number.saturating_add(1));
        }
        Ok(())
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were lost since it was opened, because the outbox was full.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many were set aside since it was opened.
    pub fn aside(&self) -> u64 {
        self.aside
    }

    /// How many are in memory only, since the disk did not take them.
    pub(super) fn unsaved(&self) -> usize {
        self.unsaved
    }

    /// What happened since this was called last, and should be logged.
    pub fn take_notice(&mut self) -> Option<String> {
        self.unreported = 0;
        self.notice.take()
    }

    /// Puts a message behind the others. It is on the disk when this returns without an error.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] where the disk did not take it: it then waits in memory, is
    /// delivered as the others, and [`Outbox::save`] tries again. Where older ones were lost to
    /// make room.
    pub fn push(&mut self, message: OutboxMessage) -> Result<(), SinkError> {
        let bytes = message.bytes();
        let mut lost = 0;
        while self.waiting.len() >= self.settings.max_messages
            || (!self.waiting.is_empty()
                && self.bytes.saturating_add(bytes) > self.settings.max_bytes)
        {
            let Some(oldest) = self.waiting.front().map(|waiting| waiting.number) else {
                break;
            };
            // What can't be removed is out of the index all the same.
            let _ = self.remove(oldest);
            lost += 1;
        }
        self.lost += lost;
        let number = self.next;
        self.next += 1;
        let kept = written(&message).and_then(|file| replace_file(&self.path(number), &file));
        self.bytes += bytes;
        self.unsaved += usize::from(kept.is_err());
        self.waiting.push_back(Waiting {
            number,
            bytes,
            unsaved: kept.is_err().then_some(message),
        });
        let shown = self.folder.display();
        if let Err(error) = kept {
            return Err(self.unavailable(format!(
                "outbox {shown}: cannot write, so what waits would not outlive this process: \
                 {error}"
            )));
        }
        if lost > 0 {
            return Err(self.unavailable(format!(
                "outbox {shown}: more waits than its {} messages and {}, so the oldest are lost",
                self.settings.max_messages,
                quantity::written_bytes(self.settings.max_bytes)
            )));
        }
        Ok(())
    }

    /// Writes what the disk did not take before.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] where it still does not.
    pub fn save(&mut self) -> Result<(), SinkError> {
        if self.unsaved == 0 {
            return Ok(());
        }
        for place in 0..self.waiting.len() {
            let waiting = &self.waiting[place];
            let Some(message) = &waiting.unsaved else {
                continue;
            };
            let path = self.path(waiting.number);
            if let Err(error) = written(message).and_then(|file| replace_file(&path, &file)) {
                let shown = self.folder.display();
                return Err(self.unavailable(format!(
                    "outbox {shown}: cannot write, so what waits would not outlive this process: \
                     {error}"
                )));
            }
            self.waiting[place].unsaved = None;
            self.unsaved -= 1;
        }
        Ok(())
    }

    /// The message that is to be delivered next, and its number. Files that are not what was
    /// written are set aside on the way.
    pub fn front(&mut self) -> Option<(u64, OutboxMessage)> {
        loop {
            let waiting = self.waiting.front()?;
            let number = waiting.number;
            if let Some(message) = &waiting.unsaved {
                return Some((number, message.clone()));
            }
            match read_bounded(&self.path(number), MOST_MESSAGE_BYTES) {
                Ok(file) => match read(&file) {
                    Some(message) => return Some((number, message)),
                    None => self.set_aside(number, "it is damaged"),
                },
                Err(error) => self.set_aside(number, &format!("it cannot be read: {error}")),
            }
        }
    }

    /// Forgets a message that was delivered. One that is not there is no error.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] where its file can't be removed: it would be delivered again by
    /// the next process.
    pub fn remove(&mut self, number: u64) -> Result<(), SinkError> {
        if !self.forget(number) {
            return Ok(());
        }
        let path = self.path(number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.unavailable(format!(
                    "{}: cannot remove the file of a delivered message, which would be delivered \
                 again: {error}",
                    path.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Moves a message that can never be delivered to `aside/`.
    pub fn set_aside(&mut self, number: u64, reason: &str) {
        let unsaved = self
            .waiting
            .iter_mut()
            .find(|waiting| waiting.number == number)
            .and_then(|waiting| waiting.unsaved.take());
        if let Some(message) = unsaved {
            self.unsaved -= 1;
            // It could not be written before; if it still can't, its content is lost.
            let _ = written(&message).and_then(|file| replace_file(&self.path(number), &file));
        }
        self.forget(number);
        self.move_aside(number, reason);
    }

    fn move_aside(&mut self, number: u64, reason: &str) {
        let aside = self.folder.join("aside");
        let (from, to) = (self.path(number), aside.join(file_name(number)));
        let moved = fs::create_dir_all(&aside).and_then(|()| fs::rename(&from, &to));
        self.aside += 1;
        self.unreported += 1;
        self.notice = Some(match moved {
            Ok(()) if self.unreported > 1 => format!(
                "{}: {} messages are set aside, the last because {reason}",
                aside.display(),
                self.unreported
            ),
            Ok(()) => format!("{}: set aside: {reason}", to.display()),
            Err(error) => format!(
                "{}: skipped: {reason}; not set aside: {error}",
                from.display()
            ),
        });
        let mut there = numbers_in(&aside);
        there.sort_unstable();
        for number in there.iter().rev().skip(MOST_ASIDE) {
            let _ = fs::remove_file(aside.join(file_name(*number)));
        }
    }

    /// Takes a message out of the index, and says whether it was there.
    fn forget(&mut self, number: u64) -> bool {
        let Some(place) = self
            .waiting
            .iter()
            .position(|waiting| waiting.number == number)
        else {
            return false;
        };
        if let Some(waiting) = self.waiting.remove(place) {
            self.bytes = self.bytes.saturating_sub(waiting.bytes);
            self.unsaved -= usize::from(waiting.unsaved.is_some());
        }
        true
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(file_name(number))
    }

    fn unavailable(&self, problem: String) -> SinkError {
        SinkError::unavailable(&self.sink, problem)
    }
}

fn file_name(number: u64) -> String {
    format!("{number:020}.msg")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".msg")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

fn numbers_in(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| number_of(&entry.file_name().to_string_lossy()))
        .collect()
}

#[cfg(test)]
mod tests;
