//! Why a sink did not take something.

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
    Away {
        /// The sink.
        sink: String,
        /// What the system or the peer said.
        problem: String,
    },
}
