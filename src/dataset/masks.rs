//! Which pictures of a data set are masks, and of which samples.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use super::{
    DatasetError,
    search::{folder_names, pictures},
};

/// Names of folders of masks, in lower case.
const FOLDERS: [&str; 6] = [
    "ground_truth",
    "ground-truth",
    "groundtruth",
    "gt",
    "mask",
    "masks",
];

/// Endings of the names of masks, in lower case, behind that of the frame and `_`, `-` or `.`.
const ENDINGS: [&str; 6] = ["mask", "gt", "label", "ground_truth", "groundtruth", "seg"];

/// Whether a folder holds masks, by its name.
pub(super) fn is_folder(name: &str) -> bool {
    FOLDERS.contains(&name.to_lowercase().as_str())
}

/// The frame's stem in the stem of a mask: `7` of `7_mask`, `7-GT` and so on.
fn frame_stem(stem: &str) -> Option<&str> {
    let lower = stem.to_lowercase();
    ENDINGS.iter().find_map(|ending| {
        let rest = lower.strip_suffix(ending)?;
        let rest = rest.strip_suffix(['_', '-', '.'])?;
        stem.get(..rest.len()).filter(|stem| !stem.is_empty())
    })
}

/// A path without the extension of its file, below a folder.
fn stem_below(path: &Path, folder: &Path) -> PathBuf {
    path.strip_prefix(folder).unwrap_or(path).with_extension("")
}

/// The masks of a data set.
#[derive(Debug, Default)]
pub(super) struct Masks {
    /// By the path of the frame that they may be of, without extension, below the folder of all
    /// kinds: first the names that say so, then the same names, then folders of the frame's name.
    by_stem: [BTreeMap<PathBuf, Vec<PathBuf>>; 3],
    used: HashSet<PathBuf>,
    all: Vec<PathBuf>,
}

impl Masks {
    /// Looks for masks in folders of masks within `parents`.
    pub(super) fn search(parents: &[&Path]) -> Result<Self, DatasetError> {
        let mut masks = Self::default();
        for parent in parents {
            for name in folder_names(parent)? {
                if is_folder(&name) {
                    masks.add(&parent.join(name))?;
                }
            }
        }
        Ok(masks)
    }

    fn add(&mut self, folder: &Path) -> Result<(), DatasetError> {
        for path in pictures(folder)? {
            if self.all.contains(&path) {
                continue;
            }
            let stem = stem_below(&path, folder);
            let [named, same, parts] = &mut self.by_stem;
            let name = stem.file_name().and_then(|name| name.to_str());
            if let Some(frame) = name.and_then(frame_stem) {
                named
                    .entry(stem.with_file_name(frame))
                    .or_default()
                    .push(path.clone());
            }
            if let Some(parent) = stem.parent() {
                parts
                    .entry(parent.to_owned())
                    .or_default()
                    .push(path.clone());
            }
            same.entry(stem).or_default().push(path.clone());
            self.all.push(path);
        }
        Ok(())
    }

    /// The masks of a frame at `path` of a kind, whose frames lie in `folder`: `<kind>/<stem>` with
    /// or without an ending, or all pictures of the folder `<kind>/<stem>`; the same without the
    /// kind, where the frame's name is of no other.
    pub(super) fn take(&mut self, kind: &str, folder: &Path, path: &Path) -> Vec<PathBuf> {
        let stem = stem_below(path, folder);
        for place in [Path::new(kind).join(&stem), stem] {
            let found = self.by_stem.iter().find_map(|by| by.get(&place));
            if let Some(found) = found {
                self.used.extend(found.iter().cloned());
                return found.clone();
            }
        }
        Vec::new()
    }

    /// Masks that no frame took.
    pub(super) fn unused(&self) -> Vec<PathBuf> {
        let unused = |path: &&PathBuf| !self.used.contains(*path);
        self.all.iter().filter(unused).cloned().collect()
    }
}

/// Parts the pictures of a kind, in `folder`, into frames and the masks that lie among them: in
/// folders of masks, and beside their frames with an ending.
pub(super) fn among(folder: &Path, pictures: Vec<PathBuf>) -> (Vec<PathBuf>, Masks) {
    let stems: HashSet<PathBuf> = pictures
        .iter()
        .map(|path| stem_below(path, folder))
        .collect();
    let mut masks = Masks::default();
    let mut frames = Vec::new();
    for path in pictures {
        let stem = stem_below(&path, folder);
        let name = stem.file_name().and_then(|name| name.to_str());
        let beside = name
            .and_then(frame_stem)
            .map(|frame| stem.with_file_name(frame))
            .filter(|frame| stems.contains(frame));
        let within = stem
            .parent()
            .into_iter()
            .flat_map(Path::components)
            .position(|part| is_folder(&part.as_os_str().to_string_lossy()));
        let [named, same, _] = &mut masks.by_stem;
        if let Some(depth) = within {
            let place: PathBuf = stem
                .components()
                .enumerate()
                .filter(|(index, _)| *index != depth)
                .map(|(_, part)| part)
                .collect();
            if let Some(frame) = name.and_then(frame_stem) {
                named
                    .entry(place.with_file_name(frame))
                    .or_default()
                    .push(path.clone());
            }
            same.entry(place).or_default().push(path.clone());
        } else if let Some(frame) = beside {
            named.entry(frame).or_default().push(path.clone());
        } else {
            frames.push(path);
            continue;
        }
        masks.all.push(path);
    }
    (frames, masks)
}
