//! Pictures in folders: the plain layout and that of MVTec AD.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, Error as WalkError, WalkDir};

use super::{DatasetError, GOOD, Picture, Sample};
use crate::frame::{DecodeOptions, is_picture};

/// The folder of the masks.
const GROUND_TRUTH: &str = "ground_truth";

/// All pictures below a folder, sorted. Hidden files and folders are left out, links are followed.
/// A link that leads nowhere is found if it is named like a picture, so that opening it tells of it.
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

pub(super) fn open_plain(root: &Path, limits: DecodeOptions) -> Result<Vec<Sample>, DatasetError> {
    // Else the masks would be trained on.
    for found in [GROUND_TRUTH, "train", "test"] {
        if root.join(found).is_dir() {
            return Err(DatasetError::NoTrainGood {
                path: root.to_owned(),
                found,
            });
        }
    }
    Ok(samples(root, root, GOOD, limits, &HashMap::new())?.collect())
}

pub(super) fn open_mvtec(
    root: &Path,
    limits: DecodeOptions,
) -> Result<(Vec<Sample>, Vec<Sample>), DatasetError> {
    let train = root.join("train").join(GOOD);
    let train = samples(root, &train, GOOD, limits, &HashMap::new())?.collect();
    let test = kinds(root, &root.join("test"), &root.join(GROUND_TRUTH), limits)?;
    Ok((train, test))
}

/// The samples below `folder`, each of its sub-folders being a kind, with their masks, which lie in
/// folders of the same names below `ground_truth`.
pub(super) fn kinds(
    root: &Path,
    folder: &Path,
    ground_truth: &Path,
    limits: DecodeOptions,
) -> Result<Vec<Sample>, DatasetError> {
    let mut found = Vec::new();
    for kind in folder_names(folder)? {
        if kind == GROUND_TRUTH {
            continue;
        }
        let masks = masks(&ground_truth.join(&kind))?;
        found.extend(samples(root, &folder.join(&kind), &kind, limits, &masks)?);
    }
    Ok(found)
}

fn samples<'a>(
    root: &'a Path,
    folder: &Path,
    kind: &'a str,
    limits: DecodeOptions,
    masks: &'a HashMap<PathBuf, PathBuf>,
) -> Result<impl Iterator<Item = Sample> + 'a, DatasetError> {
    let folder = folder.to_owned();
    Ok(pictures(&folder)?.into_iter().map(move |path| {
        let parts = path.strip_prefix(root).unwrap_or(&path).components();
        let parts: Vec<_> = parts
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        let stem = path.strip_prefix(&folder).unwrap_or(&path);
        Sample {
            kind: kind.to_owned(),
            mask: masks.get(&stem.with_extension("")).cloned(),
            label: None,
            name: parts.join("/"),
            picture: Picture::File { path, limits },
        }
    }))
}

/// Masks of a kind by the path of their sample below its folder, without extension. `a_mask.png`
/// goes before `a.png`.
fn masks(folder: &Path) -> Result<HashMap<PathBuf, PathBuf>, DatasetError> {
    let mut masks = HashMap::new();
    if !folder.is_dir() {
        return Ok(masks);
    }
    for path in pictures(folder)? {
        let stem = path
            .strip_prefix(folder)
            .unwrap_or(&path)
            .with_extension("");
        let named = stem
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix("_mask"));
        if let Some(named) = named {
            masks.insert(stem.with_file_name(named), path);
        } else {
            masks.entry(stem).or_insert(path);
        }
    }
    Ok(masks)
}

/// Names of the visible folders within a folder, sorted; none if it is absent.
fn folder_names(folder: &Path) -> Result<Vec<String>, DatasetError> {
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
        let room = tempfile::tempdir().unwrap();
        let root = room.path();
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
