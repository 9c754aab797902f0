//! A folder in the place of another, in one step where the system can.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{flush_folder, is_left};

/// End of the name of a folder that is written, and then holds what it took the place of.
const PARTIAL: &str = ".partial";

/// End of the name of what was moved aside, where two folders can't change places in one step.
const REPLACED: &str = ".replaced";

/// A folder beside another, `.NAME.….partial`, which takes its place when it is complete. It is
/// removed when it is dropped.
pub(crate) struct FreshFolder {
    folder: tempfile::TempDir,
    parent: PathBuf,
    /// Held for as long as this process writes, so that another one leaves the folder alone.
    _lock: File,
}

impl FreshFolder {
    /// Makes one in `parent`, with the permissions of any new folder. What killed processes left
    /// there under such names is removed, and what they moved aside and did not replace moved back.
    pub(crate) fn beside(parent: &Path, name: &OsString) -> io::Result<Self> {
        tidy(parent, name)?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(PARTIAL);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let folder = builder.tempdir_in(parent)?;
        let lock = File::open(folder.path())?;
        let _ = lock.try_lock();
        Ok(Self {
            folder,
            parent: parent.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves it to `target`, durably. Gives the folder that was there, at its new place; it is the
    /// caller's from here on.
    pub(crate) fn take_place(self, target: &Path) -> io::Result<Option<PathBuf>> {
        let fresh = self.folder.path();
        let old = match fs::symlink_metadata(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::rename(fresh, target)?;
                None
            }
            _ if exchange(fresh, target)? => Some(fresh.to_owned()),
            _ => Some(move_aside(fresh, target)?),
        };
        // What is called so now is not what was fresh.
        let _ = self.folder.keep();
        flush_folder(&self.parent)?;
        Ok(old)
    }
}

/// Lets two folders change their places in one step; `false` where the system can't.
fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{
            fs::{CWD, RenameFlags, renameat_with},
            io::Errno,
        };
        match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (one, other);
        Ok(false)
    }
}

/// In two steps: a power cut between them leaves nothing at `target`, and the old folder beside,
/// from where [`tidy`] moves it back.
fn move_aside(fresh: &Path, target: &Path) -> io::Result<PathBuf> {
    let aside = fresh.with_extension(&REPLACED[1..]);
    fs::rename(target, &aside)?;
    if let Err(error) = fs::rename(fresh, target) {
        // Where that fails too, it is better beside than lost.
        let _ = fs::rename(&aside, target);
        return Err(error);
    }
    Ok(aside)
}

/// Removes what killed processes left beside the folder `name`, and moves back what they moved.
fn tidy(parent: &Path, name: &OsString) -> io::Result<()> {
    let target = parent.join(name);
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let Some(end) = end_of(&path, name).filter(|_| is_left(&path)) else {
            continue;
        };
        if end == REPLACED && !target.exists() {
            fs::rename(&path, &target)?;
        } else {
            // One that can't be removed hurts nobody.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// The end of the name of a folder of ours beside `name`.
fn end_of(path: &Path, name: &OsString) -> Option<&'static str> {
    let found = path.file_name()?.to_str()?;
    let inner = found.strip_prefix('.')?.strip_prefix(name.to_str()?)?;
    let end = [PARTIAL, REPLACED]
        .into_iter()
        .find(|end| inner.ends_with(end))?;
    let random = inner.strip_prefix('.')?.strip_suffix(end)?;
    let is_ours = !random.is_empty() && random.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_ours && path.is_dir() && !path.is_symlink()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `part` with a file `old`, and a fresh folder with a file `new`.
    fn room() -> (tempfile::TempDir, PathBuf, FreshFolder) {
        let room = tempfile::tempdir().unwrap();
        let target = room.path().join("part");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("old"), "").unwrap();
        let fresh = FreshFolder::beside(room.path(), &"part".into()).unwrap();
        fs::write(fresh.path().join("new"), "").unwrap();
        (room, target, fresh)
    }

    #[test]
    fn places_are_exchanged_and_what_fails_changes_nothing() {
        let (room, target, fresh) = room();
        let old = fresh.take_place(&target).unwrap().unwrap();
        assert!(target.join("new").exists() && old.join("old").exists());
        // The same in two steps.
        let (_room, target, fresh) = self::room();
        let aside = move_aside(fresh.path(), &target).unwrap();
        assert!(target.join("new").exists() && aside.join("old").exists());
        let missing = room.path().join("none");
        move_aside(&missing, &target).unwrap_err();
        assert!(target.join("new").exists());
    }

    #[test]
    #[cfg(unix)]
    fn what_was_left_goes_and_what_was_moved_aside_comes_back() {
        let (room, target, fresh) = room();
        let at = |name: &str| room.path().join(name);
        for name in [
            ".part.abc123.partial",
            ".part.x1.replaced",
            ".part.mine.x.partial",
        ] {
            fs::create_dir(at(name)).unwrap();
        }
        // Of a process that runs.
        let held = fresh.path().to_owned();
        FreshFolder::beside(room.path(), &"part".into()).unwrap();
        assert!(held.join("new").exists());
        assert!(!at(".part.abc123.partial").exists());
        assert!(!at(".part.x1.replaced").exists());
        assert!(at(".part.mine.x.partial").exists());
        fs::rename(&target, at(".part.x2.replaced")).unwrap();
        FreshFolder::beside(room.path(), &"part".into()).unwrap();
        assert!(target.join("old").exists());
    }
}
