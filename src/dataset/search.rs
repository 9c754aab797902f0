//! Pictures and folders below a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, Error as WalkError, WalkDir};

use super::DatasetError;
use crate::frame::is_picture;

/// All pictures below a folder, sorted. Hidden files and folders are left out, links are followed.
/// A link that leads nowhere is found if it is named like a picture, so that opening it tells of
/// it.
pub(super) fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let visible = |entry: &DirEntry| entry.depth() == 0 || !is_hidden(entry.path());
    let mut found = Vec::new();
    for entry in WalkDir::new(folder)
        .follow_links(true)
        .into_iter()
        .filter_entry(visible)
    {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if leads_nowhere(&error) => {
                let named = |path: &&Path| is_picture(path) && !is_hidden(path);
                let dangling = error.loop_ancestor().is_none();
                let link = error.path().filter(named).filter(|_| dangling);
                found.extend(link.map(Path::to_owned));
                continue;
            }
            Err(error) => {
                return Err(DatasetError::Read {
                    path: error.path().unwrap_or(folder).to_owned(),
                    source: error.into(),
                });
            }
        };
        if entry.file_type().is_file() && is_picture(entry.path()) {
            found.push(entry.into_path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the search met a link below its folder that has no end, or that leads back to a folder
/// it lies in. Neither says anything about the other files.
fn leads_nowhere(error: &WalkError) -> bool {
    if error.depth() == 0 {
        return false;
    }
    let dangles = |path: &Path| path.is_symlink() && fs::metadata(path).is_err();
    error.loop_ancestor().is_some() || error.path().is_some_and(dangles)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Names of the visible folders within a folder, sorted; none if it is absent.
pub(super) fn folder_names(folder: &Path) -> Result<Vec<String>, DatasetError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let read = |source| DatasetError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        // `is_dir` of the path follows links, as the search for pictures does
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| !name.starts_with('.') && path.is_dir()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_without_an_end_cost_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("deep/er")).unwrap();
        fs::write(root.join("a.png"), "x").unwrap();
        fs::write(root.join("deep/er/z.png"), "x").unwrap();
        for (target, link) in [
            ("nowhere.png", "gone.png"),
            ("self.png", "self.png"),
            ("nowhere", "gone.txt"),
            ("nowhere.png", ".hidden.png"),
            ("..", "deep/back"),
            // A loop, however it is called.
            ("..", "deep/loop.png"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let found: Vec<_> = pictures(root)
            .unwrap()
            .iter()
            .map(|path| path.strip_prefix(root).unwrap().display().to_string())
            .collect();
        assert_eq!(found, ["a.png", "deep/er/z.png", "gone.png", "self.png"]);
        assert!(pictures(&root.join("gone.png")).is_err());
    }
}
