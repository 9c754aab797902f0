//! The files of a log: NAME, which is written, and NAME.000000001000 and so on, which are full and
//! have the number of their first line.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::EvidenceError;
use crate::replace::folder_of;

/// How every line begins.
pub(super) const LINE_BEGINS: &[u8] = b"{\"sequence\":";

/// Digits behind the name of a full file: of fewer no file is taken for one.
const DIGITS: usize = 12;

/// What the full file is called that begins with the line `first`.
pub(super) fn part_path(path: &Path, first: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first:0DIGITS$}"));
    name.into()
}

/// The sequence of the line that a file begins with.
pub(super) fn sequence_in(head: &[u8]) -> Option<u64> {
    let digits = head.strip_prefix(LINE_BEGINS)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The name of the log that a file is a full part of, and the number of its first line.
fn part_of(name: &str) -> Option<(&str, u64)> {
    let (log, digits) = name.rsplit_once('.')?;
    let is_part = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((
        log,
        digits.parse().ok().filter(|_| is_part && !log.is_empty())?,
    ))
}

/// The files of a log in the order of their lines, as far as they exist.
pub(super) fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((log, first)) = name.to_str().and_then(part_of)
            && path.file_name().is_some_and(|name| name == log)
            && entry.file_type()?.is_file()
        {
            parts.push((first, path.with_file_name(&name)));
        }
    }
    parts.sort();
    let parts = parts.into_iter().map(|(_, path)| path);
    Ok(parts
        .chain(path.exists().then(|| path.to_owned()))
        .collect())
}

/// The log that is meant by a path: itself, or the one log in a folder.
///
/// # Errors
/// A folder that can't be read, or that has no log or several.
pub(super) fn log_at(path: &Path) -> Result<PathBuf, EvidenceError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let failed = |source| EvidenceError::Read {
        path: path.to_owned(),
        source,
    };
    let mut logs = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut head = [0; LINE_BEGINS.len()];
        let read = File::open(entry.path()).and_then(|mut file| file.read_exact(&mut head));
        if read.is_ok() && head == LINE_BEGINS {
            logs.insert(
                part_of(&name)
                    .map_or(name.as_str(), |(log, _)| log)
                    .to_owned(),
            );
        }
    }
    let names: Vec<String> = logs.into_iter().collect();
    match &names[..] {
        [name] => Ok(path.join(name)),
        _ => Err(EvidenceError::NotOneLog {
            path: path.to_owned(),
            found: names,
        }),
    }
}
