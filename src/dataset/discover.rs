//! The pictures that the arguments of a command stand for.

use std::path::{Path, PathBuf};

use super::{DatasetError, search};
use crate::frame::is_picture;

/// What [`discover`] found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Pictures, in the order of the arguments, and sorted within each.
    pub frames: Vec<PathBuf>,
    /// An error for each argument that stands for no picture, and for each folder that a pattern
    /// leads into and that can't be read; in the order of the arguments.
    pub errors: Vec<DatasetError>,
}

/// Expands arguments: a file stands for itself, whatever its name; a folder for all pictures below
/// it; and what does not exist but has `*`, `?` or `[` is a pattern (`**` for any folders), which
/// stands for the picture files that it matches. An argument that fails does not hinder the others.
pub fn discover<P: AsRef<Path>>(arguments: &[P]) -> Discovered {
    let mut discovered = Discovered::default();
    for argument in arguments {
        if let Err(error) = expand(argument.as_ref(), &mut discovered) {
            discovered.errors.push(error);
        }
    }
    discovered
}

fn expand(argument: &Path, discovered: &mut Discovered) -> Result<(), DatasetError> {
    if argument.is_dir() {
        let frames = search::pictures(argument)?;
        if frames.is_empty() {
            return Err(DatasetError::Empty {
                path: argument.to_owned(),
            });
        }
        discovered.frames.extend(frames);
        return Ok(());
    }
    if argument.exists() {
        discovered.frames.push(argument.to_owned());
        return Ok(());
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
    let (mut frames, mut unreadable) = (Vec::new(), Vec::new());
    // Only `**` follows links that it was not told of.
    let deep = pattern.contains("**");
    for entry in entries {
        match entry {
            Ok(path) if deep && goes_in_circles(&path) => {}
            Ok(path) if is_picture(&path) && !path.is_dir() => frames.push(path),
            Ok(_) => {}
            Err(error) => unreadable.push(DatasetError::Read {
                path: error.path().to_owned(),
                source: error.into(),
            }),
        }
    }
    if frames.is_empty() && unreadable.is_empty() {
        return Err(DatasetError::NoMatch {
            pattern: pattern.to_owned(),
        });
    }
    frames.sort();
    discovered.frames.extend(frames);
    discovered.errors.extend(unreadable);
    Ok(())
}

/// Whether a path goes through a link to a folder that the link lies in: such paths lead to files
/// that are found without it, again and again until the system refuses.
fn goes_in_circles(path: &Path) -> bool {
    let is_circle = |link: &Path| {
        let folder = link
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize();
        match (folder, link.canonicalize()) {
            (Ok(folder), Ok(target)) => folder.starts_with(target),
            _ => true,
        }
    };
    path.ancestors()
        .skip(1)
        .any(|folder| folder.is_symlink() && is_circle(folder))
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

    #[cfg(unix)]
    #[test]
    fn a_folder_that_a_pattern_cannot_read_hides_no_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["a/1.png", "b/2.png"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "x").unwrap();
        }
        let mode = |mode| fs::set_permissions(root.join("a"), fs::Permissions::from_mode(mode));
        mode(0o000).unwrap();
        if fs::read_dir(root.join("a")).is_ok() {
            eprintln!("skipped: root reads every folder");
            return;
        }
        let discovered = discover(&[root.join("*/*.png")]);
        mode(0o755).unwrap();
        assert_eq!(discovered.frames, [root.join("b/2.png")]);
        assert_eq!(discovered.errors.len(), 1);
    }
}
