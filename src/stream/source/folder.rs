//! Pictures of a folder: those that are there, and those that arrive.

use std::{
    collections::{HashMap, VecDeque},
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant, SystemTime},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use super::{
    Arrival, PATIENCE, Source, SourceError, SourceSettings, natural_order::natural_order,
    settings::FolderPictures,
};
use crate::{Frame, frame::is_picture};

/// How often the folder is read again, for file systems of the network, which tell nothing of what
/// other machines write.
const RESCAN: Duration = Duration::from_secs(5);

/// Ends of the names, before the extension too, that programs give to files they have not finished.
const UNFINISHED: [&str; 4] = ["partial", "part", "tmp", "temp"];

/// What tells one content of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// A file that the folder was seen to hold.
#[derive(Clone, Copy, Debug)]
struct Seen {
    stamp: Stamp,
    /// Whether this content was taken. One that only a rescan found is taken when the next rescan
    /// finds it unchanged: nobody tells that it is whole.
    taken: bool,
}

/// Pictures of a folder, not of the folders in it.
pub(super) struct Folder {
    name: String,
    path: PathBuf,
    waiting: VecDeque<PathBuf>,
    watching: Option<Watching>,
    seen: HashMap<OsString, Seen>,
    scanned: Instant,
}

struct Watching {
    events: Receiver<notify::Result<Event>>,
    /// Ends the watch on drop.
    _watcher: RecommendedWatcher,
}

impl Folder {
    pub(super) fn open(
        name: &str,
        path: &Path,
        settings: &SourceSettings,
    ) -> Result<Self, SourceError> {
        let watched = settings.watch != Some(false);
        let only_new = settings.new == Some(FolderPictures::Only);
        if only_new && !watched {
            return Err(SourceError::Impossible {
                source_name: name.to_owned(),
                problem: "new=only with watch=false leaves no pictures; drop one of them"
                    .to_owned(),
            });
        }
        let mut folder = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            waiting: VecDeque::new(),
            watching: None,
            seen: HashMap::new(),
            scanned: Instant::now(),
        };
        // First the watch, then the look: nothing falls between them.
        if watched {
            folder.watching = Some(folder.watch()?);
        }
        let mut found = folder.list()?;
        found.sort_by(|(a, _), (b, _)| natural_order(a, b));
        for (file, stamp) in found {
            if !only_new {
                folder.waiting.push_back(path.join(&file));
            }
            folder.seen.insert(file, Seen { stamp, taken: true });
        }
        Ok(folder)
    }

    fn watch(&self) -> Result<Watching, SourceError> {
        let (sender, events) = channel();
        let watch = || {
            let mut watcher = notify::recommended_watcher(sender)?;
            watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let _watcher = watch().map_err(|error: notify::Error| match error.kind {
            notify::ErrorKind::MaxFilesWatch => self.lost(
                "cannot watch the folder: too many watches on this machine; raise the kernel's fs.inotify.max_user_watches",
            ),
            notify::ErrorKind::Io(error) => self.cannot("watch", &error),
            notify::ErrorKind::PathNotFound => self.lost("there is no such folder"),
            kind => self.lost(&format!("cannot watch the folder: {kind:?}")),
        })?;
        Ok(Watching { events, _watcher })
    }

    /// The pictures of the folder, in any order.
    fn list(&self) -> Result<Vec<(OsString, Stamp)>, SourceError> {
        let mut found = Vec::new();
        let entries = fs::read_dir(&self.path).map_err(|error| self.cannot("read", &error))?;
        for entry in entries {
            let file = entry
                .map_err(|error| self.cannot("read", &error))?
                .file_name();
            if is_wanted(&file)
                // One that is gone by now is none; another folder is none either.
                && let Some(stamp) = stamp(&self.path.join(&file))
            {
                found.push((file, stamp));
            }
        }
        Ok(found)
    }

    /// Takes what was announced, and waits a little if there is nothing.
    fn listen(&mut self) -> Result<(), SourceError> {
        let mut patience = PATIENCE;
        loop {
            let Some(watching) = &self.watching else {
                return Ok(());
            };
            let event = match watching.events.recv_timeout(patience) {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => {
                    return Err(self.lost(&format!("cannot watch the folder: {error}")));
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.lost("the watch of the folder ended"));
                }
            };
            patience = Duration::ZERO;
            if event.need_rescan() {
                // More happened than the kernel remembers.
                self.rescan()?;
            }
            let whole = matches!(
                event.kind,
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                    | EventKind::Modify(ModifyKind::Name(RenameMode::To))
            );
            let gone = matches!(
                event.kind,
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From))
            );
            for path in event.paths {
                if gone && path == self.path {
                    return Err(self.lost("the folder was removed"));
                }
                if whole {
                    self.announced(&path);
                }
            }
        }
    }

    /// A file was written to its end, or came by its name.
    fn announced(&mut self, path: &Path) {
        let Some(file) = path.file_name().filter(|file| is_wanted(file)) else {
            return;
        };
        let Some(stamp) = stamp(path) else { return };
        let seen = Seen { stamp, taken: true };
        let before = self.seen.insert(file.to_owned(), seen);
        // Closed without a change, or found by a look before its announcement.
        if before.is_none_or(|before| before.stamp != stamp || !before.taken) {
            self.waiting.push_back(path.to_owned());
        }
    }

    /// Looks for what was not announced, and forgets what is gone.
    fn rescan(&mut self) -> Result<(), SourceError> {
        self.scanned = Instant::now();
        let mut found = self.list()?;
        found.sort_by(|(a, _), (b, _)| natural_order(a, b));
        let mut seen = HashMap::with_capacity(found.len());
        for (file, stamp) in found {
            let before = self.seen.get(&file).filter(|before| before.stamp == stamp);
            if before.is_some_and(|before| !before.taken) {
                self.waiting.push_back(self.path.join(&file));
            }
            let taken = before.is_some();
            seen.insert(file, Seen { stamp, taken });
        }
        self.seen = seen;
        Ok(())
    }

    fn cannot(&self, what: &str, error: &io::Error) -> SourceError {
        match error.kind() {
            io::ErrorKind::NotFound => self.lost("there is no such folder"),
            _ => self.lost(&format!("cannot {what} the folder: {error}")),
        }
    }

    fn lost(&self, problem: &str) -> SourceError {
        SourceError::Lost {
            source_name: self.name.clone(),
            problem: problem.to_owned(),
        }
    }
}

impl Source for Folder {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        if self.waiting.is_empty() {
            if self.watching.is_none() {
                return Ok(Arrival::End);
            }
            self.listen()?;
            if self.scanned.elapsed() > RESCAN {
                self.rescan()?;
            }
        }
        match self.waiting.pop_front() {
            Some(path) => {
                *frame = Frame::open(&path)?;
                Ok(Arrival::Frame)
            }
            None => Ok(Arrival::Nothing),
        }
    }

    fn is_live(&self) -> bool {
        false
    }
}

/// Whether a name is that of a finished picture.
fn is_wanted(file: &OsStr) -> bool {
    let path = Path::new(file);
    let unfinished = path
        .file_stem()
        .and_then(|stem| Path::new(stem).extension())
        .and_then(OsStr::to_str)
        .is_some_and(|end| {
            UNFINISHED
                .iter()
                .any(|known| end.eq_ignore_ascii_case(known))
        });
    is_picture(path) && !unfinished && !file.as_encoded_bytes().starts_with(b".")
}

/// `None` for what is no file.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| Stamp {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
    })
}

#[cfg(test)]
mod tests;
