//! Why a log can't be written or read.

use std::{io, path::PathBuf};

/// Why a log can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The file can't be written.
    #[error("{path}: cannot write: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file can't be read.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder has none, or several.
    #[error(
        "{path}: has {} logs of evidence{}; name the one that is meant",
        match found.len() { 0 => "no".to_owned(), count => count.to_string() },
        if found.is_empty() { String::new() } else { format!(" ({})", found.join(", ")) },
        path = path.display()
    )]
    NotOneLog {
        /// The folder.
        path: PathBuf,
        /// Their names.
        found: Vec<String>,
    },
    /// Another process writes it.
    #[error(
        "{path}: is written by another process; give each one a file of its own",
        path = path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error(
        "{path}: does not end like a log of evidence; name another file",
        path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}
