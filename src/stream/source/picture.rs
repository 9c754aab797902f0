//! One picture file.

use std::path::PathBuf;

use super::{Arrival, Source, SourceError};
use crate::Frame;

/// A picture: one frame, then the end.
pub(super) struct Picture {
    path: Option<PathBuf>,
}

impl Picture {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: Some(path) }
    }
}

impl Source for Picture {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        match self.path.take() {
            Some(path) => {
                *frame = Frame::open(&path)?;
                Ok(Arrival::Frame)
            }
            None => Ok(Arrival::End),
        }
    }

    fn has_own_times(&self) -> bool {
        true
    }

    fn is_live(&self) -> bool {
        false
    }
}
