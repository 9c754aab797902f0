//! Why a data set could not be read.

use std::path::PathBuf;

use crate::frame::FrameError;

/// Why a data set could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Nothing to train on, or nothing to judge.
    #[error("{path}: no pictures found", path = path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A folder or file could not be read.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data set has to be a folder.
    #[error(
        "{path}: is not a folder; a data set is a folder of pictures, of the MVTec AD layout, or \
         of IDX files",
        path = path.display()
    )]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// Folders of the MVTec AD layout without its normal pictures.
    #[error(
        "{path}: has {found}/ but no train/good/; put the normal pictures there",
        path = path.display()
    )]
    NoTrainGood {
        /// The folder.
        path: PathBuf,
        /// What makes it look like that layout.
        found: String,
    },
    /// A folder in which nothing says which frames have a defect.
    #[error(
        "{path}: has no test/ and no good/; put normal frames into test/good and those with a \
         defect into test/<kind>",
        path = path.display()
    )]
    NoTestPart {
        /// The folder.
        path: PathBuf,
    },
    /// A class was asked for, and the data set has no labels.
    #[error(
        "{path}: class {class} was asked for, and only IDX files have labels",
        path = path.display()
    )]
    ClassWithoutLabels {
        /// The folder.
        path: PathBuf,
        /// The class.
        class: u8,
    },
    /// A class was asked for that no training sample has.
    #[error(
        "{path}: no training sample has label {class}; labels are {labels}",
        path = path.display()
    )]
    NoSuchClass {
        /// The folder.
        path: PathBuf,
        /// The class.
        class: u8,
        /// Labels that there are.
        labels: String,
    },
    /// An IDX file is damaged, or is something else.
    #[error("{path}: not a usable IDX file: {reason}", path = path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Fractions of a split that are not fractions.
    #[error("split fractions {found:?}: each has to be at least 0, and their sum 1")]
    Fractions {
        /// Train, validation, calibration.
        found: [f64; 3],
    },
    /// Too many unreadable pictures.
    #[error("{unreadable} of {total} pictures are unreadable, more than 10 %; the first: {first}")]
    Unreadable {
        /// Pictures that could not be read.
        unreadable: usize,
        /// Pictures in all.
        total: usize,
        /// The error of the first; it names the file.
        first: FrameError,
    },
    /// A path that was asked for does not exist.
    #[error("{path}: no such file or folder", path = path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A pattern is malformed.
    #[error("{pattern}: not a pattern: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// A pattern matches no picture.
    #[error("{pattern}: the pattern matches no picture")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// What frames are to be grouped by is no pattern.
    #[error("what frames are grouped by, {pattern:?}: {reason}")]
    Grouping {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A frame that is in no group.
    #[error("{path}: {pattern:?}, which frames are grouped by, finds no group in this path")]
    NoGroup {
        /// The frame.
        path: String,
        /// What frames are grouped by.
        pattern: String,
    },
}
