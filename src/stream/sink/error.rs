//! Why a sink did not take something.

use std::io;

/// Input/output error, on every Unix.
const EIO: i32 = 5;

/// Why a sink could not be opened or did not take a message. Every message names the sink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A setting is impossible.
    #[error("{sink}: {problem}")]
    Setting {
        /// The sink or its key in the configuration.
        sink: String,
        /// What was found, and what would be right.
        problem: String,
    },
    /// The disk, the broker, the display did not take it; it may do later.
    #[error("{sink}: {problem}")]
    Unavailable {
        /// The sink.
        sink: String,
        /// What the system or the peer answered.
        problem: String,
    },
}

impl SinkError {
    /// A setting of the sink that is impossible.
    pub fn setting(sink: &str, problem: impl Into<String>) -> Self {
        Self::Setting {
            sink: sink.to_owned(),
            problem: problem.into(),
        }
    }

    /// What a sink could not open: a disk that is full, can only be read or is broken may take it
    /// later, anything else is a setting that is impossible.
    pub(super) fn opening(sink: &str, problem: impl Into<String>, error: &io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let broken = cfg!(unix) && error.raw_os_error() == Some(EIO);
        match error.kind() {
            StorageFull | ReadOnlyFilesystem | QuotaExceeded => Self::unavailable(sink, problem),
            _ if broken => Self::unavailable(sink, problem),
            _ => Self::setting(sink, problem),
        }
    }

    /// What a sink could not take.
    pub fn unavailable(sink: &str, problem: impl Into<String>) -> Self {
        Self::Unavailable {
            sink: sink.to_owned(),
            problem: problem.into(),
        }
    }
}
