//! A file of JSON lines, in rotation.

use std::{
    collections::VecDeque,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    EventFilter, Message, Sink, SinkError, SinkNeeds, SinkSettings, SinkStatus, Wants, quantity,
};
use crate::replace::{create_folder, flush_folder, folder_of};

/// Events that are held while the disk takes nothing; of more, the oldest are lost.
const MOST_HELD: usize = 10_000;

/// Time between attempts while the disk takes nothing.
const RETRY: Duration = Duration::from_secs(1);

/// Settings of the sink `log`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LogSettings {
    /// The file: `events.jsonl`. Full ones are renamed to `events.jsonl.1` and so on, 1 the newest.
    pub path: PathBuf,
    /// Whether judged frames are written too; by default only events, drift and lost sources.
    #[serde(default)]
    pub frames: bool,
    /// `"all"` events (the default), or only those of class `"defect"` or `"review"`.
    #[serde(default)]
    pub events: EventFilter,
    /// Size at which a new file is begun; 64 MB by default.
    #[serde(default = "default_max_size", deserialize_with = "quantity::bytes")]
    pub max_size: u64,
    /// Age at which a new file is begun; by default age does not matter.
    #[serde(default, deserialize_with = "quantity::optional_duration")]
    pub max_age: Option<Duration>,
    /// How many full files are kept; 5 by default, 0 keeps none.
    #[serde(default = "default_keep")]
    pub keep: usize,
}

fn default_max_size() -> u64 {
    64_000_000
}

fn default_keep() -> usize {
    5
}

impl LogSettings {
    /// The defaults, for a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            frames: false,
            events: EventFilter::default(),
            max_size: default_max_size(),
            max_age: None,
            keep: default_keep(),
        }
    }
}

impl SinkSettings for LogSettings {
    fn describe(&self) -> String {
        format!("log {}", self.path.display())
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.path]
    }

    fn needs(&self) -> SinkNeeds {
        SinkNeeds {
            folders: self.path.parent().map(Path::to_owned).into_iter().collect(),
            ..SinkNeeds::default()
        }
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(Log::open(self)?))
    }
}

/// What lines are written to; a file, or what stands for a full disk in tests.
trait Medium: Send {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;
    /// Shortens it to so many bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Returns when all is on the disk.
    fn settle(&mut self) -> io::Result<()>;
    /// Of a file, while it is open.
    fn metadata(&self) -> Option<Metadata>;
}

impl Medium for File {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn settle(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn metadata(&self) -> Option<Metadata> {
        File::metadata(self).ok()
    }
}

/// Device and number of a file, which it keeps when it is renamed.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    // A file without a name has been removed.
    (metadata.nlink() > 0).then(|| (metadata.dev(), metadata.ino()))
}

/// Where files have no such number, one is taken for another of its name.
#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> Option<(u64, u64)> {
    Some((0, 0))
}

/// The file that is written now.
struct Current {
    medium: Box<dyn Medium>,
    length: u64,
    /// How old it was when it was opened, and since when it is.
    age: Duration,
    opened: Instant,
    /// A part of a line is at the end and could not be cut off.
    torn: bool,
}

/// Writes events, one JSON object a line, and on the disk before [`Sink::take`] returns.
///
/// A file that was renamed or removed, as logrotate does, is written no more: the next one is begun
/// in its place.
///
/// A line is there whole or not at all, with one exception: where the process was killed while it
/// wrote, the torn line is closed at the next start, and only that line is no JSON.
pub struct Log {
    name: String,
    settings: LogSettings,
    current: Option<Current>,
    line: Vec<u8>,
    /// Lines that the disk did not take.
    held: VecDeque<Vec<u8>>,
    lost: u64,
    tried: Instant,
    /// Whether the last attempt to write failed.
    failing: bool,
    /// Whether nothing is tried again.
    finished: bool,
}

impl Log {
    /// Opens the file, or begins it.
    ///
    /// # Errors
    /// [`SinkError`] where it can't be written.
    pub fn open(settings: &LogSettings) -> Result<Self, SinkError> {
        let name = settings.describe();
        if settings.max_size == 0 {
            let problem = "max-size is 0: no line has room; choose \"64 MB\"";
            return Err(SinkError::setting(&name, problem));
        }
        let current = begin(&settings.path)
            .map_err(|error| SinkError::opening(&name, format!("cannot write: {error}"), &error))?;
        Ok(Self {
            name,
            settings: settings.clone(),
            current: Some(current),
            line: Vec::new(),
            held: VecDeque::new(),
            lost: 0,
            tried: Instant::now(),
            failing: false,
            finished: false,
        })
    }

    fn write<T: Serialize>(&mut self, record: &T, matters: bool) -> Result<(), SinkError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)
            .map_err(|error| self.unavailable(error.into()))?;
        self.line.push(b'\n');
        if !self.held.is_empty() {
            // Behind those that wait, and not more often than [`RETRY`] to a disk that is full.
            self.hold(matters);
            return self.retry();
        }
        let line = std::mem::take(&mut self.line);
        let written = self.append(&line, matters);
        self.line = line;
        if written.is_err() {
            self.hold(matters);
        }
        written.map_err(|error| self.unavailable(error))
    }

    /// Keeps a line that matters until it can be written.
    fn hold(&mut self, matters: bool) {
        if !matters {
            self.lost += 1;
            return;
        }
        if self.held.len() == MOST_HELD {
            self.held.pop_front();
            self.lost += 1;
        }
        self.held.push_back(self.line.clone());
        self.tried = Instant::now();
    }

    /// Writes what waits, and begins the file that takes the place of one that was moved.
    fn retry(&mut self) -> Result<(), SinkError> {
        self.follow_name();
        let due = !self.held.is_empty() || self.current.is_none();
        if !due || (self.failing && self.tried.elapsed() < RETRY) {
            return Ok(());
        }
        self.write_held()
    }

    fn write_held(&mut self) -> Result<(), SinkError> {
        self.tried = Instant::now();
        while let Some(line) = self.held.pop_front() {
            if let Err(error) = self.append(&line, true) {
                self.held.push_front(line);
                return Err(self.unavailable(error));
            }
        }
        if self.current.is_none() {
            let begun = begin(&self.settings.path);
            self.failing = begun.is_err();
            self.current = Some(begun.map_err(|error| self.unavailable(error))?);
        }
        Ok(())
    }

    /// Lets go of a file that was renamed or removed, and follows one that was cut short.
    fn follow_name(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        let Some(open) = current.medium.metadata() else {
            return;
        };
        let moved = match fs::metadata(&self.settings.path) {
            Ok(named) => identity(&named) != identity(&open),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if moved {
            self.current = None;
        } else {
            current.length = current.length.min(open.len());
        }
    }

    /// Writes a line, again where its file was removed meanwhile: it would be lost with it.
    fn append(&mut self, line: &[u8], matters: bool) -> io::Result<()> {
        self.follow_name();
        let mut written = self.append_once(line, matters);
        if written.is_ok() && self.is_removed() {
            self.current = None;
            written = self.append_once(line, matters);
        }
        self.failing = written.is_err();
        written
    }

    /// Whether the open file has no name any more.
    fn is_removed(&self) -> bool {
        let current = self.current.as_ref();
        let open = current.and_then(|current| current.medium.metadata());
        open.is_some_and(|open| identity(&open).is_none())
    }

    /// Writes a line and waits for the disk where it matters. Where that fails, nothing of the line
    /// stays.
    fn append_once(&mut self, line: &[u8], matters: bool) -> io::Result<()> {
        self.rotate_if_due(line.len() as u64)?;
        let current = match &mut self.current {
            Some(current) => current,
            None => self.current.insert(begin(&self.settings.path)?),
        };
        if current.torn {
            current.medium.write_line(b"\n")?;
            current.length += 1;
            current.torn = false;
        }
        if let Err(error) = current.medium.write_line(line) {
            current.torn = current.medium.cut(current.length).is_err();
            return Err(error);
        }
        if matters && let Err(error) = current.medium.settle() {
            current.torn = current.medium.cut(current.length).is_err();
            return Err(error);
        }
        current.length += line.len() as u64;
        Ok(())
    }

    fn rotate_if_due(&mut self, more: u64) -> io::Result<()> {
        let due = self.current.as_ref().is_some_and(|current| {
            let full = current.length + more > self.settings.max_size;
            // By a clock that nobody sets.
            let age = current.age + current.opened.elapsed();
            let old = self.settings.max_age.is_some_and(|most| age >= most);
            current.length > 0 && (full || old)
        });
        if !due {
            return Ok(());
        }
        let path = &self.settings.path;
        if self.settings.keep == 0 {
            fs::remove_file(path)?;
        } else {
            // A gap is no error; the oldest is replaced.
            for number in (1..self.settings.keep).rev() {
                match fs::rename(numbered(path, number), numbered(path, number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(path, numbered(path, 1))?;
        }
        // Where the new file can't be begun, the next line tries again.
        self.current = None;
        Ok(())
    }

    fn unavailable(&self, error: io::Error) -> SinkError {
        let problem = if self.lost > 0 {
            format!("cannot write, and {} lines are lost: {error}", self.lost)
        } else {
            format!("cannot write: {error}")
        };
        SinkError::unavailable(&self.name, problem)
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Opens the file at its end, and closes a line that was torn when the last process was killed.
fn begin(path: &Path) -> io::Result<Current> {
    let folder = folder_of(path);
    create_folder(folder)?;
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut length = metadata.len();
    let mut torn = false;
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        torn = last != *b"\n";
    }
    if torn {
        // A disk that is full now may not be later.
        torn = file.write_all(b"\n").is_err();
        length += u64::from(!torn);
    }
    // A new name is durable once its folder is.
    flush_folder(folder)?;
    let begun = metadata
        .created()
        .or_else(|_| metadata.modified())
        .unwrap_or_else(|_| SystemTime::now());
    Ok(Current {
        medium: Box::new(file),
        length,
        age: begun.elapsed().unwrap_or_default(),
        opened: Instant::now(),
        torn,
    })
}

impl Sink for Log {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            frames: self.settings.frames,
            events: self.settings.events,
            maps: false,
            every_frame: self.settings.frames,
            durable: true,
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        match message {
            Message::Frame(scored) if self.settings.frames => self.write(&scored.record, false),
            Message::Event { record, .. } => self.write(&**record, true),
            Message::Drift(record) => self.write(&**record, true),
            Message::Source(record) => self.write(&**record, true),
            Message::Pause(record) => self.write(&**record, true),
            Message::Threshold(record) => self.write(&**record, true),
            Message::Frame(_) | Message::Tally(_) => self.retry(),
        }
    }

    fn status(&self) -> Option<SinkStatus> {
        let held = self.held.len() as u64;
        Some(SinkStatus {
            failing: self.failing,
            waiting: if self.finished { 0 } else { held },
            lost: self.lost + if self.finished { held } else { 0 },
            peer: None,
        })
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.retry()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.finished = true;
        self.write_held()?;
        match &mut self.current {
            Some(current) => current
                .medium
                .settle()
                .map_err(|error| self.unavailable(error)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
