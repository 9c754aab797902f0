//! A data set of procedural frames on disk, in MVTec AD layout.

use std::{fs, io, path::Path};

use image::{GrayImage, codecs::png::PngEncoder};

use super::{DefectKind, Defects, SurfaceSettings, SynthError, surface_frame};
use crate::replace::{FreshFolder, create_folder, flush_all_in, folder_of};

/// How many frames a data set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetCounts {
    /// Normal frames for training; 400 by default.
    pub train: u32,
    /// Normal frames for testing; 60 by default.
    pub test_good: u32,
    /// Defective frames of each [`DefectKind`]; 20 by default.
    pub per_kind: u32,
}

impl Default for DatasetCounts {
    fn default() -> Self {
        Self {
            train: 400,
            test_good: 60,
            per_kind: 20,
        }
    }
}

impl DatasetCounts {
    /// All frames.
    pub fn total(&self) -> u64 {
        u64::from(self.train)
            + u64::from(self.test_good)
            + u64::from(self.per_kind) * DefectKind::ALL.len() as u64
    }
}

/// Writes a data set: `train/good/000.png`…, `test/good`, `test/<kind>` and
/// `ground_truth/<kind>/<stem>_mask.png`. Frames are numbered through the whole set, so no two are
/// alike. `settings.defects` is not used. `progress` is told the frames written and all frames
/// after each one.
///
/// The set is written into a folder beside `directory`, flushed, and renamed when complete: there
/// is never half a data set.
///
/// # Errors
/// [`SynthError::NotEmpty`] and [`SynthError::NotAFolder`] if the target is in use,
/// [`SynthError::Settings`] for impossible settings, [`SynthError::Write`] for the file or folder
/// that could not be written.
pub fn write_dataset(
    directory: &Path,
    settings: &SurfaceSettings,
    seed: u64,
    counts: &DatasetCounts,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), SynthError> {
    settings.check()?;
    refuse_used(directory)?;
    let parent = folder_of(directory);
    create_folder(parent).map_err(write_error(parent))?;
    let name = directory
        .file_name()
        .ok_or_else(|| write_error(directory)(io::Error::other("has no name of its own")))?;
    let fresh = FreshFolder::beside(parent, &name.to_owned()).map_err(write_error(parent))?;
    let root = fresh.path();

    let mut groups = vec![
        ("train/good", Defects::Never, counts.train, None),
        ("test/good", Defects::Never, counts.test_good, None),
    ];
    let names: Vec<(String, String)> = DefectKind::ALL
        .iter()
        .map(|kind| {
            let name = kind.name();
            (format!("test/{name}"), format!("ground_truth/{name}"))
        })
        .collect();
    for (kind, (pictures, masks)) in DefectKind::ALL.iter().zip(&names) {
        let defects = Defects::Always(*kind);
        groups.push((pictures, defects, counts.per_kind, Some(masks)));
    }

    let mut index = 0;
    for (pictures, defects, count, masks) in groups {
        let settings = SurfaceSettings {
            defects,
            ..*settings
        };
        let pictures = root.join(pictures);
        let masks = masks.map(|masks| root.join(masks));
        for folder in std::iter::once(&pictures).chain(&masks) {
            fs::create_dir_all(folder).map_err(write_error(folder))?;
        }
        for number in 0..count {
            let frame = surface_frame(seed, index, &settings)?;
            index += 1;
            write_picture(&pictures.join(format!("{number:03}.png")), &frame.picture)?;
            if let (Some(masks), Some(mask)) = (&masks, &frame.mask) {
                write_picture(&masks.join(format!("{number:03}_mask.png")), mask)?;
            }
            progress(index, counts.total());
        }
    }
    // Names and pictures are durable before the set is in its place.
    flush_all_in(root).map_err(write_error(root))?;
    let empty = fresh
        .take_place(directory)
        .map_err(write_error(directory))?;
    empty.map_or(Ok(()), |empty| {
        fs::remove_dir(&empty).map_err(write_error(&empty))
    })
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> SynthError + '_ {
    |source| SynthError::Write {
        path: path.to_owned(),
        source,
    }
}

fn refuse_used(directory: &Path) -> Result<(), SynthError> {
    let path = directory.to_owned();
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(SynthError::NotEmpty { path }),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(SynthError::NotAFolder { path })
        }
        Err(source) => Err(SynthError::Write { path, source }),
    }
}

fn write_picture(path: &Path, picture: &GrayImage) -> Result<(), SynthError> {
    let mut file = io::BufWriter::new(fs::File::create(path).map_err(write_error(path))?);
    picture
        .write_with_encoder(PngEncoder::new(&mut file))
        .map_err(|error| match error {
            image::ImageError::IoError(source) => write_error(path)(source),
            other => write_error(path)(io::Error::other(other)),
        })?;
    io::Write::flush(&mut file).map_err(write_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: SurfaceSettings = SurfaceSettings {
        width: 32,
        height: 24,
        part: 1,
        defects: Defects::Never,
    };
    const FEW: DatasetCounts = DatasetCounts {
        train: 3,
        test_good: 2,
        per_kind: 1,
    };

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn layout_is_that_of_mvtec_ad() {
        let temporary = tempfile::tempdir().unwrap();
        let target = temporary.path().join("a/b");
        let mut calls = Vec::new();
        write_dataset(&target, &SMALL, 5, &FEW, &mut |done, all| {
            calls.push((done, all))
        })
        .unwrap();
        assert_eq!(calls.len(), 12);
        assert_eq!(calls.last(), Some(&(12, 12)));
        assert_eq!(files(&target), ["ground_truth", "test", "train"]);
        assert_eq!(
            files(&target.join("train/good")),
            ["000.png", "001.png", "002.png"]
        );
        let mut kinds: Vec<&str> = DefectKind::ALL.iter().map(|kind| kind.name()).collect();
        kinds.sort_unstable();
        assert_eq!(files(&target.join("ground_truth")), kinds);
        for kind in kinds {
            assert_eq!(files(&target.join("test").join(kind)), ["000.png"]);
            let mask = target.join("ground_truth").join(kind).join("000_mask.png");
            let mask = image::open(mask).unwrap().into_luma8();
            assert_eq!(mask.dimensions(), (32, 24));
            assert!(mask.pixels().any(|p| p.0[0] == 255));
        }
        assert_eq!(files(&target.join("test")).len(), 8);
        // The pictures on disk are the frames, numbered through.
        let read = image::open(target.join("test/good/001.png")).unwrap();
        let drawn = surface_frame(5, 4, &SMALL).unwrap();
        assert_eq!(read.into_luma8(), drawn.picture);
        // Nothing is left beside.
        assert_eq!(files(&temporary.path().join("a")), ["b"]);
    }

    #[test]
    fn a_used_target_is_refused_and_an_empty_one_taken() {
        let temporary = tempfile::tempdir().unwrap();
        let target = temporary.path().join("data");
        fs::create_dir(&target).unwrap();
        write_dataset(&target, &SMALL, 5, &FEW, &mut |_, _| {}).unwrap();
        let error = write_dataset(&target, &SMALL, 5, &FEW, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, SynthError::NotEmpty { .. }), "{error}");
        let file = target.join("train/good/000.png");
        let error = write_dataset(&file, &SMALL, 5, &FEW, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, SynthError::NotAFolder { .. }), "{error}");
    }
}
