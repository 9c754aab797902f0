//! Why a source gives no frames.

use crate::frame::FrameError;

/// Why a source could not be opened, or gives no more frames. Every message names the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The address of a source is not one.
    #[error("{uri}: {problem}")]
    Uri {
        /// What was given.
        uri: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The source can't work on this machine or with these settings, however often it is tried.
    #[error("{source_name}: {problem}")]
    Impossible {
        /// The source.
        source_name: String,
        /// What was found, and what to do.
        problem: String,
    },
    /// The source could not be opened, or was lost: it may come back.
    #[error("{source_name}: {problem}")]
    Lost {
        /// The source.
        source_name: String,
        /// What was found.
        problem: String,
    },
    /// One frame could not be read; the source is still there.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl SourceError {
    /// Whether trying again is useless: the address or the settings have to change.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Uri { .. } | Self::Impossible { .. })
    }

    /// Whether only one frame is concerned, and the source stays open.
    pub fn is_of_one_frame(&self) -> bool {
        matches!(self, Self::Frame(_))
    }
}
