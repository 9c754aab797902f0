//! The part of a data set that models are judged by, which may lie alone.

use std::path::{Path, PathBuf};

use super::{Dataset, DatasetError, DatasetOptions, GOOD, Sample, folders, idx, name_of};

/// The samples to test on, without anything to train on.
#[derive(Clone, Debug)]
pub struct TestPart {
    /// Name of the folder, without the path to it.
    pub name: String,
    /// Samples, sorted by kind, then by name; at least one.
    pub samples: Vec<Sample>,
    /// Pictures in folders of masks that are of no sample.
    pub unused_masks: Vec<PathBuf>,
}

impl TestPart {
    /// Lists the test part of a data set:
    /// - IDX files: the samples of the test files, as [`Dataset::open`] does;
    /// - a folder with `test/`: `test/<kind>` and `ground_truth/<kind>`, whether or not there is a
    ///   `train/good`;
    /// - a folder with `good/`: each of its sub-folders is a kind, but for those of masks;
    ///   the masks of a folder that is itself called `test` may lie beside it.
    ///
    /// Folders of masks are called `ground_truth`, `groundtruth`, `gt`, `mask` or `masks`.
    /// The masks of `<kind>/7.png` are `<kind>/7.png` in there, or with `_mask`, `_gt`, `_label` or
    /// `_seg` behind the 7, or all pictures of the folder `<kind>/7`; the folder of the kind may be
    /// left out. Masks may also lie beside their frames: `<kind>/7_mask.png`,
    /// `<kind>/masks/7.png`.
    ///
    /// # Errors
    /// A [`DatasetError`] naming the folder or file, also where there is no sample.
    pub fn open(root: &Path, options: &DatasetOptions) -> Result<Self, DatasetError> {
        let is_folder = |path: &Path| path.is_dir();
        if idx::is_present(root) {
            let Dataset { name, test, .. } = Dataset::open(root, options)?;
            return Self::of(root, name, test, Vec::new());
        }
        if let Some(class) = options.class {
            return Err(DatasetError::ClassWithoutLabels {
                path: root.to_owned(),
                class,
            });
        }
        let metadata = std::fs::metadata(root).map_err(|source| DatasetError::Read {
            path: root.to_owned(),
            source,
        })?;
        if !metadata.is_dir() {
            return Err(DatasetError::NotAFolder {
                path: root.to_owned(),
            });
        }
        let test = root.join("test");
        let found = if is_folder(&test) {
            folders::kinds(root, &test, &[root], options.decode)?
        } else if is_folder(&root.join(GOOD)) {
            // Of `…/test/..` the name is not `test`, but what it leads to is looked at.
            let above = root
                .canonicalize()
                .ok()
                .filter(|path| path.file_name().is_some_and(|name| name == "test"))
                .and_then(|path| Some(path.parent()?.to_owned()));
            let parents: Vec<&Path> = above.as_deref().into_iter().collect();
            folders::kinds(root, root, &parents, options.decode)?
        } else {
            return Err(DatasetError::NoTestPart {
                path: root.to_owned(),
            });
        };
        Self::of(root, name_of(root), found.samples, found.unused_masks)
    }

    fn of(
        root: &Path,
        name: String,
        samples: Vec<Sample>,
        unused_masks: Vec<PathBuf>,
    ) -> Result<Self, DatasetError> {
        if samples.is_empty() {
            return Err(DatasetError::Empty {
                path: root.to_owned(),
            });
        }
        Ok(Self {
            name,
            samples,
            unused_masks,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let room = tempfile::tempdir().unwrap();
        for name in names {
            let path = room.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        room
    }

    fn listed(root: &Path) -> Vec<(String, String, Option<PathBuf>)> {
        let part = TestPart::open(root, &DatasetOptions::default()).unwrap();
        let listed = |sample: Sample| {
            let name = sample.name().to_owned();
            (sample.kind, name, sample.masks.into_iter().next())
        };
        part.samples.into_iter().map(listed).collect()
    }

    #[test]
    fn a_test_part_may_lie_without_training_frames_or_alone() {
        let room = folder(&[
            "test/good/1.png",
            "test/dent/2.png",
            "ground_truth/dent/2_mask.png",
        ]);
        let root = room.path().canonicalize().unwrap();
        let mask = Some(root.join("ground_truth/dent/2_mask.png"));
        let expected = |prefix: &str| {
            vec![
                (
                    "dent".to_owned(),
                    format!("{prefix}dent/2.png"),
                    mask.clone(),
                ),
                ("good".to_owned(), format!("{prefix}good/1.png"), None),
            ]
        };
        assert_eq!(listed(&root), expected("test/"));
        assert_eq!(listed(&root.join("test")), expected(""));
    }

    #[test]
    fn sub_folders_beside_good_are_kinds_and_masks_are_none() {
        let room = folder(&[
            "good/1.png",
            "bad/2.png",
            "bad/deep/3.png",
            "ground_truth/bad/2.png",
        ]);
        let kinds: Vec<_> = listed(room.path())
            .into_iter()
            .map(|(kind, name, mask)| (kind, name, mask.is_some()))
            .collect();
        let expected = [
            ("bad", "bad/2.png", true),
            ("bad", "bad/deep/3.png", false),
            ("good", "good/1.png", false),
        ];
        assert_eq!(
            kinds,
            expected.map(|(k, n, m)| (k.to_owned(), n.to_owned(), m))
        );
    }

    #[test]
    fn masks_are_called_and_placed_in_many_ways() {
        for (masks, count) in [
            (&["ground_truth/dent/2_gt.png"][..], 1),
            (&["GroundTruth/dent/2_Label.PNG"], 1),
            (&["masks/dent/2.png"], 1),
            (&["gt/2-mask.bmp"], 1),
            (
                &["ground_truth/dent/2/0.png", "ground_truth/dent/2/1.png"],
                2,
            ),
            (&["test/masks/dent/2.png"], 1),
            (&["test/dent/2_mask.png"], 1),
            (&["test/dent/masks/2_seg.png"], 1),
        ] {
            let names = [&["test/good/1.png", "test/dent/2.png"], masks].concat();
            let room = folder(&names);
            let part = TestPart::open(room.path(), &DatasetOptions::default()).unwrap();
            assert_eq!(part.samples.len(), 2, "{masks:?}");
            assert_eq!(part.samples[0].masks.len(), count, "{masks:?}");
            assert!(part.samples[1].masks.is_empty() && part.unused_masks.is_empty());
        }
        let room = folder(&[
            "test/good/1.png",
            "test/good/1_gt_detail.png",
            "test/dent/2.png",
            "ground_truth/dent/3_mask.png",
            "ground_truth/scratch/2.png",
        ]);
        let part = TestPart::open(room.path(), &DatasetOptions::default()).unwrap();
        assert_eq!(part.samples.len(), 3);
        assert!(part.samples.iter().all(|sample| sample.masks.is_empty()));
        assert_eq!(part.unused_masks.len(), 2);
    }

    #[test]
    fn a_folder_of_pictures_alone_says_nothing_about_kinds() {
        let message = |root: &Path, class| {
            let options = DatasetOptions {
                class,
                ..DatasetOptions::default()
            };
            TestPart::open(root, &options).unwrap_err().to_string()
        };
        let room = folder(&["1.png", "empty/test/notes.txt"]);
        assert!(message(room.path(), None).contains("no test/ and no good/"));
        assert!(message(room.path(), Some(1)).contains("class 1"));
        assert!(message(&room.path().join("empty"), None).contains("no pictures found"));
        assert!(message(&room.path().join("1.png"), None).contains("is not a folder"));
        assert!(message(&room.path().join("none"), None).contains("cannot read"));
    }
}
