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
            source: error.into(),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn arguments_are_expanded_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/deep")).unwrap();
        fs::create_dir(root.join("none")).unwrap();
        for name in [
            "a/2.png",
            "a/1.jpg",
            "a/deep/3.png",
            "a/notes.txt",
            "raw.bin",
            "odd[1].png",
        ] {
            fs::write(root.join(name), "x").unwrap();
        }
        let found = |arguments: &[&str]| {
            let arguments: Vec<PathBuf> = arguments.iter().map(|a| root.join(a)).collect();
            let discovered = discover(&arguments);
            let strip = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
            let frames: Vec<String> = discovered.frames.iter().map(strip).collect();
            let errors: Vec<String> = discovered.errors.iter().map(ToString::to_string).collect();
            (frames, errors)
        };
        let (frames, errors) = found(&["raw.bin", "a", "odd[1].png", "a/*.png", "**/deep/*"]);
        assert!(errors.is_empty(), "{errors:?}");
        let expected = [
            "raw.bin",
            "a/1.jpg",
            "a/2.png",
            "a/deep/3.png",
            "odd[1].png",
            "a/2.png",
            "a/deep/3.png",
        ];
        assert_eq!(frames, expected);

        let (frames, errors) = found(&["missing.png", "none", "a/1.jpg", "*.gif", "a/***x"]);
        assert_eq!(frames, ["a/1.jpg"]);
        let expected = [
            "missing.png: no such file",
            "none: no pictures found",
            "*.gif: the pattern matches no picture",
            "a/***x: not a pattern",
        ];
        assert_eq!(errors.len(), expected.len());
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.contains(expected), "{error}");
        }
    }
}
