//! Files and folders are replaced whole.

mod folder;

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    io::Write,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

pub(crate) use folder::FreshFolder;

/// How the names of files begin and end that are not in their place yet.
const BEGIN: &str = ".edge-vae-";
const END: &str = ".partial";

/// Folders in which this process has looked for what others left.
static TIDIED: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// Writes a file beside its place, flushes it to the disk, and renames it: whoever looks, and
/// whenever the power goes, there is the old file or the new one, never half of one. Its folder is
/// made where it does not exist.
///
/// A process that is killed leaves the file beside, as `.edge-vae-….partial`. The first replacement
/// in the same folder by another process removes it.
///
/// # Errors
/// What the system says; `path` then holds what it held before.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

/// [`replace_file`] without waiting for the disk: for the many small results of a run that can be
/// made again. Whoever looks sees whole files all the same; after a power failure the newest may be
/// missing or empty.
///
/// # Errors
/// Those of [`replace_file`].
pub fn replace_file_unflushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

/// [`replace_file`] of a file that must not be there yet, with these rights from the first moment.
///
/// # Errors
/// Those of [`replace_file`], and a file that is there already.
#[cfg(feature = "trust")]
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    let (_file, temporary) = beside(folder, bytes, mode, true)?;
    temporary.persist_noclobber(path)?;
    flush_folder(folder)
}

fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let folder = folder_of(path);
    create_folder(folder)?;
    // The mode of any other new file; that of a temporary one is a secret one's.
    let (_file, temporary) = beside(folder, bytes, 0o666, durable)?;
    fs::rename(&temporary, path)?;
    // It has another name now.
    let _ = temporary.keep();
    if durable {
        flush_folder(folder)?;
    }
    Ok(())
}

/// A file beside its place.
fn beside(
    folder: &Path,
    bytes: &[u8],
    mode: u32,
    durable: bool,
) -> io::Result<(File, tempfile::TempPath)> {
    tidy_once(folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix(BEGIN).suffix(END);
    #[cfg(unix)]
    builder.permissions(<fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    let (mut file, temporary) = builder.tempfile_in(folder)?.into_parts();
    // Where files can't be locked, what is left by a process that is killed stays.
    #[cfg(unix)]
    let _ = file.try_lock();
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    Ok((file, temporary))
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a folder where it does not exist, and those above it, as durable as what will be in it.
///
/// # Errors
/// What the system says.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_of(folder);
    create_folder(above)?;
    match fs::create_dir(folder) {
        // By another process, meanwhile.
        Err(_) if folder.is_dir() => Ok(()),
        made => made.and_then(|()| flush_folder(above)),
    }
}

/// Makes the names in a folder durable; only Unix can.
///
/// # Errors
/// What the system says.
pub fn flush_folder(folder: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(folder)?.sync_all(),
        false => Ok(()),
    }
}

/// Makes a folder durable with all that is in it, links aside.
pub(crate) fn flush_all_in(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            flush_all_in(&entry.path())?;
        } else if kind.is_file() && cfg!(unix) {
            File::open(entry.path())?.sync_all()?;
        }
    }
    flush_folder(folder)
}

/// Whether a file is one that is not in its place yet, or never will be.
pub(crate) fn is_partial(name: &str) -> bool {
    name.starts_with(BEGIN) && name.ends_with(END)
}

/// Removes the files of a folder that never got to their places, since their processes were killed.
/// Those of processes that run are locked, and stay.
pub(crate) fn remove_partials(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_partial(&entry.file_name().to_string_lossy()) && is_left(&entry.path()) {
            // One that can't be removed hurts nobody.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether nobody holds the lock of a file or folder that is written by a process that runs.
pub(crate) fn is_left(path: &Path) -> bool {
    cfg!(unix) && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

fn tidy_once(folder: &Path) {
    let mut tidied = TIDIED.lock().unwrap_or_else(PoisonError::into_inner);
    if tidied.insert(folder.to_owned()) {
        remove_partials(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/a.bin");
        replace_file(&path, b"old").unwrap();
        replace_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        replace_file_unflushed(&path, b"newer").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        let beside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1);
    }

    #[test]
    #[cfg(unix)]
    fn what_a_killed_process_left_goes_and_what_another_writes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in [
            ".edge-vae-left.partial",
            ".edge-vae-held.partial",
            ".edge-vae-note",
        ] {
            fs::write(path(name), b"x").unwrap();
        }
        let held = File::open(path(".edge-vae-held.partial")).unwrap();
        held.lock().unwrap();
        replace_file(&path("a"), b"new").unwrap();
        assert!(!path(".edge-vae-left.partial").exists());
        assert!(path(".edge-vae-held.partial").exists());
        assert!(path(".edge-vae-note").exists());
    }

    #[test]
    #[cfg(unix)]
    fn others_may_read_it_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |name| {
            fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        fs::write(dir.path().join("usual"), b"").unwrap();
        replace_file(&dir.path().join("replaced"), b"").unwrap();
        assert_eq!(mode("replaced"), mode("usual"));
    }
}
