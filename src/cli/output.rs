//! Where results go: standard output, and files that appear whole or not at all.

use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;

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

/// Makes a folder for results, and proves that files can be made in it before any work is done.
pub(crate) fn prepare_folder(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    fs::create_dir_all(folder).with_context(|| format!("{shown}: cannot make the folder"))?;
    tempfile::tempfile_in(folder)
        .map(drop)
        .with_context(|| format!("{shown}: cannot write into the folder"))
}

/// Proves that a file can be made where `path` says, before any work is done.
pub(crate) fn check_file_place(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    if path.is_dir() {
        anyhow::bail!("{shown}: is a folder; name a file");
    }
    if path.file_name().is_none() {
        anyhow::bail!("{shown}: is not the name of a file");
    }
    let folder = parent(path);
    tempfile::tempfile_in(folder)
        .map(drop)
        .with_context(|| format!("{shown}: cannot write into the folder {}", folder.display()))
}

/// Replaces a file whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    edge_vae::replace_file(path, bytes).with_context(|| format!("{}: cannot write", path.display()))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_way_of_a_folder_is_named() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = prepare_folder(&path).unwrap_err();
        assert!(format!("{error:#}").contains("file: cannot make the folder"));
        let error = check_file_place(room.path()).unwrap_err();
        assert!(format!("{error:#}").contains("is a folder"));
    }
}
