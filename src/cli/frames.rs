//! Which frames a command line means: files, folders, globs, and lists on standard input.

use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use edge_vae::frame::is_picture;
use walkdir::WalkDir;

use super::messages::Voice;

/// The frames of a verb.
#[derive(Args, Debug)]
pub(crate) struct FrameFlags {
    /// Pictures, folders of pictures (searched to any depth), globs in quotes, or `-` for a list
    /// of paths on standard input, one a line.
    #[arg(value_name = "FRAMES", required = true)]
    frames: Vec<PathBuf>,
}

impl FrameFlags {
    pub(crate) fn resolve(self) -> Vec<PathBuf> {
        self.frames
    }
}

/// The frames that were found, and how many arguments led to none.
#[derive(Debug, Default)]
pub(crate) struct FrameList {
    pub(crate) paths: Vec<PathBuf>,
    /// Arguments without a frame; each was reported.
    pub(crate) failed: usize,
}

/// Finds the frames that the arguments mean, in their order, folders by name. What leads to no
/// frame is reported and counted, and the rest goes on.
pub(crate) fn find(arguments: &[PathBuf], voice: Voice) -> anyhow::Result<FrameList> {
    let mut list = FrameList::default();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            for path in listed(io::stdin().lock()).context("list of frames on standard input")? {
                list.add(&path, voice);
            }
        } else {
            list.add(argument, voice);
        }
    }
    Ok(list)
}

impl FrameList {
    fn add(&mut self, path: &Path, voice: Voice) {
        let before = self.paths.len();
        let found = if path.is_dir() {
            self.add_folder(path)
        } else if is_glob(path) && !path.exists() {
            self.add_matches(path)
        } else {
            // Opening it says best what is wrong with it.
            self.paths.push(path.to_owned());
            Ok(())
        };
        if let Err(problem) = found {
            self.paths.truncate(before);
            self.failed += 1;
            voice.error(&problem);
        }
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), String> {
        let before = self.paths.len();
        for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(folder).display().to_string();
                match error.io_error() {
                    Some(error) => format!("{path}: cannot read the folder: {error}"),
                    None => format!("{path}: is a link to a folder above it; remove the link"),
                }
            })?;
            if entry.file_type().is_file() && is_picture(entry.path()) {
                self.paths.push(entry.into_path());
            }
        }
        if self.paths.len() == before {
            return Err(format!(
                "{}: is a folder without pictures; looked for names that end in {}",
                folder.display(),
                edge_vae::frame::PICTURE_EXTENSIONS.join(", ")
            ));
        }
        Ok(())
    }

    fn add_matches(&mut self, pattern: &Path) -> Result<(), String> {
        let shown = pattern.display();
        let text = pattern
            .to_str()
            .ok_or_else(|| format!("{shown}: no such file, and no glob, for it is not UTF-8"))?;
        let matches = glob::glob(text).map_err(|error| format!("{shown}: no such file, and no glob: {error}"))?;
        let mut any = false;
        for path in matches {
            let path = path.map_err(|error| {
                format!("{}: cannot read: {}", error.path().display(), error.error())
            })?;
            any = true;
            if path.is_dir() {
                self.add_folder(&path)?;
            } else {
                self.paths.push(path);
            }
        }
        if any {
            Ok(())
        } else {
            Err(format!("{shown}: no file matches"))
        }
    }
}

fn is_glob(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| b"*?[".contains(byte))
}

fn listed(input: impl BufRead) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in input.split(b'\n') {
        let mut line = line?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !line.is_empty() {
            paths.push(path_of(line)?);
        }
    }
    Ok(paths)
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> io::Result<PathBuf> {
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lists_have_a_path_a_line() {
        let paths = listed(&b"a.png\r\n\nb c.png\nlast.png"[..]).unwrap();
        assert_eq!(
            paths,
            ["a.png", "b c.png", "last.png"].map(PathBuf::from)
        );
    }

    #[test]
    fn folders_globs_and_files_are_told_apart() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::create_dir_all(at("f/deep")).unwrap();
        fs::create_dir_all(at("empty")).unwrap();
        for name in ["f/b.png", "f/a.JPG", "f/notes.txt", "f/deep/c.bmp", "[x].png"] {
            fs::write(at(name), "").unwrap();
        }
        let list = find(
            &[at("[x].png"), at("f"), at("f/*.p?g"), at("no.png"), at("empty"), at("no*")],
            Voice::new(false),
        )
        .unwrap();
        assert_eq!(
            list.paths,
            ["[x].png", "f/a.JPG", "f/b.png", "f/deep/c.bmp", "f/b.png", "no.png"].map(at)
        );
        assert_eq!(list.failed, 2);
    }
}
