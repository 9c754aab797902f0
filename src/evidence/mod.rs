//! Evidence: a log of verdicts in which nothing can be changed, removed, inserted or put in another
//! order unnoticed, and from which scores can be computed again.
//!
//! One JSON object a line; each holds the SHA-256 of the line before. Who can write the file can
//! write a whole new one: what defends against that is a signature, or the digest of the last line
//! kept elsewhere.

mod entry;
mod error;
mod files;
mod verify;
mod write;

pub use entry::{Entry, EvidenceSettings, EvidenceVerdict, Line};
pub use error::EvidenceError;
pub use verify::{EvidenceCheck, EvidenceReport, verify};
pub use write::{EvidenceLog, EvidenceParams};

#[cfg(test)]
mod tests;
