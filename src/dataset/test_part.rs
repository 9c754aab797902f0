//! The part of a data set that models are judged by, which may lie alone.

use std::path::Path;

use super::{Dataset, DatasetError, DatasetOptions, GOOD, Sample, folders, idx, name_of};

/// The samples to test on, without anything to train on.
#[derive(Clone, Debug)]
pub struct TestPart {
    /// Name of the folder, without the path to it.
    pub name: String,
    /// Samples, sorted by kind, then by name; at least one.
    pub samples: Vec<Sample>,
}

impl TestPart {
    /// Lists the test part of a data set:
    /// - IDX files: the samples of the test files, as [`Dataset::open`] does;
    /// - a folder with `test/`: `test/<kind>` and `ground_truth/<kind>`, whether or not there is a
    ///   `train/good`;
    /// - a folder with `good/`: each of its sub-folders is a kind, but for `ground_truth`, which
    ///   holds the masks; those of a folder that is itself called `test` may lie beside it.
    ///
    /// # Errors
    /// A [`DatasetError`] naming the folder or file, also where there is no sample.
    pub fn open(root: &Path, options: &DatasetOptions) -> Result<Self, DatasetError> {
        let is_folder = |path: &Path| path.is_dir();
        if idx::is_present(root) {
            let Dataset { name, test, .. } = Dataset::open(root, options)?;
            return Self::of(root, name, test);
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
        let beside = root.join("ground_truth");
        let samples = if is_folder(&test) {
            folders::kinds(root, &test, &beside, options.limits)?
        } else if is_folder(&root.join(GOOD)) {
            // Of `…/test/..` the name is not `test`, but what it leads to is looked at.
            let above = root
                .canonicalize()
                .ok()
                .filter(|path| path.file_name().is_some_and(|name| name == "test"))
                .and_then(|path| Some(path.parent()?.join("ground_truth")));
            let masks = match above {
                Some(above) if !is_folder(&beside) => above,
                _ => beside,
            };
            folders::kinds(root, root, &masks, options.limits)?
        } else {
            return Err(DatasetError::NoTestPart {
                path: root.to_owned(),
            });
        };
        Self::of(root, name_of(root), samples)
    }

    fn of(root: &Path, name: String, samples: Vec<Sample>) -> Result<Self, DatasetError> {
        if samples.is_empty() {
            return Err(DatasetError::Empty {
                path: root.to_owned(),
            });
        }
        Ok(Self { name, samples })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

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
            (sample.kind, name, sample.mask)
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
