//! Data sets: folder layouts (MVTec AD, plain folders, IDX files), splits, and the search for
//! pictures.

mod discover;
mod error;
mod folders;
mod grouping;
mod idx;
mod masks;
mod read;
mod search;
mod split;
mod test_part;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::frame::{DecodeOptions, Frame, FrameError, PixelFormat};

pub use discover::{Discovered, discover};
pub use error::DatasetError;
pub use grouping::Grouping;
pub use read::{ReadSummary, read_frames};
pub use split::{Split, SplitFractions, split, split_groups};
pub use test_part::TestPart;

use idx::IdxImages;

/// The kind of samples without a defect.
pub const GOOD: &str = "good";

/// How a data set lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `train/good`, `test/<kind>`, `ground_truth/<kind>/<stem>_mask.png` (Bergmann et al.: «MVTec
    /// AD», CVPR 2019), and the ways in which others call and place masks: see
    /// [`TestPart::open`].
    MvtecAd,
    /// A folder of normal pictures, with sub-folders.
    Folder,
    /// IDX files named as those of MNIST, gzipped or not.
    Idx,
}

/// How to open a [`Dataset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatasetOptions {
    /// IDX only: the label that is normal. Only its samples are for training, and test samples
    /// of another label N are of kind `class-N`. Without it, every sample is normal.
    pub class: Option<u8>,
    /// How the samples are decoded.
    pub decode: DecodeOptions,
}

/// The samples of a data set, listed but not decoded, in a stable order.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name of the folder, without the path to it.
    pub name: String,
    /// How it lies on the disk.
    pub layout: Layout,
    /// Normal samples to train on; at least one.
    pub train: Vec<Sample>,
    /// Samples to test on, sorted by kind, then by name.
    pub test: Vec<Sample>,
}

impl Dataset {
    /// Lists a data set, recognising its layout.
    ///
    /// # Errors
    ///
    /// A [`DatasetError`] naming the folder or file, also if there is nothing to train on.
    pub fn open(root: &Path, options: &DatasetOptions) -> Result<Self, DatasetError> {
        let found = std::fs::metadata(root).map_err(|source| DatasetError::Read {
            path: root.to_owned(),
            source,
        })?;
        if !found.is_dir() {
            return Err(DatasetError::NotAFolder {
                path: root.to_owned(),
            });
        }
        let (layout, train, test) = if idx::is_present(root) {
            let (train, test) = idx::open(root, options.class)?;
            (Layout::Idx, train, test)
        } else if let Some(class) = options.class {
            return Err(DatasetError::ClassWithoutLabels {
                path: root.to_owned(),
                class,
            });
        } else if root.join("train").join(GOOD).is_dir() {
            let (train, test) = folders::open_mvtec(root, options.decode)?;
            (Layout::MvtecAd, train, test.samples)
        } else {
            (
                Layout::Folder,
                folders::open_plain(root, options.decode)?,
                Vec::new(),
            )
        };
        if train.is_empty() {
            return Err(DatasetError::Empty {
                path: root.to_owned(),
            });
        }
        Ok(Self {
            name: name_of(root),
            layout,
            train,
            test,
        })
    }
}

/// Name of a folder, also for `.` and `..`.
fn name_of(root: &Path) -> String {
    let absolute = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    absolute.file_name().map_or_else(
        || "dataset".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// One picture of a data set, decoded when asked for.
#[derive(Clone, Debug)]
pub struct Sample {
    /// [`GOOD`] for a normal sample, otherwise the kind of its defect.
    pub kind: String,
    /// Pictures of the places of its defects, of the sample's size; none where the data set has
    /// none.
    pub masks: Vec<PathBuf>,
    /// Label by an IDX file.
    pub label: Option<u8>,
    name: String,
    picture: Picture,
}

#[derive(Clone, Debug)]
enum Picture {
    File {
        path: PathBuf,
        options: DecodeOptions,
    },
    Idx {
        images: Arc<IdxImages>,
        index: usize,
    },
}

impl Sample {
    /// Whether the sample is normal.
    pub fn is_good(&self) -> bool {
        self.kind == GOOD
    }

    /// Name within the data set: the path below its folder, with `/`, or the name of an IDX file
    /// and the sample's number in it, `train-images-idx3-ubyte.gz[7]`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The picture file, if it has one of its own.
    pub fn path(&self) -> Option<&Path> {
        match &self.picture {
            Picture::File { path, .. } => Some(path),
            Picture::Idx { .. } => None,
        }
    }

    /// Reads and decodes the picture.
    ///
    /// # Errors
    ///
    /// As [`Frame::open`].
    pub fn frame(&self) -> Result<Frame, FrameError> {
        match &self.picture {
            Picture::File { path, options } => Frame::open_with(path, options),
            Picture::Idx { images, index } => Frame::from_u8(
                images.width,
                images.height,
                PixelFormat::Gray8,
                images.samples(*index).to_vec(),
                self.name.clone(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
