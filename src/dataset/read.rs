//! Reading the samples of a data set, some of which may be unreadable.

use super::{DatasetError, Sample};
use crate::frame::{Frame, FrameError};

/// What became of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSummary {
    /// Samples that were read.
    pub read: usize,
    /// Samples that were unreadable and left out.
    pub skipped: usize,
}

/// Decodes one sample after the other and hands it to `each` with its position in `samples`. An
/// unreadable one is handed to `skipped` instead, with its error, which names the file.
///
/// # Errors
///
/// The first error of `each`; at the end [`DatasetError::Unreadable`] if more than 10 % were
/// unreadable.
pub fn read_frames<'a, E: From<DatasetError>>(
    samples: impl IntoIterator<Item = &'a Sample>,
    mut each: impl FnMut(usize, &'a Sample, Frame) -> Result<(), E>,
    mut skipped: impl FnMut(&'a Sample, &FrameError),
) -> Result<ReadSummary, E> {
    let mut summary = ReadSummary {
        read: 0,
        skipped: 0,
    };
    let mut first = None;
    for (position, sample) in samples.into_iter().enumerate() {
        match sample.frame() {
            Ok(frame) => {
                each(position, sample, frame)?;
                summary.read += 1;
            }
            Err(error) => {
                skipped(sample, &error);
                summary.skipped += 1;
                first.get_or_insert(error);
            }
        }
    }
    let total = summary.read + summary.skipped;
    match first {
        Some(first) if summary.skipped * 10 > total => Err(DatasetError::Unreadable {
            unreadable: summary.skipped,
            total,
            first,
        }
        .into()),
        _ => Ok(summary),
    }
}
