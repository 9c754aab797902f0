//! Pictures of a folder: those that are there, and those that arrive.

mod seen_files;

use std::{
    collections::{HashMap, VecDeque},
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use super::{
    Arrival, PATIENCE, Source, SourceError, SourceSettings, natural_order::natural_order, picture,
    settings::FolderPictures,
};
use crate::{
    Frame,
    frame::{DecodeOptions, FrameError, is_picture},
};

pub(super) use seen_files::SeenFiles;
use seen_files::Stamp;

/// How often the folder is read again, for file systems of the network, which tell nothing of what
/// other machines write.
const RESCAN: Duration = Duration::from_secs(5);

/// Reading a folder again takes at most one part in so many of the time, however large it grew.
const RESCAN_SHARE: u32 = 20;

/// Announcements that wait to be heard. What comes beyond them is found by reading the folder.
const ANNOUNCEMENTS: usize = 4096;

/// Ends of the names, before the extension too, that programs give to files they have not finished.
const UNFINISHED: [&str; 4] = ["partial", "part", "tmp", "temp"];

/// Pictures of a folder, not of the folders in it.
pub(super) struct Folder {
    name: String,
    path: PathBuf,
    options: DecodeOptions,
    /// Names of pictures, in the order in which they are given.
    waiting: VecDeque<OsString>,
    watching: Option<Watching>,
    seen: SeenFiles,
    /// What only the last look found. It is taken when the next one finds it unchanged: nobody
    /// tells that it is whole.
    found: HashMap<OsString, Stamp>,
    next_look: Instant,
}

struct Watching {
    events: Receiver<notify::Result<Event>>,
    /// Whether something was announced that is not among the events.
    missed: Arc<AtomicBool>,
    /// Ends the watch on drop.
    _watcher: RecommendedWatcher,
}

impl Folder {
    /// Opens a folder, of which `seen` was given before.
    pub(super) fn open(
        name: &str,
        path: &Path,
        settings: &SourceSettings,
        seen: &SeenFiles,
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
            options: settings.decode_options(),
            waiting: VecDeque::new(),
            watching: None,
            seen: seen.clone(),
            found: HashMap::new(),
            next_look: Instant::now() + RESCAN,
        };
        // First the watch, then the look: nothing falls between them.
        if watched {
            folder.watching = Some(folder.watch()?);
        }
        let found = folder.list()?;
        let mut seen = folder.seen.locked();
        if seen.begin() && only_new {
            for (file, stamp) in found {
                seen.insert(file, stamp);
            }
            seen.forget();
        } else {
            folder
                .waiting
                .extend(found.into_iter().map(|(file, _)| file));
        }
        drop(seen);
        Ok(folder)
    }

    fn watch(&self) -> Result<Watching, SourceError> {
        let (sender, events) = sync_channel(ANNOUNCEMENTS);
        let missed = Arc::new(AtomicBool::new(false));
        let misses = missed.clone();
        let announce = move |event: notify::Result<Event>| {
            // That files are opened and read, by ourselves too, is most of what is told.
            let matters = event.as_ref().map_or(true, |event| {
                event.need_rescan() || is_whole(&event.kind) || is_gone(&event.kind)
            });
            // Where nobody listens any more, nothing is missed.
            if matters && let Err(TrySendError::Full(_)) = sender.try_send(event) {
                misses.store(true, Ordering::Relaxed);
            }
        };
        let watch = || {
            let mut watcher = notify::recommended_watcher(announce)?;
            watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let _watcher = watch().map_err(|error: notify::Error| match error.kind {
            notify::ErrorKind::MaxFilesWatch => self.lost(
                "cannot watch the folder: too many watches on this machine; raise the kernel's \
                 fs.inotify.max_user_watches",
            ),
            notify::ErrorKind::Io(error) => self.cannot("watch", &error),
            notify::ErrorKind::PathNotFound => self.lost("there is no such folder"),
            kind => self.lost(&format!("cannot watch the folder: {kind:?}")),
        })?;
        Ok(Watching {
            events,
            missed,
            _watcher,
        })
    }

    /// The pictures of the folder that were not given, in natural order.
    fn list(&self) -> Result<Vec<(OsString, Stamp)>, SourceError> {
        let mut found = Vec::new();
        let entries = fs::read_dir(&self.path).map_err(|error| self.cannot("read", &error))?;
        for entry in entries {
            let file = entry
                .map_err(|error| self.cannot("read", &error))?
                .file_name();
            if is_wanted(&file)
                // One that is gone by now is none; another folder is none either.
                && let Some(stamp) = Stamp::of(&self.path.join(&file))
                && !self.seen.locked().cover(&file, &stamp)
            {
                found.push((file, stamp));
            }
        }
        found.sort_by(|(a, _), (b, _)| natural_order(a, b));
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
                watching.missed.store(true, Ordering::Relaxed);
            }
            for path in &event.paths {
                if is_gone(&event.kind) && *path == self.path {
                    return Err(self.lost("the folder was removed"));
                }
                if is_whole(&event.kind)
                    && let Some(file) = path.file_name().filter(|file| is_wanted(file))
                {
                    self.waiting.push_back(file.to_owned());
                }
            }
            if self.waiting.len() >= ANNOUNCEMENTS {
                return Ok(());
            }
        }
    }

    /// Looks for what was not announced. All that waited was given.
    fn look(&mut self) -> Result<(), SourceError> {
        let begin = Instant::now();
        self.seen.locked().forget();
        let mut found = HashMap::new();
        for (file, stamp) in self.list()? {
            if self.found.get(&file) == Some(&stamp) {
                self.waiting.push_back(file);
            } else {
                found.insert(file, stamp);
            }
        }
        self.found = found;
        let end = Instant::now();
        self.next_look = end + RESCAN.max(RESCAN_SHARE * (end - begin));
        Ok(())
    }

    /// Whether it is time to look.
    fn is_due(&self) -> bool {
        let missed = |watching: &Watching| watching.missed.swap(false, Ordering::Relaxed);
        self.watching.as_ref().is_some_and(missed) || Instant::now() > self.next_look
    }

    /// Gives a picture, unless it was given before.
    fn give(&mut self, file: OsString, frame: &mut Frame) -> Result<Arrival, SourceError> {
        let path = self.path.join(&file);
        // First the stamp: what is written from now on is another content.
        let stamp = Stamp::of(&path);
        if let Some(stamp) = &stamp
            && self.seen.locked().hold(&file, stamp)
        {
            return Ok(Arrival::Nothing);
        }
        let opened = picture::open(&path, &self.options, frame);
        if matches!(opened, Err(FrameError::Read { .. })) {
            // Where the whole folder is away, its pictures are for when it is back.
            fs::read_dir(&self.path).map_err(|error| self.cannot("read", &error))?;
        }
        if let Some(stamp) = stamp {
            self.seen.locked().insert(file, stamp);
        }
        opened?;
        Ok(Arrival::Frame)
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
            // What there was at the beginning may have been much more.
            self.waiting.shrink_to(ANNOUNCEMENTS);
            self.listen()?;
            if self.waiting.is_empty() && self.is_due() {
                self.look()?;
            }
        }
        match self.waiting.pop_front() {
            Some(file) => self.give(file, frame),
            None => Ok(Arrival::Nothing),
        }
    }

    fn has_own_times(&self) -> bool {
        true
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

/// Whether a file was written to its end, or came by its name.
fn is_whole(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To))
    )
}

/// Whether something was removed, or got another name.
fn is_gone(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From))
    )
}

#[cfg(test)]
mod tests;
