//! Names for what is written of a frame.

use std::path::{Component, Path, PathBuf};

/// Names results after frames: the tree of the frames below the folder that all of them share is
/// mirrored, and a suffix is put after the whole file name. So `a/1.png`, `b/1.png` and `b/1.jpg`
/// never meet.
#[derive(Debug)]
pub(crate) struct ResultNames {
    shared: PathBuf,
}

impl ResultNames {
    pub(crate) fn new(frames: &[PathBuf]) -> Self {
        let mut folders = frames.iter().map(|frame| {
            let mut folder = normal(frame);
            folder.pop();
            folder
        });
        let mut shared = folders.next().unwrap_or_default();
        for folder in folders {
            while !folder.starts_with(&shared) {
                shared.pop();
            }
        }
        Self { shared }
    }

    /// `1.png` and `.map.npy` give `1.png.map.npy`, below the folder `out`.
    pub(crate) fn path(&self, out: &Path, frame: &Path, suffix: &str) -> PathBuf {
        let frame = normal(frame);
        let below = frame.strip_prefix(&self.shared).unwrap_or(&frame);
        let mut name = below
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect::<PathBuf>()
            .into_os_string();
        name.push(suffix);
        out.join(name)
    }
}

/// Suffixes of the pictures that are named after frames.
pub(crate) const OVERLAY: &str = ".overlay.png";
pub(crate) const MAP: &str = ".map.png";
pub(crate) const SHEET: &str = ".sheet.png";
pub(crate) const RECONSTRUCTION: &str = ".reconstruction.png";

/// Whether a picture is a result that [`ResultNames`] named, below the folder `out`.
pub(crate) fn is_result(picture: &Path, out: &Path) -> bool {
    let name = picture.file_name().unwrap_or_default().as_encoded_bytes();
    [OVERLAY, MAP, SHEET, RECONSTRUCTION]
        .iter()
        .any(|suffix| name.ends_with(suffix.as_bytes()))
        && normal(picture).starts_with(normal(out))
}

/// The absolute path without `.` and `..`, by the letters alone: links keep the names they have.
fn normal(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut normal = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(frames: &[&str]) -> Vec<String> {
        let frames: Vec<PathBuf> = frames.iter().map(PathBuf::from).collect();
        let names = ResultNames::new(&frames);
        frames
            .iter()
            .map(|frame| {
                names
                    .path(Path::new("out"), frame, ".x")
                    .display()
                    .to_string()
            })
            .collect()
    }

    #[test]
    fn the_tree_below_the_shared_folder_is_mirrored() {
        assert_eq!(
            names(&["a/1.png", "b/1.png"]),
            ["out/a/1.png.x", "out/b/1.png.x"]
        );
        assert_eq!(
            names(&["a/1.png", "a/1.jpg"]),
            ["out/1.png.x", "out/1.jpg.x"]
        );
        assert_eq!(
            names(&["a/1.png", "a/b/1.png"]),
            ["out/1.png.x", "out/b/1.png.x"]
        );
        assert_eq!(
            names(&["../1.png", "a/../1.png"])[1]
                .matches("1.png")
                .count(),
            1
        );
        assert_eq!(names(&["/frames/1.png"]), ["out/1.png.x"]);
        // `ab` is no folder inside of `a`.
        assert_eq!(
            names(&["a/1.png", "ab/1.png"]),
            ["out/a/1.png.x", "out/ab/1.png.x"]
        );
    }

    #[test]
    fn results_are_told_from_frames_by_place_and_suffix() {
        let is = |picture: &str| is_result(Path::new(picture), Path::new("set/../seen/"));
        assert!(is("seen/a/1.png.overlay.png") && is("./seen/1.png.map.png"));
        assert!(is("seen/1.png.sheet.png") && is("seen/1.png.reconstruction.png"));
        assert!(!is("seen/1.png") && !is("set/1.png.overlay.png") && !is("seen2/1.png.map.png"));
    }
}
