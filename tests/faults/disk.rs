//! What would be on the disk if the power went now.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata, OpenOptions},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use libc::c_int;

/// Device and number of a file or folder.
type Identity = (u64, u64);

/// A change of names whose folders were not flushed since.
enum Change {
    Made(PathBuf, Identity),
    Renamed {
        from: PathBuf,
        to: PathBuf,
        moved: Identity,
        /// What was there, in the stash.
        replaced: Option<PathBuf>,
    },
    Removed {
        path: PathBuf,
        /// A file in the stash; of a folder nothing.
        kept: Option<PathBuf>,
    },
}

/// A file that was written.
struct Written {
    /// Opened anew, so that it holds no lock of the program.
    file: File,
    /// Bytes that were flushed.
    durable: u64,
}

#[derive(Default)]
pub(super) struct Disk {
    stash: Option<PathBuf>,
    stashed: usize,
    changes: Vec<Change>,
    written: HashMap<Identity, Written>,
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn identity_at(path: &Path) -> Option<Identity> {
    fs::symlink_metadata(path).ok().as_ref().map(identity)
}

impl Disk {
    pub(super) fn new(stash: Option<PathBuf>) -> Self {
        Self {
            stash,
            ..Self::default()
        }
    }

    /// Keeps a file that is about to go.
    pub(super) fn keep(&mut self, path: &Path) -> Option<PathBuf> {
        let stash = self.stash.as_ref()?;
        self.stashed += 1;
        let kept = stash.join(self.stashed.to_string());
        fs::hard_link(path, &kept).ok().map(|()| kept)
    }

    pub(super) fn made(&mut self, path: PathBuf) {
        if let Some(identity) = identity_at(&path) {
            self.changes.push(Change::Made(path, identity));
        }
    }

    pub(super) fn renamed(&mut self, from: PathBuf, to: PathBuf, replaced: Option<PathBuf>) {
        if let Some(moved) = identity_at(&to) {
            self.changes.push(Change::Renamed {
                from,
                to,
                moved,
                replaced,
            });
        }
    }

    pub(super) fn removed(&mut self, path: PathBuf, kept: Option<PathBuf>) {
        self.changes.push(Change::Removed { path, kept });
    }

    /// Before a file is written or cut to `length`.
    pub(super) fn writes(&mut self, fd: c_int, length: Option<u64>) {
        let path = format!("/proc/self/fd/{fd}");
        let Ok(metadata) = fs::metadata(&path) else {
            return;
        };
        let Ok(file) = OpenOptions::new().write(true).open(path) else {
            return;
        };
        let durable = metadata.len();
        let written = self.written.entry(identity(&metadata));
        let written = written.or_insert(Written { file, durable });
        written.durable = written.durable.min(length.unwrap_or(u64::MAX));
    }

    /// A file or folder was flushed. A rename is in one transaction, so flushing either of its
    /// folders flushes it.
    pub(super) fn flushed(&mut self, fd: c_int) {
        let Ok(metadata) = fs::metadata(format!("/proc/self/fd/{fd}")) else {
            return;
        };
        if metadata.is_dir() {
            let folder = path_of(fd);
            let is_in = |path: &Path| path.parent() == Some(&folder);
            self.changes.retain(|change| match change {
                Change::Made(path, _) | Change::Removed { path, .. } => !is_in(path),
                Change::Renamed { from, to, .. } => !is_in(from) && !is_in(to),
            });
        } else if let Some(written) = self.written.get_mut(&identity(&metadata)) {
            written.durable = metadata.len();
        }
    }

    /// Of bytes that were not flushed, half is lost, or all.
    pub(super) fn lose_data(&self, all: bool) {
        for written in self.written.values() {
            let length = written.file.metadata().map_or(0, |metadata| metadata.len());
            let beyond = length.saturating_sub(written.durable);
            if beyond > 0 {
                let kept = if all { 0 } else { beyond / 2 };
                let _ = written.file.set_len(written.durable + kept);
            }
        }
    }

    /// Names become what they were, the last change first.
    pub(super) fn lose_names(&mut self) {
        while let Some(change) = self.changes.pop() {
            match change {
                Change::Made(path, made) if identity_at(&path) == Some(made) => {
                    let _ = match path.is_dir() {
                        true => fs::remove_dir_all(path),
                        false => fs::remove_file(path),
                    };
                }
                Change::Renamed {
                    from,
                    to,
                    moved,
                    replaced,
                } if identity_at(&to) == Some(moved) => {
                    let _ = fs::rename(&to, from);
                    if let Some(replaced) = replaced {
                        let _ = fs::hard_link(replaced, to);
                    }
                }
                Change::Removed { path, kept } => {
                    let _ = match kept {
                        Some(kept) => fs::hard_link(kept, path),
                        None => fs::create_dir(path),
                    };
                }
                Change::Made(..) | Change::Renamed { .. } => {}
            }
        }
    }
}

/// The path of an open file, as it is called now.
pub(super) fn path_of(fd: c_int) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

/// Opens a file to append to it, for good.
pub(super) fn append_to(path: &Path) -> c_int {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_or(-1, |file| {
        let fd = file.as_raw_fd();
        std::mem::forget(file);
        fd
    })
}

pub(super) fn write_line(fd: c_int, line: &str) {
    let bytes = line.as_bytes();
    // SAFETY: the bytes live until the call returns, and the length is theirs.
    unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) };
}

/// As a power cut: nothing of the process runs any more.
pub(super) fn die() -> ! {
    // SAFETY: neither call has a precondition.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}
