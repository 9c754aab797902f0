//! One picture file.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Arrival, Source, SourceError};
use crate::{
    Frame,
    frame::{DecodeOptions, FrameError},
};

/// A picture: one frame, then the end.
pub(super) struct Picture {
    path: Option<PathBuf>,
    options: DecodeOptions,
}

impl Picture {
    pub(super) fn new(path: PathBuf, options: DecodeOptions) -> Self {
        Self {
            path: Some(path),
            options,
        }
    }
}

impl Source for Picture {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        match self.path.take() {
            Some(path) => {
                open(&path, &self.options, frame)?;
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

/// Reads a picture file into `frame`, which has name and time of the file in any case.
pub(super) fn open(
    path: &Path,
    options: &DecodeOptions,
    frame: &mut Frame,
) -> Result<(), FrameError> {
    match Frame::open_with(path, options) {
        Ok(opened) => {
            *frame = opened;
            Ok(())
        }
        Err(error) => {
            let modified = path.metadata().and_then(|metadata| metadata.modified());
            frame.clear(modified.unwrap_or_else(|_| SystemTime::now()));
            frame.rename(path.display());
            Err(error)
        }
    }
}
