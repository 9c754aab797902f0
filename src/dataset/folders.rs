//! Pictures in folders: the plain layout and that of MVTec AD.

use std::path::{Path, PathBuf};

use super::{
    DatasetError, GOOD, Picture, Sample, masks,
    masks::Masks,
    search::{folder_names, pictures},
};
use crate::frame::DecodeOptions;

pub(super) fn open_plain(root: &Path, options: DecodeOptions) -> Result<Vec<Sample>, DatasetError> {
    // Else the masks would be trained on.
    for found in folder_names(root)? {
        if masks::is_folder(&found) || ["train", "test"].contains(&found.as_str()) {
            return Err(DatasetError::NoTrainGood {
                path: root.to_owned(),
                found,
            });
        }
    }
    let found = pictures(root)?;
    Ok(samples(root, GOOD, options, found).collect())
}

/// The samples to train on and to test on, and masks that fit none.
pub(super) fn open_mvtec(
    root: &Path,
    options: DecodeOptions,
) -> Result<(Vec<Sample>, TestSamples), DatasetError> {
    let train = pictures(&root.join("train").join(GOOD))?;
    let train = samples(root, GOOD, options, train).collect();
    let test = kinds(root, &root.join("test"), &[root], options)?;
    Ok((train, test))
}

/// Samples of several kinds, and masks that fit none.
pub(super) struct TestSamples {
    pub(super) samples: Vec<Sample>,
    pub(super) unused_masks: Vec<PathBuf>,
}

/// The samples below `folder`, each of its sub-folders being a kind, with their masks, which lie in
/// folders of masks within `parents` or `folder`, or among the frames.
pub(super) fn kinds(
    root: &Path,
    folder: &Path,
    parents: &[&Path],
    options: DecodeOptions,
) -> Result<TestSamples, DatasetError> {
    let mut masks = Masks::search(&[parents, &[folder]].concat())?;
    let mut found = Vec::new();
    let mut unused = Vec::new();
    for kind in folder_names(folder)? {
        if masks::is_folder(&kind) {
            continue;
        }
        let of_kind = folder.join(&kind);
        let (frames, mut beside) = masks::among(&of_kind, pictures(&of_kind)?);
        for mut sample in samples(root, &kind, options, frames) {
            if let Some(path) = sample.path() {
                let mut taken = beside.take("", &of_kind, path);
                if taken.is_empty() {
                    taken = masks.take(&kind, &of_kind, path);
                }
                sample.masks = taken;
            }
            found.push(sample);
        }
        unused.extend(beside.unused());
    }
    unused.extend(masks.unused());
    Ok(TestSamples {
        samples: found,
        unused_masks: unused,
    })
}

fn samples<'a>(
    root: &'a Path,
    kind: &'a str,
    options: DecodeOptions,
    pictures: Vec<PathBuf>,
) -> impl Iterator<Item = Sample> + 'a {
    pictures.into_iter().map(move |path| {
        let parts = path.strip_prefix(root).unwrap_or(&path).components();
        let parts: Vec<_> = parts
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        Sample {
            kind: kind.to_owned(),
            masks: Vec::new(),
            label: None,
            name: parts.join("/"),
            picture: Picture::File { path, options },
        }
    })
}
