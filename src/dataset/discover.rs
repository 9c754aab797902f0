//! The pictures that the arguments of a command stand for.

use std::path::{Path, PathBuf};

use super::{DatasetError, folders};
use crate::frame::is_picture;

/// What [`discover`] found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Pictures, in the order of the arguments, and sorted within each.
    pub frames: Vec<PathBuf>,
    /// An error for each argument that stands for no picture, in their order.
    pub errors: Vec<DatasetError>,
}

/// Expands arguments: a file stands for itself, whatever its name; a folder for all pictures below
/// it; and what does not exist but has `*`, `?` or `[` is a pattern (`**` for any folders), which
/// stands for the picture files that it matches. An argument that fails does not hinder the others.
pub fn discover<P: AsRef<Path>>(arguments: &[P]) -> Discovered {
    let mut discovered = Discovered::default();
    for argument in arguments {
        match expand(argument.as_ref()) {
            Ok(frames) => discovered.frames.extend(frames),
            Err(error) => discovered.errors.push(error),
        }
    }
    discovered
}

fn expand(argument: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if argument.is_dir() {
        let frames = folders::pictures(argument)?;
        return if frames.is_empty() {
            Err(DatasetError::Empty {
                path: argument.to_owned(),
            })
        } else {
            Ok(frames)
        };
    }
    if argument.exists() {
        return Ok(vec![argument.to_owned()]);
    }
    let pattern = argument
        .to_str()
        .filter(|text| text.contains(['*', '?', '[']))
        .ok_or_else(|| DatasetError::NotFound {
            path: argument.to_owned(),
        })?;
    let entries = glob::glob(pattern).map_err(|error| DatasetError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    let mut frames = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| DatasetError::Read {
            path: error.path().to_owned(),
            source: error.into_error(),
        })?;
        if is_picture(&path) && !path.is_dir() {
            frames.push(path);
        }
    }
    if frames.is_empty() {
        return Err(DatasetError::NoMatch {
            pattern: pattern.to_owned(),
        });
    }
    frames.sort();
    Ok(frames)
}
