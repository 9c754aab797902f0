//! Where results go: standard output, and files that appear whole or not at all.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, ensure};

/// Schema of the JSON lines of all verbs; it changes when a key changes its meaning or goes away.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Standard output, flushed after each line, so that a reader at the other end of a pipe sees a
/// verdict when it is given.
///
/// When the reader has closed the pipe, nothing more is printed, and that is no failure: what a
/// verb does besides printing goes on.
pub(crate) struct StandardOutput {
    lock: io::StdoutLock<'static>,
    closed: bool,
}

impl StandardOutput {
    pub(crate) fn new() -> Self {
        Self {
            lock: io::stdout().lock(),
            closed: false,
        }
    }

    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) -> anyhow::Result<()> {
        self.attempt(|out| out.write_fmt(text).and_then(|()| out.write_all(b"\n")))
    }

    /// One JSON object on a line. JSON has no NaN and no infinity: they become `null`.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value).context("JSON")?;
        self.line(format_args!("{text}"))
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.attempt(|out| out.write_all(bytes))
    }

    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.attempt(Write::flush)
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn attempt(
        &mut self,
        write: impl FnOnce(&mut io::StdoutLock<'static>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.closed {
            return Ok(());
        }
        match write(&mut self.lock) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => written.context("standard output"),
        }
    }
}

/// Makes a folder for results, and checks that files can be made in it before any work is done.
pub(crate) fn prepare_folder(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    edge_vae::create_folder(folder).with_context(|| format!("{shown}: cannot make the folder"))?;
    check_writable(folder)
}

/// Checks that files can be made in a folder before any work is done.
pub(crate) fn check_writable(folder: &Path) -> anyhow::Result<()> {
    tempfile::tempfile_in(folder)
        .map(drop)
        .with_context(|| format!("{}: cannot write into the folder", folder.display()))
}

/// The one file that a verb writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePlace<'a>(&'a Path);

impl<'a> FilePlace<'a> {
    /// Refuses what can't be the name of a file of this kind; `extension` is lower-case. Nothing is
    /// made yet.
    pub(crate) fn check(path: &'a Path, extension: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        ensure!(!path.is_dir(), "{shown}: is a folder; name a file");
        // Else a device would be replaced by the file.
        ensure!(
            !path.exists() || path.is_file(),
            "{shown}: is not a regular file"
        );
        ensure!(
            path.extension()
                .is_some_and(|found| found.eq_ignore_ascii_case(extension)),
            "{shown}: only .{extension} files are written; name one"
        );
        Ok(Self(path))
    }

    pub(crate) fn path(self) -> &'a Path {
        self.0
    }

    /// Makes the folder of the file, and checks that files can be made in it.
    pub(crate) fn prepare(self) -> anyhow::Result<()> {
        match self.0.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => prepare_folder(folder),
            _ => prepare_folder(Path::new(".")),
        }
        .with_context(|| self.0.display().to_string())
    }

    /// Replaces the file whole, and waits for the disk.
    pub(crate) fn write(self, bytes: &[u8]) -> anyhow::Result<()> {
        edge_vae::replace_file(self.0, bytes)
            .with_context(|| format!("{}: cannot write", self.0.display()))
    }
}

/// Replaces a file whole: one of many results, which is not waited for until it is on the disk.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    edge_vae::replace_file_unflushed(path, bytes)
        .with_context(|| format!("{}: cannot write", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_in_the_way_of_a_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = prepare_folder(&path).unwrap_err();
        assert!(format!("{error:#}").contains("file: cannot make the folder"));
        let refusal = |path: &Path| FilePlace::check(path, "npz").unwrap_err().to_string();
        assert!(refusal(dir.path()).contains("is a folder"));
    }

    #[test]
    fn files_are_named_by_what_they_hold() {
        for name in ["a.npy", "a", "npz", ".npz", "a.npz.gz"] {
            let error = FilePlace::check(Path::new(name), "npz").unwrap_err();
            assert!(error.to_string().contains("only .npz files"), "{error}");
        }
        assert!(FilePlace::check(Path::new("no/A.NPZ"), "npz").is_ok());
        if cfg!(unix) {
            let error = FilePlace::check(Path::new("/dev/null"), "npz").unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
    }
}
