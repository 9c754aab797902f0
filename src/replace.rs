//! Files are replaced whole.

use std::{fs, io, io::Write, path::Path};

/// Writes a file beside its place, flushes it to the disk, and renames it: whoever looks, and
/// whenever the power goes, there is the old file or the new one, never half of one. Its folder is
/// made where it does not exist.
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

fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".edge-vae-").suffix(".partial");
    // The mode of any other new file; without it, of a secret one.
    #[cfg(unix)]
    builder.permissions(<fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    if durable {
        file.as_file().sync_all()?;
    }
    file.persist(path)?;
    // The new name is durable once its folder is; only Unix can flush one.
    if durable && cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
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
